//! Node affinity asked of many nodes: what each requirement says to each value of its label is worked out once.
//!
//! Nodes have few different values of most labels. A label with many (the host name) is read from the node instead.

use memlet_policy::labels::Requirement;

use crate::cluster::{Cluster, NodeEntry, NodeId, TopologyId};

/// Labels with more values than this are not worth it.
const MOST_VALUES: usize = 64;

/// One requirement.
#[derive(Debug)]
struct Mesh<'a> {
    requirement: &'a Requirement,
    topology: TopologyId,
    /// By the value's number; `None` where there are too many.
    met: Option<Vec<bool>>,
    /// Whether a node without the label will do.
    met_by_absence: bool,
}

/// All requirements of a rule.
#[derive(Debug, Default)]
pub(crate) struct Sieve<'a>(Vec<Mesh<'a>>);

impl<'a> Sieve<'a> {
    /// `labels` are the labels of the requirements, in order.
    pub(crate) fn new(cluster: &Cluster, requirements: &'a [Requirement], labels: &[TopologyId]) -> Self {
        let mesh = |(requirement, topology): (&'a Requirement, &TopologyId)| {
            let values = cluster.topologies.get(*topology);
            let met = (values.size() <= MOST_VALUES)
                .then(|| values.values().map(|value| requirement.is_met_by(Some(value))).collect());
            let met_by_absence = requirement.is_met_by(None);
            Mesh { requirement, topology: *topology, met, met_by_absence }
        };
        Self(requirements.iter().zip(labels).map(mesh).collect())
    }

    /// Whether the node's labels meet the requirement of this number.
    pub(crate) fn is_met(&self, cluster: &Cluster, id: NodeId, node: &NodeEntry, number: usize) -> bool {
        let mesh = &self.0[number];
        match &mesh.met {
            None => mesh.requirement.is_met(&node.labels),
            Some(met) => {
                let place = cluster.topologies.get(mesh.topology).place_of(id);
                place.map_or(mesh.met_by_absence, |place| met[place])
            }
        }
    }
}
