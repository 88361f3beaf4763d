//! What a report holds. What the kernel did not say is `None`, never a zero.

use std::collections::BTreeMap;
use std::time::Duration;

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::amount::{Pages, Usage};
use crate::time::LogTime;

/// A process id as the kernel prints it in its log: of the initial pid namespace.
pub type Pid = i32;
/// A user id of the initial user namespace.
pub type Uid = u32;

/// Names one report among those of one [`Assembler`](crate::Assembler).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReportId(pub u64);

/// One report of the OOM killer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its number in this reading of the log, for amendments.
    #[serde(skip)]
    pub id: ReportId,
    /// When its first record was written, by the wall clock of whoever wrote it down.
    #[serde(default)]
    pub time: Option<LogTime>,
    /// The machine, where the log names it.
    #[serde(default)]
    pub host: Option<String>,
    /// When its first record was written, since boot; in JSON whole microseconds.
    #[serde(rename = "sinceBootMicros", with = "micros")]
    pub since_boot: Option<Duration>,
    /// When the kill itself was written.
    #[serde(rename = "killedSinceBootMicros", with = "micros")]
    pub killed_since_boot: Option<Duration>,
    /// The kernel's release, as the stack dump names it.
    pub kernel: Option<String>,
    /// The task whose allocation failed; often not the one that was killed.
    pub invoked_by: Option<InvokedBy>,
    /// What kind of memory it asked for.
    pub gfp: Option<GfpMask>,
    /// It asked for 2^order pages; −1 is a kill by hand (`SysRq-F`).
    pub order: Option<i32>,
    /// What confined the search for a victim, in the kernel's word.
    pub constraint: Option<Constraint>,
    /// Where memory ran out.
    pub scope: Option<Scope>,
    /// The memory cgroup whose limit was hit.
    pub oom_memcg: Option<String>,
    /// The memory cgroup in which the victim was.
    pub task_memcg: Option<String>,
    /// The last part of the cpuset path of the task that asked, not of the victim.
    pub cpuset: Option<String>,
    /// The victim as the `oom-kill` record names it; `Killed process` may name another thread of it.
    pub chosen: Option<Chosen>,
    /// The process that old kernels (up to 5.0) name with its score before they kill; the one that dies may be a
    /// child of it ("sacrificed"), or another thread.
    #[serde(default)]
    pub scored: Option<Scored>,
    /// The `memory` counter of [`oom_memcg`](Self::oom_memcg).
    pub memory: Option<Usage>,
    /// Its `memory+swap` counter (cgroup v1).
    pub memory_swap: Option<Usage>,
    /// Its `swap` counter (cgroup v2).
    pub swap: Option<Usage>,
    /// Its `kmem` counter (cgroup v1).
    pub kmem: Option<Usage>,
    /// The cgroup that [`stats`](Self::stats) describe.
    pub stats_for: Option<String>,
    /// Its `memory.stat` as printed: bytes, for event keys (`pgfault` …) counts.
    pub stats: BTreeMap<String, u64>,
    /// Figures of the whole machine, when the whole machine was short.
    pub machine: Option<MachineMemory>,
    /// The processes that the kernel listed, in its order.
    pub tasks: Vec<Task>,
    /// The processes that were killed, each once.
    pub victims: Vec<Victim>,
    /// The cgroup that was killed as a whole (`memory.oom.group`).
    pub group_kill: Option<String>,
    /// The kernel's stack dump, line by line as printed.
    pub call_trace: Vec<String>,
    /// How it ended; `None` when the end was not seen.
    pub ending: Option<Ending>,
    /// Whether it was seen from its header to its end, with nothing missing that the log would show.
    pub complete: bool,
    /// What was left out to keep memory bounded.
    pub dropped: Dropped,
    /// Reports that the kernel's rate limit suppressed before this one.
    pub suppressed_before: Option<u64>,
    /// The size of a page, where it follows from the figures.
    pub page_size: Option<Bytes>,
    /// Which records it was read from.
    pub raw: RawRange,
}

/// The task whose allocation started the OOM killer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvokedBy {
    /// Its name; a thread's own, where it was a thread.
    pub comm: String,
    /// Its thread id, from the stack dump.
    pub pid: Option<Pid>,
    /// Its user.
    pub uid: Option<Uid>,
    /// Its `oom_score_adj`.
    pub oom_score_adj: Option<i16>,
}

/// The flags of the failed allocation. The bits change between kernels, the names don't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GfpMask {
    /// As printed.
    pub bits: u64,
    /// `GFP_KERNEL|__GFP_…`, since Linux 4.6.
    pub names: Option<String>,
}

/// `enum oom_constraint` of `mm/oom_kill.c`, by the names it prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Constraint {
    /// The whole system.
    #[serde(rename = "CONSTRAINT_NONE")]
    None,
    /// The nodes of a cpuset.
    #[serde(rename = "CONSTRAINT_CPUSET")]
    Cpuset,
    /// The nodes of a memory policy.
    #[serde(rename = "CONSTRAINT_MEMORY_POLICY")]
    MemoryPolicy,
    /// A memory cgroup's limit.
    #[serde(rename = "CONSTRAINT_MEMCG")]
    Memcg,
    /// A name that no kernel known here prints.
    #[serde(untagged)]
    Other(String),
}

impl Constraint {
    /// The constraint that the kernel prints as `name`.
    pub fn of_name(name: &str) -> Self {
        match name {
            "CONSTRAINT_NONE" => Self::None,
            "CONSTRAINT_CPUSET" => Self::Cpuset,
            "CONSTRAINT_MEMORY_POLICY" => Self::MemoryPolicy,
            "CONSTRAINT_MEMCG" => Self::Memcg,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Where memory ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// At a memory cgroup's limit.
    Memcg,
    /// On the whole machine.
    System,
    /// On the nodes of a cpuset.
    Cpuset,
    /// On the nodes of a memory policy.
    Mempolicy,
}

/// The victim as the `oom-kill` record names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chosen {
    /// Its process id.
    pub pid: Pid,
    /// Its name.
    pub comm: String,
    /// Its user.
    pub uid: Uid,
}

/// `Kill process PID (COMM) score N or sacrifice child`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scored {
    /// The process, or a thread of it.
    pub pid: Pid,
    /// Its name.
    pub comm: String,
    /// Thousandths of what its OOM domain may use; above 1000 with a positive `oom_score_adj`.
    pub score: i64,
}

/// Figures of the whole machine (`Mem-Info`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineMemory {
    /// All pages of memory.
    pub ram: Option<Pages>,
    /// Those the kernel keeps from use.
    pub reserved: Option<Pages>,
    /// Swap space.
    pub total_swap: Option<Bytes>,
    /// Swap space not in use.
    pub free_swap: Option<Bytes>,
    /// Page cache, tmpfs included.
    pub page_cache: Option<Pages>,
    /// Huge pages set aside: memory that no kill frees.
    pub huge_pages: Option<Bytes>,
    /// The counters behind `Mem-Info:` (`active_anon`, `slab_unreclaimable`, `free` …), by the kernel's names.
    pub counters: BTreeMap<String, Pages>,
    /// The zones of physical memory, in the kernel's order.
    pub zones: Vec<Zone>,
    /// Kernel caches that cannot be reclaimed, listed where they are larger than all user memory.
    pub slabs: Vec<Slab>,
}

/// A zone of physical memory: `Node 0 Normal free:…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Zone {
    /// The NUMA node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `HighMem`, `Movable`.
    pub name: String,
    /// Not in use.
    #[serde(rename = "freeBytes")]
    pub free: Option<Bytes>,
    /// The watermark below which only the kernel's most urgent needs are met.
    #[serde(rename = "minBytes")]
    pub min: Option<Bytes>,
    /// The watermark below which memory is reclaimed in the background.
    #[serde(rename = "lowBytes")]
    pub low: Option<Bytes>,
    /// The watermark at which that stops.
    #[serde(rename = "highBytes")]
    pub high: Option<Bytes>,
    /// What the kernel manages of it.
    #[serde(rename = "managedBytes")]
    pub managed: Option<Bytes>,
}

/// A kernel cache of `Unreclaimable slab info:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slab {
    /// Its name.
    pub name: String,
    /// What its objects take.
    #[serde(rename = "usedBytes")]
    pub used: Bytes,
    /// What it takes.
    #[serde(rename = "totalBytes")]
    pub total: Bytes,
}

/// One row of the task table. Which columns there are depends on the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// The process.
    pub pid: Pid,
    /// Its thread group: the same number.
    pub tgid: Option<Pid>,
    /// Its user.
    pub uid: Option<Uid>,
    /// Address space.
    pub total_vm: Option<Pages>,
    /// Resident: anonymous, file and shared memory. Pages shared with others count in each of them.
    pub rss: Option<Pages>,
    /// Resident anonymous memory (Linux 6.8).
    pub rss_anon: Option<Pages>,
    /// Resident pages of files (Linux 6.8).
    pub rss_file: Option<Pages>,
    /// Resident shared memory and tmpfs (Linux 6.8).
    pub rss_shmem: Option<Pages>,
    /// Page tables in bytes (Linux 4.15).
    pub page_tables: Option<Bytes>,
    /// Page tables in pages, on all levels (before Linux 4.15).
    pub page_table_pages: Option<Pages>,
    /// Swapped out.
    pub swap_entries: Option<Pages>,
    /// −1000 … 1000.
    pub oom_score_adj: Option<i16>,
    /// −17 … 15, its predecessor (up to Linux 3.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_adj: Option<i16>,
    /// Columns that are only on the kernels of some vendors, and `cpu` (up to Linux 3.5).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, i64>,
    /// Its name.
    pub comm: String,
}

/// A process that was killed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Victim {
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub comm: String,
    /// Its user.
    pub uid: Option<Uid>,
    /// Address space.
    #[serde(rename = "totalVmBytes")]
    pub total_vm: Option<Bytes>,
    /// Resident anonymous memory.
    #[serde(rename = "anonRssBytes")]
    pub anon_rss: Option<Bytes>,
    /// Resident pages of files.
    #[serde(rename = "fileRssBytes")]
    pub file_rss: Option<Bytes>,
    /// Resident shared memory and tmpfs.
    #[serde(rename = "shmemRssBytes")]
    pub shmem_rss: Option<Bytes>,
    /// Page tables.
    #[serde(rename = "pgtablesBytes")]
    pub pgtables: Option<Bytes>,
    /// −1000 … 1000.
    pub oom_score_adj: Option<i16>,
    /// The kernel's score by which it was chosen. Only kernels up to 5.0 print it, and they may name another thread of it
    /// ([`Report::scored`]); or its parent, which can be told only where there is a table: then it is `None`.
    #[serde(default)]
    pub score: Option<i64>,
    /// What was left of it when the reaper had taken its memory.
    pub reaped: Option<Reaped>,
}

/// What `oom_reaper` left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaped {
    /// Resident anonymous memory.
    #[serde(rename = "anonRssBytes")]
    pub anon_rss: Bytes,
    /// Resident pages of files.
    #[serde(rename = "fileRssBytes")]
    pub file_rss: Bytes,
    /// Resident shared memory and tmpfs.
    #[serde(rename = "shmemRssBytes")]
    pub shmem_rss: Bytes,
}

/// How a report ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// A process was killed.
    Killed,
    /// A process was killed without any scoring: the one that asked, because `vm.oom_kill_allocating_task` is set.
    KilledAllocatingTask,
    /// The chosen process was already on its way out; nothing was killed.
    AlreadyExiting,
    /// Every process was protected.
    NoKillableProcess,
    /// The kernel panicked instead (`vm.panic_on_oom`).
    Panic,
    /// The kernel panicked, since the machine had no process left that it may kill.
    Deadlock,
}

/// What was left out to keep memory bounded, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// Rows of the task table.
    pub tasks: u64,
    /// Killed processes.
    pub victims: u64,
    /// Lines of the call trace and keys of the statistics.
    pub lines: u64,
    /// Records lost before they could be read.
    pub records: u64,
}

impl Dropped {
    /// Whether nothing was left out.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Which records a report was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RawRange {
    /// The first record pushed that belongs to it, counted from 1.
    pub start_line: u64,
    /// The last.
    pub end_line: u64,
    /// The kernel's number of the first.
    pub start_sequence: Option<u64>,
    /// The kernel's number of the last.
    pub end_sequence: Option<u64>,
}

/// What the kernel adds to a report after its kill line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amendment {
    /// The whole cgroup is killed (`memory.oom.group`).
    GroupKill {
        /// The cgroup.
        path: String,
    },
    /// One more process of that cgroup was killed.
    Victim(Victim),
    /// With no process that it may kill, the kernel panicked.
    Panicked,
    /// One more process was killed, but so many are already listed that it is only counted.
    VictimDropped,
    /// The reaper has taken a victim's memory.
    Reaped {
        /// The victim.
        pid: Pid,
        /// What was left.
        left: Reaped,
    },
}

impl Report {
    /// Adds to the report what the kernel said later, in this record (counted as in [`Report::raw`]).
    pub fn amend(&mut self, amendment: Amendment, line: u64) {
        // The reaper may come when the next report is under way, and its line is not among this one's.
        if !matches!(amendment, Amendment::Reaped { .. }) {
            self.raw.end_line = self.raw.end_line.max(line);
        }
        match amendment {
            Amendment::GroupKill { path } => self.group_kill = Some(path),
            Amendment::Victim(victim) => self.victims.push(victim),
            Amendment::Panicked => self.ending = Some(Ending::Deadlock),
            Amendment::VictimDropped => self.dropped.victims += 1,
            Amendment::Reaped { pid, left } => {
                if let Some(victim) = self.victims.iter_mut().find(|victim| victim.pid == pid) {
                    victim.reaped = Some(left);
                }
            }
        }
    }

    /// The row of the task table for this process.
    pub fn task(&self, pid: Pid) -> Option<&Task> {
        self.tasks.iter().find(|task| task.pid == pid)
    }
}

/// A time since boot as whole microseconds, which is what the kernel's log has.
mod micros {
    use super::{Deserialize, Duration, Serialize};

    #[expect(clippy::ref_option, reason = "serde's `with` asks for this signature")]
    pub(super) fn serialize<S: serde::Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_micros))
    }
}
