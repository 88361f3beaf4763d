//! Why a Pod cannot be on a node: first as the filters find it, cheaply, then as data and words for people.

use std::fmt;

use memlet_policy::fit::{Misfit, is_within, misfits};
use memlet_policy::taints::first_untolerated;

use crate::cluster::{Cluster, Load, NodeEntry, NodeId, PodFacts, TopologyId};

use super::question::with_nominees;

/// The first filter that rejects a node, in upstream's order of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Unschedulable,
    NodeName,
    Taint,
    NodeAffinity,
    HostPorts,
    Resources,
    NoSpreadLabel(TopologyId),
    Spread { topology: TopologyId, skew: i64, max_skew: i64 },
    Affinity,
    AntiAffinity,
    ExistingAntiAffinity,
}

impl Obstacle {
    /// Whether removing Pods from the node could help.
    pub(crate) fn is_resolvable(self, pod: &PodFacts, node: &NodeEntry) -> bool {
        match self {
            Self::HostPorts | Self::Spread { .. } | Self::AntiAffinity | Self::ExistingAntiAffinity => true,
            // Of a resource that is short, what is wanted may be more than there is at all.
            Self::Resources => is_within(&pod.demand, &node.allocatable.resources),
            Self::Unschedulable
            | Self::NodeName
            | Self::Taint
            | Self::NodeAffinity
            | Self::NoSpreadLabel(_)
            | Self::Affinity => false,
        }
    }
}

/// Why a Pod cannot be on a node. Its text is upstream's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The node is cordoned.
    Unschedulable,
    /// The Pod names another node.
    OtherNodeName,
    /// The node has a taint that the Pod does not tolerate; the first such one.
    UntoleratedTaint {
        /// The taint's key.
        key: String,
        /// Its value, often empty.
        value: String,
        /// `NoSchedule` or `NoExecute`.
        effect: String,
    },
    /// The node is not one that `nodeSelector` or node affinity asks for.
    NodeAffinity,
    /// A port of the node is taken.
    HostPort {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: String,
    },
    /// Too little of a resource is left.
    Insufficient(Misfit),
    /// The node lacks the label that Pods are to be spread by.
    NoSpreadLabel {
        /// The label's key.
        key: String,
    },
    /// There are too many matching Pods in the node's zone already.
    Spread {
        /// The key of the label that Pods are spread by.
        key: String,
        /// By how many Pods the node's zone would be ahead of the emptiest.
        skew: i64,
        /// By how many it may be.
        max_skew: i64,
    },
    /// The Pods that it must be near to are not there.
    Affinity,
    /// The Pods that it must be far from are there.
    AntiAffinity,
    /// Pods are there that must be far from it.
    ExistingAntiAffinity,
    /// The Pod's node affinity names other nodes.
    NotNamed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::OtherNodeName => "node(s) didn't match the requested node name",
            // The key and value are no longer told since 1.35 (and 1.34.2): they may be secret to the Pod's owner.
            Self::UntoleratedTaint { .. } => "node(s) had untolerated taint(s)",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::HostPort { .. } => "node(s) didn't have free ports for the requested pod ports",
            Self::Insufficient(misfit) => return misfit.fmt(f),
            Self::NoSpreadLabel { .. } => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Spread { .. } => "node(s) didn't match pod topology spread constraints",
            Self::Affinity => "node(s) didn't match pod affinity rules",
            Self::AntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
            Self::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
        })
    }
}

impl Reason {
    /// Whether removing other Pods from the node would change nothing.
    pub fn is_unresolvable(&self) -> bool {
        match self {
            Self::HostPort { .. } | Self::Spread { .. } | Self::AntiAffinity | Self::ExistingAntiAffinity => {
                false
            }
            Self::Insufficient(misfit) => misfit.is_unresolvable(),
            _ => true,
        }
    }
}

/// Everything that an obstacle stands for, on a node as it is: one reason, or one for each resource that is short.
pub(crate) fn reasons(cluster: &Cluster, pod: &PodFacts, id: NodeId, obstacle: Obstacle) -> Vec<Reason> {
    reasons_with(cluster, pod, id, &cluster.nodes.get(id).load, obstacle)
}

/// The same on a node with another load.
pub(crate) fn reasons_with(
    cluster: &Cluster,
    pod: &PodFacts,
    id: NodeId,
    load: &Load,
    obstacle: Obstacle,
) -> Vec<Reason> {
    let node = cluster.nodes.get(id);
    let load = with_nominees(node, pod, load);
    let key = |topology| cluster.topologies.get(topology).key().to_owned();
    vec![match obstacle {
        Obstacle::Unschedulable => Reason::Unschedulable,
        Obstacle::NodeName => Reason::OtherNodeName,
        Obstacle::Taint => {
            let taint = first_untolerated(&node.taints, &pod.tolerations).cloned().unwrap_or_default();
            let value = taint.value.unwrap_or_default();
            Reason::UntoleratedTaint { key: taint.key, value, effect: taint.effect }
        }
        Obstacle::NodeAffinity => Reason::NodeAffinity,
        Obstacle::HostPorts => {
            let port = load.conflict(&pod.ports).cloned();
            let (port, protocol) = port.map(|port| (port.port, port.protocol)).unwrap_or_default();
            Reason::HostPort { port, protocol }
        }
        Obstacle::Resources => {
            let misfits = misfits(&pod.demand, &node.allocatable, &load.requested, load.pods);
            return misfits.into_iter().map(Reason::Insufficient).collect();
        }
        Obstacle::NoSpreadLabel(topology) => Reason::NoSpreadLabel { key: key(topology) },
        Obstacle::Spread { topology, skew, max_skew } => {
            Reason::Spread { key: key(topology), skew, max_skew }
        }
        Obstacle::Affinity => Reason::Affinity,
        Obstacle::AntiAffinity => Reason::AntiAffinity,
        Obstacle::ExistingAntiAffinity => Reason::ExistingAntiAffinity,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_what_preemption_can_change() {
        let misfit = |wanted| Misfit { resource: "memory".into(), wanted, requested: 5, allocatable: 10 };
        let rows = [
            Reason::Unschedulable,
            Reason::OtherNodeName,
            Reason::UntoleratedTaint { key: "a".into(), value: "b".into(), effect: "NoSchedule".into() },
            Reason::NodeAffinity,
            Reason::HostPort { port: 80, protocol: "TCP".into() },
            Reason::Insufficient(misfit(6)),
            Reason::Insufficient(misfit(11)),
            Reason::Insufficient(Misfit { resource: "pods".into(), wanted: 1, requested: 0, allocatable: 0 }),
            Reason::NoSpreadLabel { key: "zone".into() },
            Reason::Spread { key: "zone".into(), skew: 2, max_skew: 1 },
            Reason::Affinity,
            Reason::AntiAffinity,
            Reason::ExistingAntiAffinity,
            Reason::NotNamed,
        ];
        let lines = rows.iter().map(|reason| {
            format!("{} {reason}\n", if reason.is_unresolvable() { "final:" } else { "may go:" })
        });
        insta::assert_snapshot!(lines.collect::<String>(), @r"
        final: node(s) were unschedulable
        final: node(s) didn't match the requested node name
        final: node(s) had untolerated taint(s)
        final: node(s) didn't match Pod's node affinity/selector
        may go: node(s) didn't have free ports for the requested pod ports
        may go: Insufficient memory
        final: Insufficient memory
        may go: Too many pods
        final: node(s) didn't match pod topology spread constraints (missing required label)
        may go: node(s) didn't match pod topology spread constraints
        final: node(s) didn't match pod affinity rules
        may go: node(s) didn't match pod anti-affinity rules
        may go: node(s) didn't satisfy existing pods anti-affinity rules
        final: node(s) didn't satisfy plugin(s) [NodeAffinity]
        ");
    }
}
