//! What the scheduler writes: bindings, the `PodScheduled` condition, and events.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

/// Longest message of an event, by upstream's scheduler; the condition holds all of it.
const LONGEST_NOTE: usize = 1024;
const CUT: &str = " ...";

/// What happened, for an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    Scheduled,
    FailedScheduling,
}

impl Outcome {
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Scheduled => ("Normal", "Scheduled", "Binding"),
            Self::FailedScheduling => ("Warning", "FailedScheduling", "Scheduling"),
        }
    }
}

/// Puts the Pod on the node.
pub(crate) async fn bind(client: &Client, pod: &Pod, node: &str) -> Result<(), kube::Error> {
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            uid: pod.uid(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods = pods_of(client, pod);
    let _: Value =
        pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await?;
    Ok(())
}

/// Writes into the Pod that no node will do. `None` where it says so already.
pub(crate) async fn mark_unschedulable(
    client: &Client,
    pod: &Pod,
    message: &str,
) -> Result<Option<Pod>, kube::Error> {
    let status = pod.status.as_ref();
    let known = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "PodScheduled"));
    if known.is_some_and(|known| known.status == "False" && known.message.as_deref() == Some(message)) {
        return Ok(None);
    }
    let since =
        known.filter(|known| known.status == "False").and_then(|known| known.last_transition_time.clone());
    let since = since.map_or_else(Timestamp::now, |time| time.0);
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(since),
        "observedGeneration": pod.metadata.generation,
    });
    // The UID makes sure that the Pod is still the one that was judged.
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    let pods = pods_of(client, pod);
    let patch = Patch::Strategic(&patch);
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.map(Some)
}

/// Records an event about the Pod. Nobody waits for it: a lost event changes nothing.
pub(crate) fn record(client: &Client, scheduler: &str, pod: &Pod, outcome: Outcome, note: &str) {
    let event = event(scheduler, pod, outcome, note, Timestamp::now());
    let events: Api<Event> = match pod.namespace() {
        Some(namespace) => Api::namespaced(client.clone(), &namespace),
        None => Api::default_namespaced(client.clone()),
    };
    tokio::spawn(async move {
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::warn!(%error, "cannot record an event");
        }
    });
}

fn pods_of(client: &Client, pod: &Pod) -> Api<Pod> {
    match pod.namespace() {
        Some(namespace) => Api::namespaced(client.clone(), &namespace),
        None => Api::default_namespaced(client.clone()),
    }
}

/// An event as the scheduler's recorder leaves it in core/v1: without counts and times of its own, under the reporting
/// component's name.
fn event(scheduler: &str, pod: &Pod, outcome: Outcome, note: &str, now: Timestamp) -> Event {
    let (kind, reason, action) = outcome.words();
    let name = pod.name_any();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", now.as_nanosecond())),
            namespace: pod.namespace(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(name),
            namespace: pod.namespace(),
            uid: pod.uid(),
            resource_version: pod.resource_version(),
            ..ObjectReference::default()
        },
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
