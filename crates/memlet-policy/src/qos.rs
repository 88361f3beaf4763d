//! The quality-of-service class of a Pod: who is killed and evicted before whom.
//!
//! By the API server's `ComputePodQOS` (`pkg/apis/core/v1/helper/qos`). The class is fixed when a Pod is
//! created; [`QosClass::of_pod`] prefers what the status holds.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::{Deserialize, Serialize};

use crate::resources::{self, Amounts, CPU, MEMORY, Side};

/// A Pod's class, the best protected first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QosClass {
    /// Every container limits both cpu and memory and requests just as much.
    Guaranteed,
    /// Something is requested or limited, but not as Guaranteed needs it.
    Burstable,
    /// Nothing is requested or limited.
    BestEffort,
}

/// A text that names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a QoS class: expected Guaranteed, Burstable or BestEffort")]
pub struct UnknownQosClass(pub String);

impl QosClass {
    /// The class by the spec alone.
    ///
    /// Requests are taken as they stand: a Pod with limits only is Guaranteed after
    /// [`default_resources`](resources::default_resources), as at the API server.
    pub fn of_spec(spec: &PodSpec) -> Self {
        let mut requests = Amounts::new();
        let mut limits = Amounts::new();
        let mut all_limited = true;
        let tables: Vec<_> = match &spec.resources {
            // Where the Pod has resources of its own, even empty ones, its containers don't count.
            Some(pod_level) => vec![Some(pod_level)],
            None => {
                resources::counted_containers(spec).map(|container| container.resources.as_ref()).collect()
            }
        };
        for table in tables {
            add_positive(&mut requests, resources::read_amounts(Side::Requests.of(table)));
            all_limited &= add_positive(&mut limits, resources::read_amounts(Side::Limits.of(table))) == 2;
        }
        if requests.is_empty() && limits.is_empty() {
            return Self::BestEffort;
        }
        if all_limited && requests == limits { Self::Guaranteed } else { Self::Burstable }
    }

    /// The class that the Pod's status holds, or else the class by its spec. A Pod without a spec is
    /// `BestEffort`.
    pub fn of_pod(pod: &Pod) -> Self {
        let recorded = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
        recorded
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| pod.spec.as_ref().map_or(Self::BestEffort, Self::of_spec))
    }

    /// The name as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Adds the positive amounts of cpu and memory; says how many of the two there were.
fn add_positive(totals: &mut Amounts, amounts: Amounts) -> usize {
    let mut counted = 0;
    for (name, quantity) in amounts {
        if (name == CPU || name == MEMORY) && quantity.is_positive() {
            counted += 1;
            let total = totals.get(&name).map_or_else(|| quantity.clone(), |total| total.plus(&quantity));
            totals.insert(name, total);
        }
    }
    counted
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for QosClass {
    type Err = UnknownQosClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Guaranteed" => Ok(Self::Guaranteed),
            "Burstable" => Ok(Self::Burstable),
            "BestEffort" => Ok(Self::BestEffort),
            _ => Err(UnknownQosClass(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn class(spec: Value) -> QosClass {
        QosClass::of_spec(&serde_json::from_value(spec).unwrap())
    }

    fn both(cpu: &str, memory: &str) -> Value {
        json!({"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": cpu, "memory": memory}})
    }

    #[test]
    fn by_containers() {
        use QosClass::{BestEffort, Burstable, Guaranteed};
        for (expected, tables) in [
            (BestEffort, vec![json!({})]),
            (BestEffort, vec![json!({"requests": {"memory": "0"}, "limits": {"example.com/gpu": "1"}})]),
            (Guaranteed, vec![both("100m", "100Mi")]),
            (Guaranteed, vec![both("100m", "100Mi"), both("1", "1Gi")]),
            (
                Guaranteed,
                vec![
                    json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
                ],
            ),
            // Memory alone is not enough.
            (Burstable, vec![json!({"limits": {"memory": "100Mi"}, "requests": {"memory": "100Mi"}})]),
            (Burstable, vec![json!({"limits": {"memory": "100Mi"}, "requests": {"memory": "50Mi"}})]),
            (Burstable, vec![json!({"requests": {"memory": "200Mi"}})]),
            (Burstable, vec![both("100m", "100Mi"), json!({})]),
            // Not defaulted: the requests are missing.
            (Burstable, vec![json!({"limits": {"cpu": "1", "memory": "1Gi"}})]),
        ] {
            let containers: Vec<_> =
                tables.iter().map(|table| json!({"name": "c", "resources": table})).collect();
            assert_eq!(class(json!({"containers": containers})), expected, "{tables:?}");
        }
    }

    #[test]
    fn init_containers_count_and_ephemeral_ones_do_not() {
        let main = json!({"name": "c", "resources": both("1", "1Gi")});
        let bare = json!({"name": "i"});
        assert_eq!(class(json!({"containers": [main], "initContainers": [bare]})), QosClass::Burstable);
        assert_eq!(class(json!({"containers": [main], "ephemeralContainers": [bare]})), QosClass::Guaranteed);
    }

    #[test]
    fn limits_alone_are_guaranteed_once_defaulted() {
        let mut spec = serde_json::from_value(json!({
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
        }))
        .unwrap();
        resources::default_resources(&mut spec);
        assert_eq!(QosClass::of_spec(&spec), QosClass::Guaranteed);
    }

    #[test]
    fn pod_level_resources_alone_decide() {
        let containers = json!([{"name": "c", "resources": both("1", "1Gi")}]);
        for (table, expected) in [
            (json!({}), QosClass::BestEffort),
            (both("2", "2Gi"), QosClass::Guaranteed),
            (json!({"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi"}}), QosClass::Burstable),
            (json!({"requests": {"cpu": "2", "memory": "2Gi"}}), QosClass::Burstable),
        ] {
            assert_eq!(class(json!({"containers": containers, "resources": table})), expected, "{table}");
        }
    }

    #[test]
    fn the_recorded_class_wins() {
        let pod = |qos: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {}, "spec": {"containers": []}, "status": {"qosClass": qos},
            }))
            .unwrap()
        };
        assert_eq!(QosClass::of_pod(&pod("Guaranteed")), QosClass::Guaranteed);
        assert_eq!(QosClass::of_pod(&pod("")), QosClass::BestEffort);
        assert_eq!(QosClass::of_pod(&Pod::default()), QosClass::BestEffort);
        assert!("burstable".parse::<QosClass>().is_err());
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
    }
}
