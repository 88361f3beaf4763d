//! What the scheduler knows of the cluster, kept from watch events and from its own decisions.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use memlet_bytes::Bytes;
use memlet_policy::fit::NodeRoom;
use memlet_policy::resources::{MEMORY, amount, pod_memory_request};

/// Pods that a node takes when it does not say (kubelet's `--max-pods`).
const DEFAULT_POD_CAPACITY: u64 = 110;

/// A Pod's namespace and name.
pub(crate) type PodKey = (String, String);

/// The objects of one kind, replaced as a whole when the watch has to list again.
#[derive(Debug)]
struct Mirror<K, T> {
    objects: BTreeMap<K, T>,
    relisted: BTreeMap<K, T>,
    ready: bool,
}

impl<K: Ord, T> Default for Mirror<K, T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), relisted: BTreeMap::new(), ready: false }
    }
}

impl<K: Ord, T> Mirror<K, T> {
    fn apply(&mut self, event: Event<T>, key: impl Fn(&T) -> K) {
        match event {
            Event::Init => self.relisted.clear(),
            Event::InitApply(object) => {
                self.relisted.insert(key(&object), object);
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.relisted);
                self.ready = true;
            }
            Event::Apply(object) => {
                self.objects.insert(key(&object), object);
            }
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
            }
        }
    }
}

/// All nodes and Pods.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    nodes: Mirror<String, Node>,
    pods: Mirror<PodKey, Pod>,
}

impl Cluster {
    /// Whether both kinds have been listed; before that nothing can be said of what fits.
    pub(crate) fn is_known(&self) -> bool {
        self.nodes.ready && self.pods.ready
    }

    pub(crate) fn apply_node(&mut self, event: Event<Node>) {
        self.nodes.apply(event, ResourceExt::name_any);
    }

    pub(crate) fn apply_pod(&mut self, event: Event<Pod>) {
        self.pods.apply(event, key);
    }

    /// Counts a Pod on a node from now on, before the watch confirms it.
    pub(crate) fn assume(&mut self, pod: &PodKey, node: &str) {
        if let Some(spec) = self.pods.objects.get_mut(pod).and_then(|pod| pod.spec.as_mut()) {
            spec.node_name = Some(node.to_owned());
        }
    }

    /// Notes what was written into a Pod, before the watch confirms it.
    pub(crate) fn remember(&mut self, pod: Pod) {
        if let Some(known) = self.pods.objects.get_mut(&key(&pod)) {
            *known = pod;
        }
    }

    pub(crate) fn pod(&self, pod: &PodKey) -> Option<&Pod> {
        self.pods.objects.get(pod)
    }

    /// The Pods that wait for a node, the most important and then the oldest first.
    pub(crate) fn waiting(&self, scheduler: &str) -> Vec<PodKey> {
        let mut waiting: Vec<&Pod> =
            self.pods.objects.values().filter(|pod| is_waiting(pod, scheduler)).collect();
        waiting.sort_by_key(|pod| {
            let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
            (std::cmp::Reverse(priority), pod.creation_timestamp())
        });
        waiting.into_iter().map(key).collect()
    }

    /// Every node with the room that is left on it.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (&Node, NodeRoom)> {
        let mut asked: BTreeMap<&str, (Bytes, u64)> = BTreeMap::new();
        for pod in self.pods.objects.values().filter(|pod| !is_over(pod)) {
            let Some(spec) = &pod.spec else { continue };
            let Some(node) = spec.node_name.as_deref() else { continue };
            let (memory, pods) = asked.entry(node).or_default();
            *memory += pod_memory_request(spec);
            *pods += 1;
        }
        self.nodes.objects.iter().map(move |(name, node)| {
            let (requested, pods) = asked.get(name.as_str()).copied().unwrap_or_default();
            (node, room(node, requested, pods))
        })
    }
}

pub(crate) fn key(pod: &Pod) -> PodKey {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

/// A Pod that has ended holds nothing any more.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether this scheduler is to find a node for the Pod.
pub(crate) fn is_waiting(pod: &Pod, scheduler: &str) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let own = spec.scheduler_name.as_deref().is_none_or(|name| name == scheduler);
    let gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let bound = spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
    own && !gated && !bound && !is_over(pod) && pod.metadata.deletion_timestamp.is_none()
}

fn room(node: &Node, requested: Bytes, pods: u64) -> NodeRoom {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let memory = amount(allocatable, MEMORY).map_or(Bytes::ZERO, |memory| memory.bytes());
    let capacity = amount(allocatable, "pods").and_then(|pods| u64::try_from(pods.value()).ok());
    NodeRoom { allocatable: memory, requested, pod_capacity: capacity.unwrap_or(DEFAULT_POD_CAPACITY), pods }
}
