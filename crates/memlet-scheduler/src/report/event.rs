//! The events of scheduling, as upstream's recorder leaves them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::cluster::PodKey;

/// Longest message of an event, by upstream's scheduler; the condition holds all of it.
const LONGEST_NOTE: usize = 1024;
const CUT: &str = " ...";

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Scheduled,
    FailedScheduling,
    Preempted,
}

impl Outcome {
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Scheduled => ("Normal", "Scheduled", "Binding"),
            Self::FailedScheduling => ("Warning", "FailedScheduling", "Scheduling"),
            Self::Preempted => ("Normal", "Preempted", "Preempting"),
        }
    }
}

/// The Pod that an event is about, or is related to.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) key: PodKey,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

impl Subject {
    fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.key.name.to_string()),
            namespace: Some(self.key.namespace.to_string()),
            uid: self.uid.clone(),
            resource_version: self.resource_version.clone(),
            ..ObjectReference::default()
        }
    }
}

/// Records an event about a Pod. Nobody waits for it: a lost event changes nothing.
pub(crate) fn record(
    client: &Client,
    scheduler: &str,
    about: &Subject,
    related: Option<&Subject>,
    outcome: Outcome,
    note: &str,
) {
    let mut event = event(scheduler, about, outcome, note, Timestamp::now());
    event.related = related.map(Subject::reference);
    let events: Api<Event> = Api::namespaced(client.clone(), &about.key.namespace);
    tokio::spawn(async move {
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::warn!(%error, "cannot record an event");
        }
    });
}

/// An event as the scheduler's recorder leaves it in core/v1: without counts and times of its own, under the reporting
/// component's name.
fn event(scheduler: &str, about: &Subject, outcome: Outcome, note: &str, now: Timestamp) -> Event {
    let (kind, reason, action) = outcome.words();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", about.key.name, now.as_nanosecond())),
            namespace: Some(about.key.namespace.to_string()),
            ..ObjectMeta::default()
        },
        involved_object: about.reference(),
        type_: Some(kind.to_owned()),
        reason: Some(reason.to_owned()),
        action: Some(action.to_owned()),
        message: Some(shortened(note)),
        event_time: Some(MicroTime(now)),
        reporting_component: Some(scheduler.to_owned()),
        reporting_instance: Some(instance(scheduler)),
        source: Some(EventSource::default()),
        ..Event::default()
    }
}

/// `<scheduler>-<host>`, as upstream tells one of several schedulers from another.
fn instance(scheduler: &str) -> String {
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) => format!("{scheduler}-{}", host.trim_end()),
        Err(_) => scheduler.to_owned(),
    }
}

fn shortened(note: &str) -> String {
    if note.len() <= LONGEST_NOTE {
        return note.to_owned();
    }
    let mut end = LONGEST_NOTE - CUT.len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{CUT}", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_cut_between_letters() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"é".repeat(600));
        assert!(long.len() <= LONGEST_NOTE && long.ends_with(CUT), "{} bytes", long.len());
    }
}
