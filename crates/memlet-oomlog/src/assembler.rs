//! Records in, events out: puts the lines of a report together as they come.
//!
//! The kernel holds one lock over a whole report, so the reports of one machine hardly ever interleave; where they do,
//! the callers that newer kernels print with each line keep them apart. Other subsystems' records may stand between
//! any two lines, and may tear the lines that the kernel writes piece by piece. A report is handed out on the record
//! that ends it, without waiting for what may follow: members of a group kill and the reaper's result come as
//! amendments. One assembler reads the log of one machine.

mod draft; // the report being put together
mod moment; // when a record was written
pub(crate) mod recent; // the reports handed out, which the kernel may still add to

use std::collections::VecDeque;
use std::time::Duration;

use draft::{Draft, shortened};
use moment::Moment;
use recent::{Joined, Recents};

use crate::line::{Killed, Line, Torn};
use crate::record::Record;
use crate::report::{Amendment, Ending, Report, ReportId, Victim};

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
        /// The record that says so, counted as in [`Report::raw`].
        line: u64,
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
    /// The reports that have begun and not ended: one, or one of each caller.
    open: Vec<Open>,
    /// Lines whose rest is still to come.
    torn: Vec<TornLine>,
    suppressed: Option<u64>,
    recents: Recents,
}

/// A report that has begun and not ended.
#[derive(Debug)]
struct Open {
    caller: Option<Box<str>>,
    draft: Draft,
    /// When its last record was written.
    last: Moment,
    /// Records since the last one of this report.
    quiet: u32,
}

/// The beginning of a line whose rest is still to come.
#[derive(Debug)]
struct TornLine {
    text: String,
    caller: Option<Box<str>>,
}

/// Where a record stands in the log: its first and its last line, counted from 1.
pub(crate) type Lines = (u64, u64);

/// No record of any source is longer; what is longer is none.
const LONGEST_TEXT: usize = 64 << 10;
/// So many records after a report's last one, its rest was lost.
const QUIET_RECORDS: u32 = 1000;
/// So many records after a report's last one, only one with a sign goes on with it.
const DORMANT_RECORDS: u32 = 128;
/// So long after a report's last record, its rest was lost: not even a slow console takes so long for one of them.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// More callers than can be at it at a time.
const MOST_OPEN: usize = 16;
const MOST_TORN: usize = 4;

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
        !self.open.is_empty()
    }

    /// Numbers the reports from here on.
    pub(crate) fn number_from(&mut self, id: u64) {
        self.next_id = id;
    }

    /// The line at which the oldest open report begins.
    pub(crate) fn oldest_line(&self) -> Option<u64> {
        self.open.iter().map(|open| open.draft.report.raw.start_line).min()
    }

    /// Whether a report has begun, and one of its records came not long ago.
    pub(crate) fn is_busy(&self) -> bool {
        self.open.iter().any(|open| open.quiet < DORMANT_RECORDS)
    }

    /// Tells of records that were passed over, for they have no sign of a report.
    pub(crate) fn pass_over(&mut self, records: u64) {
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        for index in (0..self.open.len()).rev() {
            let quiet = &mut self.open[index].quiet;
            *quiet = quiet.saturating_add(records);
            if *quiet > QUIET_RECORDS {
                self.close(index, None);
            }
        }
    }

    /// Tells that records were lost before the next one (`EPIPE` from `/dev/kmsg`); gaps in the sequence numbers
    /// are noticed without it.
    pub fn lost(&mut self, records: u64) {
        for open in &mut self.open {
            let lost = &mut open.draft.report.dropped.records;
            *lost = lost.saturating_add(records);
        }
    }

    /// The end of the log: what is still open is handed out as it is, cut off.
    pub fn flush(&mut self) {
        for index in (0..self.open.len()).rev() {
            self.close(index, None);
        }
        self.recents.close_groups(None);
        self.torn.clear();
        self.suppressed = None;
    }

    /// Takes the next record of the log.
    pub fn push(&mut self, record: &Record<'_>) {
        let lines = (self.position + 1, self.position + 1);
        self.push_line(record, Line::parse(&record.text).as_ref(), lines);
    }

    /// Takes the next record, whose text is `line` and which stands at these lines of the log.
    pub(crate) fn push_line(&mut self, record: &Record<'_>, line: Option<&Line<'_>>, lines: Lines) {
        self.position = lines.1;
        self.follow_sequence(record.sequence);
        if !self.open.is_empty() {
            // Ends the reports that nothing has been heard of for long.
            self.pass_over(1);
        }
        if !record.is_from_kernel() || record.text.len() > LONGEST_TEXT {
            return;
        }
        if line.is_some()
            && let Some(index) = self.belonging(record)
            && self.open[index].last.is_far_from(record, LONGEST_PAUSE)
        {
            // Of another day, or another boot.
            self.close(index, None);
        }
        if !self.torn.is_empty() && self.join_torn(record, lines) {
            return;
        }
        match line {
            // A record may hold several lines: statistics (Linux 5.3 to 6.3) and Mem-Info do. Only such lines are
            // looked for in there, since names may hold newlines too.
            None | Some(Line::Torn(_) | Line::MemInfo | Line::Machine(_)) if record.text.contains('\n') => {
                for text in record.text.lines() {
                    if let Some(
                        line @ (Line::StatsFor { .. } | Line::Stat { .. } | Line::MemInfo | Line::Machine(_)),
                    ) = Line::parse(text)
                    {
                        self.take(&line, record, text, lines);
                    }
                }
            }
            Some(line) => self.take(line, record, &record.text, lines),
            None => self.take_unknown(record, &record.text),
        }
    }

    fn follow_sequence(&mut self, sequence: Option<u64>) {
        if let (Some(last), Some(sequence)) = (self.last_sequence, sequence) {
            if sequence > last {
                if sequence > last + 1 {
                    self.lost(sequence - last - 1);
                }
            } else {
                // Another boot, or the log read anew.
                self.flush();
            }
        }
        self.last_sequence = sequence.or(self.last_sequence);
    }

    /// Which open report a record belongs to: that of its caller, or the one in question where callers are not told.
    fn belonging(&self, record: &Record<'_>) -> Option<usize> {
        // Nearly always there is one at most, and no kernel that tells callers.
        match &self.open[..] {
            [] => return None,
            [only] if record.caller.is_none() && only.caller.is_none() => return Some(0),
            _ => {}
        }
        let caller = record.caller.as_deref();
        let same = self.open.iter().position(|open| open.caller.as_deref() == caller);
        same.or_else(|| match &self.open[..] {
            [only] if caller.is_none() || only.caller.is_none() => Some(0),
            // A piece of a line that a mailer wrapped has no caller.
            [.., _] if caller.is_none() => {
                self.open.iter().enumerate().min_by_key(|(_, open)| open.quiet).map(|(index, _)| index)
            }
            _ => None,
        })
    }

    /// Joins a record with the torn line it continues. Returns whether it did.
    fn join_torn(&mut self, record: &Record<'_>, lines: Lines) -> bool {
        let continues = |torn: &TornLine| {
            record.continuation != Some(false)
                && torn.caller.as_deref() == record.caller.as_deref()
                && Torn::can_go_on(&torn.text, &record.text)
                && torn.text.len() + record.text.len() <= LONGEST_TEXT
        };
        let Some(index) = self.torn.iter().position(continues) else { return false };
        let mut text = self.torn.swap_remove(index).text;
        text.push_str(&record.text);
        match Line::parse(&text) {
            Some(line) => self.take(&line, record, &text, lines),
            None => self.take_unknown(record, &text),
        }
        true
    }

    fn take(&mut self, line: &Line<'_>, record: &Record<'_>, text: &str, lines: Lines) {
        match line {
            Line::Suppressed(count) => {
                if let Some(index) = self.belonging(record) {
                    self.close(index, None);
                }
                self.recents.close_groups(record.caller.as_deref());
                self.suppressed = Some(*count);
            }
            Line::Reaped { pid, left } => {
                if let Some(report) = self.recents.note_reaped(*pid) {
                    self.amend(report, Amendment::Reaped { pid: *pid, left: *left });
                }
            }
            Line::GroupKill { path } => {
                if self.belonging(record).is_none()
                    && let Some(report) = self.recents.begin_group(record.caller.as_deref())
                {
                    self.amend(report, Amendment::GroupKill { path: (*path).to_owned() });
                }
            }
            Line::Torn(torn) => {
                if let (Torn::StatsFor, Some(index)) = (torn, self.belonging(record)) {
                    self.open[index].take(line, text, &self.bounds);
                }
                self.hold_torn(record, text);
            }
            Line::Killed(killed) => self.take_killed(killed, record, lines),
            Line::End(ending) => {
                if self.belonging(record).is_none() && *ending == Ending::NoKillableProcess {
                    self.begin(record, false, lines);
                }
                if let Some(index) = self.belonging(record) {
                    self.open[index].touch(record, lines);
                    self.close(index, Some(*ending));
                } else if *ending == Ending::Deadlock
                    && let Some(report) = self.recents.note_panic(record.caller.as_deref())
                {
                    self.amend(report, Amendment::Panicked);
                }
            }
            line => self.take_into_report(line, record, text, lines),
        }
    }

    /// A line that belongs inside a report, or begins one.
    fn take_into_report(&mut self, line: &Line<'_>, record: &Record<'_>, text: &str, lines: Lines) {
        let begins = Draft::begins_with(line);
        let mut belonging = self.belonging(record);
        if let Some(index) = belonging
            && (begins && self.open[index].caller.as_deref() == record.caller.as_deref()
                || self.open[index].draft.is_past(line, text))
        {
            self.close(index, None);
            belonging = self.belonging(record);
        }
        let bounds = self.bounds;
        let open = match belonging.filter(|_| !begins) {
            Some(index) => &mut self.open[index],
            None if Draft::may_begin_with(line) => self.begin(record, begins, lines),
            None => return,
        };
        if open.take(line, text, &bounds) {
            open.touch(record, lines);
        }
        if matches!(line, Line::OomKill(read) if !read.is_whole()) {
            self.hold_torn(record, text);
        }
    }

    fn take_unknown(&mut self, record: &Record<'_>, text: &str) {
        if let Some(index) = self.belonging(record)
            && self.open[index].draft.take_unknown(text, &self.bounds)
        {
            self.open[index].quiet = 0;
        }
    }

    fn take_killed(&mut self, killed: &Killed<'_>, record: &Record<'_>, lines: Lines) {
        if let Some(index) = self.belonging(record)
            && !self.open[index].draft.may_kill(killed)
        {
            self.close(index, None);
        }
        if self.belonging(record).is_none() {
            match self.recents.take_group_member(killed, record, self.bounds.victims) {
                Joined::NoMember => {}
                Joined::KnownMember => return,
                Joined::Member(report) => {
                    return self.amend(report, Amendment::Victim(Victim::from(killed)));
                }
                Joined::OneTooMany(report) => return self.amend(report, Amendment::VictimDropped),
            }
            if killed.message.is_none() && killed.total_vm.is_none() {
                // So bare a line means something only behind the kernel's others.
                return;
            }
            // The kernel's rate limit withheld the report, or its head was lost.
            self.begin(record, false, lines);
        }
        if let Some(index) = self.belonging(record) {
            let open = &mut self.open[index];
            open.touch(record, lines);
            open.draft.take_killed(killed, record.since_boot);
            self.close(index, Some(Draft::ending_of(killed)));
        }
    }

    fn amend(&mut self, report: ReportId, amendment: Amendment) {
        self.events.push_back(Event::Amended { report, amendment, line: self.position });
    }

    fn hold_torn(&mut self, record: &Record<'_>, text: &str) {
        let caller = record.caller.as_deref().map(Box::from);
        self.torn.retain(|torn| torn.caller != caller);
        if self.torn.len() == MOST_TORN {
            self.torn.remove(0);
        }
        self.torn.push(TornLine { text: text.to_owned(), caller });
    }

    fn begin(&mut self, record: &Record<'_>, with_header: bool, lines: Lines) -> &mut Open {
        let caller = record.caller.as_deref();
        self.recents.close_groups(caller);
        self.torn.retain(|torn| torn.caller.as_deref() != caller);
        if self.open.len() == MOST_OPEN {
            self.close(0, None);
        }
        let mut draft = Draft::default();
        draft.with_header = with_header;
        let report = &mut draft.report;
        report.id = ReportId(self.next_id);
        report.time = record.time.as_ref().map(crate::time::WrittenTime::read);
        report.host = record.host.as_deref().map(shortened);
        report.since_boot = record.since_boot;
        report.suppressed_before = self.suppressed.take();
        report.raw.start_line = lines.0;
        report.raw.start_sequence = record.sequence;
        self.next_id += 1;
        let at = self.open.len();
        self.open.push(Open { caller: caller.map(Box::from), draft, last: Moment::of(record), quiet: 0 });
        &mut self.open[at]
    }

    fn close(&mut self, index: usize, ending: Option<Ending>) {
        let open = self.open.remove(index);
        self.torn.retain(|torn| torn.caller != open.caller);
        let report = open.draft.finish(ending);
        self.recents.add(&report, open.caller, open.last);
        self.events.push_back(Event::Finished(Box::new(report)));
    }
}

impl Open {
    /// Whether the line says something that the report has a place for.
    fn take(&mut self, line: &Line<'_>, text: &str, bounds: &Bounds) -> bool {
        self.draft.take(line, text, bounds)
    }

    /// Notes that the record belongs to the report.
    fn touch(&mut self, record: &Record<'_>, lines: Lines) {
        self.quiet = 0;
        self.last.set(record);
        let raw = &mut self.draft.report.raw;
        raw.end_line = raw.end_line.max(lines.1);
        raw.end_sequence = record.sequence.or(raw.end_sequence);
    }
}

impl From<&Killed<'_>> for Victim {
    fn from(killed: &Killed<'_>) -> Self {
        Self {
            pid: killed.pid,
            comm: shortened(killed.comm),
            uid: killed.uid,
            total_vm: killed.total_vm,
            anon_rss: killed.anon_rss,
            file_rss: killed.file_rss,
            shmem_rss: killed.shmem_rss,
            pgtables: killed.pgtables,
            oom_score_adj: killed.oom_score_adj,
            score: None,
            reaped: None,
        }
    }
}
