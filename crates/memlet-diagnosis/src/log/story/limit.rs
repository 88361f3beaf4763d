//! Whose limit ran out by the kernel's own counters, and how fast it was met.

use memlet_oomlog::{Report, Scope, Usage};

use super::Scene;
use super::machine::what_ran_out;
use crate::amount::counted;
use crate::facts::{counter, shortened};
use crate::log::Level;
use crate::log::reached::Reached;

pub(super) fn sentence(scene: Scene<'_>) -> String {
    let report = scene.report;
    if scene.is_by_hand() {
        return "none: somebody asked for a kill by hand (SysRq-F, or f written to /proc/sysrq-trigger)"
            .to_owned();
    }
    if scene.level == Some(Level::Machine) {
        let elsewhere = match report.scope {
            Some(Scope::Cpuset | Scope::Mempolicy) => {
                ". Other memory nodes may have had free memory that it was not allowed to use"
            }
            // The kernel's words for it are the same where only some memory nodes were allowed.
            _ if report.constraint.is_none() && report.machine.is_none() => {
                ", or the memory nodes that a cpuset or a memory policy allows: the line that tells which is not in the log"
            }
            _ => ". No cgroup's limit was hit",
        };
        return format!("none: {} ran out of memory{elsewhere}", what_ran_out(report));
    }
    let mut text = match (scene.level, scene.place) {
        _ if scene.reached() == Reached::Policy => {
            let whose = scene.place.map(|place| format!(" of {}", place.name)).unwrap_or_default();
            format!("none: a BPF program found the memory{whose} short")
        }
        (Some(Level::NodeAllocatable), _) => "the node's, for all Pods together".to_owned(),
        (Some(_), Some(place)) => format!("that of {}", place.name),
        _ if report.memory.is_some() || report.scope == Some(Scope::Memcg) => {
            "a cgroup's; which one, the log does not say".to_owned()
        }
        _ => return "not in the log".to_owned(),
    };
    if let Some(memory) = report.memory {
        text.push_str(&format!(": {}", counter(memory)));
    }
    if let Some(path) =
        report.oom_memcg.as_deref().filter(|path| scene.place.is_some_and(|it| !it.name.contains(path)))
    {
        text.push_str(&format!(" (cgroup {})", shortened(path)));
    }
    text.push_str(match scene.level {
        Some(Level::Pod) => ". It is shared by all containers of the Pod",
        Some(Level::NodeAllocatable) => ". No limit of a Pod's or a container's own was hit",
        Some(Level::QosClass) => ". Kubernetes normally sets none there",
        _ => "",
    });
    text.push_str(&second_limits(scene));
    text
}

/// Counters beside that of memory which matter for this kill.
fn second_limits(scene: Scene<'_>) -> String {
    let report = scene.report;
    let mut text = String::new();
    match scene.reached() {
        Reached::MemoryAndSwap(both) => text.push_str(&format!(
            ". It is the limit of memory and swap together that was hit: {}",
            counter(both)
        )),
        Reached::KernelMemory(kmem) => {
            text.push_str(&format!(". It is the limit of kernel memory that was hit: {}", counter(kmem)));
        }
        Reached::NoLimit => text.push_str(". So what started the killer is not in the log"),
        Reached::Memory | Reached::Policy => {}
    }
    if let Some(swap) = report.swap.filter(|swap| swap.limit.bytes().is_none_or(|limit| limit.get() > 0)) {
        text.push_str(&format!(". Swap: {}", counter(swap)));
    }
    if scene.trace_has(&["memory_max_write", "mem_cgroup_resize", "mem_cgroup_write"]) {
        text.push_str(
            ". It was lowered below the usage just then: whoever wrote the new limit started the killer",
        );
    } else if let Some(memory) = report.memory.filter(|memory| over(*memory)) {
        text.push_str(&format!(
            ". The usage is above the limit by {}: the limit was lowered, or memory was charged that cannot be refused",
            memory.usage.saturating_sub(memory.limit.bytes().unwrap_or_default())
        ));
    }
    text
}

fn over(memory: Usage) -> bool {
    memory.limit.bytes().is_some_and(|limit| memory.usage.get() > limit.get().saturating_add(1 << 20))
}

/// Fewer refused charges than this in a cgroup's life: it had hardly met its limit before.
const FEW: u64 = 1_000;
/// More than this: it lived at its limit for long.
const MANY: u64 = 1_000_000;

/// Whether the limit was met fast or after a long time at it.
pub(super) fn pace(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    if scene.is_by_hand() || scene.level == Some(Level::Machine) {
        return None;
    }
    let memory = report.memory?;
    let failcnt = memory.failcnt.unwrap_or(0);
    let refused = counted(failcnt, "charge", "charges");
    let refaults = refaults(report).filter(|pages| *pages >= 10_000);
    let again = refaults.map(|pages| {
        format!("{pages} pages of files were read again after they had been dropped: it had been short for a while")
    });
    match failcnt {
        0 => again,
        1..FEW if again.is_none() => Some(format!(
            "fast: only {refused} had been refused at this limit in the cgroup's life, so it was hardly full before"
        )),
        MANY.. => {
            let text =
                format!("slow: {refused} had been refused at this limit, so the cgroup lived at it for long");
            Some(again.map_or_else(|| text.clone(), |again| format!("{text}; {again}")))
        }
        _ => again,
    }
}

fn refaults(report: &Report) -> Option<u64> {
    let stat = |key: &str| report.stats.get(key).copied();
    stat("total_workingset_refault_file").or_else(|| stat("workingset_refault_file"))
}

#[cfg(test)]
mod tests {
    use memlet_bytes::Bytes;
    use memlet_oomlog::Limit;

    use super::*;

    fn report(usage: u64, limit: u64, failcnt: u64) -> Report {
        let memory = Usage {
            usage: Bytes::from_mib(usage),
            limit: Limit::Bytes(Bytes::from_mib(limit)),
            failcnt: Some(failcnt),
        };
        Report { scope: Some(Scope::Memcg), memory: Some(memory), ..Report::default() }
    }

    fn scene(report: &Report) -> Scene<'_> {
        Scene { report, level: None, place: None, task_place: None }
    }

    #[test]
    fn the_pace_is_told_where_the_counters_tell_it() {
        let pace_of = |failcnt| pace(scene(&report(64, 64, failcnt)));
        assert!(pace_of(12).unwrap().starts_with("fast: only 12 charges"));
        assert_eq!((pace_of(0), pace_of(50_000)), (None, None));
        assert!(pace_of(2_000_000).unwrap().starts_with("slow"));
        let mut refaulting = report(64, 64, 12);
        refaulting.stats.insert("workingset_refault_file".to_owned(), 20_000);
        assert!(pace(scene(&refaulting)).unwrap().contains("read again"));
    }

    #[test]
    fn the_counter_that_is_full_is_named() {
        let mut report = report(60, 128, 3);
        let full = Usage {
            usage: Bytes::from_mib(256),
            limit: Limit::Bytes(Bytes::from_mib(256)),
            failcnt: Some(9),
        };
        report.memory_swap = Some(full);
        assert!(sentence(scene(&report)).contains("memory and swap together that was hit: usage 256Mi"));
        report.memory_swap = None;
        report.kmem = Some(full);
        assert!(sentence(scene(&report)).contains("kernel memory that was hit"));
        report.call_trace = vec![" memory_max_write+0x1/0x2".to_owned()];
        assert!(sentence(scene(&report)).contains("lowered"));
        assert!(sentence(scene(&self::report(200, 128, 3))).contains("above the limit by 72Mi"));
    }
}
