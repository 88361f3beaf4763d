//! What the other Pods hold when the limit of all Pods together has run out, read just after the kill: whoever holds most
//! above its request has filled the node, and need not be the one who was killed.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fs;

use memlet_cgroup::{Cgroup, Limit, Pid};
use memlet_diagnosis::evidence::{Level, NamedProcess, PodMemory};
use memlet_oomlog::{Report, Task};

use crate::node::Node;
use crate::pressure::Here;

/// More are not told: the first has done it.
const TOLD: usize = 10;

/// Whether others can have had a part in it.
pub(crate) fn matter(level: Option<Level>) -> bool {
    matches!(level, Some(Level::QosClass | Level::NodeAllocatable | Level::Machine | Level::Other))
}

/// The Pods beside this one that hold most above their requests, largest first.
pub(crate) fn read(
    node: &Node,
    victim: &str,
    level: Option<Level>,
    report: Option<&Report>,
) -> Vec<PodMemory> {
    if !matter(level) {
        return Vec::new();
    }
    let others = node.pressure.pods.list().into_iter().filter(|pod| pod.name.uid != victim);
    let mut read: Vec<(PodMemory, Cgroup)> = others.filter_map(|pod| memory_of(node, pod)).collect();
    read.sort_by_key(|(pod, _)| {
        (Reverse(pod.above_request()), Reverse(pod.working_set), pod.pod_uid.clone())
    });
    read.truncate(TOLD);
    let tasks = report.map(by_size).unwrap_or_default();
    read.into_iter().map(|(pod, group)| PodMemory { largest: largest_in(&group, &tasks), ..pod }).collect()
}

/// `None` for a Pod that has no cgroup: it does not run, or no longer.
fn memory_of(node: &Node, pod: Here) -> Option<(PodMemory, Cgroup)> {
    let group = Cgroup::open(node.cgroups.hierarchy(), &pod.cgroup).ok()?;
    let working_set = group.working_set().ok().flatten().or_else(|| group.usage().ok())?;
    let memory = PodMemory {
        namespace: pod.name.namespace,
        pod: pod.name.name,
        pod_uid: pod.name.uid,
        request: pod.request,
        limit: group.limit().ok().and_then(Limit::bytes),
        working_set,
        largest: None,
    };
    Some((memory, group))
}

fn by_size(report: &Report) -> Vec<&Task> {
    let mut tasks: Vec<&Task> = report.tasks.iter().collect();
    tasks.sort_by_key(|task| Reverse(task.rss.map_or(0, |rss| rss.0)));
    tasks
}

/// The largest of the kernel's table that is in this group.
fn largest_in(group: &Cgroup, tasks: &[&Task]) -> Option<NamedProcess> {
    let inside: HashSet<Pid> = group.processes_recursive().ok()?.into_iter().collect();
    let is_inside = |task: &&&Task| Pid::try_from(task.pid).is_ok_and(|pid| inside.contains(&pid));
    let task = tasks.iter().find(is_inside)?;
    // In a pid namespace of our own the kernel's numbers are others'.
    let comm = fs::read_to_string(format!("/proc/{}/comm", task.pid)).ok()?;
    (comm.trim_end() == task.comm).then(|| NamedProcess { pid: task.pid, comm: task.comm.clone() })
}
