//! Where a Pod goes, or why nowhere. Pure: what is known of the cluster in, a decision out.
//!
//! As upstream, not all nodes of a large cluster are looked at: the search ends when enough nodes will do, and the next
//! one begins where it ended. Of the best nodes, the first that was found is taken (upstream draws lots), so that the
//! same cluster gives the same answer.

mod affinity;
mod explain;
mod message;
mod preempt;
mod question;
mod score;
mod sieve;
mod spread;
mod verdict;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::cluster::{Cluster, NodeEntry, NodeId, PodFacts};

pub use explain::{NodeVerdict, explain_placement};
pub use message::shortfall;
pub(crate) use preempt::victims_on_node;
pub use preempt::{Preemption, Victim, preempt};
pub(crate) use question::Question;
pub(crate) use verdict::Obstacle;
pub use verdict::Reason;

/// Below this many nodes, all are looked at.
const LEAST_FEASIBLE: usize = 100;
/// And never less than this share of them.
const LEAST_PERCENT: usize = 5;

/// The scheduler's answer for one Pod.
#[derive(Debug)]
pub enum Placement {
    /// The name of the node.
    On(Arc<str>),
    /// No node will do.
    Nowhere(Nowhere),
}

/// Why no node will do.
#[derive(Debug, Default)]
pub struct Nowhere {
    /// How many nodes there are.
    pub(crate) nodes: usize,
    /// The nodes that were asked, and what each has against the Pod.
    pub(crate) rejected: Vec<(NodeId, Obstacle)>,
    /// The Pod's node affinity names nodes by contradicting terms.
    pub(crate) contradiction: bool,
}

/// Finds the best node for a Pod. The search begins at `start`, which is moved on.
pub fn place(cluster: &Cluster, pod: &PodFacts, start: &mut usize) -> Placement {
    let mut question = Question::new(cluster, pod);
    let names = pod.node_rule.names();
    let nodes = cluster.order().len();
    if names.as_ref().is_some_and(std::collections::BTreeSet::is_empty) {
        return Placement::Nowhere(Nowhere { nodes, contradiction: true, ..Nowhere::default() });
    }
    if let Some(node) = nominated(cluster, pod) {
        let allowed = names.as_ref().is_none_or(|names| names.contains(&*node.1.name));
        if allowed && question.obstacle(node.0, &node.1.load).is_none() {
            return Placement::On(Arc::clone(&node.1.name));
        }
    }
    let confined: Option<Vec<NodeId>> = names.map(|names| {
        let known = names.into_iter().filter_map(|name| cluster.nodes.id(name));
        known.filter(|id| cluster.nodes.get(*id).known).collect()
    });
    let candidates = confined.as_deref().unwrap_or(cluster.order());
    let (feasible, rejected) = search(&mut question, candidates, *start);
    if nodes > 0 {
        *start = (*start + feasible.len() + rejected.len()) % nodes;
    }
    let best = match feasible.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => best(several, &score::scores(cluster, pod, several)),
    };
    match best {
        Some(id) => Placement::On(Arc::clone(&cluster.nodes.get(id).name)),
        None => Placement::Nowhere(Nowhere { nodes, rejected, contradiction: false }),
    }
}

/// The node on which room was made for the Pod.
fn nominated<'a>(cluster: &'a Cluster, pod: &PodFacts) -> Option<(NodeId, &'a NodeEntry)> {
    let name = cluster.nomination(&pod.key)?;
    let id = cluster.nodes.id(name)?;
    Some((id, cluster.nodes.get(id))).filter(|(_, node)| node.known)
}

/// Asks nodes until enough will do.
fn search(
    question: &mut Question<'_>,
    candidates: &[NodeId],
    start: usize,
) -> (Vec<NodeId>, Vec<(NodeId, Obstacle)>) {
    let enough = feasible_nodes_to_find(candidates.len());
    let (mut feasible, mut rejected) = (Vec::with_capacity(enough), Vec::new());
    let (before, after) = candidates.split_at(start % candidates.len().max(1));
    for id in after.iter().chain(before) {
        match question.obstacle(*id, &question.cluster.nodes.get(*id).load) {
            None => feasible.push(*id),
            Some(obstacle) => rejected.push((*id, obstacle)),
        }
        if feasible.len() == enough {
            break;
        }
    }
    (feasible, rejected)
}

/// `numFeasibleNodesToFind`: all of a small cluster, a falling share of a large one.
fn feasible_nodes_to_find(nodes: usize) -> usize {
    if nodes < LEAST_FEASIBLE {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    (nodes * percent / 100).max(LEAST_FEASIBLE)
}

/// The first of those with the highest score.
fn best(feasible: &[NodeId], scores: &[i64]) -> Option<NodeId> {
    let highest = scores.iter().max()?;
    feasible.iter().zip(scores).find(|(_, score)| *score == highest).map(|(id, _)| *id)
}
