//! Which less important Pods would have to go so that a Pod finds a place: upstream's default preemption.
//!
//! On each node all Pods of lower priority are taken away in thought; if that helps, as many as possible are put back,
//! the most important first. Of the nodes where this works, the one is chosen where it costs least. Disruption budgets
//! are not known here.

use std::sync::Arc;

use memlet_policy::fit::unschedulable_message;

use crate::cluster::{Cluster, Load, NodeId, PlacedId, PlacedPod, PodFacts, PodKey};

use super::verdict::{Reason, reasons_with};
use super::{Nowhere, Obstacle, Question};

const NEVER: &str = "not eligible due to preemptionPolicy=Never.";
const ALREADY: &str = "not eligible due to a terminating pod on the nominated node.";
const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// Nodes that are tried: a tenth, and no fewer than this.
const LEAST_CANDIDATES: usize = 100;

/// What preemption can do for a Pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Preemption {
    /// The node on which room can be made, and who has to go.
    Node {
        /// The node's name.
        node: Arc<str>,
        /// The most important first.
        victims: Vec<Victim>,
    },
    /// Nothing more than what is under way: the text says what.
    Waits(&'static str),
    /// Nothing: the text says why, node by node.
    Helpless(String),
}

/// A Pod that has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its namespace and name.
    pub key: PodKey,
    /// Its UID.
    pub uid: Arc<str>,
    /// How important it is.
    pub priority: i32,
    /// Whether it is being deleted already.
    pub ending: bool,
}

/// A node where it works.
struct Candidate {
    node: NodeId,
    victims: Vec<PlacedId>,
}

/// Finds out what sending others away would do for a Pod that no node will take. The search begins at `start`.
pub fn preempt(cluster: &Cluster, pod: &PodFacts, nowhere: &Nowhere, start: usize) -> Preemption {
    if !pod.preempts {
        return Preemption::Waits(NEVER);
    }
    let resolvable =
        |(id, obstacle): &&(NodeId, Obstacle)| obstacle.is_resolvable(pod, cluster.nodes.get(*id));
    let potential: Vec<NodeId> = nowhere.rejected.iter().filter(resolvable).map(|(id, _)| *id).collect();
    if is_under_way(cluster, pod, &potential, nowhere) {
        return Preemption::Waits(ALREADY);
    }
    let wanted = (cluster.order().len() / 10).max(LEAST_CANDIDATES).min(potential.len());
    let mut question = Question::new(cluster, pod);
    let mut candidates = Vec::new();
    let mut failures: Vec<Vec<String>> = Vec::new();
    let (before, after) = potential.split_at(start % potential.len().max(1));
    for id in after.iter().chain(before) {
        match victims_on(&mut question, *id) {
            Ok(victims) => candidates.push(Candidate { node: *id, victims }),
            Err(why) => failures.push(why),
        }
        if candidates.len() == wanted && wanted > 0 {
            break;
        }
    }
    let Some(best) = candidates.into_iter().min_by_key(|candidate| cost(cluster, candidate)) else {
        let unhelpful = nowhere.nodes.saturating_sub(failures.len());
        let all = failures.iter().flatten().map(String::as_str);
        let all = all.chain(std::iter::repeat_n(NOT_HELPFUL, unhelpful));
        return Preemption::Helpless(unschedulable_message(nowhere.nodes, all, ""));
    };
    let victims = best.victims.iter().filter_map(|id| cluster.pods.get(*id)).map(victim).collect();
    Preemption::Node { node: Arc::clone(&cluster.nodes.get(best.node).name), victims }
}

/// Who would have to go on this node alone; `None` where that would not help, an empty list where the Pod fits.
pub(crate) fn victims_on_node(cluster: &Cluster, pod: &PodFacts, id: NodeId) -> Option<Vec<Victim>> {
    let mut question = Question::new(cluster, pod);
    let node = cluster.nodes.get(id);
    match question.obstacle(id, &node.load) {
        None => Some(Vec::new()),
        Some(obstacle) if !obstacle.is_resolvable(pod, node) => None,
        Some(_) => {
            let victims = victims_on(&mut question, id).ok()?;
            Some(victims.iter().filter_map(|id| cluster.pods.get(*id)).map(victim).collect())
        }
    }
}

fn victim(pod: &PlacedPod) -> Victim {
    Victim { key: pod.key.clone(), uid: Arc::clone(&pod.uid), priority: pod.priority, ending: pod.ending }
}

/// Whether Pods that were sent away for this one are still on their way out, so that it is to wait for them.
fn is_under_way(cluster: &Cluster, pod: &PodFacts, potential: &[NodeId], nowhere: &Nowhere) -> bool {
    let Some((id, node)) = super::nominated(cluster, pod) else { return false };
    // Where the nominated node has become impossible, others may be sent away elsewhere.
    let asked = nowhere.rejected.iter().any(|(rejected, _)| *rejected == id);
    if asked && !potential.contains(&id) {
        return false;
    }
    let on_node = node.pods.iter().filter_map(|id| cluster.pods.get(*id));
    on_node.into_iter().any(|other| other.preempted && other.priority < pod.priority)
}

/// Who has to go on this node, the most important first, or the reasons why that would not help.
fn victims_on(question: &mut Question<'_>, id: NodeId) -> Result<Vec<PlacedId>, Vec<String>> {
    let cluster = question.cluster;
    let node = cluster.nodes.get(id);
    if !node.has_lesser(question.pod.priority) {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    let on_node = node.pods.iter().filter_map(|id| Some((*id, cluster.pods.get(*id)?)));
    let mut lesser: Vec<(PlacedId, &PlacedPod)> =
        on_node.filter(|(_, other)| other.priority < question.pod.priority).collect();
    lesser.sort_by(|(_, left), (_, right)| importance(left).cmp(&importance(right)));
    let mut load = node.load.clone();
    for (_, other) in &lesser {
        load.subtract_placed(other);
        question.shift_placed(other, -1);
    }
    let without_them = question.obstacle(id, &load);
    let mut victims = Vec::new();
    if without_them.is_none() {
        for (placed, other) in &lesser {
            if !put_back(question, id, &mut load, other) {
                victims.push(*placed);
            }
        }
        undo(question, &lesser, &victims);
        return Ok(victims);
    }
    let why = why_still_not(question, id, &load, without_them);
    let all: Vec<PlacedId> = lesser.iter().map(|(placed, _)| *placed).collect();
    undo(question, &lesser, &all);
    Err(why)
}

/// Puts a Pod back if the one in question still fits beside it.
fn put_back(question: &mut Question<'_>, id: NodeId, load: &mut Load, other: &PlacedPod) -> bool {
    load.add_placed(other);
    question.shift_placed(other, 1);
    if question.obstacle(id, load).is_none() {
        return true;
    }
    load.subtract_placed(other);
    question.shift_placed(other, -1);
    false
}

/// Brings those that are away in thought back into the counts, for the next node.
fn undo(question: &mut Question<'_>, lesser: &[(PlacedId, &PlacedPod)], away: &[PlacedId]) {
    for (placed, other) in lesser {
        if away.contains(placed) {
            question.shift_placed(other, 1);
        }
    }
}

fn why_still_not(
    question: &Question<'_>,
    id: NodeId,
    load: &Load,
    obstacle: Option<Obstacle>,
) -> Vec<String> {
    let Some(obstacle) = obstacle else { return Vec::new() };
    let given = reasons_with(question.cluster, question.pod, id, load, obstacle);
    given.iter().map(Reason::to_string).collect()
}

/// More important first: by priority, then by age; by name where these are equal, so that the answer is always the same.
fn importance(pod: &PlacedPod) -> (std::cmp::Reverse<i32>, i64, &PodKey) {
    (std::cmp::Reverse(pod.priority), pod.started, &pod.key)
}

/// What a node costs, the first difference deciding: the highest priority among the victims, the sum of their
/// priorities, how many they are, and how long the oldest of the most important has been running.
fn cost(cluster: &Cluster, candidate: &Candidate) -> (i32, i64, usize, std::cmp::Reverse<i64>) {
    let victims: Vec<&PlacedPod> = candidate.victims.iter().filter_map(|id| cluster.pods.get(*id)).collect();
    let highest = victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
    let sum = victims.iter().map(|pod| i64::from(pod.priority) + (1_i64 << 31)).sum();
    let most_important = victims.iter().filter(|pod| pod.priority == highest);
    let earliest = most_important.map(|pod| pod.started).min().unwrap_or(i64::MAX);
    (highest, sum, victims.len(), std::cmp::Reverse(earliest))
}
