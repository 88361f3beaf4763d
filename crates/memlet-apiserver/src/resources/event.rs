//! Events of core/v1. They are kept as they come, for a while; nothing is aggregated here (the recorder does that).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use serde_json::{Value, json};

use crate::field::{FieldErrors, FieldPath};
use crate::kind::ServedKind;
use crate::schema::{self, Type};
use crate::storage::Fields;

impl ServedKind for Event {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::EVENT;
    const CREATED_BY_UPDATE: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const EXPIRES: bool = true;
    const SELECTABLE: &'static [&'static str] = &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ];

    fn blank() -> Value {
        json!({
            "metadata": {}, "involvedObject": {}, "source": {}, "firstTimestamp": null, "lastTimestamp": null,
            "eventTime": null, "reportingComponent": "", "reportingInstance": "",
        })
    }

    /// An event about a cluster-scoped object belongs in `default`; any other in its object's namespace.
    fn validate(&self, errors: &mut FieldErrors) {
        let own = self.metadata.namespace.as_deref().unwrap_or_default();
        let path = FieldPath::new("involvedObject.namespace");
        match self.involved_object.namespace.as_deref().unwrap_or_default() {
            "" if matches!(own, "default" | "kube-system") => {}
            involved if involved == own && !own.is_empty() => {}
            involved => errors.invalid(&path, involved, "does not match event.namespace"),
        }
    }

    fn last_seen(&self) -> Option<Timestamp> {
        let series = self.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let exact = [series, self.event_time.as_ref()].into_iter().flatten().map(|time| time.0);
        let created = self.metadata.creation_timestamp.as_ref();
        let whole = [self.last_timestamp.as_ref(), created].into_iter().flatten().map(|time| time.0);
        exact.chain(whole).max()
    }

    fn fields(&self) -> Fields {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let object = &self.involved_object;
        let component = self.source.as_ref().map(|source| text(&source.component)).unwrap_or_default();
        let reporter = text(&self.reporting_component);
        vec![
            ("involvedObject.kind", text(&object.kind)),
            ("involvedObject.namespace", text(&object.namespace)),
            ("involvedObject.name", text(&object.name)),
            ("involvedObject.uid", text(&object.uid)),
            ("involvedObject.apiVersion", text(&object.api_version)),
            ("involvedObject.resourceVersion", text(&object.resource_version)),
            ("involvedObject.fieldPath", text(&object.field_path)),
            ("reason", text(&self.reason)),
            ("reportingComponent", reporter.clone()),
            ("source", if component.is_empty() { reporter } else { component }),
            ("type", text(&self.type_)),
        ]
    }
}
