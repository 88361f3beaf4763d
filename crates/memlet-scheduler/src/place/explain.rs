//! Why a Pod is not on a node, node by node, with the arithmetic: for `memlet explain` and for planning.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::ResourceExt as _;
use memlet_policy::fit::{Misfit, table};
use memlet_policy::phase::is_over;

use crate::cluster::{Cluster, NodeId, PodFacts};

use super::preempt::{Victim, victims_on_node};
use super::question::with_nominees;
use super::verdict::{Reason, reasons};
use super::{Obstacle, Question};

/// What one node says to a Pod.
#[derive(Clone, Debug)]
pub struct NodeVerdict {
    /// The node's name.
    pub node: String,
    /// What speaks against it, by the first filter that rejects it; nothing where the Pod could be there.
    pub reasons: Vec<Reason>,
    /// What else would speak against it if that were mended. Upstream does not look that far; who advises a change must.
    pub besides: Vec<Reason>,
    /// The arithmetic of every resource that the Pod requests, of those that fit too.
    pub resources: Vec<Misfit>,
    /// The Pods that would have to go, the most important first: none where the Pod fits as it is, `None` where sending
    /// less important Pods away would not help. Whether the Pod may do so is another matter.
    pub victims: Option<Vec<Victim>>,
}

impl NodeVerdict {
    /// Whether the Pod could be there now.
    pub fn fits(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// What every node says to a Pod, given all objects of the cluster. The Pod may be among `pods`; where it is bound, it is
/// judged as if it were not. Namespaces matter only to affinity terms that select them by label.
pub fn explain_placement(
    pod: &Pod,
    nodes: &[Node],
    pods: &[Pod],
    namespaces: &[Namespace],
) -> Vec<NodeVerdict> {
    let mut cluster = Cluster::default();
    for namespace in namespaces {
        cluster.set_namespace(&namespace.name_any(), namespace.labels().clone());
    }
    for node in nodes {
        cluster.set_node(node);
    }
    let same = |other: &Pod| other.namespace() == pod.namespace() && other.name_any() == pod.name_any();
    for other in pods.iter().filter(|other| !is_over(other) && !same(other)) {
        let facts = std::sync::Arc::new(cluster.read(other));
        match (&facts.node_name, &facts.nominated) {
            (Some(node), _) => cluster.put(&facts, node),
            (None, Some(node)) => cluster.nominate(&facts, node),
            (None, None) => {}
        }
    }
    let mut unbound = pod.clone();
    if let Some(spec) = &mut unbound.spec {
        spec.node_name = None;
    }
    let facts = std::sync::Arc::new(cluster.read(&unbound));
    if let Some(node) = &facts.nominated {
        cluster.nominate(&facts, node);
    }
    let mut order: Vec<NodeId> = cluster.order().to_vec();
    order.sort_by_key(|id| std::sync::Arc::clone(&cluster.nodes.get(*id).name));
    order.into_iter().map(|id| verdict(&cluster, &facts, id)).collect()
}

fn verdict(cluster: &Cluster, pod: &PodFacts, id: NodeId) -> NodeVerdict {
    let mut question = Question::new(cluster, pod);
    let node = cluster.nodes.get(id);
    let load = with_nominees(node, pod, &node.load);
    let first = question.obstacle(id, &node.load);
    let told = |obstacle: Obstacle| reasons(cluster, pod, id, obstacle);
    let others = question.all_obstacles(id).into_iter().filter(|obstacle| Some(*obstacle) != first);
    NodeVerdict {
        node: node.name.to_string(),
        reasons: first.into_iter().flat_map(told).collect(),
        besides: others.flat_map(told).collect(),
        resources: table(&pod.demand, &node.allocatable, &load.requested, load.pods),
        victims: victims_on_node(cluster, pod, id),
    }
}
