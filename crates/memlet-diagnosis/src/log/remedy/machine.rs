//! The machine was short, or the part of a node that is meant for Pods.

use memlet_bytes::Bytes;
use memlet_oomlog::{Report, Scope, Task};

use super::super::choice::in_a_row;
use super::super::story::{Hog, hogs, is_fragmented};
use super::super::{Kubernetes, Scene};
use super::{Advice, find_pod};
use crate::tasks;

/// The whole machine, or some of its memory nodes.
pub(super) fn advice(scene: Scene<'_>) -> Advice {
    let report = scene.report;
    match report.scope {
        Some(Scope::Cpuset) => {
            return Advice::new(
                "allow more memory nodes (cpuset.mems), or start less in that cpuset: only its nodes ran out",
            );
        }
        Some(Scope::Mempolicy) => {
            return Advice::new(
                "bind to more memory nodes, or prefer instead of bind (numactl --preferred): only the bound nodes ran out",
            );
        }
        _ => {}
    }
    let hogs = hogs(report);
    let by_size = tasks::by_size(report);
    let mut text = Vec::new();
    if is_fragmented(report) {
        text.push(
            "the request was for several pages in a row: vm.min_free_kbytes keeps more in reserve for those"
                .to_owned(),
        );
    } else if hogs.first().is_none_or(|hog| by_size.first().is_some_and(|(_, held)| *held > hog.amount())) {
        // What holds most comes first, be it a process or not.
        text.push(largest(scene));
    }
    text.extend(hogs.iter().map(|hog| against(*hog).to_owned()));
    if is_kubernetes_node(report) {
        text.push(
            "On a Kubernetes node neither the limit of all Pods nor kubelet's eviction came before the end: raise \
             kubelet's systemReserved and kubeReserved by what runs outside Pods, and evictionHard memory.available"
                .to_owned(),
        );
    } else if report.machine.as_ref().is_some_and(|machine| machine.total_swap == Some(Bytes::ZERO)) {
        text.push("Some swap would let idle memory make room before anything is killed".to_owned());
    }
    Advice::new(in_a_row(&text)).with(find_pod(scene))
}

/// Whether Pods run there: one was the victim's, or kubelet is in the table.
fn is_kubernetes_node(report: &Report) -> bool {
    Kubernetes::of(report).is_some() || report.tasks.iter().any(|task| task.comm == "kubelet")
}

fn against(hog: Hog) -> &'static str {
    match hog {
        Hog::HugePages(_) => {
            "set fewer huge pages aside (vm.nr_hugepages, hugepages= at boot), unless all are in use (HugePages_Free in \
             /proc/meminfo)"
        }
        Hog::Slab(_) => {
            "watch the kernel's caches with slabtop, and update or report the driver or filesystem whose cache grows"
        }
        Hog::Shared(_) => {
            "look at tmpfs and shared memory (df -t tmpfs, ipcs -m): remove what is left there, and give each mount a size; a \
             kill frees of it only what nobody else refers to"
        }
        Hog::Uncounted(_) => {
            "find what holds memory that no counter shows: compressed swap (zram, zswap), ZFS's cache (arc_summary), a \
             balloon, a GPU or another driver"
        }
    }
}

/// What held most.
fn largest(scene: Scene<'_>) -> String {
    let report = scene.report;
    let by_size = tasks::by_size(report);
    let Some((task, held)) = by_size.first() else {
        return "run less on this machine, or give it more memory; what held most is not in the log"
            .to_owned();
    };
    if let Some(crew) = tasks::crew(report) {
        return format!(
            "{} processes called {} hold {} together, {} at most each: let there be fewer of them, or give all of them one \
             limit (a cgroup: limits.memory, MemoryMax=, --memory); or add memory",
            crew.count, crew.name, crew.held, crew.most
        );
    }
    let is_killed = |task: &Task| report.victims.iter().any(|victim| victim.pid == task.pid);
    // Among equals it does not matter which one is named.
    let killed = by_size.iter().take_while(|(_, it)| it == held).any(|(task, _)| is_killed(task));
    if killed {
        return format!(
            "the one that held most, {held}, is {} (pid {}): give it a limit of its own (a cgroup: limits.memory, MemoryMax=, \
             --memory), so that it meets that before the machine is full; or run less here, or add memory",
            task.comm, task.pid
        );
    }
    format!(
        "the one that held most, {held}, is {} (pid {}), and lives on: limit that one, or lower the oom_score_adj of the one \
         that was killed; or run less here, or add memory",
        task.comm, task.pid
    )
}

/// The limit of all Pods together.
pub(super) fn node(scene: Scene<'_>) -> Advice {
    let report = scene.report;
    let limit = report.memory.and_then(|memory| memory.limit.bytes());
    let of = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let by_size = tasks::by_size(report);
    let most =
        by_size.first().map(|(task, held)| format!("{} (pid {}) held most, {held}. ", task.comm, task.pid));
    let class = Kubernetes::of(report).and_then(|kubernetes| kubernetes.qos_class);
    let class = match class.as_deref() {
        Some("BestEffort") => {
            "What was killed is BestEffort, without a request: give it a request of what it needs, so that it is placed \
             where that much is free, and a limit"
        }
        Some("Burstable") => {
            "What was killed is Burstable: a request of what it really uses places it where that is free, and makes it \
             die later than others"
        }
        _ => "Give each Pod a request of what it really uses, and a limit",
    };
    let text = format!(
        "the Pods of this node want more together than the limit{of} that they share (kubelet sets it to the capacity less \
         kubeReserved and systemReserved). {}{class}. Raising evictionHard memory.available lets kubelet evict \
         in order before the kernel kills",
        most.unwrap_or_default()
    );
    Advice::new(text).with(find_pod(scene))
}
