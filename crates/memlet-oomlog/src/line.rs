//! One line of the kernel's log, understood without its neighbours.
//!
//! Process names (15 bytes, anything but NUL) and cgroup names (anything but `/` and newline) stand unescaped in
//! these lines and are chosen by whoever runs on the machine. Each form is therefore read from the side where
//! only the kernel writes, and no form is recognised by a text that fits into a name.

mod chosen; // oom-kill:constraint=…
mod header; // … invoked oom-killer, CPU: …
mod kill; // Killed process, oom.group, reaper, endings
mod memory; // counters, statistics, Mem-Info
mod scan; // cutting numbers and words off a text
mod table; // the task table

pub use chosen::OomKill;
pub use header::{Cpu, Invoked};
pub use kill::{Kill, Killed, Message};
pub use memory::{Counter, Machine, kilobytes_by_name, pages_by_name, slab, zone};
pub use table::{Columns, Row};

use crate::amount::Usage;
use crate::report::{Ending, Pid, Reaped};

/// One line of an OOM report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `oom_kill_process: N callbacks suppressed`: so many reports were not written.
    Suppressed(u64),
    /// `… invoked oom-killer: …`: opens a report.
    Invoked(Invoked<'a>),
    /// `COMM cpuset=NAME mems_allowed=LIST` (up to Linux 4.20).
    Cpuset {
        /// The last part of the cpuset's path.
        name: &'a str,
    },
    /// `CPU: … Comm: … Not tainted 6.18.44 #1`, `Pid: …, comm: …`: opens the stack dump.
    Cpu(Cpu<'a>),
    /// `Call Trace:`
    CallTrace,
    /// ` </TASK>`: ends the stack dump.
    CallTraceEnd,
    /// `Task in PATH killed as a result of limit of PATH` (up to Linux 4.20).
    TaskIn {
        /// The victim's cgroup.
        task_memcg: &'a str,
        /// The cgroup whose limit was hit.
        oom_memcg: &'a str,
    },
    /// `memory: usage …kB, limit …kB, failcnt …` and its siblings.
    Counter(Counter, Usage),
    /// `Memory cgroup stats for PATH:`
    StatsFor {
        /// The cgroup.
        path: &'a str,
    },
    /// `Memory cgroup stats for PATH: cache:NKB rss:NKB …` (up to Linux 5.2): one cgroup's own, without those below it.
    StatsOf {
        /// The cgroup.
        path: &'a str,
        /// For [`kilobytes_by_name`].
        stats: &'a str,
    },
    /// `key value` of `memory.stat`. Many a line of others looks so: it counts only behind [`Line::StatsFor`].
    Stat {
        /// The key.
        key: &'a str,
        /// Bytes, or a count, as the key has it.
        value: u64,
    },
    /// `Mem-Info:`
    MemInfo,
    /// One of the figures of `Mem-Info` that are kept.
    Machine(Machine<'a>),
    /// `Unreclaimable slab info:`; its rows are for [`slab`].
    SlabTitle,
    /// `Tasks state (memory values in pages):`
    TasksTitle,
    /// `[  pid  ]   uid  tgid …`: the columns of the rows to come.
    TasksHeader(Columns),
    /// `[  14538] 65534 14538 …`: to be read by the columns.
    TaskRow(Row<'a>),
    /// `oom-kill:constraint=…`
    OomKill(OomKill<'a>),
    /// `…: Kill process … score … or sacrifice child` (up to Linux 5.0)
    Kill(Kill<'a>),
    /// `…: Killed process …`
    Killed(Killed<'a>),
    /// `Tasks in PATH are going to be killed due to memory.oom.group set`
    GroupKill {
        /// The cgroup.
        path: &'a str,
    },
    /// `oom_reaper: reaped process …`
    Reaped {
        /// The victim.
        pid: Pid,
        /// What was left of it.
        left: Reaped,
    },
    /// The report ends here without a kill.
    End(Ending),
    /// The beginning of a line whose rest is missing: another CPU's record came between, or the record was full.
    Torn(Torn),
}

/// Which line was torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// `Memory cgroup stats for `
    StatsFor,
    /// `Tasks in `
    GroupKill,
}

impl Torn {
    /// Whether `piece` can go on with the torn line `so_far`, as the kernel's own `pr_cont` calls cut it: at a path or
    /// a cpuset's name, and behind it.
    pub fn can_go_on(so_far: &str, piece: &str) -> bool {
        piece.starts_with([',', '/'])
            || so_far.ends_with(",cpuset=")
            || (piece == ":" && so_far.starts_with("Memory cgroup stats for /"))
            || (piece.starts_with(" are going to be killed") && so_far.starts_with("Tasks in /"))
    }
}

impl<'a> Line<'a> {
    /// Reads one line. `None`: not a line of an OOM report.
    pub fn parse(text: &'a str) -> Option<Self> {
        // Whatever the name before it looks like: no name is long enough to hold these words.
        if let Some(line) = header::invoked(text) {
            return Some(line);
        }
        let first = *text.as_bytes().first()?;
        let line = match first {
            b'[' => table::title_or_row(text),
            b'o' => chosen::oom_kill(text).or_else(|| kill::reaped(text)).or_else(|| kill::suppressed(text)),
            b'm' | b's' | b'k' => memory::counter(text),
            b'C' => header::cpu(text).or_else(|| header::call_trace(text)),
            b'M' => memory::title(text).or_else(|| kill::kill(text)).or_else(|| memory::bare_zone(text)),
            b'D' | b'H' => memory::bare_zone(text),
            b'T' => table::title(text)
                .or_else(|| kill::task_in(text))
                .or_else(|| kill::group(text))
                .or_else(|| memory::machine(text)),
            b'F' | b'0'..=b'9' => memory::machine(text),
            b'N' => memory::node(text).or_else(|| kill::kill(text)).or_else(|| memory::bare_zone(text)),
            b'O' | b'K' => kill::kill(text),
            b'P' => header::pid_and_comm(text),
            b'U' => (text.trim_end() == "Unreclaimable slab info:").then_some(Self::SlabTitle),
            b' ' if text == " </TASK>" => Some(Self::CallTraceEnd),
            b' ' => memory::counters(text),
            _ => None,
        };
        line.or_else(|| {
            first.is_ascii_lowercase().then(|| memory::stat(text).or_else(|| memory::counters(text)))?
        })
        .or_else(|| header::cpuset(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_lines_are_none_of_ours() {
        for text in [
            "",
            " ",
            "docker0: port 1(veth1) entered disabled state",
            "tokio-rt-worker (70): drop_caches: 3",
            // A process called `Killed process ` meets a message that begins with its name and pid.
            "Killed process  (70): drop_caches: 3",
            "Memory cgroup out of memory: killed 1 task",
            "systemd-oomd[612]: Killed /user.slice due to memory pressure for /user.slice being 60%",
            "stress: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL), nodemask=(null)",
            "java.lang.OutOfMemoryError: Java heap space",
            "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=1.batch",
            "oom-kill",
            "Tasks left: 3",
            "[drm] Initialized",
            "[UFW BLOCK] IN=eth0",
        ] {
            assert_eq!(Line::parse(text), None, "{text:?}");
        }
    }
}
