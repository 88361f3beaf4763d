//! Which number to change where a node was short of memory. Pure.

use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::explain;
use memlet_diagnosis::{Patch, friendly};
use serde::Serialize;

use super::Now;
use super::past::Past;
use crate::top::gather::{NodeUsage, PodUsage};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Advice {
    /// `namespace/name` of the Pod whose manifest it is in; `None` where it is the node's.
    pub(super) pod: Option<String>,
    pub(super) text: String,
    /// Ready to paste.
    pub(super) patch: Option<String>,
}

/// The Pod that went last, the one that would be next, and the node where neither is to blame. Nothing where the node was
/// not short of memory.
pub(super) fn of(now: Option<&Now>, past: &Past) -> Vec<Advice> {
    let is_short = now.is_some_and(|now| {
        now.pressure.as_ref().is_some_and(|pressure| pressure.under_pressure_since.is_some())
    });
    if !is_short && past.evictions_in_week == 0 && past.node_kills_in_week == 0 {
        return Vec::new();
    }
    let mut all: Vec<Advice> = past.last_eviction.iter().map(|eviction| of_evicted(eviction)).collect();
    if let Some(now) = now {
        match next(now) {
            Some(pod) => all.extend(of_next(pod, &now.usage)),
            None => all.push(of_node(&now.usage)),
        }
    }
    all
}

fn of_evicted(eviction: &memlet_diagnosis::eviction::Eviction) -> Advice {
    let remedy = explain(eviction).remedy;
    let pod = format!("{}/{}", eviction.pod.namespace, eviction.pod.name);
    Advice {
        text: format!("{pod}, evicted last: {}", remedy.text),
        patch: remedy.patch.map(|patch| patch.yaml),
        pod: Some(pod),
    }
}

/// The Pod that would be evicted next, where it uses more than it requested.
fn next(now: &Now) -> Option<&PodUsage> {
    let first = now.next.eviction_order.first()?;
    let exceeds = first.candidate.exceeds() && !first.candidate.critical;
    let is_it = |pod: &&PodUsage| pod.namespace == first.namespace && pod.name == first.pod;
    now.usage.pods.iter().find(is_it).filter(|_| exceeds)
}

fn of_next(pod: &PodUsage, node: &NodeUsage) -> Option<Advice> {
    let held =
        |container: &crate::top::gather::ContainerUsage| container.held.working_set.unwrap_or_default();
    let largest = pod
        .containers
        .iter()
        .max_by_key(|container| held(container).saturating_sub(container.request.unwrap_or_default()))?;
    let name = format!("{}/{}", pod.namespace, pod.name);
    let request = friendly(held(largest));
    let request = largest.limit.map_or(request, |limit| request.min(limit));
    let old = largest.request.map_or_else(|| "none".to_owned(), |request| request.to_string());
    let room = node.allocatable.saturating_sub(node.requests);
    let more = request.saturating_sub(largest.request.unwrap_or_default());
    let fits = if more <= room {
        String::new()
    } else {
        format!("; only {room} is left for requests here, so it would be placed on another node, or wait")
    };
    Some(Advice {
        text: format!(
            "{name}, next in order: requests.memory of {} {old} → {request} (it uses {}){fits}",
            largest.name,
            held(largest)
        ),
        patch: (request > Bytes::ZERO).then(|| Patch::of(&largest.name, false, Some(request), None).yaml),
        pod: Some(name),
    })
}

fn of_node(node: &NodeUsage) -> Advice {
    let used = node.held.working_set.unwrap_or_default();
    Advice {
        pod: None,
        text: format!(
            "the node: no Pod uses more than it requested ({used} used, {} requested, {} allocatable), so what is short is \
             what the node keeps free: reserve more for what runs outside Pods (--system-reserved memory=SIZE), or give \
             it more (--node-memory SIZE)",
            node.requests, node.allocatable
        ),
        patch: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn nothing_was_short() {
        let mut now = sample::now();
        now.pressure.as_mut().unwrap().under_pressure_since = None;
        assert_eq!(of(Some(&now), &Past::default()), []);
        assert_eq!(of(None, &Past::default()), []);
    }

    #[test]
    fn the_next_in_order_has_its_request_raised() {
        let advice = of(Some(&sample::now()), &Past::default()).remove(0);
        insta::assert_snapshot!(advice.text, @"lab/hog, next in order: requests.memory of main none → 640Mi (it uses 612Mi)");
        assert!(advice.patch.unwrap().contains("requests: {memory: 640Mi}"));
    }

    #[test]
    fn where_all_keep_to_their_requests_it_is_the_node() {
        let mut now = sample::now();
        now.next.eviction_order.clear();
        let advice = of(Some(&now), &Past::default()).remove(0);
        assert!(advice.pod.is_none() && advice.text.contains("--system-reserved"), "{}", advice.text);
    }
}
