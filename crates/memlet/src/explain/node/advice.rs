//! Which number to change where a node was short of memory. Pure.

use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::explain;
use memlet_diagnosis::{Patch, friendly};
use serde::Serialize;

use super::Now;
use super::past::Past;
use crate::top::gather::{ContainerUsage, NodeUsage, PodUsage};
use crate::top::thresholds;

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

/// The Pod that went last within the hour; the one that would be next, where the node is short now or that Pod alone uses as
/// much above its request as was missing within the hour; the node, where it is short now and no Pod is to blame. Nothing where
/// nothing was short.
pub(super) fn of(now: Option<&Now>, past: &Past) -> Vec<Advice> {
    let mut all: Vec<Advice> = past.last_eviction.iter().map(|eviction| of_evicted(eviction)).collect();
    let Some(now) = now else { return all };
    let is_short = now.usage.met().next().is_some();
    match next(now) {
        Some((pod, excess)) if is_short || missed(now, past).is_some_and(|missed| excess >= missed) => {
            all.extend(of_next(pod, &now.usage));
        }
        None if is_short => all.push(of_node(&now.usage)),
        _ => {}
    }
    all
}

/// The most that was missing within the hour; `None` where nothing was.
fn missed(now: &Now, past: &Past) -> Option<Bytes> {
    let lowest = now.pressure.iter().flat_map(|pressure| {
        // Samples do not tell signals apart: what is below a hard threshold is short by either.
        let hard = thresholds::hard(&pressure.thresholds);
        pressure.samples.iter().map(move |sample| (hard, sample.lowest_available))
    });
    let evicted = past.last_eviction.iter().map(|eviction| (eviction.rule.threshold, eviction.available));
    // How much there would have had to be is not known where the kernel killed.
    let killed = (past.node_kills_in_hour > 0).then_some(Bytes::ZERO);
    let short = lowest.chain(evicted).filter(|(threshold, available)| available < threshold);
    short.map(|(threshold, available)| threshold.saturating_sub(available)).chain(killed).max()
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

/// The Pod that would be evicted next, where it uses more than it requested, and by how much.
fn next(now: &Now) -> Option<(&PodUsage, Bytes)> {
    let first = now.next.eviction_order.first().filter(|first| !first.candidate.critical)?;
    let excess = first.candidate.usage.saturating_sub(first.candidate.request);
    let is_it = |pod: &&PodUsage| pod.namespace == first.namespace && pod.name == first.pod;
    let pod = now.usage.pods.iter().find(is_it)?;
    (excess > Bytes::ZERO).then_some((pod, excess))
}

fn of_next(pod: &PodUsage, node: &NodeUsage) -> Option<Advice> {
    let name = format!("{}/{}", pod.namespace, pod.name);
    if let Some(old) = pod.pod_level_request {
        let used = pod.held.working_set.unwrap_or_default();
        let request = friendly(used);
        let request = pod.limit.map_or(request, |limit| request.min(limit));
        let fits = fits(request.saturating_sub(old), node);
        let text = format!(
            "{name}, next in order: spec.resources.requests.memory {old} → {request} (the Pod uses {used}){fits}"
        );
        return Some(Advice { text, patch: None, pod: Some(name) });
    }
    let held = |container: &ContainerUsage| container.held.working_set.unwrap_or_default();
    let largest = pod
        .containers
        .iter()
        .max_by_key(|container| held(container).saturating_sub(container.request.unwrap_or_default()))?;
    let request = friendly(held(largest));
    let request = largest.limit.map_or(request, |limit| request.min(limit));
    let old = largest.request.map_or_else(|| "none".to_owned(), |request| request.to_string());
    let fits = fits(request.saturating_sub(largest.request.unwrap_or_default()), node);
    Some(Advice {
        text: format!(
            "{name}, next in order: requests.memory of {} {old} → {request} (it uses {}){fits}",
            largest.name,
            held(largest)
        ),
        patch: (request > Bytes::ZERO)
            .then(|| Patch::of(&largest.name, largest.is_init, Some(request), None).yaml),
        pod: Some(name),
    })
}

/// What becomes of a Pod that requests so much more than now; nothing where that is free here.
fn fits(more: Bytes, node: &NodeUsage) -> String {
    let room = node.allocatable.saturating_sub(node.requests);
    if more <= room {
        return String::new();
    }
    format!("; only {room} is left for requests here, so it would be placed on another node, or wait")
}

fn of_node(node: &NodeUsage) -> Advice {
    let used = node.held.working_set.unwrap_or_default();
    Advice {
        pod: None,
        text: format!(
            "the node: no Pod that may be evicted uses more than it requested ({used} used, {} requested, {} allocatable), so what is short is \
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

    /// Nothing was short within the hour.
    fn calm() -> Now {
        let mut now = sample::now();
        let pressure = now.pressure.as_mut().unwrap();
        pressure.under_pressure_since = None;
        pressure.samples.clear();
        now
    }

    /// More is used than the thresholds allow.
    fn short() -> Now {
        let mut now = calm();
        now.usage.available.as_mut().unwrap().allocatable = Bytes::from_mib(74);
        now
    }

    fn texts(now: &Now, past: &Past) -> Vec<String> {
        of(Some(now), past).into_iter().map(|advice| advice.text).collect()
    }

    #[test]
    fn nothing_was_short() {
        assert_eq!(of(Some(&calm()), &Past::default()), []);
        assert_eq!(of(None, &Past::default()), []);
    }

    #[test]
    fn the_next_in_order_has_its_request_raised() {
        let advice = of(Some(&sample::now()), &Past::default()).remove(0);
        insta::assert_snapshot!(advice.text, @"lab/hog, next in order: requests.memory of main none → 640Mi (it uses 612Mi)");
        assert!(advice.patch.unwrap().contains("requests: {memory: 640Mi}"));
        assert_eq!(texts(&short(), &Past::default()), [advice.text]);
    }

    #[test]
    fn of_a_pod_that_requests_as_a_whole_that_is_raised() {
        let mut now = short();
        now.usage.pods[0].pod_level_request = Some(Bytes::from_mib(32));
        let advice = of(Some(&now), &Past::default()).remove(0);
        insta::assert_snapshot!(advice.text, @"lab/hog, next in order: spec.resources.requests.memory 32Mi → 640Mi (the Pod uses 613Mi)");
        assert_eq!(advice.patch, None);
    }

    #[test]
    fn where_all_keep_to_their_requests_it_is_the_node() {
        let mut now = short();
        now.next.eviction_order.clear();
        let advice = of(Some(&now), &Past::default()).remove(0);
        assert!(advice.pod.is_none() && advice.text.contains("--system-reserved"), "{}", advice.text);
    }

    /// The condition outlives the shortage: no number is wrong for that.
    #[test]
    fn a_node_that_was_left_empty_needs_no_change() {
        let mut now = sample::now();
        now.next.eviction_order.clear();
        now.usage.pods.clear();
        assert!(now.pressure.as_ref().unwrap().under_pressure_since.is_some());
        assert_eq!(texts(&now, &Past::default()), [""; 0]);
        // The one that was evicted is why it is empty.
        let told = texts(&now, &sample::past());
        assert!(matches!(&told[..], [one] if one.starts_with("lab/greedy, evicted last")), "{told:?}");
    }

    #[test]
    fn who_uses_little_above_its_request_is_not_why() {
        let mut now = sample::now();
        now.next.eviction_order[0].candidate.usage = Bytes::from_mib(25);
        assert_eq!(texts(&now, &Past::default()), [""; 0], "26Mi were missing");
        now.next.eviction_order[0].candidate.usage = Bytes::from_mib(26);
        assert_eq!(texts(&now, &Past::default()).len(), 1);
        // Where the kernel killed, how much was missing is not known.
        let mut killed = calm();
        assert_eq!(texts(&killed, &Past { node_kills_in_hour: 1, ..Past::default() }).len(), 1);
        killed.next.eviction_order[0].candidate.usage = Bytes::ZERO;
        assert_eq!(texts(&killed, &Past { node_kills_in_hour: 1, ..Past::default() }), [""; 0]);
    }
}
