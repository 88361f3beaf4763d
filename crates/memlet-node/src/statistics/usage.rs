//! What a group of processes uses, and what the machine does.

use jiff::{SignedDuration, Timestamp};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Limit};

use super::cpu::Cpu;

/// What is used at one moment; what the kernel does not say is `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) time: Timestamp,
    pub(crate) cpu: Option<Cpu>,
    pub(crate) memory: Memory,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) usage: Option<u64>,
    /// Usage less what could be given back at once.
    pub(crate) working_set: Option<u64>,
    pub(crate) rss: Option<u64>,
    /// Left below the limit; `None` where there is no limit.
    pub(crate) available: Option<u64>,
    pub(crate) page_faults: Option<u64>,
    pub(crate) major_page_faults: Option<u64>,
    pub(crate) swap: Option<u64>,
}

impl Usage {
    pub(super) fn of_group(group: &Cgroup, cpu: Option<Cpu>) -> Self {
        Self { time: Timestamp::now(), cpu, memory: of_group(group).unwrap_or_default() }
    }

    /// The same with the memory of a group.
    pub(super) fn memory_of(&mut self, group: &Cgroup) {
        self.memory = of_group(group).unwrap_or_default();
    }
}

fn of_group(group: &Cgroup) -> Result<Memory, memlet_cgroup::Error> {
    let usage = group.usage()?;
    let stat = group.stat()?;
    let working_set = stat.working_set(usage).map(memlet_bytes::Bytes::get);
    let limit = match group.limit()? {
        Limit::Bytes(limit) => Some(limit.get()),
        Limit::Max => None,
    };
    let counted = |key: &str| stat.raw.get(&format!("total_{key}")).or_else(|| stat.raw.get(key)).copied();
    Ok(Memory {
        usage: Some(usage.get()),
        working_set,
        rss: stat.anon.map(memlet_bytes::Bytes::get),
        available: limit.zip(working_set).map(|(limit, used)| limit.saturating_sub(used)),
        page_faults: counted("pgfault"),
        major_page_faults: counted("pgmajfault"),
        swap: stat.swap.map(memlet_bytes::Bytes::get),
    })
}

/// The machine's use: `/proc/meminfo` and `/proc/vmstat` say the same of all versions of cgroups.
pub(super) fn of_machine(cpu: Option<Cpu>) -> Usage {
    let memory =
        std::fs::read_to_string("/proc/meminfo").map(|text| machine_memory(&text)).unwrap_or_default();
    Usage { time: Timestamp::now(), cpu, memory }
}

fn machine_memory(meminfo: &str) -> Memory {
    let get = |key| Bytes::of_proc(meminfo, key).map(Bytes::get);
    let total = get("MemTotal");
    let usage = total.zip(get("MemFree")).map(|(total, free)| total.saturating_sub(free));
    let working_set = usage.zip(get("Inactive(file)")).map(|(usage, idle)| usage.saturating_sub(idle));
    Memory {
        usage,
        working_set,
        rss: get("AnonPages"),
        available: total.zip(working_set).map(|(total, used)| total.saturating_sub(used)),
        swap: get("SwapTotal").zip(get("SwapFree")).map(|(total, free)| total.saturating_sub(free)),
        page_faults: None,
        major_page_faults: None,
    }
}

/// When the machine started.
pub(super) fn machine_start() -> Option<Timestamp> {
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let uptime = SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::now().checked_sub(uptime).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_machine() {
        let meminfo = "MemTotal:  1000 kB\nMemFree:  400 kB\nMemAvailable: 700 kB\nInactive(file): 100 kB\n\
                       AnonPages:  200 kB\nSwapTotal:  50 kB\nSwapFree:  20 kB\n";
        let expected = Memory {
            usage: Some(600 << 10),
            working_set: Some(500 << 10),
            rss: Some(200 << 10),
            available: Some(500 << 10),
            swap: Some(30 << 10),
            page_faults: None,
            major_page_faults: None,
        };
        assert_eq!(machine_memory(meminfo), expected);
        assert_eq!(machine_memory(""), Memory::default());
    }

    #[test]
    fn this_machine() {
        let usage = of_machine(None);
        assert!(usage.memory.working_set.is_some_and(|bytes| bytes > 1 << 20), "{usage:?}");
        assert!(machine_start().is_some_and(|start| start < Timestamp::now()));
    }
}
