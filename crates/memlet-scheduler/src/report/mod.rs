//! What the scheduler writes: bindings, conditions, nominations, the end of victims, and events.

mod event;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

pub(crate) use event::{Outcome, Subject, record};

use crate::cluster::PodKey;
use crate::place::Victim;

/// What happens to `nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nomination {
    Keep,
    Set(String),
    Clear,
}

/// Why a Pod is not scheduled, as its condition says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unscheduled {
    Unschedulable,
    Gated,
}

impl Unscheduled {
    fn reason(self) -> &'static str {
        match self {
            Self::Unschedulable => "Unschedulable",
            Self::Gated => "SchedulingGated",
        }
    }
}

pub(crate) const GATED: &str = "Scheduling is blocked due to non-empty scheduling gates";

/// The Pod as an event names it.
pub(crate) fn subject(pod: &Pod) -> Subject {
    Subject { key: PodKey::of(pod), uid: pod.uid(), resource_version: pod.resource_version() }
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
    let pods = pods_of(client, &PodKey::of(pod));
    let _: Value =
        pods.create_subresource("binding", &pod.name_any(), &PostParams::default(), &binding).await?;
    Ok(())
}

/// Writes into the Pod why it is not scheduled. `None` where it says so already.
pub(crate) async fn mark(
    client: &Client,
    pod: &Pod,
    why: Unscheduled,
    message: &str,
    nomination: Nomination,
) -> Result<Option<Pod>, kube::Error> {
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    let nomination = match nomination {
        Nomination::Set(node) if nominated != Some(&node) => Some(json!(node)),
        Nomination::Clear if nominated.is_some_and(|node| !node.is_empty()) => Some(Value::Null),
        _ => None,
    };
    let known = condition(pod, "PodScheduled").filter(|known| known.status == "False");
    let is_new = known.is_none_or(|known| {
        known.message.as_deref() != Some(message) || known.reason.as_deref() != Some(why.reason())
    });
    if !is_new && nomination.is_none() {
        return Ok(None);
    }
    let since = known.and_then(|known| known.last_transition_time.clone());
    let since = since.unwrap_or_else(|| Time(Timestamp::now()));
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": why.reason(),
        "message": message,
        "lastTransitionTime": since,
        "observedGeneration": pod.metadata.generation,
    });
    let mut status = json!({"conditions": [condition]});
    if let Some(nomination) = nomination {
        status["nominatedNodeName"] = nomination;
    }
    let mut metadata = json!({"uid": pod.uid()});
    if matches!(why, Unscheduled::Gated) {
        // A Pod whose gates have gone meanwhile may be bound by now, and must not be told otherwise.
        metadata["resourceVersion"] = json!(pod.resource_version());
    }
    patch_status(client, &PodKey::of(pod), &metadata, &status).await.map(Some)
}

/// Takes back that room is kept for a Pod.
pub(crate) async fn clear_nomination(client: &Client, pod: &Pod) -> Result<(), kube::Error> {
    let status = json!({"nominatedNodeName": null});
    patch_status(client, &PodKey::of(pod), &json!({"uid": pod.uid()}), &status).await?;
    Ok(())
}

/// Sends a Pod away: says in it why, and deletes it with its own grace.
pub(crate) async fn evict(client: &Client, scheduler: &str, victim: &Victim) -> Result<(), kube::Error> {
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "lastTransitionTime": Time(Timestamp::now()),
    });
    let status = json!({"conditions": [condition]});
    patch_status(client, &victim.key, &json!({"uid": *victim.uid}), &status).await?;
    let uid = Some(victim.uid.to_string());
    let parameters = DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        ..DeleteParams::default()
    };
    pods_of(client, &victim.key).delete(&victim.key.name, &parameters).await?;
    Ok(())
}

/// The UID in `metadata` makes sure that the Pod is still the one that was judged.
async fn patch_status(
    client: &Client,
    key: &PodKey,
    metadata: &Value,
    status: &Value,
) -> Result<Pod, kube::Error> {
    let patch = Patch::Strategic(json!({"metadata": metadata, "status": status}));
    pods_of(client, key).patch_status(&key.name, &PatchParams::default(), &patch).await
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

fn pods_of(client: &Client, key: &PodKey) -> Api<Pod> {
    Api::namespaced(client.clone(), &key.namespace)
}
