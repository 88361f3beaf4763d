//! Decisions on their way into the API, several at a time, and what came of them.
//!
//! Nobody waits for a write: the next decision is made on the assumption that it succeeds. Of one Pod only one is under
//! way, so that they cannot overtake each other.

use std::pin::Pin;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;

use crate::cluster::PodKey;
use crate::place::Victim;
use crate::report::{self, Nomination, Outcome, Subject, Unscheduled};

/// What came of a write.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) key: PodKey,
    pub(crate) result: Result<Written, kube::Error>,
    /// The victims that were to be sent away.
    pub(crate) victims: Vec<Victim>,
}

/// What was written.
#[derive(Debug)]
pub(crate) enum Written {
    Bound,
    /// The Pod as it is now, where something was new.
    Marked(Option<Box<Pod>>),
}

/// The writes that are under way.
pub(crate) type Writes = FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>;

/// Binds a Pod to a node.
pub(crate) async fn bind(client: Client, scheduler: &'static str, pod: Arc<Pod>, node: Arc<str>) -> Done {
    let key = PodKey::of(&pod);
    let result = report::bind(&client, &pod, &node).await;
    if result.is_ok() {
        let text = format!("Successfully assigned {key} to {node}");
        report::record(&client, scheduler, &report::subject(&pod), None, Outcome::Scheduled, &text);
    }
    Done { key, result: result.map(|()| Written::Bound), victims: Vec::new() }
}

/// A Pod that no node will take, and who goes for it.
pub(crate) struct Unplaced {
    pub(crate) pod: Arc<Pod>,
    pub(crate) message: String,
    pub(crate) nomination: Nomination,
    /// The node on which room is made.
    pub(crate) node: Option<Arc<str>>,
    pub(crate) victims: Vec<Victim>,
    /// Less important Pods for which room was kept on that node before.
    pub(crate) displaced: Vec<Arc<Pod>>,
}

/// Says in a Pod why it is nowhere, and sends its victims away.
pub(crate) async fn mark(client: Client, scheduler: &'static str, unplaced: Unplaced) -> Done {
    let key = PodKey::of(&unplaced.pod);
    let result = write_mark(&client, scheduler, &unplaced).await;
    Done { key, result: result.map(|pod| Written::Marked(pod.map(Box::new))), victims: unplaced.victims }
}

async fn write_mark(
    client: &Client,
    scheduler: &'static str,
    unplaced: &Unplaced,
) -> Result<Option<Pod>, kube::Error> {
    let pod = &unplaced.pod;
    let why = Unscheduled::Unschedulable;
    let marked = report::mark(client, pod, why, &unplaced.message, unplaced.nomination.clone()).await?;
    let preemptor = report::subject(marked.as_ref().unwrap_or(pod));
    if marked.is_some() {
        report::record(client, scheduler, &preemptor, None, Outcome::FailedScheduling, &unplaced.message);
    }
    let Some(node) = &unplaced.node else { return Ok(marked) };
    for displaced in &unplaced.displaced {
        ignore_gone(report::clear_nomination(client, displaced).await)?;
    }
    let leaving = unplaced.victims.iter().filter(|victim| !victim.ending);
    try_join_all(leaving.map(|victim| evict(client, scheduler, victim, node, &preemptor))).await?;
    Ok(marked)
}

async fn evict(
    client: &Client,
    scheduler: &'static str,
    victim: &Victim,
    node: &str,
    preemptor: &Subject,
) -> Result<(), kube::Error> {
    let evicted = report::evict(client, scheduler, victim).await;
    if evicted.is_ok() {
        let uid = preemptor.uid.as_deref().unwrap_or_default();
        let text = format!("Preempted by pod {uid} on node {node}");
        let about =
            Subject { key: victim.key.clone(), uid: Some(victim.uid.to_string()), resource_version: None };
        report::record(client, scheduler, &about, Some(preemptor), Outcome::Preempted, &text);
    }
    ignore_gone(evicted)
}

/// Says in a Pod that its gates hold it back.
pub(crate) async fn mark_gated(client: Client, pod: Arc<Pod>) -> Done {
    let marked = report::mark(&client, &pod, Unscheduled::Gated, report::GATED, Nomination::Keep).await;
    let result = marked.map(|pod| Written::Marked(pod.map(Box::new)));
    Done { key: PodKey::of(&pod), result, victims: Vec::new() }
}

/// Gone or another Pod by now: then there is nothing left to do.
fn ignore_gone(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

/// Whether the Pod has changed or gone meanwhile, of which the watch will tell.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 404 | 409))
}
