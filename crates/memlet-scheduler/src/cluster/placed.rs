//! The Pods that are on nodes: of each only what it takes and how important it is.

use std::collections::HashMap;
use std::sync::Arc;

use memlet_policy::fit::Demand;
use memlet_policy::host_ports::HostPort;

use super::cohort::CohortId;
use super::facts::{PodKey, Scored};
use super::node::NodeId;

/// The number of a Pod that is on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PlacedId(u32);

/// A Pod on a node.
#[derive(Debug)]
pub(crate) struct PlacedPod {
    pub(crate) key: PodKey,
    pub(crate) uid: Arc<str>,
    pub(crate) node: NodeId,
    pub(crate) cohort: CohortId,
    pub(crate) priority: i32,
    pub(crate) demand: Demand,
    pub(crate) scored: Scored,
    pub(crate) ports: Box<[HostPort]>,
    pub(crate) started: i64,
    pub(crate) ending: bool,
    pub(crate) preempted: bool,
}

/// All Pods on nodes, by number and by key.
#[derive(Debug, Default)]
pub(crate) struct PlacedPods {
    ids: HashMap<PodKey, PlacedId>,
    slots: Vec<Option<PlacedPod>>,
    unused: Vec<PlacedId>,
}

impl PlacedPods {
    pub(crate) fn id(&self, key: &PodKey) -> Option<PlacedId> {
        self.ids.get(key).copied()
    }

    pub(crate) fn get(&self, id: PlacedId) -> Option<&PlacedPod> {
        self.slots[id.0 as usize].as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: PlacedId) -> Option<&mut PlacedPod> {
        self.slots[id.0 as usize].as_mut()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &PodKey> {
        self.ids.keys()
    }

    pub(crate) fn insert(&mut self, pod: PlacedPod) -> PlacedId {
        let key = pod.key.clone();
        let id = if let Some(id) = self.unused.pop() {
            self.slots[id.0 as usize] = Some(pod);
            id
        } else {
            self.slots.push(Some(pod));
            PlacedId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        };
        self.ids.insert(key, id);
        id
    }

    pub(crate) fn remove(&mut self, key: &PodKey) -> Option<(PlacedId, PlacedPod)> {
        let id = self.ids.remove(key)?;
        let pod = self.slots[id.0 as usize].take()?;
        self.unused.push(id);
        Some((id, pod))
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}
