//! Which of a cgroup's limits ran out. The kernel names the cgroup, and writes down all its counters; which of them was
//! full is to be read from these.

use memlet_oomlog::{Constraint, Usage};

use super::Scene;

/// What started the killer in a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// The memory limit, or nothing tells otherwise.
    Memory,
    /// The limit of memory and swap together (cgroup v1), while there was room for memory alone.
    MemoryAndSwap(Usage),
    /// The limit of kernel memory (cgroup v1), while there was room for other memory.
    KernelMemory(Usage),
    /// No limit: a BPF program that watches the cgroup.
    Policy,
    /// Nothing in the log: the counter has no limit.
    NoLimit,
}

/// Whether the counter is at its limit; charges are made in batches of up to 64 pages.
fn is_full(usage: Usage) -> bool {
    const BATCH: u64 = 64 * 4096;
    usage.limit.bytes().is_some_and(|limit| usage.usage.get().saturating_add(BATCH) >= limit.get())
}

impl Scene<'_> {
    /// Which limit of the cgroup ran out.
    pub(super) fn reached(self) -> Reached {
        let report = self.report;
        let names_policy =
            matches!(&report.constraint, Some(Constraint::Other(name)) if name.contains("_BPF"));
        if names_policy || self.trace_has(&["bpf_out_of_memory"]) {
            return Reached::Policy;
        }
        match (report.memory, report.memory_swap, report.kmem) {
            (Some(memory), ..) if is_full(memory) => Reached::Memory,
            (_, Some(both), _) if is_full(both) => Reached::MemoryAndSwap(both),
            (_, _, Some(kmem)) if is_full(kmem) => Reached::KernelMemory(kmem),
            (Some(memory), ..) if memory.limit.bytes().is_none() => Reached::NoLimit,
            _ => Reached::Memory,
        }
    }
}

#[cfg(test)]
mod tests {
    use memlet_bytes::Bytes;
    use memlet_oomlog::{Limit, Report};

    use super::*;

    fn usage(usage: u64, limit: Limit) -> Usage {
        Usage { usage: Bytes::from_mib(usage), limit, failcnt: Some(1) }
    }

    #[test]
    fn the_full_counter_is_found() {
        let reached =
            |report: &Report| Scene { report, level: None, place: None, task_place: None }.reached();
        let mib = |mib| Limit::Bytes(Bytes::from_mib(mib));
        let full = usage(8, mib(8));
        let memory = Report { memory: Some(usage(64, mib(64))), kmem: Some(full), ..Report::default() };
        assert_eq!(reached(&memory), Reached::Memory);
        let below = Report { memory: Some(usage(50, mib(64))), ..Report::default() };
        assert_eq!(reached(&below), Reached::Memory);
        assert_eq!(reached(&Report { kmem: Some(full), ..below.clone() }), Reached::KernelMemory(full));
        assert_eq!(reached(&Report { memory_swap: Some(full), ..below }), Reached::MemoryAndSwap(full));
        let unlimited = Report { memory: Some(usage(50, Limit::Unlimited)), ..Report::default() };
        assert_eq!(reached(&unlimited), Reached::NoLimit);
        let constraint = Some(Constraint::of_name("CONSTRAINT_BPF_PSI_MEM"));
        assert_eq!(reached(&Report { constraint, ..unlimited }), Reached::Policy);
        assert_eq!(reached(&Report::default()), Reached::Memory);
    }
}
