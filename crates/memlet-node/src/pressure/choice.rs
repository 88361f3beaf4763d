//! Whom: every Pod's use is read at the moment of the choice.

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Pid};
use memlet_diagnosis::eviction::{ContainerShare, Ranked};
use memlet_policy::eviction::{MemoryUse, annotations, message};

use super::pods::Here;
use super::ranking::Ranking;

/// The Pod that is to go, and the order it was taken from.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) pod: Here,
    pub(super) containers: Vec<ContainerShare>,
    pub(super) ranking: Ranking,
    usage: Bytes,
}

/// Chooses; `None` where there is nobody that may go.
pub(super) fn choose(pods: Vec<Here>, hierarchy: &Hierarchy) -> Option<Choice> {
    let mut ranking = Ranking::new(pods, &|here| figure(hierarchy, &here.cgroup, charged));
    let (pod, candidate) = ranking.chosen(&|here| figure(hierarchy, &here.cgroup, inactive_file))?;
    let pod = pod.clone();
    let containers = pod.containers.iter().map(|container| ContainerShare {
        name: container.name.clone(),
        usage: figure(hierarchy, &container.cgroup, Cgroup::working_set).unwrap_or_default(),
        request: container.request,
        limit: container.limit,
        is_init: container.is_init,
    });
    Some(Choice { containers: containers.collect(), pod, ranking, usage: candidate.usage })
}

/// The first of the order, for those who ask why it was this one; read at leisure, when it goes already.
pub(super) fn ranked(ranking: Ranking, chosen: &str, hierarchy: &Hierarchy) -> Vec<Ranked> {
    ranking.kept(chosen, &|here| figure(hierarchy, &here.cgroup, inactive_file))
}

/// What is charged to a cgroup, page cache included.
fn charged(group: &Cgroup) -> memlet_cgroup::Result<Option<Bytes>> {
    group.usage().map(Some)
}

/// Page cache that was not used lately.
fn inactive_file(group: &Cgroup) -> memlet_cgroup::Result<Option<Bytes>> {
    Ok(group.stat()?.inactive_file)
}

fn figure(
    hierarchy: &Hierarchy,
    path: &CgroupPath,
    read: impl Fn(&Cgroup) -> memlet_cgroup::Result<Option<Bytes>>,
) -> Option<Bytes> {
    match Cgroup::open(hierarchy, path).and_then(|group| read(&group)) {
        Ok(figure) => figure,
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
