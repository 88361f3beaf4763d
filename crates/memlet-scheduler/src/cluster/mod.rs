//! What the scheduler knows of the cluster, with the sums and counts that decisions need kept as Pods come and go.
//!
//! No decision walks over all Pods: a node knows what its Pods request, a cohort how many of its Pods are where.
//! This holds facts; [`crate::place()`] decides by them.

mod cohort;
mod facts;
mod namespaces;
mod node;
mod placed;
mod terms;
mod topology;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::Node;
use memlet_policy::labels::Labels;

pub(crate) use cohort::{Cohorts, Identity, Members};
pub use facts::{PodFacts, PodKey};
pub(crate) use namespaces::Namespaces;
pub(crate) use node::{Load, NodeEntry, NodeId, Nodes};
pub(crate) use placed::{PlacedId, PlacedPod, PlacedPods};
pub(crate) use terms::{Spread, Term};
pub(crate) use topology::{Topologies, TopologyId};

/// Nodes of one zone are not looked at in a row.
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";

/// All nodes, and all Pods that are on them or promised to them.
#[derive(Debug, Default)]
pub struct Cluster {
    pub(crate) nodes: Nodes,
    pub(crate) pods: PlacedPods,
    pub(crate) cohorts: Cohorts,
    pub(crate) topologies: Topologies,
    pub(crate) namespaces: Namespaces,
    nominations: HashMap<PodKey, NodeId>,
    /// The known nodes, zone by zone in turn; made when it is asked for.
    order: OnceLock<Vec<NodeId>>,
}

impl Cluster {
    /// Takes what a node's object says. Whether anything that matters to placement is new.
    pub fn set_node(&mut self, node: &Node) -> bool {
        let (id, changed) = self.nodes.update(node);
        if changed {
            let labels = &self.nodes.get(id).labels;
            self.topologies.set_node(id, |key| labels.get(key).map(String::as_str));
            self.order.take();
        }
        changed
    }

    /// Forgets a node.
    pub fn remove_node(&mut self, name: &str) {
        let Some(id) = self.nodes.id(name) else { return };
        self.topologies.set_node(id, |_| None);
        self.nodes.forget(id);
        self.order.take();
    }

    /// Takes a namespace's labels; whether they are new.
    pub fn set_namespace(&mut self, name: &str, labels: Labels) -> bool {
        self.namespaces.set(name, labels)
    }

    /// Forgets a namespace's labels.
    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// Counts a Pod on a node, instead of wherever it was counted before.
    pub fn put(&mut self, pod: &PodFacts, node: &str) {
        self.take(&pod.key);
        let id = self.nodes.enter(node);
        let placed = PlacedPod {
            key: pod.key.clone(),
            uid: Arc::clone(&pod.uid),
            node: id,
            cohort: self.cohorts.join(&pod.identity, id, pod.ending),
            priority: pod.priority,
            demand: pod.demand.clone(),
            scored: pod.scored,
            ports: pod.ports.clone().into(),
            started: pod.started,
            ending: pod.ending,
            preempted: pod.preempted,
        };
        let placed_id = self.pods.insert(placed);
        if let Some(placed) = self.pods.get(placed_id) {
            self.nodes.get_mut(id).join(placed_id, placed);
        }
    }

    /// Counts a Pod no longer. The name of the node it was on.
    pub fn take(&mut self, key: &PodKey) -> Option<Arc<str>> {
        let (id, pod) = self.pods.remove(key)?;
        self.cohorts.leave(pod.cohort, pod.node, pod.ending);
        let node = self.nodes.get_mut(pod.node);
        node.leave(id, &pod);
        let name = Arc::clone(&node.name);
        self.nodes.tidy(pod.node);
        Some(name)
    }

    /// Counts a Pod as going to make room, or no longer; `ending` where it is going in any case.
    pub(crate) fn set_preempted(&mut self, key: &PodKey, going: bool, ending: bool) {
        let Some(pod) = self.pods.id(key).and_then(|id| self.pods.get_mut(id)) else { return };
        let (was, is) = (pod.ending, going || ending);
        (pod.preempted, pod.ending) = (going, is);
        if was != is {
            self.cohorts.set_ending(pod.cohort, pod.node, is);
        }
    }

    /// Keeps room on a node for a Pod that waits for others to go.
    pub fn nominate(&mut self, pod: &Arc<PodFacts>, node: &str) {
        self.withdraw(&pod.key);
        let id = self.nodes.enter(node);
        self.nodes.get_mut(id).nominees.push(Arc::clone(pod));
        self.nominations.insert(pod.key.clone(), id);
    }

    /// Keeps no room for this Pod any longer.
    pub fn withdraw(&mut self, key: &PodKey) {
        let Some(id) = self.nominations.remove(key) else { return };
        self.nodes.get_mut(id).nominees.retain(|nominee| nominee.key != *key);
        self.nodes.tidy(id);
    }

    /// The node on which room is kept for this Pod.
    pub fn nomination(&self, key: &PodKey) -> Option<&str> {
        self.nominations.get(key).map(|id| &*self.nodes.get(*id).name)
    }

    /// The node that the Pod is counted on.
    pub fn node_of(&self, key: &PodKey) -> Option<&str> {
        let pod = self.pods.get(self.pods.id(key)?)?;
        Some(&self.nodes.get(pod.node).name)
    }

    /// How many nodes are known.
    pub fn node_count(&self) -> usize {
        self.order().len()
    }

    /// How many Pods are on nodes.
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }

    /// The known nodes in the order in which they are tried: by name, the zones in turn.
    pub(crate) fn order(&self) -> &[NodeId] {
        self.order.get_or_init(|| {
            let mut zones: BTreeMap<(&str, &str), Vec<(&str, NodeId)>> = BTreeMap::new();
            for (id, node) in self.nodes.iter() {
                let label = |key: &str| node.labels.get(key).map_or("", String::as_str);
                zones.entry((label(REGION), label(ZONE))).or_default().push((&node.name, id));
            }
            let mut zones: Vec<_> = zones.into_values().collect();
            for nodes in &mut zones {
                nodes.sort_unstable();
            }
            let longest = zones.iter().map(Vec::len).max().unwrap_or(0);
            let turns = (0..longest).flat_map(|turn| zones.iter().filter_map(move |nodes| nodes.get(turn)));
            turns.map(|(_, id)| *id).collect()
        })
    }
}
