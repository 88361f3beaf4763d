//! An event's row.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;

use super::{Column, Row, Tabular, columns, name, since};

impl Tabular for Event {
    fn columns() -> &'static [Column] {
        columns::EVENT
    }

    fn row(&self, now: Timestamp) -> Row {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let happened = self.event_time.as_ref().map(|time| time.0);
        let first = self.first_timestamp.as_ref().map(|time| time.0).or(happened);
        let last = self.last_timestamp.as_ref().map(|time| time.0).or(first);
        // A series knows better than the older fields.
        let (last, count) = match &self.series {
            Some(series) => {
                (series.last_observed_time.as_ref().map(|time| time.0), series.count.unwrap_or_default())
            }
            None => (last, self.count.filter(|count| *count != 0).unwrap_or(1)),
        };
        let kind = text(&self.involved_object.kind).to_lowercase();
        let object = match text(&self.involved_object.name).as_str() {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        Row::of([
            since(last, now).into(),
            text(&self.type_).into(),
            text(&self.reason).into(),
            object.into(),
            text(&self.involved_object.field_path).into(),
            source(self).into(),
            text(&self.message).trim().into(),
            since(first, now).into(),
            count.into(),
            name(&self.metadata),
        ])
    }
}

/// Who reported it, and on which machine.
fn source(event: &Event) -> String {
    fn first<'a>(one: Option<&'a String>, other: Option<&'a String>) -> &'a str {
        one.filter(|text| !text.is_empty()).or(other).map_or("", String::as_str)
    }
    let source = event.source.as_ref();
    let component =
        first(source.and_then(|source| source.component.as_ref()), event.reporting_component.as_ref());
    let instance = first(source.and_then(|source| source.host.as_ref()), event.reporting_instance.as_ref());
    if instance.is_empty() { component.to_owned() } else { format!("{component}, {instance}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cells(event: Value) -> Vec<Value> {
        let event: Event = serde_json::from_value(event).unwrap();
        event.row("2026-03-01T10:10:00Z".parse().unwrap()).cells
    }

    #[test]
    fn an_event_that_was_repeated() {
        let event = json!({
            "metadata": {"name": "a.1"}, "type": "Warning", "reason": "BackOff", "message": " again\n",
            "involvedObject": {"kind": "Pod", "name": "a", "fieldPath": "spec.containers{main}"},
            "source": {"component": "kubelet", "host": "n1"}, "count": 7,
            "firstTimestamp": "2026-03-01T10:00:00Z", "lastTimestamp": "2026-03-01T10:09:55Z",
        });
        assert_eq!(
            cells(event),
            [
                json!("5s"),
                json!("Warning"),
                json!("BackOff"),
                json!("pod/a"),
                json!("spec.containers{main}"),
                json!("kubelet, n1"),
                json!("again"),
                json!("10m"),
                json!(7),
                json!("a.1"),
            ]
        );
    }

    #[test]
    fn times_counts_and_sources_where_some_are_missing() {
        for (event, last, first, count, source) in [
            (json!({}), "<unknown>", "<unknown>", 1, ""),
            (json!({"eventTime": "2026-03-01T10:09:00.5Z"}), "59s", "59s", 1, ""),
            (json!({"firstTimestamp": "2026-03-01T10:09:00Z", "count": 0}), "60s", "60s", 1, ""),
            (
                json!({
                    "eventTime": "2026-03-01T10:00:00Z", "count": 9, "reportingComponent": "scheduler",
                    "reportingInstance": "s-1",
                    "series": {"count": 4, "lastObservedTime": "2026-03-01T10:09:58Z"},
                }),
                "2s",
                "10m",
                4,
                "scheduler, s-1",
            ),
            (
                json!({"source": {"component": "x"}, "reportingComponent": "y"}),
                "<unknown>",
                "<unknown>",
                1,
                "x",
            ),
        ] {
            let mut whole = json!({"metadata": {}, "involvedObject": {}});
            whole.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
            let cells = cells(whole);
            assert_eq!(
                (&cells[0], &cells[7], &cells[8], &cells[5]),
                (&json!(last), &json!(first), &json!(count), &json!(source)),
                "{event}"
            );
        }
    }
}
