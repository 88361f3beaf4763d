//! Whom: every Pod's use is read at the moment of the choice.

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Pid};
use memlet_diagnosis::eviction::{ContainerShare, KEPT, Ranked};
use memlet_policy::eviction::{Candidate, MemoryUse, annotations, message, rank};

use super::pods::Here;

/// The Pod that is to go, and the order it is first in.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) pod: Here,
    pub(super) containers: Vec<ContainerShare>,
    /// The first of the order, with the chosen one.
    pub(super) ranked: Vec<Ranked>,
    pub(super) candidates: usize,
    usage: Bytes,
}

/// Chooses; `None` where there is nobody that may go.
pub(super) fn choose(pods: Vec<Here>, hierarchy: &Hierarchy) -> Option<Choice> {
    // One whose cgroup is gone has nothing to give, and one that leaves is no candidate any more.
    let measured = pods.into_iter().filter(|here| !here.leaves).filter_map(|here| {
        let usage = working_set(hierarchy, &here.cgroup)?;
        let Here { request, priority, critical, .. } = here;
        Some((here, Candidate { usage, request, priority, critical }))
    });
    let (chosen, ranked) = first(measured.collect())?;
    let (pod, candidate) = ranked.get(chosen)?;
    let containers = pod.containers.iter().map(|container| ContainerShare {
        name: container.name.clone(),
        usage: working_set(hierarchy, &container.cgroup).unwrap_or_default(),
        request: container.request,
        limit: container.limit,
        is_init: container.is_init,
    });
    Some(Choice {
        pod: pod.clone(),
        containers: containers.collect(),
        usage: candidate.usage,
        candidates: ranked.len(),
        ranked: ranked
            .iter()
            .take(KEPT.max(chosen + 1))
            .map(|(here, candidate)| Ranked { pod: here.name.clone(), candidate: *candidate })
            .collect(),
    })
}

/// All in their order, and the place of the first that may go.
fn first(mut pods: Vec<(Here, Candidate)>) -> Option<(usize, Vec<(Here, Candidate)>)> {
    // Those that nothing tells apart always stand in the same order.
    pods.sort_by(|(a, _), (b, _)| (&a.name.namespace, &a.name.name).cmp(&(&b.name.namespace, &b.name.name)));
    rank(&mut pods, |(_, candidate)| *candidate);
    // One that was told to go by an earlier run of the agent goes anyway, so nobody else need.
    let goes_anyway = pods.iter().position(|(here, _)| here.orders.borrow().is_some());
    let chosen = goes_anyway.or_else(|| pods.iter().position(|(_, candidate)| !candidate.critical))?;
    Some((chosen, pods))
}

pub(super) fn working_set(hierarchy: &Hierarchy, path: &CgroupPath) -> Option<Bytes> {
    match Cgroup::open(hierarchy, path).and_then(|group| group.working_set()) {
        Ok(working_set) => working_set,
        Err(error) if error.is_gone() => None,
        Err(error) => {
            tracing::warn!("what {path} uses cannot be read, so it is not chosen: {error}");
            None
        }
    }
}

/// What processes hold that the kernel cannot take back, as their own counts say: those are never late, while those of a
/// group are gathered now and then.
fn held_by_processes(group: &Cgroup) -> Bytes {
    let of_process = |pid: Pid| -> Option<Bytes> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(["RssAnon", "RssShmem"].into_iter().filter_map(|key| Bytes::of_proc(&status, key)).sum())
    };
    group.processes_recursive().unwrap_or_default().into_iter().filter_map(of_process).sum()
}

impl Choice {
    /// Whether most of what the Pod uses is page cache that the kernel can take back, whatever the figures of a moment ago
    /// made of it.
    pub(super) fn is_mostly_cache(&self, hierarchy: &Hierarchy) -> bool {
        let figures = || {
            let group = Cgroup::open(hierarchy, &self.pod.cgroup).ok()?;
            let (usage, stat) = (group.usage().ok()?, group.stat().ok()?);
            let in_memory = stat.shmem.unwrap_or_default();
            let cached = stat.file.unwrap_or_default().saturating_sub(in_memory);
            // Processes may be many, so they are asked last.
            (cached.get() > usage.get() / 4)
                .then(|| (held_by_processes(&group) + in_memory).get() < usage.get() / 2)
        };
        figures().unwrap_or(false)
    }

    /// kubelet's message.
    pub(super) fn message(&self, threshold: Bytes, available: Bytes) -> String {
        message(threshold, available, self.pod_use().as_ref(), &self.container_uses())
    }

    /// The annotations of its Event.
    pub(super) fn annotations(&self) -> Vec<(&'static str, String)> {
        annotations(self.pod_use().as_ref(), &self.container_uses())
    }

    fn pod_use(&self) -> Option<MemoryUse<'_>> {
        let request = self.pod.pod_level_request?;
        Some(MemoryUse { name: &self.pod.name.name, usage: self.usage, request })
    }

    fn container_uses(&self) -> Vec<MemoryUse<'_>> {
        let uses = self.containers.iter().map(|container| MemoryUse {
            name: &container.name,
            usage: container.usage,
            request: container.request,
        });
        uses.collect()
    }
}

#[cfg(test)]
mod tests {
    use memlet_diagnosis::eviction::PodName;

    use super::*;
    use crate::pressure::Order;

    fn here(name: &str, critical: bool) -> Here {
        Here {
            name: PodName { namespace: "default".into(), name: name.into(), uid: name.into() },
            priority: 0,
            critical,
            request: Bytes::ZERO,
            pod_level_request: None,
            own_grace: None,
            cgroup: "/x".parse().unwrap(),
            containers: Vec::new(),
            orders: tokio::sync::watch::channel(None).0,
            leaves: false,
        }
    }

    fn pod(name: &str, mebibytes: u64, critical: bool) -> (Here, Candidate) {
        let usage = Bytes::from_mib(mebibytes);
        let candidate = Candidate { usage, request: Bytes::ZERO, priority: 0, critical };
        (here(name, critical), candidate)
    }

    #[test]
    fn critical_ones_are_passed_over() {
        let pods = vec![pod("idle", 1, false), pod("static", 900, true), pod("hog", 700, false)];
        let (chosen, ranked) = first(pods).unwrap();
        assert_eq!((chosen, ranked[chosen].0.name.name.as_str()), (1, "hog"));
        assert!(first(vec![pod("static", 900, true)]).is_none());
        assert!(first(Vec::new()).is_none());
    }

    #[test]
    fn one_that_goes_anyway_is_the_one() {
        let pods = vec![pod("hog", 700, false), pod("told", 500, false)];
        let order = Order { message: String::new(), annotations: Vec::new(), grace: None, recalled: None };
        pods[1].0.orders.send_replace(Some(order.into()));
        let (chosen, ranked) = first(pods).unwrap();
        assert_eq!(ranked[chosen].0.name.name, "told");
    }

    #[test]
    fn equals_go_by_name() {
        let pods = |names: [&str; 3]| names.map(|name| pod(name, 5, false)).to_vec();
        let (_, one) = first(pods(["b", "c", "a"])).unwrap();
        let (_, other) = first(pods(["c", "a", "b"])).unwrap();
        let names = |ranked: Vec<(Here, Candidate)>| {
            ranked.into_iter().map(|(here, _)| here.name.name).collect::<Vec<_>>()
        };
        assert_eq!(names(one), names(other));
    }
}
