//! The rows of what bounds a namespace: limit ranges and quotas.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, ResourceQuota};

use super::{Column, Row, Tabular, age, columns, name};

impl Tabular for LimitRange {
    fn columns() -> &'static [Column] {
        columns::LIMIT_RANGE
    }

    /// The only kind here that shows when it was made rather than how long ago: upstream has no columns for it.
    fn row(&self, _now: Timestamp) -> Row {
        let created = self.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        Row::of([name(&self.metadata), created.unwrap_or_default().into()])
    }
}

impl Tabular for ResourceQuota {
    fn columns() -> &'static [Column] {
        columns::RESOURCE_QUOTA
    }

    fn row(&self, now: Timestamp) -> Row {
        let [requests, limits] = [false, true].map(|limits| used_of_hard(self, limits));
        Row::of([name(&self.metadata), requests.into(), limits.into(), age(&self.metadata, now)])
    }
}

/// How much is used of how much, of limits or of everything else.
fn used_of_hard(quota: &ResourceQuota, limits: bool) -> String {
    let status = quota.status.as_ref();
    let used = status.and_then(|status| status.used.as_ref());
    let hard = status.and_then(|status| status.hard.as_ref()).into_iter().flat_map(BTreeMap::iter);
    let told =
        hard.filter(|(resource, _)| resource.starts_with("limits.") == limits).map(|(resource, hard)| {
            let used = used.and_then(|used| used.get(resource)).map_or("0", |used| &used.0);
            format!("{resource}: {used}/{}", hard.0)
        });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quota_tells_limits_apart() {
        let quota: ResourceQuota = serde_json::from_value(json!({
            "metadata": {"name": "q", "creationTimestamp": "2026-11-22T01:00:00Z"},
            "status": {
                "hard": {"pods": "4", "limits.memory": "2Gi", "requests.memory": "1Gi", "limits.cpu": "2"},
                "used": {"pods": "1", "limits.memory": "64Mi", "requests.memory": "32Mi"},
            },
        }))
        .unwrap();
        let now = "2026-11-22T01:05:00Z".parse().unwrap();
        let expected =
            ["q", "pods: 1/4, requests.memory: 32Mi/1Gi", "limits.cpu: 0/2, limits.memory: 64Mi/2Gi", "5m"];
        assert_eq!(quota.row(now).cells, expected);
        assert_eq!(ResourceQuota::default().row(now).cells, ["", "", "", "<unknown>"]);
    }

    #[test]
    fn a_limit_range_tells_when_it_was_made() {
        let range: LimitRange = serde_json::from_value(
            json!({"metadata": {"name": "r", "creationTimestamp": "2026-11-22T01:00:00Z"}}),
        )
        .unwrap();
        assert_eq!(range.row(Timestamp::now()).cells, ["r", "2026-11-22T01:00:00Z"]);
    }
}
