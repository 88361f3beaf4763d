//! What placement needs to know of a Pod, read once from the object.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use kube::ResourceExt as _;
use memlet_bytes::Bytes;
use memlet_policy::fit::{Demand, scored_demand};
use memlet_policy::host_ports::{HostPort, host_ports};
use memlet_policy::node_affinity::{NodePreferences, NodeRule};

use super::Cluster;
use super::cohort::Identity;
use super::terms::{Spreads, Terms};
use super::topology::TopologyId;

/// A Pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name in it.
    pub name: Arc<str>,
}

impl PodKey {
    /// This Pod's.
    pub fn of(pod: &Pod) -> Self {
        Self { namespace: pod.namespace().unwrap_or_default().into(), name: pod.name_any().into() }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The labels of nodes that a Pod's node affinity asks for.
#[derive(Debug, Default)]
pub(crate) struct NodeLabels {
    pub(crate) rule: Vec<TopologyId>,
    pub(crate) preferences: Vec<TopologyId>,
}

/// What a Pod is taken to use in scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scored {
    pub(crate) milli_cpu: u64,
    pub(crate) memory: Bytes,
}

/// A Pod as placement sees it.
#[derive(Debug)]
pub struct PodFacts {
    pub(crate) key: PodKey,
    pub(crate) uid: Arc<str>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) priority: i32,
    /// Whether it may send others away.
    pub(crate) preempts: bool,
    pub(crate) demand: Demand,
    pub(crate) scored: Scored,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) node_name: Option<String>,
    pub(crate) node_rule: NodeRule,
    pub(crate) preferences: NodePreferences,
    /// The labels that the two ask for, in the order of their requirements.
    pub(crate) node_labels: NodeLabels,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) spreads: Spreads,
    /// The node on which room is being made for it.
    pub(crate) nominated: Option<String>,
    /// Seconds since the epoch; the end of time where it has not started.
    pub(crate) started: i64,
    pub(crate) ending: bool,
    /// Whether it is ending to make room for another Pod.
    pub(crate) preempted: bool,
}

impl PodFacts {
    /// The namespace and name.
    pub fn key(&self) -> &PodKey {
        &self.key
    }

    /// Whether it has rules about other Pods that can keep it off a node.
    pub(crate) fn minds_others(&self) -> bool {
        let terms = &self.identity.terms;
        !self.spreads.hard.is_empty() || !terms.required.is_empty() || !terms.required_anti.is_empty()
    }

    /// How important it is.
    pub fn priority(&self) -> i32 {
        self.priority
    }
}

impl Cluster {
    /// Reads a Pod. The labels by which it spreads or gathers are followed from now on.
    pub fn read(&mut self, pod: &Pod) -> PodFacts {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let (node_rule, preferences) = (NodeRule::of(spec), NodePreferences::of(spec));
        let (terms, spreads, node_labels) = {
            let (nodes, topologies) = (&self.nodes, &mut self.topologies);
            let mut follow = |key: &str| {
                topologies.follow(
                    key,
                    nodes.iter().map(|(id, node)| (id, node.labels.get(key).map(String::as_str))),
                )
            };
            let node_labels = NodeLabels {
                rule: node_rule.requirements().iter().map(|asked| follow(&asked.key)).collect(),
                preferences: preferences.requirements().iter().map(|asked| follow(&asked.key)).collect(),
            };
            (Terms::of(pod, &mut follow), Spreads::of(pod, spec, &mut follow), node_labels)
        };
        let namespace = self.namespaces.name(pod.metadata.namespace.as_deref().unwrap_or_default());
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let written = if terms.is_empty() { "".into() } else { written_terms(spec) };
        let identity = Arc::new(Identity::new(Arc::clone(&namespace), labels, terms, written));
        let status = pod.status.as_ref();
        let (milli_cpu, memory) = scored_demand(pod);
        let text = |field: Option<&String>| field.filter(|text| !text.is_empty()).cloned();
        PodFacts {
            key: PodKey { namespace, name: pod.name_any().into() },
            uid: pod.uid().unwrap_or_default().into(),
            identity,
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            demand: Demand::of_pod(pod),
            scored: Scored { milli_cpu, memory },
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            node_name: text(spec.node_name.as_ref()),
            node_rule,
            preferences,
            node_labels,
            ports: host_ports(spec),
            spreads,
            nominated: text(status.and_then(|status| status.nominated_node_name.as_ref())),
            started: status
                .and_then(|status| status.start_time.as_ref())
                .map_or(i64::MAX, |time| time.0.as_second()),
            ending: pod.metadata.deletion_timestamp.is_some(),
            preempted: pod.metadata.deletion_timestamp.is_some() && is_preempted(pod),
        }
    }
}

/// Whether two Pods with these terms can be one cohort: by the text of what was written.
fn written_terms(spec: &PodSpec) -> Box<str> {
    let affinity = spec.affinity.as_ref();
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    serde_json::to_string(&(near, far)).unwrap_or_default().into()
}

fn is_preempted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| {
        condition.type_ == "DisruptionTarget"
            && condition.status == "True"
            && condition.reason.as_deref() == Some("PreemptionByScheduler")
    })
}
