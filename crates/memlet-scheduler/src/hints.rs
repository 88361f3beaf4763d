//! Which of the Pods that wait an event may help, so that a useless event wakes nobody.
//!
//! Upstream asks each plugin that rejected a Pod for a hint. Here the hint is the decision itself, asked of the node that
//! changed: a Pod that would fit there now is woken, and as many are woken as fit there together. Only rules about other
//! Pods reach beyond one node; a Pod with such rules that the event touches is asked of all nodes.

use crate::cluster::{Cluster, Identity, Load, NodeId, PodFacts, PodKey};
use crate::place::{Placement, Question, place, victims_on_node};
use crate::queue::{Queue, Wake};

/// Something happened that may make room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// A node is new or says something else of itself.
    Node(&'a str),
    /// A node is gone, which can only matter to spreading.
    NodeGone,
    /// A Pod on the node takes less than before, or is gone, or is going.
    Freed { node: &'a str, identity: &'a Identity, priority: i32 },
    /// No room is kept on the node any longer.
    Withdrawn { node: &'a str },
    /// A Pod is on a node, whom others may want near.
    Placed { identity: &'a Identity },
    /// A namespace has other labels.
    Namespace,
}

/// Wakes whom the change helps.
pub(crate) fn wake(cluster: &Cluster, queue: &mut Queue, change: Change<'_>) {
    let woken: Vec<(PodKey, Wake)> = {
        let mut place = change.node().and_then(|name| Place::new(cluster, name));
        // What happened to no node in particular matters to those alone that mind others.
        let may_matter = |facts: &PodFacts| {
            (change.node().is_some() || facts.minds_others()) && cluster.node_of(&facts.key).is_none()
        };
        queue
            .sleeping(may_matter)
            .into_iter()
            .map(|waiting| {
                let hint = match (change, waiting.saw_no_nodes) {
                    (Change::Node(_), true) => Wake::Now,
                    _ => hint(cluster, &waiting.facts, change, place.as_mut()),
                };
                (waiting.facts.key.clone(), hint)
            })
            .filter(|(_, wake)| *wake != Wake::No)
            .collect()
    };
    for (key, wake) in woken {
        queue.wake(&key, wake);
    }
}

impl<'a> Change<'a> {
    fn node(self) -> Option<&'a str> {
        match self {
            Self::Node(node) | Self::Freed { node, .. } | Self::Withdrawn { node } => Some(node),
            Self::NodeGone | Self::Placed { .. } | Self::Namespace => None,
        }
    }

    /// Whether the change may help this Pod somewhere else than on the node where it happened.
    fn reaches(self, cluster: &Cluster, pod: &PodFacts) -> bool {
        let spreads = &pod.spreads.hard;
        let terms = &pod.identity.terms;
        let touches_spread = |other: &Identity| {
            other.namespace == pod.identity.namespace
                && spreads.iter().any(|spread| spread.selector.matches(&other.labels))
        };
        let means = |term: &crate::cluster::Term, other: &Identity| {
            term.matches(&other.namespace, &other.labels, &cluster.namespaces)
        };
        match self {
            Self::Node(_) | Self::NodeGone => !spreads.is_empty(),
            Self::Withdrawn { .. } => false,
            Self::Freed { identity, .. } => {
                touches_spread(identity)
                    || terms.required_anti.iter().any(|term| means(term, identity))
                    || identity.terms.required_anti.iter().any(|term| means(term, &pod.identity))
            }
            Self::Placed { identity } => {
                touches_spread(identity) || terms.required.iter().any(|term| means(term, identity))
            }
            Self::Namespace => !terms.required.is_empty() || !terms.required_anti.is_empty(),
        }
    }

    /// Whether more Pods could be sent away from the node than before.
    fn invites_preemption(self, pod: &PodFacts) -> bool {
        match self {
            // A less important Pod could have been sent away before it went by itself.
            Self::Freed { priority, .. } => priority >= pod.priority,
            Self::Node(_) | Self::Withdrawn { .. } => true,
            Self::NodeGone | Self::Placed { .. } | Self::Namespace => false,
        }
    }
}

/// The node where something changed, filling up again with those that are woken.
struct Place {
    id: NodeId,
    load: Load,
}

impl Place {
    fn new(cluster: &Cluster, name: &str) -> Option<Self> {
        let id = cluster.nodes.id(name)?;
        let node = cluster.nodes.get(id);
        node.known.then(|| Self { id, load: node.load.clone() })
    }

    fn takes(&mut self, cluster: &Cluster, pod: &PodFacts) -> bool {
        // Requests are compared first: most Pods that wait are too large for what has come free.
        let fits = cluster.nodes.get(self.id).fits(&pod.demand, &self.load)
            && Question::new(cluster, pod).obstacle(self.id, &self.load).is_none();
        if fits {
            self.load.add(&pod.demand, pod.scored, &pod.ports);
        }
        fits
    }
}

fn hint(cluster: &Cluster, pod: &PodFacts, change: Change<'_>, place_: Option<&mut Place>) -> Wake {
    let node = place_.as_ref().map(|place| place.id);
    if place_.is_some_and(|place| place.takes(cluster, pod)) {
        return Wake::Now;
    }
    if change.reaches(cluster, pod) && matches!(place(cluster, pod, &mut 0), Placement::On(_)) {
        return Wake::Now;
    }
    let lesser = |id: &NodeId| cluster.nodes.get(*id).has_lesser(pod.priority);
    let victims = || node.filter(lesser).and_then(|node| victims_on_node(cluster, pod, node));
    if pod.preempts && change.invites_preemption(pod) && victims().is_some_and(|victims| !victims.is_empty())
    {
        return Wake::AfterBackoff;
    }
    Wake::No
}
