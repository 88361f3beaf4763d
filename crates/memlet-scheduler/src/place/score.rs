//! Which of the nodes that can take a Pod is the best: upstream's scores with upstream's default weights.
//!
//! `ImageLocality` is left out: which images a node has is not known here.

use memlet_policy::scores::{Share, balanced, least_allocated, normalise};
use memlet_policy::taints::disliked;

use crate::cluster::{Cluster, NodeEntry, NodeId, PodFacts};

use super::sieve::Sieve;
use super::{affinity, spread};

const TAINT_WEIGHT: i64 = 3;
const NODE_AFFINITY_WEIGHT: i64 = 2;
const SPREAD_WEIGHT: i64 = 2;
const AFFINITY_WEIGHT: i64 = 2;

/// The weighted sum of all scores, for each of the nodes.
pub(crate) fn scores(cluster: &Cluster, pod: &PodFacts, feasible: &[NodeId]) -> Vec<i64> {
    let mut totals: Vec<i64> = feasible.iter().map(|id| by_resources(pod, cluster.nodes.get(*id))).collect();
    let mut add = |scores: Option<Vec<i64>>, weight: i64| {
        for (total, score) in totals.iter_mut().zip(scores.into_iter().flatten()) {
            *total += weight * score;
        }
    };
    add(by_taints(cluster, pod, feasible), TAINT_WEIGHT);
    add(by_preferences(cluster, pod, feasible), NODE_AFFINITY_WEIGHT);
    add(spread::scores(cluster, pod, feasible), SPREAD_WEIGHT);
    add(affinity::scores(cluster, pod, feasible), AFFINITY_WEIGHT);
    totals
}

/// `LeastAllocated` plus `NodeResourcesBalancedAllocation`. The first takes Pods without requests to use something, the
/// second goes by requests alone.
fn by_resources(pod: &PodFacts, node: &NodeEntry) -> i64 {
    let there = &node.allocatable.resources;
    let (cpu, memory) = (there.milli_cpu, there.memory.get());
    let share = |allocatable, used: u64, more| Share { allocatable, requested: used.saturating_add(more) };
    let scored = &node.load.scored;
    let least = least_allocated([
        share(cpu, scored.milli_cpu, pod.scored.milli_cpu),
        share(memory, scored.memory.get(), pod.scored.memory.get()),
    ]);
    // Who requests neither cannot bring a node into balance.
    if pod.demand.milli_cpu == 0 && pod.demand.memory.get() == 0 {
        return least;
    }
    let used = &node.load.requested;
    let with = [
        share(cpu, used.milli_cpu, pod.demand.milli_cpu),
        share(memory, used.memory.get(), pod.demand.memory.get()),
    ];
    least + balanced(with, [share(cpu, used.milli_cpu, 0), share(memory, used.memory.get(), 0)])
}

/// `TaintToleration`: the fewer disliked taints the better. Where no node has any, all are alike.
fn by_taints(cluster: &Cluster, pod: &PodFacts, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let taints = |id: &NodeId| &cluster.nodes.get(*id).taints;
    if feasible.iter().all(|id| taints(id).is_empty()) {
        return None;
    }
    let count = |id: &NodeId| i64::try_from(disliked(taints(id), &pod.tolerations)).unwrap_or(i64::MAX);
    let mut scores: Vec<i64> = feasible.iter().map(count).collect();
    normalise(&mut scores, true);
    Some(scores)
}

/// `NodeAffinity`: the heavier the preferences that a node meets the better.
fn by_preferences(cluster: &Cluster, pod: &PodFacts, feasible: &[NodeId]) -> Option<Vec<i64>> {
    if pod.preferences.is_empty() {
        return None;
    }
    let sieve = Sieve::new(cluster, pod.preferences.requirements(), &pod.node_labels.preferences);
    let weight = |id: &NodeId| {
        let node = cluster.nodes.get(*id);
        pod.preferences.weight_where(&node.name, |number| sieve.is_met(cluster, *id, node, number))
    };
    let mut scores: Vec<i64> = feasible.iter().map(weight).collect();
    normalise(&mut scores, false);
    Some(scores)
}
