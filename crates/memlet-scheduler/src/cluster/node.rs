//! A node as placement sees it: what it is, and what its Pods take of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::ResourceExt as _;
use memlet_policy::fit::{Allocatable, Demand, fits};
use memlet_policy::host_ports::HostPort;
use memlet_policy::labels::Labels;
use memlet_policy::taints::{NO_SCHEDULE, UNSCHEDULABLE};

use super::facts::{PodFacts, Scored};
use super::placed::{PlacedId, PlacedPod};

/// A node's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the Pods on a node take of it, kept as they come and go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) requested: Demand,
    pub(crate) scored: Scored,
    pub(crate) pods: u64,
    ports: Vec<HostPort>,
}

impl Load {
    pub(crate) fn add(&mut self, demand: &Demand, scored: Scored, ports: &[HostPort]) {
        self.requested.add(demand);
        self.scored.milli_cpu = self.scored.milli_cpu.saturating_add(scored.milli_cpu);
        self.scored.memory += scored.memory;
        self.pods += 1;
        self.ports.extend_from_slice(ports);
    }

    pub(crate) fn subtract(&mut self, demand: &Demand, scored: Scored, ports: &[HostPort]) {
        self.requested.subtract(demand);
        self.scored.milli_cpu = self.scored.milli_cpu.saturating_sub(scored.milli_cpu);
        self.scored.memory = self.scored.memory.saturating_sub(scored.memory);
        self.pods = self.pods.saturating_sub(1);
        for port in ports {
            if let Some(index) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(index);
            }
        }
    }

    pub(crate) fn add_placed(&mut self, pod: &PlacedPod) {
        self.add(&pod.demand, pod.scored, &pod.ports);
    }

    pub(crate) fn subtract_placed(&mut self, pod: &PlacedPod) {
        self.subtract(&pod.demand, pod.scored, &pod.ports);
    }

    /// The first of these ports that is taken.
    pub(crate) fn conflict<'a>(&self, wanted: &'a [HostPort]) -> Option<&'a HostPort> {
        wanted.iter().find(|port| self.ports.iter().any(|taken| taken.conflicts_with(port)))
    }
}

/// A node. It may be unknown as yet, though Pods that are bound to it are known.
#[derive(Debug, Default)]
pub(crate) struct NodeEntry {
    pub(crate) name: Arc<str>,
    pub(crate) known: bool,
    pub(crate) unschedulable: bool,
    pub(crate) taints: Vec<Taint>,
    pub(crate) labels: Labels,
    pub(crate) allocatable: Allocatable,
    pub(crate) load: Load,
    pub(crate) pods: Vec<PlacedId>,
    /// How many Pods of each priority are on it, so that it is at hand whether anybody is less important.
    priorities: BTreeMap<i32, u32>,
    /// Pods for which room is being made here.
    pub(crate) nominees: Vec<Arc<PodFacts>>,
}

impl NodeEntry {
    pub(crate) fn fits(&self, wanted: &Demand, load: &Load) -> bool {
        fits(wanted, &self.allocatable, &load.requested, load.pods)
    }

    /// One more Pod is on it.
    pub(crate) fn join(&mut self, id: PlacedId, pod: &PlacedPod) {
        self.load.add_placed(pod);
        self.pods.push(id);
        *self.priorities.entry(pod.priority).or_default() += 1;
    }

    /// A Pod is no longer on it.
    pub(crate) fn leave(&mut self, id: PlacedId, pod: &PlacedPod) {
        self.load.subtract_placed(pod);
        if let Some(index) = self.pods.iter().position(|other| *other == id) {
            self.pods.swap_remove(index);
        }
        if let Some(count) = self.priorities.get_mut(&pod.priority) {
            *count -= 1;
            if *count == 0 {
                self.priorities.remove(&pod.priority);
            }
        }
    }

    /// Whether any of its Pods is less important than this.
    pub(crate) fn has_lesser(&self, priority: i32) -> bool {
        self.priorities.first_key_value().is_some_and(|(lowest, _)| *lowest < priority)
    }

    /// Takes what the object says; whether anything that matters to placement is new.
    fn update(&mut self, node: &Node) -> bool {
        let spec = node.spec.as_ref();
        let unschedulable = spec.is_some_and(|spec| spec.unschedulable == Some(true));
        let mut taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if unschedulable {
            // The taint of a cordon says the same once more, to the same tolerations.
            taints.retain(|taint| taint.key != UNSCHEDULABLE || taint.effect != NO_SCHEDULE);
        }
        let allocatable = Allocatable::of_node(node);
        let changed = !self.known
            || self.unschedulable != unschedulable
            || self.taints != taints
            || self.labels != *node.labels()
            || self.allocatable != allocatable;
        self.known = true;
        self.unschedulable = unschedulable;
        self.taints = taints;
        self.labels.clone_from(node.labels());
        self.allocatable = allocatable;
        changed
    }
}

/// All nodes, by number and by name.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    ids: HashMap<Arc<str>, NodeId>,
    slots: Vec<NodeEntry>,
    unused: Vec<NodeId>,
}

impl Nodes {
    pub(crate) fn id(&self, name: &str) -> Option<NodeId> {
        self.ids.get(name).copied()
    }

    pub(crate) fn get(&self, id: NodeId) -> &NodeEntry {
        &self.slots[id.index()]
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> &mut NodeEntry {
        &mut self.slots[id.index()]
    }

    /// How many numbers are in use or were.
    pub(crate) fn size(&self) -> usize {
        self.slots.len()
    }

    /// Those that are known.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &NodeEntry)> {
        self.ids.values().map(|id| (*id, self.get(*id))).filter(|(_, node)| node.known)
    }

    /// The node of this name, which need not be known.
    pub(crate) fn enter(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let name: Arc<str> = name.into();
        let entry = NodeEntry { name: Arc::clone(&name), ..NodeEntry::default() };
        let id = if let Some(id) = self.unused.pop() {
            self.slots[id.index()] = entry;
            id
        } else {
            self.slots.push(entry);
            NodeId::new(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        };
        self.ids.insert(name, id);
        id
    }

    /// Takes what the object says; whether anything that matters to placement is new.
    pub(crate) fn update(&mut self, node: &Node) -> (NodeId, bool) {
        let id = self.enter(&node.name_any());
        (id, self.get_mut(id).update(node))
    }

    /// Forgets what is known of a node. Its number stays while Pods are on it.
    pub(crate) fn forget(&mut self, id: NodeId) {
        let node = self.get_mut(id);
        node.known = false;
        node.labels.clear();
        node.taints.clear();
        self.tidy(id);
    }

    /// Gives up the number of a node that is unknown and empty.
    pub(crate) fn tidy(&mut self, id: NodeId) {
        let node = self.get(id);
        if !node.known && node.pods.is_empty() && node.nominees.is_empty() {
            let name = Arc::clone(&node.name);
            if self.ids.remove(&name).is_some() {
                self.unused.push(id);
            }
        }
    }
}
