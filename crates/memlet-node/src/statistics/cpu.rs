//! Time of processors: how much in all, and how much at the moment.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use memlet_cgroup::{Cgroup, Pid, Version};

/// The kernel tells users of 100 ticks a second, whatever its own clock does (`USER_HZ`).
const TICK_NANOSECONDS: u64 = 10_000_000;
/// Two questions within this time are answered with one rate: a shorter time says nothing, as the kernel counts ticks.
const SHORTEST_WINDOW_NANOSECONDS: u64 = 1_000_000_000;

/// Time that was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Since the beginning; on cgroup v1 since somebody first asked, and what the processes of then had used.
    pub(crate) total_nanoseconds: u64,
    /// Nanoseconds in each second, over the last `window`; `None` where no time has gone by.
    pub(crate) rate: Option<u64>,
    pub(crate) window_nanoseconds: u64,
}

/// What was used when somebody asked last, by the path of the group; the machine's own is the empty path.
#[derive(Debug, Default)]
pub(crate) struct Meters(BTreeMap<String, Meter>);

#[derive(Debug)]
struct Meter {
    at: Timestamp,
    total: u64,
    last: Cpu,
    /// Each process's own time, where the kernel does not sum it up.
    processes: BTreeMap<Process, u64>,
}

/// A process, told apart from a later one with the same number by when it started.
type Process = (u32, u64);

impl Meters {
    /// `started` is when the group's processes began, for the rate of what nobody has asked about before.
    pub(crate) fn of_group(&mut self, group: &Cgroup, started: Option<Timestamp>) -> Option<Cpu> {
        let path = group.path().to_string();
        let counted = match group.version() {
            Version::V2 => Counted::Total(total_of_group(group)?),
            Version::V1 => Counted::Processes(of_processes(&group.processes_recursive().ok()?)),
        };
        Some(self.measure(path, counted, started, Timestamp::now()))
    }

    pub(crate) fn of_machine(&mut self) -> Option<Cpu> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let total = machine_total(&stat)?;
        let started = super::usage::machine_start();
        Some(self.measure(String::new(), Counted::Total(total), started, Timestamp::now()))
    }

    /// Drops what is known of groups that have gone.
    pub(crate) fn forget_all_but(&mut self, seen: &BTreeSet<String>) {
        self.0.retain(|path, _| path.is_empty() || seen.contains(path));
    }

    fn measure(&mut self, path: String, counted: Counted, started: Option<Timestamp>, now: Timestamp) -> Cpu {
        let before = self.0.get(&path);
        let (total, processes) = match counted {
            Counted::Total(total) => (total, BTreeMap::new()),
            Counted::Processes(processes) => {
                let known = before.map(|before| &before.processes);
                let grown: u64 = processes
                    .iter()
                    .map(|(process, time)| {
                        let had = known.and_then(|known| known.get(process)).copied().unwrap_or(0);
                        time.saturating_sub(had)
                    })
                    .sum();
                (before.map_or(0, |before| before.total) + grown, processes)
            }
        };
        let since = before.map_or(started, |before| Some(before.at));
        let window = since.map_or(0, |since| {
            u64::try_from(now.duration_since(since).as_nanos().max(0)).unwrap_or(u64::MAX)
        });
        if let Some(before) = before.filter(|_| window < SHORTEST_WINDOW_NANOSECONDS) {
            return Cpu { total_nanoseconds: total.max(before.last.total_nanoseconds), ..before.last };
        }
        let used = total.saturating_sub(before.map_or(0, |before| before.total));
        let rate = u128::from(used) * 1_000_000_000 / u128::from(window.max(1));
        let cpu = Cpu {
            total_nanoseconds: total,
            rate: (window > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX)),
            window_nanoseconds: window,
        };
        self.0.insert(path, Meter { at: now, total, last: cpu, processes });
        cpu
    }
}

enum Counted {
    /// By the kernel.
    Total(u64),
    /// Of each process that is there.
    Processes(BTreeMap<Process, u64>),
}

/// Every group of cgroup v2 has this, with and without a controller.
fn total_of_group(group: &Cgroup) -> Option<u64> {
    let stat = std::fs::read_to_string(group.dir_path().join("cpu.stat")).ok()?;
    let micros: u64 = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()?;
    Some(micros * 1000)
}

/// A process that ends meanwhile has no time.
fn of_processes(pids: &[Pid]) -> BTreeMap<Process, u64> {
    pids.iter()
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (started, time) = process_time(&stat)?;
            Some(((pid.get(), started), time))
        })
        .collect()
}

/// When the process started, in ticks, and its time, with that of its children that it has waited for.
fn process_time(stat: &str) -> Option<(u64, u64)> {
    // The program's name, in brackets, may hold anything; the state is the third field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    Some((field(22)?, ticks * TICK_NANOSECONDS))
}

/// All time of the machine's processors but that in which they idle or wait for disks.
fn machine_total(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is part of user.
    let busy = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|index| ticks.get(index)).sum::<u64>();
    Some(busy * TICK_NANOSECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_rate_is_of_the_time_between_two_questions() {
        let mut meters = Meters::default();
        let mut ask = |total, second| {
            let cpu = meters.measure("/a".to_owned(), Counted::Total(total), Some(at(0)), at(second));
            (cpu.rate, cpu.window_nanoseconds / SECOND)
        };
        assert_eq!(ask(5 * SECOND, 10), (Some(SECOND / 2), 10), "since it started");
        assert_eq!(ask(6 * SECOND, 14), (Some(SECOND / 4), 4));
        assert_eq!(ask(9 * SECOND, 14), (Some(SECOND / 4), 4), "no time has gone by");
        assert_eq!(ask(10 * SECOND, 18), (Some(SECOND), 4));
    }

    #[test]
    fn time_of_processes_that_come_and_go() {
        let mut meters = Meters::default();
        let mut ask = |processes: &[(Process, u64)], second| {
            let processes = processes.iter().map(|(process, time)| (*process, time * SECOND)).collect();
            let counted = Counted::Processes(processes);
            let cpu = meters.measure("/a".to_owned(), counted, Some(at(0)), at(second));
            cpu.total_nanoseconds / SECOND
        };
        assert_eq!(ask(&[((1, 7), 3), ((2, 7), 1)], 10), 4);
        assert_eq!(ask(&[((1, 7), 5)], 20), 6, "what the second used is not taken back");
        assert_eq!(ask(&[((1, 7), 5), ((2, 99), 1)], 30), 7, "another with the number of the second");
    }

    #[test]
    fn what_the_kernel_writes() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194304 100 0 0 0 150 50 20 5 20 0 1 0 8812 1000 200 0 0";
        assert_eq!(process_time(stat), Some((8812, 225 * TICK_NANOSECONDS)));
        assert_eq!(process_time("12 (a) S 1"), None);
        let stat = "cpu  100 10 50 9999 77 1 2 3 40 0\ncpu0 1 2 3 4 5\n";
        assert_eq!(machine_total(stat), Some(166 * TICK_NANOSECONDS));
    }
}
