//! The Pods of the node that use memory: each with its cgroups and its worker's ear.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::eviction::PodName;
use memlet_policy::oom_score_adj::is_critical;
use memlet_policy::resources::{self, Side};
use tokio::sync::Notify;

use super::departure::Orders;

/// All of them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// By uid.
    here: HashMap<String, Here>,
    /// What an earlier run of the agent left, and this one has not taken over yet: it uses memory, and may have to go.
    expected: HashSet<String>,
    /// What an earlier run left of Pods that are no more, by uid, until it has ended: each hears here that it must at once.
    orphans: HashMap<String, Arc<Notify>>,
}

/// One Pod that is here.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    pub(crate) name: PodName,
    pub(super) priority: i32,
    pub(super) critical: bool,
    pub(crate) request: Bytes,
    /// What it requests as a whole, and may use as a whole, where it does.
    pub(super) pod_level_request: Option<Bytes>,
    pub(super) pod_level_limit: Option<Bytes>,
    /// `terminationGracePeriodSeconds`
    pub(super) own_grace: Option<Duration>,
    pub(crate) cgroup: CgroupPath,
    /// Those that run.
    pub(super) containers: Vec<Container>,
    /// Where its worker hears that it is to go.
    pub(super) orders: Orders,
    /// It was told to go.
    pub(super) leaves: bool,
}

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// The runtime's id.
    pub(crate) id: String,
    /// Its name in the Pod.
    pub(crate) name: String,
    pub(crate) is_init: bool,
    pub(crate) request: Bytes,
    pub(crate) limit: Option<Bytes>,
    pub(crate) cgroup: CgroupPath,
}

impl Pods {
    /// These were left by an earlier run.
    pub(crate) fn expect(&self, uids: impl IntoIterator<Item = String>) {
        self.book().expected.extend(uids);
    }

    /// What was left of this Pod is known, or has been removed.
    pub(crate) fn met(&self, uid: &str) {
        let mut book = self.book();
        book.expected.remove(uid);
        book.orphans.remove(uid);
    }

    /// What was left is of a Pod that is no more, and is being ended. Answers what tells that there is no time for a grace.
    pub(crate) fn orphan(&self, uid: &str) -> Arc<Notify> {
        let mut book = self.book();
        book.expected.remove(uid);
        book.orphans.entry(uid.to_owned()).or_default().clone()
    }

    /// Has all orphans end at once; whether there are any.
    pub(super) fn hurry_orphans(&self) -> bool {
        let book = self.book();
        book.orphans.values().for_each(|orphan| orphan.notify_one());
        !book.orphans.is_empty()
    }

    /// Whether everything that was left is known: before, whoever uses most may be missing here.
    pub(super) fn are_complete(&self) -> bool {
        self.book().expected.is_empty()
    }

    /// The Pod's cgroup is there. One that is known stays as it is.
    pub(crate) fn enter(&self, uid: &str, pod: &Pod, cgroup: &CgroupPath, orders: &Orders) {
        let (metadata, spec) = (&pod.metadata, pod.spec.clone().unwrap_or_default());
        self.book().here.entry(uid.to_owned()).or_insert_with(|| Here {
            name: PodName {
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: uid.to_owned(),
            },
            priority: spec.priority.unwrap_or(0),
            critical: is_critical(pod),
            request: resources::pod_memory_request(&spec),
            pod_level_request: resources::pod_level_memory(&spec, Side::Requests),
            pod_level_limit: resources::pod_level_memory(&spec, Side::Limits),
            own_grace: spec
                .termination_grace_period_seconds
                .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
            cgroup: cgroup.clone(),
            containers: Vec::new(),
            orders: orders.clone(),
            leaves: false,
        });
    }

    /// One of the Pod's containers runs, or is about to.
    pub(crate) fn runs(&self, uid: &str, container: Container) {
        if let Some(here) = self.book().here.get_mut(uid) {
            here.containers.retain(|known| known.id != container.id);
            here.containers.push(container);
        }
    }

    /// A container has ended.
    pub(crate) fn ended(&self, uid: &str, id: &str) {
        if let Some(here) = self.book().here.get_mut(uid) {
            here.containers.retain(|known| known.id != id);
        }
    }

    /// Nothing of the Pod runs any more.
    pub(crate) fn leave(&self, uid: &str) {
        self.book().here.remove(uid);
    }

    /// Who is here now, in no order.
    pub(crate) fn list(&self) -> Vec<Here> {
        self.book().here.values().cloned().collect()
    }

    /// The Pod as it is now; `None` where it has gone.
    pub(crate) fn find(&self, uid: &str) -> Option<Here> {
        self.book().here.get(uid).cloned()
    }

    /// The Pod was told to go.
    pub(super) fn mark(&self, uid: &str) {
        if let Some(here) = self.book().here.get_mut(uid) {
            here.leaves = true;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // What is in it stays usable whatever happened to the one who held it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_complete_when_all_that_was_left_is_known() {
        let pods = Pods::default();
        assert!(pods.are_complete());
        pods.expect(["a".to_owned(), "b".to_owned()]);
        pods.met("a");
        assert!(!pods.are_complete());
        pods.met("b");
        pods.met("c");
        assert!(pods.are_complete());
    }
}
