//! The report being put together: takes line after line, and draws the conclusions at its end.

use std::time::Duration;

use memlet_bytes::Bytes;

use super::Bounds;
use crate::amount::Pages;
use crate::line::{
    Columns, Counter, Cpu, Invoked, Kill, Killed, Line, Machine, Message, OomKill, Row, kilobytes_by_name,
    pages_by_name, slab, zone,
};
use crate::report::{Chosen, Constraint, Ending, GfpMask, InvokedBy, Report, Scope, Scored, Victim};

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a line of the report that was seen or not")]
pub(super) struct Draft {
    pub(super) report: Report,
    /// Whether it began with `… invoked oom-killer`.
    pub(super) with_header: bool,
    stage: Stage,
    columns: Option<Columns>,
    /// The `oom-kill` record, to be read again when the kill line has told the victim's name.
    oom_kill: String,
    message: Option<Message>,
    saw_mem_info: bool,
    saw_slab_title: bool,
    global: bool,
    /// `Task in … killed as a result of limit of …`, by which kernels up to 4.20 tell a cgroup's limit.
    saw_task_in: bool,
    /// `Memory cgroup stats for …: cache:…`: figures of the cgroups one by one, to be added up.
    saw_stats_of: bool,
    /// One of them was not of a cgroup below the first.
    saw_stats_beside: bool,
}

/// How far the report has come: its parts follow each other in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Header,
    CallTrace,
    Memory,
    Statistics,
    Table,
    Chosen,
}

/// No process name is longer, not even a kernel thread's with its workqueue.
const LONGEST_NAME: usize = 256;
const LONGEST_PATH: usize = 4096;
/// More than any machine has.
const MOST_ZONES: usize = 4096;
const MOST_SLABS: usize = 512;
const MOST_COUNTERS: usize = 64;

/// `text`, or as much of it as any real name needs.
pub(super) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_NAME)].to_owned()
}

fn path(text: &str) -> String {
    text[..text.floor_char_boundary(LONGEST_PATH)].to_owned()
}

impl Draft {
    /// Whether every report begins with this line, so that an open one must have ended.
    pub(super) fn begins_with(line: &Line<'_>) -> bool {
        matches!(line, Line::Invoked(_))
    }

    /// Whether no one but the OOM killer writes this line, so that it stands for a report whose head was lost.
    pub(super) fn may_begin_with(line: &Line<'_>) -> bool {
        matches!(
            line,
            Line::Invoked(_)
                | Line::TaskIn { .. }
                | Line::Counter(..)
                | Line::StatsFor { .. }
                | Line::StatsOf { .. }
                | Line::Kill(_)
                | Line::TasksTitle
                | Line::TasksHeader(_)
                | Line::OomKill(_)
        )
    }

    /// Whether the line comes too late for this report: the end was lost, and so was the head of the next. Stack
    /// dumps and `Mem-Info` tell nothing, for other CPUs print them too.
    pub(super) fn is_past(&self, line: &Line<'_>, text: &str) -> bool {
        match line {
            Line::Counter(Counter::Memory, _) => {
                self.stage >= Stage::Statistics || self.report.memory.is_some()
            }
            Line::TaskIn { .. } => self.stage >= Stage::Memory,
            Line::Counter(..) => self.stage >= Stage::Statistics,
            Line::StatsOf { .. } | Line::StatsFor { .. } | Line::TasksTitle => self.stage >= Stage::Table,
            Line::Kill(_) => self.report.scored.is_some(),
            Line::TasksHeader(_) => self.stage >= Stage::Chosen || self.columns.is_some(),
            // Once torn and then mended, it comes twice.
            Line::OomKill(_) => self.stage >= Stage::Chosen && !text.starts_with(&self.oom_kill),
            _ => false,
        }
    }

    /// Whether this kill can be the end of this report, rather than of one whose other lines were lost. The numbers
    /// may differ: when the chosen process's first thread is gone, the kernel prints another thread of it.
    pub(super) fn may_kill(&self, killed: &Killed<'_>) -> bool {
        let report = &self.report;
        if report.task(killed.pid).is_some() {
            return true;
        }
        let Some(chosen) = &report.chosen else {
            // Nothing tells, unless it is that lines were lost, the choice among them.
            return report.dropped.records == 0 || report.scored.is_some();
        };
        if chosen.pid == killed.pid {
            return true;
        }
        let row = report.task(chosen.pid).and_then(|row| row.total_vm);
        match (row, killed.total_vm) {
            // Threads share their address space.
            (Some(pages), Some(total_vm)) => page_size_by(pages, total_vm).is_some(),
            _ => report.dropped.records == 0,
        }
    }

    pub(super) fn ending_of(killed: &Killed<'_>) -> Ending {
        match killed.message {
            Some(Message::AllocatingTask) => Ending::KilledAllocatingTask,
            _ => Ending::Killed,
        }
    }

    /// Takes what a line says. Returns whether this report has a place for it.
    pub(super) fn take(&mut self, line: &Line<'_>, text: &str, bounds: &Bounds) -> bool {
        match line {
            Line::Invoked(read) => self.take_header(read),
            Line::Cpuset { name } => {
                if self.stage > Stage::CallTrace || self.report.cpuset.is_some() {
                    return false;
                }
                self.report.cpuset = Some(shortened(name));
            }
            Line::Cpu(read) => return self.take_cpu(read),
            Line::CallTrace | Line::CallTraceEnd => {
                if self.stage > Stage::CallTrace {
                    return false;
                }
                self.stage = Stage::CallTrace;
                self.keep_trace(text, bounds);
            }
            Line::TaskIn { task_memcg, oom_memcg } => {
                self.stage = self.stage.max(Stage::Memory);
                self.saw_task_in = true;
                self.report.task_memcg = Some(path(task_memcg));
                self.report.oom_memcg = Some(path(oom_memcg));
            }
            Line::Counter(counter, usage) => {
                self.stage = self.stage.max(Stage::Memory);
                let slot = match counter {
                    Counter::Memory => &mut self.report.memory,
                    Counter::MemorySwap => &mut self.report.memory_swap,
                    Counter::Swap => &mut self.report.swap,
                    Counter::Kmem => &mut self.report.kmem,
                };
                *slot = Some(*usage);
            }
            Line::StatsFor { path: of } => {
                self.stage = self.stage.max(Stage::Statistics);
                self.report.stats_for = Some(path(of));
            }
            Line::StatsOf { path: of, stats } => {
                self.stage = self.stage.max(Stage::Statistics);
                self.take_stats_of(of, stats, bounds);
            }
            Line::Stat { key, value } => return self.take_stat(key, *value, bounds),
            Line::MemInfo => {
                if self.stage >= Stage::Table {
                    return false;
                }
                self.stage = self.stage.max(Stage::Memory);
                self.saw_mem_info = true;
            }
            Line::Torn(_) => self.stage = self.stage.max(Stage::Statistics),
            Line::Machine(figure) => return self.take_machine(*figure),
            Line::SlabTitle => self.saw_slab_title = self.saw_mem_info,
            Line::TasksTitle => self.stage = self.stage.max(Stage::Table),
            Line::TasksHeader(columns) => {
                self.stage = self.stage.max(Stage::Table);
                self.columns = Some(columns.clone());
            }
            Line::TaskRow(row) => return self.take_row(row, bounds),
            Line::OomKill(read) => {
                self.stage = Stage::Chosen;
                text.clone_into(&mut self.oom_kill);
                self.take_oom_kill(read);
            }
            Line::Kill(read) => self.take_kill(read),
            // The assembler's own.
            Line::Suppressed(_)
            | Line::Killed(_)
            | Line::GroupKill { .. }
            | Line::Reaped { .. }
            | Line::End(_) => return false,
        }
        true
    }

    fn take_header(&mut self, read: &Invoked<'_>) {
        let report = &mut self.report;
        report.invoked_by = Some(InvokedBy {
            comm: shortened(read.comm),
            pid: None,
            uid: None,
            oom_score_adj: read.oom_score_adj,
        });
        report.gfp = read.gfp_bits.map(|bits| GfpMask { bits, names: read.gfp_names.map(path) });
        report.order = read.order;
    }

    fn take_cpu(&mut self, read: &Cpu<'_>) -> bool {
        self.stage = self.stage.max(Stage::CallTrace);
        let report = &mut self.report;
        report.kernel = report.kernel.take().or(read.kernel.map(shortened));
        // Another CPU's stack dump may stand here.
        let invoker = report.invoked_by.as_mut().filter(|invoker| invoker.comm == read.comm);
        if let Some(invoker) = invoker {
            (invoker.pid, invoker.uid) = (Some(read.pid), read.uid);
            return true;
        }
        false
    }

    fn take_stat(&mut self, key: &str, value: u64, bounds: &Bounds) -> bool {
        if self.stage != Stage::Statistics {
            return false;
        }
        if self.report.stats.len() < bounds.stats && key.len() <= LONGEST_NAME {
            self.report.stats.insert(key.to_owned(), value);
        } else {
            self.report.dropped.lines += 1;
        }
        true
    }

    /// Adds up the cgroups below the limit: each line tells one cgroup's own.
    fn take_stats_of(&mut self, of: &str, stats: &str, bounds: &Bounds) {
        let report = &mut self.report;
        match &report.stats_for {
            Some(first) if self.saw_stats_of => {
                self.saw_stats_beside |=
                    of.strip_prefix(first.as_str()).is_none_or(|below| !below.starts_with('/'));
            }
            _ => report.stats_for = Some(path(of)),
        }
        self.saw_stats_of = true;
        for (key, bytes) in kilobytes_by_name(stats) {
            if let Some(sum) = report.stats.get_mut(key) {
                *sum = sum.saturating_add(bytes.get());
            } else if report.stats.len() < bounds.stats && key.len() <= LONGEST_NAME {
                report.stats.insert(key.to_owned(), bytes.get());
            } else {
                report.dropped.lines += 1;
            }
        }
    }

    fn take_row(&mut self, row: &Row<'_>, bounds: &Bounds) -> bool {
        if self.stage != Stage::Table {
            return false;
        }
        let Some(mut task) = self.columns.as_ref().and_then(|columns| row.read(columns)) else {
            return false;
        };
        if self.report.tasks.len() < bounds.tasks {
            if task.comm.len() > LONGEST_NAME {
                task.comm = shortened(&task.comm);
            }
            self.report.tasks.push(task);
        } else {
            self.report.dropped.tasks += 1;
        }
        true
    }

    fn take_kill(&mut self, read: &Kill<'_>) {
        self.stage = Stage::Chosen;
        self.message = read.message;
        self.report.scored = Some(Scored { pid: read.pid, comm: shortened(read.comm), score: read.score });
    }

    /// Any other record: a line of the stack dump, a row of kernel caches, or some other subsystem's. Returns whether
    /// the report has a place for it.
    pub(super) fn take_unknown(&mut self, text: &str, bounds: &Bounds) -> bool {
        if self.stage == Stage::CallTrace {
            // Whatever comes here is kept, but a flood of it must not keep the report open.
            return self.keep_trace(text, bounds);
        }
        if self.saw_slab_title
            && self.stage == Stage::Memory
            && let Some(slab) = slab(text)
        {
            let machine = self.report.machine.get_or_insert_default();
            if machine.slabs.len() < MOST_SLABS && slab.name.len() <= LONGEST_NAME {
                machine.slabs.push(slab);
            } else {
                self.report.dropped.lines += 1;
            }
            return true;
        }
        false
    }

    /// Returns whether there was room for it.
    fn keep_trace(&mut self, text: &str, bounds: &Bounds) -> bool {
        let fits = self.report.call_trace.len() < bounds.call_trace;
        if fits {
            self.report.call_trace.push(shortened(text));
        } else {
            self.report.dropped.lines += 1;
        }
        fits
    }

    fn take_machine(&mut self, figure: Machine<'_>) -> bool {
        if !(self.saw_mem_info || self.with_header) || self.stage >= Stage::Table {
            return false;
        }
        let machine = self.report.machine.get_or_insert_default();
        match figure {
            Machine::Ram(pages) => machine.ram = Some(pages),
            Machine::Reserved(pages) => machine.reserved = Some(pages),
            Machine::TotalSwap(bytes) => machine.total_swap = Some(bytes),
            Machine::FreeSwap(bytes) => machine.free_swap = Some(bytes),
            Machine::PageCache(pages) => machine.page_cache = Some(pages),
            Machine::HugePages(bytes) => {
                machine.huge_pages = Some(machine.huge_pages.map_or(bytes, |sum| sum + bytes));
            }
            Machine::Counters(text) => {
                for (key, pages) in pages_by_name(text) {
                    if machine.counters.len() < MOST_COUNTERS && key.len() <= LONGEST_NAME {
                        machine.counters.insert(key.to_owned(), pages);
                    }
                }
            }
            Machine::Zone(text) => {
                if let Some(zone) = zone(text).filter(|_| machine.zones.len() < MOST_ZONES) {
                    machine.zones.push(zone);
                }
            }
        }
        true
    }

    fn take_oom_kill(&mut self, read: &OomKill<'_>) {
        let report = &mut self.report;
        report.constraint = read.constraint.map(|name| Constraint::of_name(&shortened(name)));
        report.cpuset = read.cpuset.map(shortened);
        report.oom_memcg = read.oom_memcg.map(path);
        report.task_memcg = read.task_memcg.map(path);
        self.global = read.global;
        if let (Some(pid), Some(comm), Some(uid)) = (read.pid, read.task, read.uid) {
            report.chosen = Some(Chosen { pid, comm: shortened(comm), uid });
        }
    }

    pub(super) fn take_killed(&mut self, killed: &Killed<'_>, since_boot: Option<Duration>) {
        self.message = killed.message.or(self.message);
        self.report.killed_since_boot = since_boot;
        self.report.victims.push(Victim::from(killed));
        let text = std::mem::take(&mut self.oom_kill);
        let is_same = self.report.chosen.as_ref().is_none_or(|chosen| chosen.pid == killed.pid);
        if is_same && !text.is_empty() {
            let read = OomKill::default().knowing_victim(&text, killed.comm);
            self.take_oom_kill(&read);
        }
    }

    pub(super) fn finish(mut self, ending: Option<Ending>) -> Report {
        self.report.ending = ending;
        self.report.scope = self.scope();
        self.report.complete = self.is_complete();
        let report = &mut self.report;
        if report.scope == Some(Scope::Memcg) {
            // Figures of the machine came from some other message in between.
            report.machine = None;
            // The statistics are those of the cgroup whose limit was hit.
            // Where they stand cgroup by cgroup, the first is, unless the log begins amid them.
            let is_first = !self.saw_stats_beside || report.memory.is_some();
            let of_stats = report.stats_for.clone().filter(|_| is_first);
            report.oom_memcg = report.oom_memcg.take().or(of_stats);
        }
        if ending.is_none()
            && let Some(Chosen { pid, comm, uid }) = report.chosen.clone()
        {
            // The log ends between the choice and the kill.
            report.victims.push(Victim { pid, comm, uid: Some(uid), ..Victim::default() });
        }
        if let (Some(scored), Some(victim)) = (&report.scored, report.victims.first_mut()) {
            // The table lists processes, not threads: one that it lists is another process, whose score is its own.
            let is_another =
                scored.pid != victim.pid && report.tasks.iter().any(|task| task.pid == scored.pid);
            victim.score = (!is_another).then_some(scored.score);
        }
        report.page_size = page_size(report);
        for victim in &mut report.victims {
            if let Some(chosen) = report.chosen.as_ref().filter(|chosen| chosen.pid == victim.pid) {
                victim.uid = victim.uid.or(Some(chosen.uid));
            }
            fill_from_row(victim, report.tasks.iter().find(|task| task.pid == victim.pid));
        }
        self.report
    }

    /// Whether all is there that a whole report shows, whatever the settings of its kernel.
    fn is_complete(&self) -> bool {
        let report = &self.report;
        let names_choice =
            report.chosen.is_some() || report.scored.is_some() || report.ending != Some(Ending::Killed);
        let shows_memory = match report.scope {
            Some(Scope::Memcg) => report.memory.is_some() && (report.stats_for.is_some() || self.saw_task_in),
            _ => self.saw_mem_info || report.machine.is_some(),
        };
        self.with_header
            && report.ending.is_some()
            && names_choice
            && shows_memory
            && report.dropped.is_nothing()
    }

    fn scope(&self) -> Option<Scope> {
        let report = &self.report;
        // The constraint's name comes late: Linux 5.0 to 5.2 print NONE for a cgroup's limit too.
        if report.oom_memcg.is_some() || self.message == Some(Message::Memcg) {
            return Some(Scope::Memcg);
        }
        match self.message {
            Some(Message::Cpuset) => return Some(Scope::Cpuset),
            Some(Message::Mempolicy) => return Some(Scope::Mempolicy),
            _ => {}
        }
        match report.constraint {
            Some(Constraint::Memcg) => Some(Scope::Memcg),
            Some(Constraint::Cpuset) => Some(Scope::Cpuset),
            Some(Constraint::MemoryPolicy) => Some(Scope::Mempolicy),
            // These words stand for a cpuset or a memory policy too, but then the constraint says so, or is lost.
            _ if self.global || self.message.is_some() => Some(Scope::System),
            _ if report.memory.is_some() || report.stats_for.is_some() => Some(Scope::Memcg),
            // Failed allocations show it too, and may get in between.
            _ if self.saw_mem_info && report.ending.is_some() => Some(Scope::System),
            _ => None,
        }
    }
}

/// Old kernels say a victim's user and `oom_score_adj` only in the table.
fn fill_from_row(victim: &mut Victim, row: Option<&crate::report::Task>) {
    let Some(row) = row else { return };
    victim.uid = victim.uid.or(row.uid);
    victim.oom_score_adj = victim.oom_score_adj.or(row.oom_score_adj);
    // The first releases of Linux 5.4 print bytes and call them kB.
    if let (Some(printed), Some(bytes)) = (victim.pgtables, row.page_tables)
        && bytes > Bytes::ZERO
        && printed == Bytes::from_kib(bytes.get())
    {
        victim.pgtables = Some(bytes);
    }
}

/// The page size by what the report tells both in pages and in kB: a victim's address space, free memory.
fn page_size(report: &Report) -> Option<Bytes> {
    let by_victim = report.victims.iter().find_map(|victim| {
        // The kill line may name a thread, which has no row of its own.
        let chosen = report.chosen.as_ref().map_or(victim.pid, |chosen| chosen.pid);
        let row = report.task(victim.pid).or_else(|| report.task(chosen))?;
        page_size_by(row.total_vm?, victim.total_vm?)
    });
    by_victim.or_else(|| {
        let machine = report.machine.as_ref()?;
        let zones: Bytes = machine.zones.iter().filter_map(|zone| zone.free).sum();
        page_size_by(*machine.counters.get("free")?, zones)
    })
}

/// The size that a page has if both are the same memory. It may have grown in between, so the nearest size that
/// any kernel uses is taken, if it is near.
fn page_size_by(pages: Pages, bytes: Bytes) -> Option<Bytes> {
    [4, 8, 16, 64].into_iter().map(Bytes::from_kib).find(|size| {
        let expected = pages.bytes(*size).get();
        expected > 0 && expected.abs_diff(bytes.get()) <= expected / 8
    })
}
