//! Events of events.k8s.io/v1: the same objects as those of core/v1, told in other words.
//!
//! Stored is core's form, whichever group an event was written in, so that either group shows all events.

use bytes::Bytes;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::kind::ServedKind;
use crate::schema::{self, Type};
use crate::storage::Fields;
use crate::table::{Column, Row, Tabular};
use crate::verbs::Core;

/// Upstream's bound on a note, in bytes.
const LONGEST_NOTE: usize = 1024;
/// Upstream's bound on the shorter texts.
const LONGEST_WORD: usize = 128;

impl ServedKind for Event {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::EVENT;
    const SHORT_NAMES: &'static [&'static str] = &["ev"];
    const EXPIRES: bool = true;
    const SELECTABLE: &'static [&'static str] = &[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "regarding.apiVersion",
        "regarding.resourceVersion",
        "regarding.fieldPath",
        "reason",
        "reportingController",
        "type",
    ];

    fn blank() -> Value {
        json!({
            "metadata": {}, "regarding": {}, "deprecatedSource": {}, "deprecatedFirstTimestamp": null,
            "deprecatedLastTimestamp": null, "eventTime": null,
        })
    }

    fn from_stored(encoded: &Bytes) -> Result<Bytes, ApiError> {
        let unreadable = |_| ApiError::internal("a stored object cannot be read");
        let stored: core::Event = serde_json::from_slice(encoded).map_err(unreadable)?;
        serde_json::to_vec(&of_core(stored)).map(Bytes::from).map_err(unreadable)
    }

    fn to_stored(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&to_core(self.clone()))
    }

    /// What is asked of a new event of this group, and never was of core's.
    fn admit(&mut self, _: &Core) -> Result<(), ApiError> {
        let mut errors = FieldErrors::default();
        check_new(self, &mut errors);
        if errors.is_empty() {
            return Ok(());
        }
        let name = self.metadata.name.as_deref().unwrap_or_default();
        Err(ApiError::invalid("Event", name, errors))
    }

    fn validate(&self, errors: &mut FieldErrors) {
        ServedKind::validate(&to_core(self.clone()), errors);
    }

    fn fields(&self) -> Fields {
        to_core(self.clone()).fields()
    }
}

impl Tabular for Event {
    fn columns() -> &'static [Column] {
        core::Event::columns()
    }

    fn row(&self, now: jiff::Timestamp) -> Row {
        to_core(self.clone()).row(now)
    }
}

fn check_new(event: &Event, errors: &mut FieldErrors) {
    let path = FieldPath::new;
    if event.event_time.is_none() {
        errors.required(&path("eventTime"), "");
    }
    let mut word = |name: &str, text: &Option<String>| match text.as_deref().unwrap_or_default() {
        "" => errors.required(&path(name), ""),
        text if text.len() > LONGEST_WORD => {
            errors.invalid(&path(name), "", format!("can have at most {LONGEST_WORD} characters"));
        }
        _ => {}
    };
    word("reportingController", &event.reporting_controller);
    word("reportingInstance", &event.reporting_instance);
    word("action", &event.action);
    word("reason", &event.reason);
    if event.note.as_ref().is_some_and(|note| note.len() > LONGEST_NOTE) {
        errors.invalid(&path("note"), "", format!("can have at most {LONGEST_NOTE} characters"));
    }
    let kind = event.type_.as_deref().unwrap_or_default();
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid(&path("type"), "", format!("has invalid value: {kind}"));
    }
    let mut unset = |name: &str, is_set: bool| {
        if is_set {
            errors.invalid(&path(name), "", "needs to be unset");
        }
    };
    unset("deprecatedFirstTimestamp", event.deprecated_first_timestamp.is_some());
    unset("deprecatedLastTimestamp", event.deprecated_last_timestamp.is_some());
    unset("deprecatedCount", event.deprecated_count.is_some_and(|count| count != 0));
    let source = event.deprecated_source.as_ref();
    unset("deprecatedSource", source.is_some_and(|source| *source != core::EventSource::default()));
}

fn of_core(event: core::Event) -> Event {
    Event {
        metadata: event.metadata,
        event_time: event.event_time,
        series: event.series.and_then(|series| {
            Some(EventSeries {
                count: series.count.unwrap_or_default(),
                last_observed_time: series.last_observed_time?,
            })
        }),
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        action: event.action,
        reason: event.reason,
        regarding: Some(event.involved_object),
        related: event.related,
        note: event.message,
        type_: event.type_,
        deprecated_source: event.source,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_count: event.count,
    }
}

fn to_core(event: Event) -> core::Event {
    core::Event {
        metadata: event.metadata,
        event_time: event.event_time,
        series: event.series.map(|series| core::EventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time),
        }),
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        action: event.action,
        reason: event.reason,
        involved_object: event.regarding.unwrap_or_default(),
        related: event.related,
        message: event.note,
        type_: event.type_,
        source: event.deprecated_source,
        first_timestamp: event.deprecated_first_timestamp,
        last_timestamp: event.deprecated_last_timestamp,
        count: event.deprecated_count,
    }
}
