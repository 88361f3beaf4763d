//! The report being put together: takes line after line, and draws the conclusions at its end.

use std::time::Duration;

use memlet_bytes::Bytes;

use super::Bounds;
use crate::amount::Pages;
use crate::line::{Columns, Counter, Killed, Line, Machine, Message, OomKill};
use crate::report::{Chosen, Constraint, Ending, GfpMask, InvokedBy, Report, Scope, Victim};

#[derive(Debug, Default)]
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
    global: bool,
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
                | Line::Counter(..)
                | Line::StatsFor { .. }
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
            Line::Counter(..) => self.stage >= Stage::Statistics,
            Line::StatsFor { .. } | Line::TasksTitle => self.stage >= Stage::Table,
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
            return report.dropped.records == 0;
        };
        if chosen.pid == killed.pid {
            return true;
        }
        match report.task(chosen.pid).and_then(|row| row.total_vm) {
            // Threads share their address space.
            Some(pages) => page_size_by(pages, killed.total_vm).is_some(),
            None => report.dropped.records == 0,
        }
    }

    pub(super) fn ending_of(killed: &Killed<'_>) -> Ending {
        match killed.message {
            Some(Message::AllocatingTask) => Ending::KilledAllocatingTask,
            _ => Ending::Killed,
        }
    }

    pub(super) fn take(&mut self, line: &Line<'_>, text: &str, bounds: &Bounds) {
        let report = &mut self.report;
        match line {
            Line::Invoked(read) => {
                report.invoked_by = Some(InvokedBy {
                    comm: shortened(read.comm),
                    pid: None,
                    uid: None,
                    oom_score_adj: read.oom_score_adj,
                });
                report.gfp = read.gfp_bits.map(|bits| GfpMask { bits, names: read.gfp_names.map(path) });
                report.order = read.order;
            }
            Line::Cpu(read) => {
                self.stage = self.stage.max(Stage::CallTrace);
                report.kernel = report.kernel.take().or(read.kernel.map(shortened));
                // Another CPU's stack dump may stand here.
                if let Some(invoker) = report.invoked_by.as_mut().filter(|invoker| invoker.comm == read.comm)
                {
                    (invoker.pid, invoker.uid) = (Some(read.pid), read.uid);
                }
            }
            Line::CallTrace | Line::CallTraceEnd => {
                if self.stage <= Stage::CallTrace {
                    self.stage = Stage::CallTrace;
                    self.keep_trace(text, bounds);
                }
            }
            Line::Counter(counter, usage) => {
                self.stage = self.stage.max(Stage::Memory);
                let slot = match counter {
                    Counter::Memory => &mut report.memory,
                    Counter::MemorySwap => &mut report.memory_swap,
                    Counter::Swap => &mut report.swap,
                    Counter::Kmem => &mut report.kmem,
                };
                *slot = Some(*usage);
            }
            Line::StatsFor { path: of } => {
                self.stage = self.stage.max(Stage::Statistics);
                report.stats_for = Some(path(of));
            }
            Line::Stat { key, value } => {
                if self.stage == Stage::Statistics {
                    if report.stats.len() < bounds.stats && key.len() <= LONGEST_NAME {
                        report.stats.insert((*key).to_owned(), *value);
                    } else {
                        report.dropped.lines += 1;
                    }
                }
            }
            Line::MemInfo => {
                if self.stage < Stage::Table {
                    self.stage = self.stage.max(Stage::Memory);
                    self.saw_mem_info = true;
                }
            }
            Line::Torn(_) => self.stage = self.stage.max(Stage::Statistics),
            Line::Machine(figure) => self.take_machine(*figure),
            Line::TasksTitle => self.stage = self.stage.max(Stage::Table),
            Line::TasksHeader(columns) => {
                self.stage = self.stage.max(Stage::Table);
                self.columns = Some(columns.clone());
            }
            Line::TaskRow(row) => {
                if self.stage == Stage::Table
                    && let Some(mut task) = self.columns.as_ref().and_then(|columns| row.read(columns))
                {
                    if report.tasks.len() < bounds.tasks {
                        task.comm = shortened(&task.comm);
                        report.tasks.push(task);
                    } else {
                        report.dropped.tasks += 1;
                    }
                }
            }
            Line::OomKill(read) => {
                self.stage = Stage::Chosen;
                text.clone_into(&mut self.oom_kill);
                self.take_oom_kill(read);
            }
            // The assembler's own.
            Line::Suppressed(_)
            | Line::Killed(_)
            | Line::GroupKill { .. }
            | Line::Reaped { .. }
            | Line::End(_) => {}
        }
    }

    /// Any other record: a line of the stack dump, or some other subsystem's.
    pub(super) fn take_unknown(&mut self, text: &str, bounds: &Bounds) {
        if self.stage == Stage::CallTrace {
            self.keep_trace(text, bounds);
        }
    }

    fn keep_trace(&mut self, text: &str, bounds: &Bounds) {
        if self.report.call_trace.len() < bounds.call_trace {
            self.report.call_trace.push(shortened(text));
        } else {
            self.report.dropped.lines += 1;
        }
    }

    fn take_machine(&mut self, figure: Machine) {
        if !self.saw_mem_info {
            return;
        }
        let machine = self.report.machine.get_or_insert_default();
        match figure {
            Machine::Ram(pages) => machine.ram = Some(pages),
            Machine::Reserved(pages) => machine.reserved = Some(pages),
            Machine::TotalSwap(bytes) => machine.total_swap = Some(bytes),
            Machine::FreeSwap(bytes) => machine.free_swap = Some(bytes),
        }
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
        self.message = killed.message;
        self.report.killed_since_boot = since_boot;
        self.report.victims.push(Victim::from(killed));
        if self.report.chosen.as_ref().is_some_and(|chosen| chosen.pid == killed.pid) {
            let text = std::mem::take(&mut self.oom_kill);
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
            report.oom_memcg = report.oom_memcg.take().or_else(|| report.stats_for.clone());
        }
        if ending.is_none()
            && let Some(Chosen { pid, comm, uid }) = report.chosen.clone()
        {
            // The log ends between the choice and the kill.
            report.victims.push(Victim { pid, comm, uid: Some(uid), ..Victim::default() });
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
        let names_choice = report.chosen.is_some() || report.ending != Some(Ending::Killed);
        let shows_memory = match report.scope {
            Some(Scope::Memcg) => report.memory.is_some() && report.stats_for.is_some(),
            _ => report.machine.is_some_and(|machine| machine.ram.is_some()),
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

/// The page size by a victim's address space, which the table tells in pages and the kill line in kB.
fn page_size(report: &Report) -> Option<Bytes> {
    report.victims.iter().find_map(|victim| {
        // The kill line may name a thread, which has no row of its own.
        let chosen = report.chosen.as_ref().map_or(victim.pid, |chosen| chosen.pid);
        let row = report.task(victim.pid).or_else(|| report.task(chosen))?;
        page_size_by(row.total_vm?, victim.total_vm?)
    })
}

/// The size that a page has if both are the same address space. It may have grown in between, so the nearest size that
/// any kernel uses is taken, if it is near.
fn page_size_by(pages: Pages, bytes: Bytes) -> Option<Bytes> {
    [4, 8, 16, 64].into_iter().map(Bytes::from_kib).find(|size| {
        let expected = pages.bytes(*size).get();
        expected > 0 && expected.abs_diff(bytes.get()) <= expected / 8
    })
}
