//! The node was full: no limit of the Pod's was hit. Requests decide who is placed here, and who is killed first.

use memlet_bytes::Bytes;

use super::{friendly, suggested_limit};
use crate::Evidence;
use crate::amount::quantity;
use crate::causer;
use crate::evidence::{KillRecord, Level, PodMemory};
use crate::tasks;
use crate::verdict::{Patch, Remedy};

pub(super) fn memory(evidence: &Evidence, kill: Option<&KillRecord>, level: Option<Level>) -> Remedy {
    let report = kill.and_then(|kill| kill.report.as_ref());
    let held = report.and_then(tasks::victim_held);
    let causer = kill.and_then(|kill| causer::causer(kill, evidence.request.unwrap_or_default()));
    let knows_pods = kill.is_some_and(|kill| !kill.neighbours.is_empty());
    let survivor = report.and_then(tasks::larger_survivor);
    let mut remedy = match (causer, survivor, held) {
        (Some(pod), _, _) => bystander(evidence, what_to_do_about(pod), held),
        // One that is larger but within its request has not done it.
        (None, Some((task, largest)), _) if !knows_pods => bystander(
            evidence,
            format!(
                "pid {} ({}) held {largest}, and lives on: lower that one's limit, or give it one",
                task.pid, task.comm
            ),
            held,
        ),
        (None, survivor, Some(held)) => {
            let most = if survivor.is_some() { "most above its request" } else { "most" };
            match evidence.limit {
                Some(limit) => largest_with_limit(evidence, held, limit),
                None => largest_without_limit(evidence, held, most),
            }
        }
        (None, _, None) => Remedy {
            text: format!(
                "the node was full: give {} a request of what it needs, so that it is placed where that much is \
                 free, and every Pod here a limit",
                evidence.subject.container
            ),
            patch: None,
        },
    };
    if level == Some(Level::Machine) {
        remedy.text.push_str(
            ". The node's limit for all Pods did not stop it before the machine was full: reserve more memory for \
             what runs outside Pods",
        );
    }
    remedy
}

/// A request of what it held, where that is more than it requests now and its limit lets it.
fn higher_request(evidence: &Evidence, held: Bytes) -> Option<Bytes> {
    let request = friendly(held);
    let request = evidence.limit.map_or(request, |limit| request.min(limit));
    (request > evidence.request.unwrap_or_default()).then_some(request)
}

/// `requests.memory 128Mi → 1Gi (it held 1019.3Mi)`.
fn change_of_request(evidence: &Evidence, new: Bytes, held: Bytes) -> String {
    let old = evidence.request.map_or_else(|| "none".to_owned(), quantity);
    format!("requests.memory {old} → {} (it held {held})", quantity(new))
}

/// A limit where it has none; else a lower one, or a request of what it holds.
fn what_to_do_about(pod: &PodMemory) -> String {
    let name = causer::name(pod);
    match pod.limit {
        None => format!(
            "{name} filled the node, and has no limit: give it one (limits.memory), so that it meets its own before the node's"
        ),
        Some(limit) => format!(
            "{name} filled the node within its limit of {limit}: lower that, or let it request what it holds, {}, so that it \
             is placed where that much is free",
            quantity(friendly(pod.working_set).min(limit))
        ),
    }
}

/// It was somebody else's doing, who lives on.
fn bystander(evidence: &Evidence, text: String, held: Option<Bytes>) -> Remedy {
    let Some((held, request)) = held.and_then(|held| Some((held, higher_request(evidence, held)?))) else {
        return Remedy { text, patch: None };
    };
    Remedy {
        text: format!(
            "{text}. For {}, {}: the more is requested, the lower its oom_score_adj, and the later it is killed",
            evidence.subject.container,
            change_of_request(evidence, request, held)
        ),
        patch: Some(Patch::new(evidence, Some(request), None)),
    }
}

fn largest_with_limit(evidence: &Evidence, held: Bytes, limit: Bytes) -> Remedy {
    let request = higher_request(evidence, held);
    let advice = match request {
        Some(request) => format!(
            "{}, so that it is placed where that much is free; or lower its limit of {limit}",
            change_of_request(evidence, request, held)
        ),
        None => format!("lower its limit of {limit}, or those of others on this node"),
    };
    let node = evidence.node_memory;
    Remedy {
        text: format!("the limits on this node, or Pods without one, allow more than its {node}: {advice}"),
        patch: request.map(|request| Patch::new(evidence, Some(request), None)),
    }
}

fn largest_without_limit(evidence: &Evidence, held: Bytes, most: &str) -> Remedy {
    let container = &evidence.subject.container;
    let node = evidence.node_memory;
    let new = suggested_limit(held);
    if new > node {
        return Remedy {
            text: format!(
                "{container} has no limit and held {held} of the {node} that this node has for all Pods: it needs a \
                 larger node, or to use less. With a limit below {node} it would meet its own limit, not its \
                 neighbours"
            ),
            patch: None,
        };
    }
    Remedy {
        text: format!(
            "{container} has no limit and held {most}, {held}: limits.memory {} ({held} × 1.5, rounded up) makes it \
             meet its own limit before the node's, and the equal request keeps that much free for it",
            quantity(new)
        ),
        patch: Some(Patch::new(evidence, Some(new), Some(new))),
    }
}
