//! What there is at one moment.

use std::fs;

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Limit};
use memlet_policy::eviction::{Kind, Signal, Watch, available_of_machine};

/// Where a node's memory is read.
#[derive(Debug)]
pub(super) struct Gauge {
    /// The node's memory.
    pub(super) capacity: Bytes,
    /// The node is the whole machine: others than its Pods use memory too.
    pub(super) is_machine: bool,
}

/// All figures of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// What is charged to all Pods together.
    pub(super) usage: Bytes,
    /// The same without page cache that was not used lately.
    pub(super) working_set: Bytes,
    /// Page cache of Pods that was used lately: it counts as used, and the kernel can take it back.
    pub(super) active_file: Bytes,
    /// All page cache of Pods that the kernel can take back.
    droppable: Bytes,
    /// The limit of all Pods together.
    limit: Option<Bytes>,
    machine: Option<Machine>,
    capacity: Bytes,
}

/// The machine's own figures, of `/proc/meminfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Machine {
    free: Bytes,
    inactive_file: Bytes,
    available: Bytes,
}

impl Gauge {
    pub(super) fn read(&self, kubepods: &Cgroup) -> memlet_cgroup::Result<Reading> {
        let usage = kubepods.usage()?;
        let stat = kubepods.stat()?;
        let inactive = stat.inactive_file.unwrap_or_default();
        let active = stat.active_file.unwrap_or_default();
        Ok(Reading {
            usage,
            working_set: usage.saturating_sub(inactive),
            active_file: active,
            droppable: inactive + active,
            limit: match kubepods.limit()? {
                Limit::Bytes(limit) => Some(limit),
                Limit::Max => None,
            },
            machine: self.is_machine.then(machine).flatten(),
            capacity: self.capacity,
        })
    }
}

/// `None` where it cannot be read: nobody goes for that.
fn machine() -> Option<Machine> {
    fs::read_to_string("/proc/meminfo").ok().map(|text| parse(&text))
}

fn parse(meminfo: &str) -> Machine {
    let get = |key| Bytes::of_proc(meminfo, key).unwrap_or_default();
    Machine { free: get("MemFree"), inactive_file: get("Inactive(file)"), available: get("MemAvailable") }
}

impl Reading {
    /// What eviction goes by. Of a node that is the machine, others count as well ([`available_of_machine`]).
    pub(super) fn available(&self, signal: Signal) -> Bytes {
        let of_pods = || self.limit.unwrap_or(self.capacity).saturating_sub(self.working_set);
        match (signal, self.machine) {
            (Signal::Memory, Some(Machine { free, inactive_file, available })) => {
                available_of_machine(free, inactive_file, available)
            }
            (Signal::Memory, None) => self.capacity.saturating_sub(self.working_set),
            (Signal::AllocatableMemory, _) => of_pods(),
        }
    }

    /// What the signal's amount is part of.
    pub(super) fn whole(&self, signal: Signal) -> Bytes {
        match signal {
            Signal::Memory => self.capacity,
            Signal::AllocatableMemory => self.limit.unwrap_or(self.capacity),
        }
    }

    /// The least that is available by any signal.
    pub(super) fn least_available(&self) -> Bytes {
        self.available(Signal::Memory).min(self.available(Signal::AllocatableMemory))
    }

    /// What is left until the kernel kills: it takes page cache back before.
    pub(super) fn left(&self) -> Bytes {
        let below_limit = self.limit.map(|limit| limit.saturating_sub(self.hard_used()));
        let of_machine = self.machine.map(|machine| machine.available);
        below_limit.into_iter().chain(of_machine).min().unwrap_or(Bytes::new(u64::MAX))
    }

    /// All but what is left: its growth is what brings the kernel's killer near, whoever it is that grows.
    pub(super) fn used_up(&self) -> Bytes {
        self.capacity.saturating_sub(self.left())
    }

    /// What Pods use that cannot be taken back.
    fn hard_used(&self) -> Bytes {
        self.usage.saturating_sub(self.droppable)
    }

    /// How much more Pods may use until the nearest threshold is crossed; `None` where there is no threshold, zero where a
    /// hard one is met. A soft one that is met says nothing of the next.
    pub(super) fn distance(&self, watch: &Watch) -> Option<Bytes> {
        let distances = watch.rules().filter_map(|rule| {
            let distance = self.available(rule.signal).saturating_sub(rule.threshold);
            (rule.kind == Kind::Hard || distance > Bytes::ZERO).then_some(distance)
        });
        distances.min()
    }
}

#[cfg(test)]
mod tests {
    use memlet_policy::eviction::Settings;

    use super::*;

    const MIB: fn(u64) -> Bytes = Bytes::from_mib;

    /// 900 MiB charged, of it 300 MiB page cache, a third of that used lately.
    fn reading() -> Reading {
        Reading {
            usage: MIB(900),
            working_set: MIB(700),
            active_file: MIB(100),
            droppable: MIB(300),
            limit: Some(MIB(1000)),
            machine: None,
            capacity: MIB(1024),
        }
    }

    #[test]
    fn available_and_left_differ_by_what_can_be_dropped() {
        let reading = reading();
        assert_eq!(reading.available(Signal::Memory), MIB(324));
        assert_eq!(reading.available(Signal::AllocatableMemory), MIB(300));
        assert_eq!(reading.left(), MIB(400), "1000 − 600 that cannot be taken back");
        let watch = Watch::new(&Settings::default(), reading.capacity, reading.limit);
        assert_eq!(reading.distance(&watch), Some(MIB(200)));
        assert_eq!(reading.used_up(), MIB(624));
        let grown = Reading { usage: MIB(950), working_set: MIB(750), ..reading };
        assert_eq!(grown.used_up(), reading.used_up() + MIB(50));
        let off = Settings { hard: None, ..Settings::default() };
        assert_eq!(reading.distance(&Watch::new(&off, reading.capacity, reading.limit)), None);
    }

    #[test]
    fn on_a_machine_others_count_too() {
        let meminfo = "MemTotal: 2048 kB\nMemFree:  400 kB\nMemAvailable:  150 kB\nInactive(file): 100 kB\n";
        let reading = Reading { machine: Some(parse(meminfo)), ..reading() };
        assert_eq!(reading.available(Signal::Memory), Bytes::from_kib(500));
        assert_eq!(reading.available(Signal::AllocatableMemory), MIB(300));
        assert_eq!(reading.left(), Bytes::from_kib(150));
        // Nothing changes for its Pods when others use more.
        let crowded = Machine { available: Bytes::from_kib(50), ..parse(meminfo) };
        let crowded = Reading { machine: Some(crowded), ..reading };
        assert_eq!(crowded.used_up(), reading.used_up() + Bytes::from_kib(100));
        let cached = Machine { available: MIB(900), ..parse(meminfo) };
        assert_eq!(Reading { machine: Some(cached), ..reading }.available(Signal::Memory), MIB(900));
    }
}
