//! The processes of a node's Pods in the order in which the kernel would kill them now.
//!
//! Where the node's limit for all Pods runs out, the kernel weighs every process below it by that limit; where there is
//! none, by the machine's memory and swap. The formula is that of `memlet-oomlog`, which is checked against the kernel's
//! own choices.

use std::fs;

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Hierarchy};
use memlet_oomlog::{Limit, Pages, Report, Scope, Task, Usage as Counter};
use serde::Serialize;

use super::gather::{NodeUsage, PodUsage};
use super::held::Owner;

/// What would run out, and who would be killed then.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KillOrder {
    /// Whose limit it is.
    pub(crate) of: Owner,
    /// How much that is: each unit of `oom_score_adj` weighs a thousandth of it.
    pub(crate) total: Bytes,
    /// The first is killed first.
    pub(crate) processes: Vec<Candidate>,
}

/// A process that the kernel may kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate {
    pub(crate) process: Process,
    /// The kernel's score in bytes; below zero where it is protected.
    pub(crate) points: i64,
    pub(crate) why: String,
}

/// A process of a Pod, as `/proc` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// `None` for the sandbox's.
    pub(crate) container: Option<String>,
    pub(crate) rss: Bytes,
    pub(crate) swap: Bytes,
    pub(crate) page_tables: Bytes,
    pub(crate) oom_score_adj: i16,
}

/// What would run out: the node's limit for all Pods or, where that is no less than the machine's memory, this and its
/// swap.
pub(crate) fn domain(node: &NodeUsage) -> (Owner, Bytes) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let amount = |key| Bytes::of_proc(&meminfo, key).unwrap_or_default();
    let memory = amount("MemTotal");
    match node.limit {
        Some(limit) if memory == Bytes::ZERO || limit < memory => (Owner::Node, limit),
        _ => (Owner::Machine, memory + amount("SwapTotal")),
    }
}

/// The processes of the node's Pods now.
pub(crate) fn processes(node: &NodeUsage, hierarchy: &Hierarchy) -> Vec<Process> {
    node.pods.iter().flat_map(|pod| of_pod(pod, hierarchy)).collect()
}

fn of_pod(pod: &PodUsage, hierarchy: &Hierarchy) -> Vec<Process> {
    let Some(group) = pod.cgroup.as_ref().and_then(|path| Cgroup::open(hierarchy, path).ok()) else {
        return Vec::new();
    };
    let pids = group.processes_recursive().unwrap_or_default();
    pids.into_iter().filter_map(|pid| process(pid.get().cast_signed(), pod)).collect()
}

/// `None` where it has ended meanwhile.
fn process(pid: i32, pod: &PodUsage) -> Option<Process> {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let groups = read("cgroup")?;
    let container = pod.containers.iter().find(|container| groups.contains(&container.id));
    let status = read("status")?;
    let name = status.lines().find_map(|line| line.strip_prefix("Name:")).map(str::trim);
    let amount = |key| Bytes::of_proc(&status, key).unwrap_or_default();
    Some(Process {
        pid,
        name: name.unwrap_or_default().to_owned(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        container: container.map(|container| container.name.clone()),
        rss: amount("VmRSS"),
        swap: amount("VmSwap"),
        page_tables: amount("VmPTE"),
        oom_score_adj: read("oom_score_adj")?.trim().parse().ok()?,
    })
}

/// The order, where `total` bytes of `of` run out. Pure.
pub(crate) fn order(processes: &[Process], of: Owner, total: Bytes, page_size: Bytes) -> KillOrder {
    let page = page_size.get().max(1);
    let pages = |amount: Bytes| Pages(amount.get() / page);
    let task = |process: &Process| Task {
        pid: process.pid,
        rss: Some(pages(process.rss)),
        swap_entries: Some(pages(process.swap)),
        page_tables: Some(process.page_tables),
        oom_score_adj: Some(process.oom_score_adj),
        ..Task::default()
    };
    // What the kernel would report.
    let report = Report {
        scope: Some(Scope::Memcg),
        page_size: Some(page_size),
        memory: Some(Counter { usage: Bytes::ZERO, limit: Limit::Bytes(total), failcnt: None }),
        tasks: processes.iter().map(task).collect(),
        ..Report::default()
    };
    let candidate = |pid: i32, points: i64| {
        let process = processes.iter().find(|process| process.pid == pid)?;
        let points = points.saturating_mul(i64::try_from(page).unwrap_or(1));
        Some(Candidate { process: process.clone(), points, why: why(process, total) })
    };
    let processes =
        report.ranking().iter().filter_map(|ranked| candidate(ranked.pid, ranked.points)).collect();
    KillOrder { of, total, processes }
}

/// `600Mi held + 1000‰ of 1Gi`.
fn why(process: &Process, total: Bytes) -> String {
    let held = process.rss + process.swap + process.page_tables;
    match process.oom_score_adj {
        0 => format!("{held} held"),
        less if less < 0 => format!("{held} held − {}‰ of {total}", -less),
        more => format!("{held} held + {more}‰ of {total}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, mib: u64, oom_score_adj: i16) -> Process {
        Process {
            pid,
            name: "eater".to_owned(),
            namespace: "default".to_owned(),
            pod: "p".to_owned(),
            container: Some("main".to_owned()),
            rss: Bytes::from_mib(mib),
            swap: Bytes::ZERO,
            page_tables: Bytes::ZERO,
            oom_score_adj,
        }
    }

    #[test]
    fn a_small_besteffort_process_before_a_large_guaranteed_one() {
        let all = [process(2, 500, -997), process(3, 10, 1000), process(4, 300, 939), process(5, 400, -1000)];
        let order = order(&all, Owner::Node, Bytes::from_gib(1), Bytes::new(4096));
        let found: Vec<_> =
            order.processes.iter().map(|candidate| (candidate.process.pid, candidate.why.as_str())).collect();
        assert_eq!(
            found,
            [
                (4, "300Mi held + 939‰ of 1Gi"),
                (3, "10Mi held + 1000‰ of 1Gi"),
                (2, "500Mi held − 997‰ of 1Gi"),
            ],
            "and never the one with -1000"
        );
        assert!(order.processes[2].points < 0);
    }

    #[test]
    fn this_process() {
        let pod = super::super::sample::usage().nodes[0].pods[0].clone();
        let own = super::process(std::process::id().cast_signed(), &pod).unwrap();
        assert!(own.rss > Bytes::ZERO && own.page_tables > Bytes::ZERO && own.container.is_none());
    }
}
