//! `PodTopologySpread`: no zone may have many more matching Pods than the emptiest has.

use std::collections::BTreeMap;

use memlet_policy::scores::MAX_SCORE;
use memlet_policy::taints::first_untolerated;

use crate::cluster::{Cluster, Identity, NodeEntry, NodeId, PodFacts, Spread};

use super::verdict::Obstacle;

/// Whether nodes like this one are counted for the constraint.
fn counts_node(pod: &PodFacts, spread: &Spread, node: &NodeEntry) -> bool {
    (!spread.honours_affinity || pod.node_rule.allows(&node.name, &node.labels))
        && (!spread.honours_taints || first_untolerated(&node.taints, &pod.tolerations).is_none())
}

/// Whether the node has the label of every one of the constraints.
fn has_all_labels(cluster: &Cluster, spreads: &[Spread], node: NodeId) -> bool {
    spreads.iter().all(|spread| cluster.topologies.get(spread.topology).place_of(node).is_some())
}

/// An empty selector counts nobody, though everybody matches it: so does upstream.
fn counts_pods(spread: &Spread) -> bool {
    !spread.selector.is_everything()
}

/// The matching Pods of one constraint, by value of its label.
#[derive(Debug)]
struct Counter<'a> {
    spread: &'a Spread,
    /// Whether the Pod in question would count itself.
    itself: i64,
    /// Which nodes are counted; all that have the label where nothing else matters.
    counted: Option<Vec<bool>>,
    /// By the value's number; `None` where no counted node has the value.
    matching: Vec<Option<i64>>,
    /// How many values have how many Pods, so that the least is at hand.
    histogram: BTreeMap<i64, usize>,
}

impl<'a> Counter<'a> {
    fn new(cluster: &Cluster, pod: &PodFacts, spread: &'a Spread, all: &[Spread]) -> Self {
        let topology = cluster.topologies.get(spread.topology);
        let mut matching = vec![None; topology.size()];
        let counted = if all.len() == 1 && pod.node_rule.is_empty() && !spread.honours_taints {
            topology.places().for_each(|place| matching[place] = Some(0));
            None
        } else {
            let mut counted = vec![false; cluster.nodes.size()];
            for id in cluster.order() {
                let Some(place) = topology.place_of(*id) else { continue };
                if has_all_labels(cluster, all, *id) && counts_node(pod, spread, cluster.nodes.get(*id)) {
                    counted[id.index()] = true;
                    matching[place] = Some(0);
                }
            }
            Some(counted)
        };
        let is_counted = |node: NodeId| counted.as_ref().is_none_or(|counted| counted[node.index()]);
        if counts_pods(spread) {
            for cohort in cluster.cohorts.matching(&spread.selector) {
                if cohort.identity.namespace != pod.identity.namespace {
                    continue;
                }
                for (node, members) in cohort.on.iter().filter(|(node, _)| is_counted(**node)) {
                    if let Some(count) = topology.place_of(*node).and_then(|place| matching[place].as_mut()) {
                        *count += i64::from(members.all - members.ending);
                    }
                }
            }
        }
        let mut histogram = BTreeMap::new();
        for count in matching.iter().flatten() {
            *histogram.entry(*count).or_default() += 1;
        }
        let itself = i64::from(spread.selector.matches(&pod.identity.labels));
        Self { spread, itself, counted, matching, histogram }
    }

    /// The least that any value has; nothing while there are fewer values than asked for.
    fn least(&self) -> i64 {
        let values: usize = self.histogram.values().sum();
        if values < self.spread.min_domains {
            return 0;
        }
        self.histogram.keys().next().copied().unwrap_or(0)
    }

    fn obstacle(&self, cluster: &Cluster, node: NodeId) -> Option<Obstacle> {
        let topology = cluster.topologies.get(self.spread.topology);
        let Some(place) = topology.place_of(node) else {
            return Some(Obstacle::NoSpreadLabel(self.spread.topology));
        };
        let there = self.matching[place].unwrap_or(0);
        let skew = there + self.itself - self.least();
        (skew > self.spread.max_skew).then_some(Obstacle::Spread {
            topology: self.spread.topology,
            skew,
            max_skew: self.spread.max_skew,
        })
    }

    fn shift(&mut self, place: Option<usize>, by: i64) {
        let Some(count) = place.and_then(|place| self.matching[place].as_mut()) else { return };
        if let Some(values) = self.histogram.get_mut(count) {
            *values -= 1;
            if *values == 0 {
                self.histogram.remove(count);
            }
        }
        *count += by;
        *self.histogram.entry(*count).or_default() += 1;
    }
}

/// The constraints that must hold, counted for one Pod.
#[derive(Debug, Default)]
pub(crate) struct SpreadCounts<'a>(Vec<Counter<'a>>);

impl<'a> SpreadCounts<'a> {
    pub(crate) fn new(cluster: &Cluster, pod: &'a PodFacts) -> Self {
        let hard = &pod.spreads.hard;
        Self(hard.iter().map(|spread| Counter::new(cluster, pod, spread, hard)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn obstacle(&self, cluster: &Cluster, node: NodeId) -> Option<Obstacle> {
        self.0.iter().find_map(|counter| counter.obstacle(cluster, node))
    }

    /// As if so many more of these Pods were on the node.
    pub(crate) fn shift(
        &mut self,
        cluster: &Cluster,
        pod: &PodFacts,
        other: &Identity,
        node: NodeId,
        by: i64,
    ) {
        for counter in &mut self.0 {
            let spread = counter.spread;
            if counter.counted.as_ref().is_none_or(|counted| counted[node.index()])
                && other.namespace == pod.identity.namespace
                && counts_pods(spread)
                && spread.selector.matches(&other.labels)
            {
                let place = cluster.topologies.get(spread.topology).place_of(node);
                counter.shift(place, by);
            }
        }
    }
}

/// Scores of the nodes by the constraints that need not hold: 100 where the fewest matching Pods are.
pub(crate) fn scores(cluster: &Cluster, pod: &PodFacts, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let soft = &pod.spreads.soft;
    if soft.is_empty() {
        return None;
    }
    let has_labels: Vec<bool> = feasible.iter().map(|node| has_all_labels(cluster, soft, *node)).collect();
    let rated: Vec<NodeId> =
        feasible.iter().zip(&has_labels).filter(|(_, has)| **has).map(|(node, _)| *node).collect();
    let mut sums = vec![0.0; feasible.len()];
    for spread in soft {
        let counts = soft_counts(cluster, pod, spread, soft, &rated);
        let topology = cluster.topologies.get(spread.topology);
        for (sum, node) in sums.iter_mut().zip(feasible) {
            let Some(place) = topology.place_of(*node) else { continue };
            *sum += spread_score(counts.matching[place], spread.max_skew, counts.weight);
        }
    }
    Some(normalised(&sums, &has_labels))
}

struct SoftCounts {
    matching: Vec<i64>,
    weight: f64,
}

/// Fewer values weigh less, since Pods cannot be spread far over them.
#[allow(clippy::cast_precision_loss, reason = "numbers of nodes")]
fn soft_counts(
    cluster: &Cluster,
    pod: &PodFacts,
    spread: &Spread,
    all: &[Spread],
    rated: &[NodeId],
) -> SoftCounts {
    let topology = cluster.topologies.get(spread.topology);
    let mut wanted = vec![false; topology.size()];
    for place in rated.iter().filter_map(|node| topology.place_of(*node)) {
        wanted[place] = true;
    }
    let values = if spread.by_host { rated.len() } else { wanted.iter().filter(|wanted| **wanted).count() };
    let mut matching = vec![0; topology.size()];
    if counts_pods(spread) {
        for cohort in cluster.cohorts.matching(&spread.selector) {
            if cohort.identity.namespace != pod.identity.namespace {
                continue;
            }
            for (id, members) in &cohort.on {
                let Some(place) = topology.place_of(*id).filter(|place| wanted[*place]) else { continue };
                // A host is counted as it is; of other values only the nodes that the Pod could use.
                let node = cluster.nodes.get(*id);
                let counts = has_all_labels(cluster, all, *id) && counts_node(pod, spread, node);
                if spread.by_host || counts {
                    matching[place] += i64::from(members.all - members.ending);
                }
            }
        }
    }
    SoftCounts { matching, weight: ((values + 2) as f64).ln() }
}

#[allow(clippy::cast_precision_loss, reason = "numbers of Pods")]
fn spread_score(matching: i64, max_skew: i64, weight: f64) -> f64 {
    matching as f64 * weight + (max_skew - 1) as f64
}

/// The fewest become 100. A node without the labels is the last choice.
#[allow(clippy::cast_possible_truncation, reason = "rounded as upstream rounds")]
fn normalised(sums: &[f64], has_labels: &[bool]) -> Vec<i64> {
    let rounded: Vec<i64> = sums.iter().map(|sum| sum.round() as i64).collect();
    let rated = || rounded.iter().zip(has_labels).filter(|(_, has)| **has).map(|(sum, _)| *sum);
    let (least, most) = (rated().min().unwrap_or(0), rated().max().unwrap_or(0));
    let score = |(sum, has): (&i64, &bool)| match (has, most) {
        (false, _) => 0,
        (true, 0) => MAX_SCORE,
        (true, most) => MAX_SCORE * (most + least - sum) / most,
    };
    rounded.iter().zip(has_labels).map(score).collect()
}
