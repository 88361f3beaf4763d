//! What the scheduler holds between events: the cluster, the queue, and how each event changes them.
//!
//! Pure but for the clock that is handed in: no event here waits for anything. [`crate::scheduler`] feeds it and writes
//! what it decides.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use memlet_policy::fit::is_within;
use memlet_policy::phase::is_over;
use tokio::time::Instant;

use crate::cluster::{Cluster, Identity, PodFacts, PodKey};
use crate::hints::{self, Change};
use crate::place::Victim;
use crate::queue::{Queue, Wake};

/// Which objects a watch that lists again has named so far.
#[derive(Debug)]
struct Relist<K> {
    named: HashSet<K>,
    ready: bool,
}

impl<K> Default for Relist<K> {
    fn default() -> Self {
        Self { named: HashSet::new(), ready: false }
    }
}

/// A Pod as it was counted before the latest news of it.
struct Before {
    node: Arc<str>,
    identity: Arc<Identity>,
    /// It had other labels or was elsewhere.
    was_another: bool,
    /// What it held then is in part free now.
    frees: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    scheduler: &'static str,
    pub(crate) cluster: Cluster,
    pub(crate) queue: Queue,
    /// Where the next search begins.
    pub(crate) start: usize,
    /// Pods that wait for their gates, to be told so.
    pub(crate) gated: Vec<Arc<Pod>>,
    relisted_nodes: Relist<String>,
    relisted_pods: Relist<PodKey>,
}

impl State {
    pub(crate) fn new(scheduler: &'static str) -> Self {
        Self {
            scheduler,
            cluster: Cluster::default(),
            queue: Queue::default(),
            start: 0,
            gated: Vec::new(),
            relisted_nodes: Relist::default(),
            relisted_pods: Relist::default(),
        }
    }

    /// Whether nodes and Pods have been listed; before that nothing can be said of what fits.
    pub(crate) fn is_known(&self) -> bool {
        self.relisted_nodes.ready && self.relisted_pods.ready
    }

    /// Wakes whom a change helps.
    fn tell(&mut self, change: Change<'_>) {
        if self.is_known() {
            hints::wake(&self.cluster, &mut self.queue, change);
        }
    }

    pub(crate) fn see_node(&mut self, event: Event<Node>) {
        match event {
            Event::Init => self.relisted_nodes.named.clear(),
            Event::InitApply(node) => {
                self.relisted_nodes.named.insert(node.name_any());
                self.set_node(&node);
            }
            Event::InitDone => {
                let named = std::mem::take(&mut self.relisted_nodes.named);
                let known = self.cluster.nodes.iter().map(|(_, node)| node.name.to_string());
                let gone: Vec<String> = known.filter(|name| !named.contains(name)).collect();
                for name in gone {
                    self.remove_node(&name);
                }
                self.relisted_nodes.ready = true;
            }
            Event::Apply(node) => self.set_node(&node),
            Event::Delete(node) => self.remove_node(&node.name_any()),
        }
    }

    fn set_node(&mut self, node: &Node) {
        if self.cluster.set_node(node) {
            self.tell(Change::Node(&node.name_any()));
        }
    }

    fn remove_node(&mut self, name: &str) {
        self.cluster.remove_node(name);
        self.tell(Change::NodeGone);
    }

    pub(crate) fn see_namespace(&mut self, event: Event<Namespace>) {
        let changed = match event {
            Event::Init | Event::InitDone => false,
            Event::InitApply(namespace) | Event::Apply(namespace) => {
                self.cluster.set_namespace(&namespace.name_any(), namespace.labels().clone())
            }
            Event::Delete(namespace) => {
                self.cluster.remove_namespace(&namespace.name_any());
                false
            }
        };
        if changed {
            self.tell(Change::Namespace);
        }
    }

    pub(crate) fn see_pod(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.relisted_pods.named.clear(),
            Event::InitApply(pod) => {
                self.relisted_pods.named.insert(PodKey::of(&pod));
                self.set_pod(pod);
            }
            Event::InitDone => {
                let named = std::mem::take(&mut self.relisted_pods.named);
                let known = self.queue.keys().chain(self.cluster.pods.keys());
                let gone: Vec<PodKey> = known.filter(|key| !named.contains(key)).cloned().collect();
                for key in gone {
                    self.remove_pod(&key);
                }
                self.relisted_pods.ready = true;
            }
            Event::Apply(pod) => self.set_pod(pod),
            Event::Delete(pod) => self.remove_pod(&PodKey::of(&pod)),
        }
    }

    /// A Pod is gone, or has ended and holds nothing any more.
    fn remove_pod(&mut self, key: &PodKey) {
        self.queue.remove(key);
        self.withdraw(key);
        let Some(pod) = self.cluster.pods.id(key).and_then(|id| self.cluster.pods.get(id)) else { return };
        let (priority, cohort) = (pod.priority, pod.cohort);
        let identity = self.cluster.cohorts.get(cohort).map(|cohort| Arc::clone(&cohort.identity));
        let node = self.cluster.take(key);
        if let (Some(node), Some(identity)) = (node, identity) {
            self.tell(Change::Freed { node: &node, identity: &identity, priority });
        }
    }

    /// Keeps no room for this Pod any longer; those that it kept out are woken.
    pub(crate) fn withdraw(&mut self, key: &PodKey) {
        if let Some(node) = self.cluster.nomination(key).map(str::to_owned) {
            self.cluster.withdraw(key);
            self.tell(Change::Withdrawn { node: &node });
        }
    }

    fn set_pod(&mut self, pod: Pod) {
        let key = PodKey::of(&pod);
        let spec = pod.spec.as_ref();
        let has_node = spec.and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
        let is_ours =
            spec.and_then(|spec| spec.scheduler_name.as_deref()).is_none_or(|name| name == self.scheduler);
        let is_gated =
            spec.and_then(|spec| spec.scheduling_gates.as_ref()).is_some_and(|gates| !gates.is_empty());
        if is_over(&pod) {
            self.remove_pod(&key);
        } else if has_node {
            self.set_placed(&pod);
        } else if self.is_promised(&pod) {
            // The binding is under way; what the watch tells is older.
        } else if !is_ours || pod.metadata.deletion_timestamp.is_some() {
            self.remove_pod(&key);
        } else if is_gated {
            self.remove_pod(&key);
            self.gated.push(Arc::new(pod));
        } else {
            self.set_waiting(pod);
        }
    }

    /// Whether this very Pod is counted on a node already, by this scheduler's own decision.
    fn is_promised(&self, pod: &Pod) -> bool {
        let placed = self.cluster.pods.id(&PodKey::of(pod)).and_then(|id| self.cluster.pods.get(id));
        placed.is_some_and(|placed| pod.uid().as_deref() == Some(&*placed.uid))
    }

    fn set_waiting(&mut self, pod: Pod) {
        let facts = Arc::new(self.cluster.read(&pod));
        let key = &facts.key;
        // Another Pod of that name may have been here.
        if self.cluster.node_of(key).is_some() {
            self.cluster.take(key);
        }
        let is_new = self.queue.get(key).is_none();
        let nominated = match self.cluster.nomination(key) {
            Some(node) => Some(node.to_owned()),
            // Room that an earlier run of this scheduler kept.
            None if is_new => facts.nominated.clone(),
            None => None,
        };
        if let Some(node) = nominated {
            self.cluster.nominate(&facts, &node);
        }
        self.queue.put(Arc::new(pod), facts);
    }

    fn set_placed(&mut self, pod: &Pod) {
        let facts = self.cluster.read(pod);
        let Some(node) = facts.node_name.clone() else { return };
        self.queue.remove(&facts.key);
        let before = self.before(&facts, &node);
        // First where it is, then where room was kept for it: in between that room would look free to others.
        self.cluster.put(&facts, &node);
        self.withdraw(&facts.key);
        match before {
            Some(before) => {
                if before.frees {
                    let (node, identity) = (&before.node, &before.identity);
                    self.tell(Change::Freed { node, identity, priority: facts.priority });
                }
                if before.was_another {
                    self.tell(Change::Placed { identity: &facts.identity });
                }
            }
            None => self.tell(Change::Placed { identity: &facts.identity }),
        }
    }

    /// What a Pod was that is now known to be on a node.
    fn before(&self, now: &PodFacts, node: &str) -> Option<Before> {
        let old = self.cluster.pods.get(self.cluster.pods.id(&now.key)?)?;
        let old_node = Arc::clone(&self.cluster.nodes.get(old.node).name);
        let identity = Arc::clone(&self.cluster.cohorts.get(old.cohort)?.identity);
        let was_another = *identity != *now.identity || *old_node != *node;
        let takes_less = !is_within(&old.demand, &now.demand) || old.ending != now.ending;
        Some(Before { node: old_node, identity, was_another, frees: takes_less || was_another })
    }

    /// Counts a Pod on a node before the watch confirms it.
    pub(crate) fn assume(&mut self, pod: &PodFacts, node: &str) {
        self.cluster.put(pod, node);
        self.withdraw(&pod.key);
        self.tell(Change::Placed { identity: &pod.identity });
    }

    /// A promise could not be kept.
    pub(crate) fn unassume(&mut self, key: &PodKey, now: Instant) {
        let Some(facts) = self.queue.get(key).map(|waiting| Arc::clone(&waiting.facts)) else { return };
        if let Some(node) = self.cluster.take(key) {
            self.queue.park(key, now, true, false);
            self.tell(Change::Freed { node: &node, identity: &facts.identity, priority: facts.priority });
        }
    }

    /// Victims count as going from the moment it is decided, or no longer, where they could not be sent away.
    pub(crate) fn mark_victims(&mut self, victims: &[Victim], going: bool) {
        for victim in victims {
            self.cluster.set_preempted(&victim.key, going, victim.ending);
        }
    }

    /// Keeps room on a node for a Pod instead of for the less important ones that had it. Those are woken.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodFacts>, node: &str) -> Vec<Arc<Pod>> {
        let lesser: Vec<PodKey> = match self.cluster.nodes.id(node) {
            Some(id) => {
                let nominees = self.cluster.nodes.get(id).nominees.iter();
                let lesser = nominees.filter(|nominee| nominee.priority < pod.priority);
                lesser.map(|nominee| nominee.key.clone()).collect()
            }
            None => Vec::new(),
        };
        self.cluster.nominate(pod, node);
        let mut displaced = Vec::new();
        for key in lesser {
            self.cluster.withdraw(&key);
            self.queue.wake(&key, Wake::AfterBackoff);
            displaced.extend(self.queue.get(&key).map(|waiting| Arc::clone(&waiting.pod)));
        }
        displaced
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
