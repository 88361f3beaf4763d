//! Whether a Pod fits a node by memory and number of Pods, and the words of the scheduler when it doesn't.
//!
//! kube-scheduler's `NodeResourcesFit` and the text of its `FailedScheduling`. Requests decide: limits and what
//! is really used are never looked at. Other resources, affinities and taints are the scheduler's.

use std::collections::BTreeMap;
use std::fmt;

use memlet_bytes::Bytes;

/// What a node offers and what is already asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRoom {
    /// What Pods may request of memory in all.
    pub allocatable: Bytes,
    /// What the Pods on the node request.
    pub requested: Bytes,
    /// How many Pods the node takes.
    pub pod_capacity: u64,
    /// How many Pods are on it.
    pub pods: u64,
}

impl NodeRoom {
    /// The memory that can still be requested.
    pub fn free(&self) -> Bytes {
        self.allocatable.saturating_sub(self.requested)
    }
}

/// Why a Pod does not fit a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Misfit {
    /// The node has as many Pods as it takes.
    TooManyPods,
    /// More memory is requested than is free.
    InsufficientMemory {
        /// What the Pod requests.
        requested: Bytes,
        /// What the node has free.
        free: Bytes,
        /// Whether the node is too small even when empty, so that removing other Pods does not help.
        unresolvable: bool,
    },
}

impl fmt::Display for Misfit {
    /// The scheduler's reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TooManyPods => "Too many pods",
            Self::InsufficientMemory { .. } => "Insufficient memory",
        })
    }
}

/// All reasons why a Pod that requests `memory` does not fit; none where it does. A Pod that requests nothing
/// fits while there is place for one more Pod.
pub fn misfits(memory: Bytes, node: &NodeRoom) -> Vec<Misfit> {
    let mut misfits = Vec::new();
    if node.pods >= node.pod_capacity {
        misfits.push(Misfit::TooManyPods);
    }
    if memory > node.free() {
        misfits.push(Misfit::InsufficientMemory {
            requested: memory,
            free: node.free(),
            unresolvable: memory > node.allocatable,
        });
    }
    misfits
}

/// `0/N nodes are available: 1 Insufficient memory, 2 Too many pods.` from the reasons of all nodes; a node
/// with several counts in each. `after` is what preemption and the like have to say, without a full stop added.
pub fn unschedulable_message<'a>(
    nodes: usize,
    reasons: impl IntoIterator<Item = &'a str>,
    after: &str,
) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut histogram: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *histogram.entry(reason).or_default() += 1;
    }
    let mut counted: Vec<String> =
        histogram.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    // As text: `10 …` comes before `2 …`.
    counted.sort_unstable();
    let mut message = format!("0/{nodes} nodes are available:");
    if !counted.is_empty() {
        message = format!("{message} {}.", counted.join(", "));
    }
    if !after.is_empty() {
        message = format!("{message} {after}");
    }
    message
}

/// What the node agent says when it must reject a Pod that was bound to it (reason `OutOfmemory`): whole bytes,
/// and `capacity` is what is allocatable.
pub fn out_of_memory_message(requested: Bytes, used: Bytes, allocatable: Bytes) -> String {
    format!(
        "Node didn't have enough resource: memory, requested: {}, used: {}, capacity: {}",
        requested.get(),
        used.get(),
        allocatable.get()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeRoom = NodeRoom {
        allocatable: Bytes::from_mib(924),
        requested: Bytes::from_mib(900),
        pod_capacity: 110,
        pods: 3,
    };

    #[test]
    fn requests_decide() {
        assert_eq!(misfits(Bytes::from_mib(24), &NODE), []);
        let insufficient = |requested, unresolvable| Misfit::InsufficientMemory {
            requested,
            free: Bytes::from_mib(24),
            unresolvable,
        };
        let mib = Bytes::from_mib;
        assert_eq!(misfits(mib(25), &NODE), [insufficient(mib(25), false)]);
        assert_eq!(misfits(mib(925), &NODE), [insufficient(mib(925), true)]);
    }

    #[test]
    fn who_requests_nothing_needs_a_place() {
        let overcommitted = NodeRoom { requested: Bytes::from_gib(4), ..NODE };
        assert_eq!(misfits(Bytes::ZERO, &overcommitted), []);
        let full = NodeRoom { pods: 110, ..NODE };
        assert_eq!(misfits(Bytes::ZERO, &full), [Misfit::TooManyPods]);
        assert_eq!(misfits(Bytes::from_gib(1), &full).len(), 2);
    }

    #[test]
    fn messages() {
        insta::assert_snapshot!(
            unschedulable_message(
                1,
                ["Insufficient memory"],
                "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            ),
            @"0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
        let reasons = ["Too many pods"; 10].into_iter().chain(["Insufficient memory"; 2]);
        insta::assert_snapshot!(
            unschedulable_message(11, reasons, ""),
            @"0/11 nodes are available: 10 Too many pods, 2 Insufficient memory."
        );
        insta::assert_snapshot!(unschedulable_message(0, [], ""), @"no nodes available to schedule pods");
        insta::assert_snapshot!(
            out_of_memory_message(Bytes::from_mib(1), Bytes::ZERO, Bytes::from_mib(924)),
            @"Node didn't have enough resource: memory, requested: 1048576, used: 0, capacity: 968884224"
        );
    }
}
