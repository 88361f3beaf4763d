//! Where a Pod goes, or why nowhere. Pure: nodes in, decision out.

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};
use kube::ResourceExt as _;
use memlet_policy::fit::{Misfit, NodeRoom, misfits, unschedulable_message};
use memlet_policy::resources::pod_memory_request;

/// The scheduler's answer for one Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The name of the node.
    On(String),
    /// No node will do; why, as upstream words it.
    Nowhere(String),
}

const UNSCHEDULABLE: &str = "node(s) were unschedulable";
const SELECTOR: &str = "node(s) didn't match Pod's node affinity/selector";
/// What cordoning puts on a node beside `unschedulable`.
const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
/// What upstream's preemption plugin says of a node where evicting others cannot help, or finds nobody to evict.
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Why a node will not do.
struct Rejection {
    reasons: Vec<String>,
    /// Removing other Pods from the node would change nothing.
    unresolvable: bool,
}

/// Chooses, among the nodes that will do, the one with the largest share of its memory free; by name where equal.
pub(crate) fn place<'a>(spec: &PodSpec, nodes: impl IntoIterator<Item = (&'a Node, NodeRoom)>) -> Placement {
    let mut best: Option<(u64, String)> = None;
    let mut rejections = Vec::new();
    for (node, room) in nodes {
        if let Some(rejection) = reject(spec, node, &room) {
            rejections.push(rejection);
            continue;
        }
        let score = free_share(spec, &room);
        if best.as_ref().is_none_or(|(best, _)| score > *best) {
            best = Some((score, node.name_any()));
        }
    }
    match best {
        Some((_, node)) => Placement::On(node),
        None => Placement::Nowhere(explain(&rejections)),
    }
}

/// `LeastAllocated` for memory: what would be left, in hundredths of what there is.
fn free_share(spec: &PodSpec, room: &NodeRoom) -> u64 {
    let left = room.free().saturating_sub(pod_memory_request(spec));
    let share = u128::from(left.get()) * 100 / u128::from(room.allocatable.get().max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// The first filter that rejects a node speaks for it, in upstream's order of filters.
fn reject(spec: &PodSpec, node: &Node, room: &NodeRoom) -> Option<Rejection> {
    let fixed = |reason: String| Some(Rejection { reasons: vec![reason], unresolvable: true });
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let node_spec = node.spec.as_ref();
    if node_spec.is_some_and(|spec| spec.unschedulable == Some(true)) {
        let cordon = Taint {
            key: UNSCHEDULABLE_TAINT.to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if !is_tolerated(&cordon, tolerations) {
            return fixed(UNSCHEDULABLE.to_owned());
        }
    }
    let mut taints = node_spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let repelling = taints.find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute") && !is_tolerated(taint, tolerations)
    });
    if let Some(taint) = repelling {
        let value = taint.value.as_deref().unwrap_or_default();
        return fixed(format!("node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    let labels = node.labels();
    if !spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value)) {
        return fixed(SELECTOR.to_owned());
    }
    let misfits = misfits(pod_memory_request(spec), room);
    if misfits.is_empty() {
        return None;
    }
    let unresolvable =
        misfits.iter().any(|misfit| matches!(misfit, Misfit::InsufficientMemory { unresolvable: true, .. }));
    Some(Rejection { reasons: misfits.iter().map(Misfit::to_string).collect(), unresolvable })
}

fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (key, effect) = (text(&toleration.key), text(&toleration.effect));
        let exists = toleration.operator.as_deref() == Some("Exists");
        (effect.is_empty() || effect == taint.effect)
            && (key.is_empty() || key == taint.key)
            && (exists || text(&toleration.value) == text(&taint.value))
    })
}

/// The message of `FailedScheduling`, with what upstream's post-filters (resource claims, preemption) add.
fn explain(rejections: &[Rejection]) -> String {
    let nodes = rejections.len();
    if nodes == 0 {
        return unschedulable_message(0, [], "");
    }
    let verdict = |rejection: &Rejection| if rejection.unresolvable { NOT_HELPFUL } else { NO_VICTIMS };
    let preemption = unschedulable_message(nodes, rejections.iter().map(verdict), "");
    let after = format!("no new claims to deallocate, preemption: {preemption}");
    let reasons = rejections.iter().flat_map(|rejection| &rejection.reasons).map(String::as_str);
    unschedulable_message(nodes, reasons, &after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use memlet_bytes::Bytes;
    use serde_json::json;

    /// A node with this spec.
    fn node(name: &str, spec: &serde_json::Value) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn spec(memory: &str) -> PodSpec {
        let container = json!({"name": "c", "resources": {"requests": {"memory": memory}}});
        serde_json::from_value(json!({"containers": [container]})).unwrap()
    }

    fn room(allocatable: u64, requested: u64, pods: u64) -> NodeRoom {
        NodeRoom {
            allocatable: Bytes::from_mib(allocatable),
            requested: Bytes::from_mib(requested),
            pod_capacity: 110,
            pods,
        }
    }

    fn plain(name: &str) -> Node {
        node(name, &json!({}))
    }

    #[test]
    fn the_last_byte_fits_and_one_more_does_not() {
        let node = plain("n");
        assert_eq!(place(&spec("100Mi"), [(&node, room(1000, 900, 1))]), Placement::On("n".into()));
        let over = place(&spec("104857601"), [(&node, room(1000, 900, 1))]);
        assert_eq!(
            over,
            Placement::Nowhere(
                "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are \
                 available: 1 No preemption victims found for incoming pod."
                    .into()
            )
        );
    }

    #[test]
    fn too_large_for_the_node_is_told_as_a_real_cluster_told_it() {
        let node = plain("anchor-node");
        let Placement::Nowhere(message) = place(&spec("1000Gi"), [(&node, room(924, 0, 0))]) else {
            panic!("it was placed")
        };
        insta::assert_snapshot!(message, @"0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.");
    }

    #[test]
    fn the_emptiest_node_is_chosen() {
        let (a, b, c) = (plain("a"), plain("b"), plain("c"));
        let nodes = [(&a, room(1000, 500, 1)), (&b, room(2000, 500, 1)), (&c, room(4000, 3000, 1))];
        assert_eq!(place(&spec("100Mi"), nodes), Placement::On("b".into()));
        let equal = [(&a, room(1000, 0, 0)), (&b, room(1000, 0, 0))];
        assert_eq!(place(&spec("100Mi"), equal), Placement::On("a".into()));
    }

    #[test]
    fn every_reason_is_counted() {
        let cordoned = node("a", &json!({"unschedulable": true}));
        let taint = json!({"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"});
        let pressed = node("b", &json!({"taints": [taint]}));
        let (full, small) = (plain("c"), plain("d"));
        let mut wanting = spec("2Gi");
        let nodes = || {
            [
                (&cordoned, room(4000, 0, 0)),
                (&pressed, room(4000, 0, 0)),
                (&full, room(4000, 3000, 110)),
                (&small, room(1000, 0, 0)),
            ]
        };
        let Placement::Nowhere(message) = place(&wanting, nodes()) else { panic!("it was placed") };
        insta::assert_snapshot!(message, @"0/4 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {node.kubernetes.io/memory-pressure: }, 1 node(s) were unschedulable, 2 Insufficient memory. no new claims to deallocate, preemption: 0/4 nodes are available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling.");

        let tolerations = json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]);
        wanting.tolerations = serde_json::from_value(tolerations).unwrap();
        assert_eq!(place(&wanting, nodes()), Placement::On("b".into()));
        wanting.node_selector = Some([("disk".to_owned(), "ssd".to_owned())].into());
        let Placement::Nowhere(message) = place(&wanting, nodes()) else { panic!("it was placed") };
        assert!(message.contains("3 node(s) didn't match Pod's node affinity/selector"), "{message}");
    }

    #[test]
    fn without_nodes_there_is_nothing_to_count() {
        let Placement::Nowhere(message) = place(&spec("1Mi"), []) else { panic!("it was placed") };
        assert_eq!(message, "no nodes available to schedule pods");
    }
}
