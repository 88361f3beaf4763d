//! Records in, events out: puts the lines of a report together as they come.
//!
//! The kernel holds one lock over a whole report, so reports never interleave with each other on one machine;
//! other subsystems' records may stand between any two lines, and may tear the lines that the kernel writes
//! piece by piece. A report is handed out on the record that ends it, without waiting for what may follow:
//! members of a group kill and the reaper's result come as amendments.

mod draft; // the report being put together

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use draft::{Draft, shortened};

use crate::line::{Killed, Line, Torn};
use crate::record::Record;
use crate::report::{Amendment, Ending, Pid, Report, ReportId, Victim};

/// How much of one report is kept, so that memory stays bounded whatever the log holds. What is beyond is
/// dropped and counted in [`Report::dropped`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Rows of the task table.
    pub tasks: usize,
    /// Killed processes.
    pub victims: usize,
    /// Keys of the statistics.
    pub stats: usize,
    /// Lines of the call trace.
    pub call_trace: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tasks: 32_768, victims: 4_096, stats: 512, call_trace: 256 }
    }
}

/// What the log told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A report ended, or was cut off.
    Finished(Box<Report>),
    /// The kernel added to a report that was already handed out.
    Amended {
        /// Which.
        report: ReportId,
        /// What; see [`Report::amend`].
        amendment: Amendment,
    },
}

/// Puts reports together. Push records in the order of the log, then take the events.
#[derive(Debug, Default)]
pub struct Assembler {
    bounds: Bounds,
    events: VecDeque<Event>,
    next_id: u64,
    /// Records pushed so far.
    position: u64,
    last_sequence: Option<u64>,
    /// Where the log stands, for the report that a line belongs to.
    open: Option<Draft>,
    torn: Option<TornLine>,
    suppressed: Option<u64>,
    /// The last reports handed out, newest last: amendments are for these.
    recent: VecDeque<Recent>,
}

/// The beginning of a line whose rest is still to come.
#[derive(Debug)]
struct TornLine {
    text: String,
    caller: Option<String>,
}

/// What must be known of a report to amend it.
#[derive(Debug)]
struct Recent {
    id: ReportId,
    killed: Option<Duration>,
    pids: Vec<Pid>,
    reaped: Vec<Pid>,
    /// The cgroup is being killed as a whole, and no other report has begun.
    group: bool,
    /// The processes of the OOM domain, where they were listed.
    domain: HashSet<Pid>,
}

/// How many reports back the reaper's result may come.
pub(crate) const RECENT: usize = 32;
/// No record of any source is longer; what is longer is none.
const LONGEST_TEXT: usize = 64 << 10;
/// A group's members are killed in one go, under one lock.
const GROUP_KILL_LASTS: Duration = Duration::from_secs(1);

impl Assembler {
    /// An assembler that keeps no more of one report than `bounds`.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// The next event. Take all after each push: they are kept until taken.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether a report has begun and not ended.
    pub fn is_amid_report(&self) -> bool {
        self.open.is_some()
    }

    /// Tells that records were lost before the next one (`EPIPE` from `/dev/kmsg`); gaps in the sequence numbers
    /// are noticed without it.
    pub fn lost(&mut self, records: u64) {
        if let Some(open) = &mut self.open {
            open.report.dropped.records = open.report.dropped.records.saturating_add(records);
        }
    }

    /// The end of the log: what is still open is handed out as it is, cut off.
    pub fn flush(&mut self) {
        self.close(None);
        self.close_group();
        self.suppressed = None;
    }

    /// Takes the next record of the log.
    pub fn push(&mut self, record: &Record) {
        self.position += 1;
        self.follow_sequence(record.sequence);
        if !record.is_from_kernel() || record.text.len() > LONGEST_TEXT {
            return;
        }
        if self.join_torn(record) {
            return;
        }
        match Line::parse(&record.text) {
            Some(line) => self.take(&line, record, &record.text),
            // A record may hold several lines: statistics (Linux 5.3 to 6.3) and Mem-Info do. Only such lines are
            // looked for in there, since names may hold newlines too.
            None if record.text.contains('\n') => {
                for text in record.text.lines() {
                    if let Some(line @ (Line::Stat { .. } | Line::Machine(_))) = Line::parse(text) {
                        self.take(&line, record, text);
                    }
                }
            }
            None => self.take_unknown(record),
        }
    }

    fn follow_sequence(&mut self, sequence: Option<u64>) {
        if let (Some(last), Some(sequence)) = (self.last_sequence, sequence) {
            if sequence > last {
                self.lost(sequence - last - 1);
            } else {
                // Another boot, or the log read anew.
                self.flush();
            }
        }
        self.last_sequence = sequence.or(self.last_sequence);
    }

    /// Joins a record with the torn line it continues. Returns whether it did.
    fn join_torn(&mut self, record: &Record) -> bool {
        let Some(mut torn) = self.torn.take() else { return false };
        let continues = record.continuation != Some(false)
            && torn.caller == record.caller
            && Torn::can_go_on(&torn.text, &record.text)
            && torn.text.len() + record.text.len() <= LONGEST_TEXT;
        if !continues {
            self.torn = Some(torn);
            return false;
        }
        torn.text.push_str(&record.text);
        let text = torn.text;
        match Line::parse(&text) {
            Some(line) => self.take(&line, record, &text),
            None => self.take_unknown(record),
        }
        true
    }

    fn take(&mut self, line: &Line<'_>, record: &Record, text: &str) {
        match line {
            Line::Suppressed(count) => {
                self.close(None);
                self.close_group();
                self.suppressed = Some(*count);
            }
            Line::Reaped { pid, left } => {
                let reaped = self.recent.iter_mut().rev().find(|recent| recent.pids.contains(pid));
                if let Some(recent) = reaped
                    && !recent.reaped.contains(pid)
                {
                    recent.reaped.push(*pid);
                    let amendment = Amendment::Reaped { pid: *pid, left: *left };
                    self.events.push_back(Event::Amended { report: recent.id, amendment });
                }
            }
            Line::GroupKill { path } => {
                if self.open.is_none()
                    && let Some(recent) = self.recent.back_mut()
                    && !recent.pids.is_empty()
                {
                    recent.group = true;
                    let amendment = Amendment::GroupKill { path: (*path).to_owned() };
                    self.events.push_back(Event::Amended { report: recent.id, amendment });
                }
            }
            Line::Torn(torn) => {
                if let (Torn::StatsFor, Some(open)) = (torn, &mut self.open) {
                    open.take(line, text, &self.bounds);
                }
                self.hold_torn(record, text);
            }
            Line::Killed(killed) => self.take_killed(killed, record),
            Line::End(ending) => {
                if self.open.is_none() && *ending == Ending::NoKillableProcess {
                    self.begin(record, false);
                }
                self.touch(record);
                self.close(Some(*ending));
            }
            line => {
                if Draft::begins_with(line) || self.open.as_ref().is_some_and(|open| open.is_past(line, text))
                {
                    self.close(None);
                }
                if self.open.is_none() && Draft::may_begin_with(line) {
                    self.begin(record, Draft::begins_with(line));
                }
                self.touch(record);
                let Some(open) = &mut self.open else { return };
                open.take(line, text, &self.bounds);
                if matches!(line, Line::OomKill(read) if !read.is_whole()) {
                    self.hold_torn(record, text);
                }
            }
        }
    }

    fn take_unknown(&mut self, record: &Record) {
        if let Some(open) = &mut self.open {
            open.take_unknown(&record.text, &self.bounds);
        }
    }

    fn take_killed(&mut self, killed: &Killed<'_>, record: &Record) {
        if self.open.as_ref().is_some_and(|open| !open.may_kill(killed)) {
            self.close(None);
        }
        if self.open.is_none() {
            if self.take_group_member(killed, record) {
                return;
            }
            // The kernel's rate limit withheld the report, or its head was lost.
            self.begin(record, false);
        }
        self.touch(record);
        if let Some(open) = &mut self.open {
            open.take_killed(killed, record.since_boot);
        }
        self.close(Some(Draft::ending_of(killed)));
    }

    /// Adds a member of a cgroup that is being killed as a whole. Returns whether it is one.
    fn take_group_member(&mut self, killed: &Killed<'_>, record: &Record) -> bool {
        let Some(recent) = self.recent.back_mut().filter(|recent| recent.group) else { return false };
        let late = match (recent.killed, record.since_boot) {
            (Some(killed), Some(now)) => now.saturating_sub(killed) > GROUP_KILL_LASTS,
            _ => false,
        };
        if late || !(recent.domain.is_empty() || recent.domain.contains(&killed.pid)) {
            recent.group = false;
            return false;
        }
        // The kernel names the first victim again among the members.
        if !recent.pids.contains(&killed.pid) {
            let amendment = if recent.pids.len() < self.bounds.victims {
                recent.pids.push(killed.pid);
                Amendment::Victim(Victim::from(killed))
            } else {
                Amendment::VictimDropped
            };
            self.events.push_back(Event::Amended { report: recent.id, amendment });
        }
        true
    }

    fn hold_torn(&mut self, record: &Record, text: &str) {
        self.torn = Some(TornLine { text: text.to_owned(), caller: record.caller.clone() });
    }

    fn begin(&mut self, record: &Record, with_header: bool) {
        self.close_group();
        self.torn = None;
        let mut draft = Draft::default();
        draft.with_header = with_header;
        draft.report.id = ReportId(self.next_id);
        draft.report.since_boot = record.since_boot;
        draft.report.suppressed_before = self.suppressed.take();
        draft.report.raw.start_line = self.position;
        draft.report.raw.start_sequence = record.sequence;
        self.next_id += 1;
        self.open = Some(draft);
    }

    /// Notes that the record belongs to the open report.
    fn touch(&mut self, record: &Record) {
        if let Some(open) = &mut self.open {
            open.report.raw.end_line = self.position;
            open.report.raw.end_sequence = record.sequence;
        }
    }

    fn close(&mut self, ending: Option<Ending>) {
        self.torn = None;
        let Some(draft) = self.open.take() else { return };
        let report = draft.finish(ending);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent {
            id: report.id,
            killed: report.killed_since_boot,
            pids: report.victims.iter().map(|victim| victim.pid).collect(),
            reaped: Vec::new(),
            group: false,
            domain: report.tasks.iter().map(|task| task.pid).collect(),
        });
        self.events.push_back(Event::Finished(Box::new(report)));
    }

    fn close_group(&mut self) {
        if let Some(recent) = self.recent.back_mut() {
            recent.group = false;
            recent.domain = HashSet::new();
        }
    }
}

impl From<&Killed<'_>> for Victim {
    fn from(killed: &Killed<'_>) -> Self {
        Self {
            pid: killed.pid,
            comm: shortened(killed.comm),
            uid: killed.uid,
            total_vm: Some(killed.total_vm),
            anon_rss: killed.anon_rss,
            file_rss: killed.file_rss,
            shmem_rss: killed.shmem_rss,
            pgtables: killed.pgtables,
            oom_score_adj: killed.oom_score_adj,
            reaped: None,
        }
    }
}
