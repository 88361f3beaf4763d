//! One Pod's question to every node: can it be here? The filters, in upstream's order.

use std::borrow::Cow;
use std::sync::Arc;

use memlet_policy::taints::{self, first_untolerated, is_tolerated};

use k8s_openapi::api::core::v1::Taint;

use crate::cluster::{Cluster, Identity, Load, NodeEntry, NodeId, PlacedPod, PodFacts};

use super::affinity::AffinityCounts;
use super::sieve::Sieve;
use super::spread::SpreadCounts;
use super::verdict::Obstacle;

/// The filters that look at one node, in upstream's order.
const FILTERS: [Filter; 8] = [
    Filter::Unschedulable,
    Filter::NodeName,
    Filter::Taints,
    Filter::NodeAffinity,
    Filter::HostPorts,
    Filter::Resources,
    Filter::Spread,
    Filter::Affinity,
];

#[derive(Clone, Copy, Debug)]
enum Filter {
    Unschedulable,
    NodeName,
    Taints,
    NodeAffinity,
    HostPorts,
    Resources,
    Spread,
    Affinity,
}

/// A Pod, with what must be counted once before any node is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) pod: &'a PodFacts,
    tolerates_cordon: bool,
    sieve: Sieve<'a>,
    spread: SpreadCounts<'a>,
    affinity: AffinityCounts,
}

impl<'a> Question<'a> {
    pub(crate) fn new(cluster: &'a Cluster, pod: &'a PodFacts) -> Self {
        let cordon = Taint {
            key: taints::UNSCHEDULABLE.to_owned(),
            effect: taints::NO_SCHEDULE.to_owned(),
            ..Taint::default()
        };
        Self {
            cluster,
            pod,
            sieve: Sieve::new(cluster, pod.node_rule.requirements(), &pod.node_labels.rule),
            tolerates_cordon: is_tolerated(&cordon, &pod.tolerations),
            spread: SpreadCounts::new(cluster, pod),
            affinity: AffinityCounts::new(cluster, pod),
        }
    }

    /// What keeps the Pod off a node, given what is on it.
    fn obstacle_with(&self, id: NodeId, node: &NodeEntry, load: &Load) -> Option<Obstacle> {
        FILTERS.iter().find_map(|filter| self.obstacle_by(*filter, id, node, load))
    }

    #[inline]
    fn obstacle_by(&self, filter: Filter, id: NodeId, node: &NodeEntry, load: &Load) -> Option<Obstacle> {
        let pod = self.pod;
        match filter {
            Filter::Unschedulable => {
                (node.unschedulable && !self.tolerates_cordon).then_some(Obstacle::Unschedulable)
            }
            Filter::NodeName => {
                let other = pod.node_name.as_ref().is_some_and(|name| **name != *node.name);
                other.then_some(Obstacle::NodeName)
            }
            Filter::Taints => {
                let untolerated = || first_untolerated(&node.taints, &pod.tolerations).is_some();
                (!node.taints.is_empty() && untolerated()).then_some(Obstacle::Taint)
            }
            Filter::NodeAffinity => {
                let refused = !pod.node_rule.is_empty() && !self.is_asked_for(id, node);
                refused.then_some(Obstacle::NodeAffinity)
            }
            Filter::HostPorts => {
                let taken = !pod.ports.is_empty() && load.conflict(&pod.ports).is_some();
                taken.then_some(Obstacle::HostPorts)
            }
            Filter::Resources => (!node.fits(&pod.demand, load)).then_some(Obstacle::Resources),
            Filter::Spread => self.spread.obstacle(self.cluster, id),
            Filter::Affinity if self.affinity.is_empty() => None,
            Filter::Affinity => self.affinity.obstacle(self.cluster, id),
        }
    }

    /// Everything that keeps the Pod off a node as it is, where upstream stops at the first.
    pub(crate) fn all_obstacles(&mut self, id: NodeId) -> Vec<Obstacle> {
        let node = self.cluster.nodes.get(id);
        let load = with_nominees(node, self.pod, &node.load);
        self.shift_nominees(id, 1);
        let obstacles = FILTERS.iter().filter_map(|filter| self.obstacle_by(*filter, id, node, &load));
        let obstacles = obstacles.collect();
        self.shift_nominees(id, -1);
        obstacles
    }

    /// Whether node affinity and selector ask for the node.
    fn is_asked_for(&self, id: NodeId, node: &NodeEntry) -> bool {
        let is_met = |number| self.sieve.is_met(self.cluster, id, node, number);
        self.pod.node_rule.allows_where(&node.name, is_met)
    }

    /// What keeps the Pod off a node with this load: first with the Pods for which room is being made there and that
    /// are as important, then without them, since they may yet go elsewhere.
    pub(crate) fn obstacle(&mut self, id: NodeId, load: &Load) -> Option<Obstacle> {
        let cluster = self.cluster;
        let node = cluster.nodes.get(id);
        if node.nominees.is_empty() {
            return self.obstacle_with(id, node, load);
        }
        let with_nominees = with_nominees(node, self.pod, load);
        self.shift_nominees(id, 1);
        let with = self.obstacle_with(id, node, &with_nominees);
        self.shift_nominees(id, -1);
        with.or_else(|| self.obstacle_with(id, node, load))
    }

    fn shift_nominees(&mut self, id: NodeId, by: i64) {
        for nominee in counted_nominees(self.cluster.nodes.get(id), self.pod) {
            self.shift(&nominee.identity, nominee.ending, id, by);
        }
    }

    /// As if a Pod that is on a node were gone, or back.
    pub(crate) fn shift_placed(&mut self, other: &PlacedPod, by: i64) {
        let cluster = self.cluster;
        if let Some(cohort) = cluster.cohorts.get(other.cohort) {
            self.shift(&cohort.identity, other.ending, other.node, by);
        }
    }

    fn shift(&mut self, other: &Identity, ending: bool, node: NodeId, by: i64) {
        if !self.spread.is_empty() && !ending {
            self.spread.shift(self.cluster, self.pod, other, node, by);
        }
        let terms = &self.pod.identity.terms;
        if !self.affinity.is_empty() || !terms.is_empty() || !other.terms.is_empty() {
            self.affinity.shift(self.cluster, self.pod, other, node, by);
        }
    }
}

/// The Pods for which room is being made on a node and that are as important as this one.
fn counted_nominees<'a>(node: &'a NodeEntry, pod: &PodFacts) -> impl Iterator<Item = &'a Arc<PodFacts>> {
    node.nominees.iter().filter(|other| other.priority >= pod.priority && other.key != pod.key)
}

/// A node's load with those Pods.
pub(crate) fn with_nominees<'a>(node: &NodeEntry, pod: &PodFacts, load: &'a Load) -> Cow<'a, Load> {
    let mut load = Cow::Borrowed(load);
    for nominee in counted_nominees(node, pod) {
        load.to_mut().add(&nominee.demand, nominee.scored, &nominee.ports);
    }
    load
}
