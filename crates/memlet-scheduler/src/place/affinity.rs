//! `InterPodAffinity`: Pods that must be, or would rather be, near or far from others.

use std::collections::BTreeMap;

use memlet_policy::scores::MAX_SCORE;

use crate::cluster::{Cluster, Identity, NodeId, PodFacts, Term, TopologyId};

use super::verdict::Obstacle;

/// How much a required affinity of a Pod that is there already counts for in scores (`hardPodAffinityWeight`).
const REQUIRED_WEIGHT: i64 = 1;

/// Pods by the value of a label of their nodes.
#[derive(Debug)]
struct Tally {
    topology: TopologyId,
    by_value: Vec<i64>,
}

impl Tally {
    fn new(cluster: &Cluster, topology: TopologyId) -> Self {
        Self { topology, by_value: vec![0; cluster.topologies.get(topology).size()] }
    }

    fn add(&mut self, cluster: &Cluster, node: NodeId, by: i64) -> bool {
        let place = cluster.topologies.get(self.topology).place_of(node);
        if let Some(place) = place {
            self.by_value[place] += by;
        }
        place.is_some()
    }

    /// `None` where the node does not have the label.
    fn at(&self, cluster: &Cluster, node: NodeId) -> Option<i64> {
        Some(self.by_value[cluster.topologies.get(self.topology).place_of(node)?])
    }
}

/// The required terms, of the Pod in question and of those that are there, counted for one Pod.
#[derive(Debug, Default)]
pub(crate) struct AffinityCounts {
    /// Pods that do not want this one near.
    repelling: Vec<Tally>,
    /// For each affinity term, the Pods that match all of them.
    near: Vec<Tally>,
    /// How many Pods those are, so far as their nodes have the labels.
    near_total: i64,
    /// For each anti-affinity term, the Pods that match it.
    far: Vec<Tally>,
    /// Whether the Pod matches its own affinity, so that it may be the first of its kind.
    matches_itself: bool,
}

fn matches(cluster: &Cluster, term: &Term, other: &Identity) -> bool {
    term.matches(&other.namespace, &other.labels, &cluster.namespaces)
}

impl AffinityCounts {
    pub(crate) fn new(cluster: &Cluster, pod: &PodFacts) -> Self {
        let terms = &pod.identity.terms;
        let tallies = |terms: &[Term]| terms.iter().map(|term| Tally::new(cluster, term.topology)).collect();
        let mut counts = Self {
            repelling: Vec::new(),
            near: tallies(&terms.required),
            near_total: 0,
            far: tallies(&terms.required_anti),
            matches_itself: terms.required.iter().all(|term| matches(cluster, term, &pod.identity)),
        };
        for cohort in cluster.cohorts.repelling() {
            for term in &cohort.identity.terms.required_anti {
                if matches(cluster, term, &pod.identity) {
                    let tally = counts.repelling_by(cluster, term.topology);
                    for (node, members) in &cohort.on {
                        tally.add(cluster, *node, members.all.into());
                    }
                }
            }
        }
        if let Some(first) = terms.required.first() {
            for cohort in cluster.cohorts.matching(&first.selector) {
                if terms.required.iter().all(|term| matches(cluster, term, &cohort.identity)) {
                    for (node, members) in &cohort.on {
                        counts.add_near(cluster, *node, members.all.into());
                    }
                }
            }
        }
        for (tally, term) in counts.far.iter_mut().zip(&terms.required_anti) {
            for cohort in cluster.cohorts.matching(&term.selector) {
                if term.covers(&cohort.identity.namespace, &cluster.namespaces) {
                    for (node, members) in &cohort.on {
                        tally.add(cluster, *node, members.all.into());
                    }
                }
            }
        }
        counts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.repelling.is_empty() && self.near.is_empty() && self.far.is_empty()
    }

    fn repelling_by(&mut self, cluster: &Cluster, topology: TopologyId) -> &mut Tally {
        let index = self.repelling.iter().position(|tally| tally.topology == topology).unwrap_or_else(|| {
            self.repelling.push(Tally::new(cluster, topology));
            self.repelling.len() - 1
        });
        &mut self.repelling[index]
    }

    fn add_near(&mut self, cluster: &Cluster, node: NodeId, by: i64) {
        for tally in &mut self.near {
            if tally.add(cluster, node, by) {
                self.near_total += by;
            }
        }
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
        for term in &other.terms.required_anti {
            if matches(cluster, term, &pod.identity) {
                self.repelling_by(cluster, term.topology).add(cluster, node, by);
            }
        }
        let terms = &pod.identity.terms;
        if !terms.required.is_empty() && terms.required.iter().all(|term| matches(cluster, term, other)) {
            self.add_near(cluster, node, by);
        }
        for (tally, term) in self.far.iter_mut().zip(&terms.required_anti) {
            if matches(cluster, term, other) {
                tally.add(cluster, node, by);
            }
        }
    }

    pub(crate) fn obstacle(&self, cluster: &Cluster, node: NodeId) -> Option<Obstacle> {
        let is_some = |tally: &Tally| tally.at(cluster, node).is_some_and(|pods| pods > 0);
        if !self.is_near_enough(cluster, node) {
            Some(Obstacle::Affinity)
        } else if self.far.iter().any(is_some) {
            Some(Obstacle::AntiAffinity)
        } else if self.repelling.iter().any(is_some) {
            Some(Obstacle::ExistingAntiAffinity)
        } else {
            None
        }
    }

    /// Every term's label must be there and have matching Pods, unless there are none anywhere and the Pod would be the
    /// first of its kind.
    fn is_near_enough(&self, cluster: &Cluster, node: NodeId) -> bool {
        let mut all_have_pods = true;
        for tally in &self.near {
            match tally.at(cluster, node) {
                None => return false,
                Some(pods) => all_have_pods &= pods > 0,
            }
        }
        all_have_pods || (self.near_total == 0 && self.matches_itself)
    }
}

/// Scores of the nodes by preferred terms, of the Pod in question and of those that are there.
pub(crate) fn scores(cluster: &Cluster, pod: &PodFacts, feasible: &[NodeId]) -> Option<Vec<i64>> {
    let mut sums: BTreeMap<TopologyId, Tally> = BTreeMap::new();
    let mut add =
        |cohort_on: &std::collections::HashMap<NodeId, crate::cluster::Members>, topology, weight: i64| {
            let tally = sums.entry(topology).or_insert_with(|| Tally::new(cluster, topology));
            for (node, members) in cohort_on {
                tally.add(cluster, *node, weight * i64::from(members.all));
            }
        };
    for (weight, term) in &pod.identity.terms.preferred {
        for cohort in cluster.cohorts.matching(&term.selector) {
            if term.covers(&cohort.identity.namespace, &cluster.namespaces) {
                add(&cohort.on, term.topology, *weight);
            }
        }
    }
    for cohort in cluster.cohorts.inclined() {
        let terms = &cohort.identity.terms;
        let required = terms.required.iter().map(|term| (REQUIRED_WEIGHT, term));
        let preferred = terms.preferred.iter().map(|(weight, term)| (*weight, term));
        for (weight, term) in required.chain(preferred) {
            if matches(cluster, term, &pod.identity) {
                add(&cohort.on, term.topology, weight);
            }
        }
    }
    if sums.is_empty() {
        return None;
    }
    let sum = |node: &NodeId| sums.values().filter_map(|tally| tally.at(cluster, *node)).sum();
    let sums: Vec<i64> = feasible.iter().map(sum).collect();
    Some(normalised(&sums))
}

/// The lowest becomes 0 and the highest 100.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "cut as upstream cuts")]
fn normalised(sums: &[i64]) -> Vec<i64> {
    let (least, most) = (sums.iter().min().copied().unwrap_or(0), sums.iter().max().copied().unwrap_or(0));
    let range = most - least;
    let score = |sum: &i64| {
        if range == 0 { 0 } else { (MAX_SCORE as f64 * ((sum - least) as f64 / range as f64)) as i64 }
    };
    sums.iter().map(score).collect()
}
