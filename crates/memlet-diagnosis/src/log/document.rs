//! The JSON document. Its schema is public: names stay, additions may come. What the kernel did not say is null, sizes
//! are in bytes; where the size of a page is not known, sizes that the kernel gave in pages are null and stand in pages
//! beside.

use std::collections::BTreeMap;

use memlet_bytes::Bytes;
use memlet_oomlog::{
    Charged, Chosen, Constraint, Dropped, Ending, LogTime, Pages, Pid, RawRange, Reaped, Report, Scope,
    Scored, Slab, Task, Uid, Usage, Victim, Zone,
};
use serde::Serialize;

use super::{Advice, Explanation, Kubernetes, Level, Place, Statement, Verification};

/// The value of `schema` in the document.
pub const SCHEMA: &str = "memlet.dev/explain/v1";

/// One report in the document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportDocument<'a> {
    time: Option<&'a LogTime>,
    since_boot_micros: Option<u64>,
    killed_since_boot_micros: Option<u64>,
    host: Option<&'a str>,
    kernel: Option<&'a str>,
    invoked_by: Option<&'a str>,
    invoker: Option<Invoker>,
    allocation: Option<Allocation<'a>>,
    call_trace: &'a [String],
    constraint: Option<&'a Constraint>,
    scope: Option<Scope>,
    level: Option<Level>,
    oom_memcg: Option<&'a str>,
    task_memcg: Option<&'a str>,
    cpuset: Option<&'a str>,
    place: Option<&'a Place>,
    task_place: Option<&'a Place>,
    kubernetes: Option<&'a Kubernetes>,
    usage_bytes: Option<Bytes>,
    limit_bytes: Option<Bytes>,
    unlimited: Option<bool>,
    failcnt: Option<u64>,
    memory_swap: Option<Counter>,
    swap: Option<Counter>,
    kmem: Option<Counter>,
    charged: Option<Charged>,
    stats_for: Option<&'a str>,
    stats: &'a BTreeMap<String, u64>,
    machine: Option<Machine<'a>>,
    chosen: Option<&'a Chosen>,
    scored: Option<&'a Scored>,
    victims: Vec<VictimDocument<'a>>,
    tasks: Vec<TaskDocument<'a>>,
    choice_agrees: Option<bool>,
    choice_reason: Option<&'a str>,
    ending: Option<Ending>,
    group_kill: Option<&'a str>,
    complete: bool,
    dropped: Dropped,
    suppressed_before: Option<u64>,
    page_size_bytes: Option<Bytes>,
    raw: Raw<'a>,
    explanation: Story<'a>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Invoker {
    pid: Option<Pid>,
    uid: Option<Uid>,
    oom_score_adj: Option<i16>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Allocation<'a> {
    gfp_bits: Option<u64>,
    gfp_mask: Option<&'a str>,
    order: Option<i32>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counter {
    usage_bytes: Bytes,
    limit_bytes: Option<Bytes>,
    unlimited: bool,
    failcnt: Option<u64>,
}

impl From<Usage> for Counter {
    fn from(usage: Usage) -> Self {
        let limit_bytes = usage.limit.bytes();
        Self {
            usage_bytes: usage.usage,
            limit_bytes,
            unlimited: limit_bytes.is_none(),
            failcnt: usage.failcnt,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Machine<'a> {
    ram_bytes: Option<Bytes>,
    ram_pages: Option<Pages>,
    reserved_bytes: Option<Bytes>,
    total_swap_bytes: Option<Bytes>,
    free_swap_bytes: Option<Bytes>,
    page_cache_bytes: Option<Bytes>,
    huge_pages_bytes: Option<Bytes>,
    counter_bytes: Option<BTreeMap<&'a str, Bytes>>,
    counter_pages: &'a BTreeMap<String, Pages>,
    zones: &'a [Zone],
    slabs: &'a [Slab],
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VictimDocument<'a> {
    pid: Pid,
    comm: &'a str,
    uid: Option<Uid>,
    total_vm_bytes: Option<Bytes>,
    anon_rss_bytes: Option<Bytes>,
    file_rss_bytes: Option<Bytes>,
    shmem_rss_bytes: Option<Bytes>,
    pgtables_bytes: Option<Bytes>,
    oom_score_adj: Option<i16>,
    score: Option<i64>,
    scored_pid: Option<Pid>,
    badness_pages: Option<i64>,
    badness_bytes: Option<i64>,
    reaped: Option<Reaped>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TaskDocument<'a> {
    pid: Pid,
    tgid: Option<Pid>,
    uid: Option<Uid>,
    comm: &'a str,
    total_vm_bytes: Option<Bytes>,
    rss_bytes: Option<Bytes>,
    rss_anon_bytes: Option<Bytes>,
    rss_file_bytes: Option<Bytes>,
    rss_shmem_bytes: Option<Bytes>,
    pgtables_bytes: Option<Bytes>,
    swap_bytes: Option<Bytes>,
    total_vm_pages: Option<Pages>,
    rss_pages: Option<Pages>,
    pgtables_pages: Option<Pages>,
    swap_pages: Option<Pages>,
    oom_score_adj: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_adj: Option<i16>,
    badness_pages: Option<i64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    other: &'a BTreeMap<String, i64>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Raw<'a> {
    file: Option<&'a str>,
    #[serde(flatten)]
    range: RawRange,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Story<'a> {
    summary: &'a str,
    facts: &'a [Statement],
    remedy: Option<&'a Advice>,
}

impl<'a> ReportDocument<'a> {
    /// The report as the document shows it; `file` is the name of the log it was read from.
    pub fn new(report: &'a Report, explanation: &'a Explanation, file: Option<&'a str>) -> Self {
        let memory = report.memory.map(Counter::from);
        let Verification { agrees, reason } = &explanation.verification;
        let ranking: std::collections::HashMap<Pid, i64> =
            report.ranking().into_iter().map(|ranked| (ranked.pid, ranked.points)).collect();
        let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let badness = |pid: Pid| ranking.get(&pid).copied();
        Self {
            time: report.time.as_ref(),
            since_boot_micros: report.since_boot.map(micros),
            killed_since_boot_micros: report.killed_since_boot.map(micros),
            host: report.host.as_deref(),
            kernel: report.kernel.as_deref(),
            invoked_by: report.invoked_by.as_ref().map(|by| by.comm.as_str()),
            invoker: report.invoked_by.as_ref().map(|by| Invoker {
                pid: by.pid,
                uid: by.uid,
                oom_score_adj: by.oom_score_adj,
            }),
            allocation: Allocation::of(report),
            call_trace: &report.call_trace,
            constraint: report.constraint.as_ref(),
            scope: report.scope,
            level: explanation.level,
            oom_memcg: report.oom_memcg.as_deref(),
            task_memcg: report.task_memcg.as_deref(),
            cpuset: report.cpuset.as_deref(),
            place: explanation.place.as_ref(),
            task_place: explanation.task_place.as_ref(),
            kubernetes: explanation.kubernetes.as_ref(),
            usage_bytes: memory.as_ref().map(|memory| memory.usage_bytes),
            limit_bytes: memory.as_ref().and_then(|memory| memory.limit_bytes),
            unlimited: memory.as_ref().map(|memory| memory.unlimited),
            failcnt: memory.as_ref().and_then(|memory| memory.failcnt),
            memory_swap: report.memory_swap.map(Counter::from),
            swap: report.swap.map(Counter::from),
            kmem: report.kmem.map(Counter::from),
            charged: report.charged(),
            stats_for: report.stats_for.as_deref(),
            stats: &report.stats,
            machine: Machine::of(report),
            chosen: report.chosen.as_ref(),
            scored: report.scored.as_ref(),
            victims: report
                .victims
                .iter()
                .map(|victim| VictimDocument::new(victim, badness(victim.pid), report))
                .collect(),
            tasks: report
                .tasks
                .iter()
                .map(|task| TaskDocument::new(task, badness(task.pid), report.page_size))
                .collect(),
            choice_agrees: *agrees,
            choice_reason: reason.as_deref(),
            ending: report.ending,
            group_kill: report.group_kill.as_deref(),
            complete: report.complete,
            dropped: report.dropped,
            suppressed_before: report.suppressed_before,
            page_size_bytes: report.page_size,
            raw: Raw { file, range: report.raw },
            explanation: Story {
                summary: &explanation.summary,
                facts: &explanation.facts,
                remedy: explanation.remedy.as_ref(),
            },
        }
    }
}

impl<'a> Allocation<'a> {
    fn of(report: &'a Report) -> Option<Self> {
        let gfp = report.gfp.as_ref();
        (gfp.is_some() || report.order.is_some()).then(|| Self {
            gfp_bits: gfp.map(|gfp| gfp.bits),
            gfp_mask: gfp.and_then(|gfp| gfp.names.as_deref()),
            order: report.order,
        })
    }
}

/// Pages as bytes, where the size of a page is known.
fn bytes(pages: Option<Pages>, page_size: Option<Bytes>) -> Option<Bytes> {
    Some(pages?.bytes(page_size?))
}

impl<'a> Machine<'a> {
    fn of(report: &'a Report) -> Option<Self> {
        let machine = report.machine.as_ref()?;
        let size = report.page_size;
        let counters = |size: Bytes| {
            machine.counters.iter().map(|(key, pages)| (key.as_str(), pages.bytes(size))).collect()
        };
        Some(Self {
            ram_bytes: bytes(machine.ram, size),
            ram_pages: machine.ram,
            reserved_bytes: bytes(machine.reserved, size),
            total_swap_bytes: machine.total_swap,
            free_swap_bytes: machine.free_swap,
            page_cache_bytes: bytes(machine.page_cache, size),
            huge_pages_bytes: machine.huge_pages,
            counter_bytes: size.map(counters),
            counter_pages: &machine.counters,
            zones: &machine.zones,
            slabs: &machine.slabs,
        })
    }
}

impl<'a> VictimDocument<'a> {
    fn new(victim: &'a Victim, badness: Option<i64>, report: &Report) -> Self {
        let size = report.page_size.and_then(|size| i64::try_from(size.get()).ok());
        Self {
            pid: victim.pid,
            comm: &victim.comm,
            uid: victim.uid,
            total_vm_bytes: victim.total_vm,
            anon_rss_bytes: victim.anon_rss,
            file_rss_bytes: victim.file_rss,
            shmem_rss_bytes: victim.shmem_rss,
            pgtables_bytes: victim.pgtables,
            oom_score_adj: victim.oom_score_adj,
            score: victim.score,
            scored_pid: victim.score.and(report.scored.as_ref()).map(|scored| scored.pid),
            badness_pages: badness,
            badness_bytes: badness.zip(size).map(|(pages, size)| pages.saturating_mul(size)),
            reaped: victim.reaped,
        }
    }
}

impl<'a> TaskDocument<'a> {
    fn new(task: &'a Task, badness: Option<i64>, page_size: Option<Bytes>) -> Self {
        let size = |pages| bytes(pages, page_size);
        Self {
            pid: task.pid,
            tgid: task.tgid,
            uid: task.uid,
            comm: &task.comm,
            total_vm_bytes: size(task.total_vm),
            rss_bytes: size(task.rss),
            rss_anon_bytes: size(task.rss_anon),
            rss_file_bytes: size(task.rss_file),
            rss_shmem_bytes: size(task.rss_shmem),
            pgtables_bytes: task.page_tables.or_else(|| size(task.page_table_pages)),
            swap_bytes: size(task.swap_entries),
            total_vm_pages: task.total_vm,
            rss_pages: task.rss,
            pgtables_pages: task.page_table_pages,
            swap_pages: task.swap_entries,
            oom_score_adj: task.oom_score_adj,
            oom_adj: task.oom_adj,
            badness_pages: badness,
            other: &task.other,
        }
    }
}
