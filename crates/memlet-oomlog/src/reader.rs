//! Bytes of any log in, whole reports out.
//!
//! Most of a log is about other things. So a line is looked at only where a few words stand that every report has
//! ([`signs`]); from there on line by line until the report has ended. What the source wrote around the text comes
//! off ([`crate::source`], [`margin`]), what a mailer or a terminal wrapped is joined ([`wrapped`]), what takes several lines for
//! one record is collected ([`entry`]); each machine in an aggregated log has its own [`Assembler`](crate::Assembler) ([`hosts`]),
//! and the findings wait until nothing more can be added to them ([`pending`]).

mod entry; // records that take several lines: objects, journal entries
mod hosts; // one assembler a machine
mod margin; // indentation and line numbers
mod pending; // findings until they are whole
mod signs; // the words that every report has
mod trailer; // what stands behind each line
mod wrapped; // lines that were broken

use std::borrow::Cow;

use entry::{Beginning, Entries, LONGEST_BEGINNING, Taken};
use hosts::Hosts;
use margin::Margin;
use memchr::{memchr, memchr2, memchr3, memrchr};
use pending::Pending;
use trailer::Trailer;
use wrapped::Wrapped;

use crate::assembler::{Bounds, Lines};
use crate::line::Line;
use crate::record::Record;
use crate::report::Report;
use crate::source::{Form, LastPrefix, Unwrapped, container_line, unwrap_inner, unwrap_text};
use crate::userspace::UserspaceKill;

/// What a log told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The kernel's OOM killer wrote a report. It is whole: what the kernel adds later (`memory.oom.group`, the reaper)
    /// is in it.
    Kernel(Box<Report>),
    /// A daemon killed for want of memory.
    Userspace(Box<UserspaceKill>),
}

/// What was read, for the one who finds nothing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Bytes.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// Lines that were longer than any source writes, and not read.
    pub long_lines: u64,
    /// The lines stand in the reverse of their order, so that no report can be read well.
    pub newest_first: bool,
    /// The forms in which the lines that were looked at closely are written, most frequent first, as people call
    /// them (`dmesg`, `syslog or journalctl`, `JSON` …).
    pub forms: Vec<&'static str>,
}

/// Reads a log of any source, in pieces of any size.
///
/// ```
/// use memlet_oomlog::{Finding, LogReader};
///
/// let mut reader = LogReader::default();
/// reader.push(b"Nov 22 10:01:02 node-7 kernel: Memory cgroup out of memory: Killed process 42 (hog) total-vm:67880kB, \
///     anon-rss:65280kB, file-rss:988kB, shmem-rss:0kB, UID:0 pgtables:164kB oom_score_adj:0\n");
/// reader.finish();
/// let Some(Finding::Kernel(report)) = reader.next_finding() else { panic!() };
/// assert_eq!((report.victims[0].pid, report.host.as_deref()), (42, Some("node-7")));
/// assert_eq!(reader.next_finding(), None);
/// ```
#[derive(Debug, Default)]
pub struct LogReader {
    /// The beginning of a line whose end has not come yet; of an entry, where one takes several lines.
    carry: Vec<u8>,
    /// The line in [`carry`](Self::carry) is longer than any source writes: what comes is left out up to its end.
    skips_line: bool,
    bytes: u64,
    lines: u64,
    long_lines: u64,
    forms: [u64; Form::COUNT],
    /// The form of the last line.
    form: Form,
    last_prefix: LastPrefix,
    /// Lines to look at, whatever they say.
    attentive: u32,
    entries: Entries,
    /// The end of what was passed over last: the beginning of a record may be in it.
    passed: Vec<u8>,
    /// The beginning of a line that a container's log broke, and where it stands.
    piece: Option<(String, u64)>,
    margin: Margin,
    trailer: Trailer,
    wrapped: Wrapped,
    hosts: Hosts,
    pending: Pending,
}

/// The first lines are looked at, so that it can be said what was read.
const FIRST_LINES: u64 = 64;
/// What the kernel adds to a report comes within so many lines, or has a sign of its own.
const ATTENTION: u32 = 32;
/// No source writes longer lines; what is longer is left out.
const LONGEST_LINE: usize = 1 << 20;

impl LogReader {
    /// A reader that keeps no more of one report than `bounds`.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self { hosts: Hosts::with_bounds(bounds), ..Self::default() }
    }

    /// Takes the next bytes of the log. Take the findings afterwards: they are kept until taken.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if self.skips_line {
            let Some(end) = memchr(b'\n', bytes) else { return };
            self.skips_line = false;
            self.lines += 1;
            bytes = &bytes[end + 1..];
        }
        if !self.carry.is_empty() {
            let mut whole = std::mem::take(&mut self.carry);
            let end = memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
            whole.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            let used = self.read(&whole, After::Bytes(bytes));
            whole.drain(..used);
            if bytes.is_empty() {
                return self.keep(whole);
            }
            if !whole.is_empty() {
                whole.extend_from_slice(bytes);
                let used = self.read(&whole, After::Bytes(&[]));
                whole.drain(..used);
                return self.keep(whole);
            }
        }
        let used = self.read(bytes, After::Bytes(&[]));
        self.keep(bytes[used..].to_vec());
    }

    /// Nothing more comes for now: hands out what only waited for lines that might still have belonged to it. For
    /// whoever follows a log that grows.
    pub fn settle(&mut self) {
        let mut rest = std::mem::take(&mut self.carry);
        let used = self.read(&rest, After::Nothing);
        rest.drain(..used);
        self.keep(rest);
        self.release_wrapped();
        self.pending.release();
    }

    /// The end of the log: what is still open is handed out as it is, cut off.
    pub fn finish(&mut self) {
        if !self.carry.is_empty() {
            let mut rest = std::mem::take(&mut self.carry);
            if rest.last() != Some(&b'\n') {
                rest.push(b'\n');
            }
            self.read(&rest, After::Nothing);
        }
        if let Some((found, lines)) = self.entries.finish() {
            for found in found {
                self.take(found, lines);
            }
        }
        if self.piece.is_some() {
            self.join_pieces("", false);
        }
        self.release_wrapped();
        self.hosts.finish(&mut self.pending);
        self.pending.release();
    }

    /// The next finding, in the order of their first lines.
    pub fn next_finding(&mut self) -> Option<Finding> {
        self.pending.next(self.bytes, self.hosts.oldest_line())
    }

    /// What was read so far.
    pub fn statistics(&self) -> Statistics {
        let mut forms: Vec<_> =
            Form::ALL.into_iter().map(|form| (self.forms[form as usize], form.name())).collect();
        forms.retain(|(count, _)| *count > 0);
        forms.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        Statistics {
            bytes: self.bytes,
            lines: self.lines,
            long_lines: self.long_lines,
            newest_first: self.hosts.newest_first,
            forms: forms.into_iter().map(|(_, name)| name).collect(),
        }
    }

    /// Keeps what no line's end has followed yet.
    fn keep(&mut self, rest: Vec<u8>) {
        if rest.len() > LONGEST_LINE {
            self.long_lines += 1;
            self.skips_line = memrchr(b'\n', &rest).is_none_or(|end| end + 1 < rest.len());
            return;
        }
        self.carry = rest;
    }

    /// Reads the whole lines of `buffer`, but for the last where it matters what comes `after` it and that is not known.
    /// Returns how much of it was read.
    fn read(&mut self, buffer: &[u8], after: After<'_>) -> usize {
        let Some(end) = memrchr(b'\n', buffer).map(|end| end + 1) else { return 0 };
        let buffer = &buffer[..end];
        let (mut at, mut attentive_to) = (0, 0);
        let mut block = Block::default();
        while at < end {
            if at >= attentive_to && self.is_idle() {
                let Some(sign) = signs::find(&buffer[at..]) else {
                    self.pass_over(&buffer[at..]);
                    return end;
                };
                let line = memrchr(b'\n', &buffer[at..at + sign]).map_or(at, |end| at + end + 1);
                let from = match Beginning::of(&buffer[line..], &buffer[at..line], &self.passed) {
                    Beginning::Here => line,
                    Beginning::At(offset) => at + offset,
                    Beginning::Before if self.passed.is_empty() => at,
                    Beginning::Before => return at + self.read_with_passed(&buffer[at..], after),
                };
                self.count_passed(&buffer[at..from]);
                self.passed.clear();
                attentive_to = line + 1;
                at = from;
            }
            let length = memchr(b'\n', &buffer[at..]).unwrap_or(end - at - 1);
            let next = match (&buffer[at + length + 1..], after) {
                ([], After::Nothing) => Next::None,
                ([], After::Bytes(bytes)) | (bytes, _) => Next::of(bytes),
            };
            if next == Next::Unknown {
                return at;
            }
            self.lines += 1;
            self.attentive = self.attentive.saturating_sub(1);
            self.read_line(&buffer[at..at + length], block.line(buffer, at, length), next);
            at += length + 1;
        }
        end
    }

    /// Passes over lines that say nothing, but keeps the last of them in mind.
    fn pass_over(&mut self, lines: &[u8]) {
        self.count_passed(lines);
        let (keep, all) = (LONGEST_BEGINNING, self.passed.len() + lines.len());
        if lines.len() >= keep {
            self.passed.clear();
        } else if all > 2 * keep {
            self.passed.drain(..self.passed.len() + lines.len() - keep);
        }
        self.passed.extend_from_slice(&lines[lines.len().saturating_sub(keep)..]);
    }

    fn count_passed(&mut self, lines: &[u8]) {
        let count = count_lines(lines);
        self.lines += count;
        self.hosts.pass_over(count, self.bytes, &mut self.pending);
    }

    /// Reads `buffer` behind what was passed over before it, in which a record may begin that goes on here. Returns how
    /// much of `buffer` was read.
    fn read_with_passed(&mut self, buffer: &[u8], after: After<'_>) -> usize {
        let mut whole = std::mem::take(&mut self.passed);
        // From a line's beginning: what was kept may begin amid one.
        if whole.len() >= LONGEST_BEGINNING {
            let whole_lines = memchr(b'\n', &whole).map_or(whole.len(), |end| end + 1);
            whole.drain(..whole_lines);
        }
        let passed = whole.len();
        self.lines -= count_lines(&whole);
        whole.extend_from_slice(buffer);
        self.read(&whole, after).saturating_sub(passed)
    }

    /// Whether nothing is under way that any line could belong to.
    fn is_idle(&self) -> bool {
        self.attentive == 0
            && self.lines >= FIRST_LINES
            && self.piece.is_none()
            && self.entries.is_empty()
            && self.wrapped.is_empty()
            && !self.hosts.are_busy(self.lines)
    }

    /// Reads one line, which is `text` if that is plain; `next` is how the next line begins.
    fn read_line(&mut self, line: &[u8], text: Option<&str>, next: Next) {
        if self.entries.take_bytes(line) {
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = match text {
            Some(text) => Cow::Borrowed(text.strip_suffix('\r').unwrap_or(text)),
            None => plain(line),
        };
        let lines = (self.lines, self.lines);
        match self.entries.take(&text, self.lines) {
            // Behind a record of `/dev/kmsg` stand keys of the device that it is about.
            Taken::No if self.form == Form::Kmsg && is_key_of_record(&text) => {}
            Taken::No => {
                let found = self.unwrap_line(&text);
                if found.is_piece || self.piece.is_some() {
                    return self.join_pieces(&text, found.is_piece);
                }
                // A line that begins like the next one is not the first half of a broken one.
                let is_whole = found.stamped && next == Next::of(line);
                self.take_one(found, lines, is_whole);
            }
            Taken::Yes => {}
            Taken::Whole(found, lines) => {
                for found in found {
                    self.take(found, lines);
                }
            }
        }
    }

    /// Takes off what the line's source and whoever pasted it put before the text.
    fn unwrap_line<'a>(&mut self, line: &'a str) -> Unwrapped<'a> {
        let mut found = self.last_prefix.unwrap_text(line);
        if found.stamped {
            self.margin.note(line);
        } else {
            let text = self.margin.off(line);
            if text.len() < line.len() {
                found = self.last_prefix.unwrap_text(text);
            }
        }
        if found.stamped
            && found.record.text.starts_with("{\"")
            && let Some(inner) = unwrap_inner(&found.record.text)
        {
            // What stands nearer to the text knows better.
            let Record { time, host, .. } = found.record;
            let record =
                Record { time: inner.record.time.or(time), host: inner.record.host.or(host), ..inner.record };
            found = Unwrapped { record, ..inner };
        }
        found.length = line.len();
        found
    }

    fn take(&mut self, found: Unwrapped<'_>, lines: Lines) {
        self.take_one(found, lines, false);
    }

    /// Joins the pieces of a line that a container's log broke; `goes_on`: this is not the last.
    fn join_pieces(&mut self, line: &str, goes_on: bool) {
        let (mut whole, first) = self.piece.take().unwrap_or_else(|| (String::new(), self.lines));
        match container_line(line) {
            Some((_, text)) if !whole.is_empty() => whole.push_str(text),
            _ => whole.push_str(line),
        }
        if goes_on && whole.len() < LONGEST_LINE {
            self.piece = Some((whole, first));
        } else {
            let mut found = unwrap_text(&whole);
            found.is_piece = false;
            self.take(found, (first, self.lines));
        }
    }

    fn take_one(&mut self, mut found: Unwrapped<'_>, lines: Lines, is_whole: bool) {
        self.trailer.take_off(&mut found.record.text);
        self.forms[found.form as usize] += 1;
        self.form = found.form;
        if let Some((begun, begun_lines)) = self.wrapped.take_back(&found) {
            self.deliver(&begun, begun_lines);
        }
        if self.wrapped.is_empty() {
            let line = line_of(&found);
            if is_whole || !self.wrapped.is_beginning(&found, line.as_ref()) {
                self.wrapped.note(line.as_ref(), &found.record.text);
                return self.deliver_line(&found, line.as_ref(), lines);
            }
        }
        if let Some((joined, lines)) = self.wrapped.join(found, lines) {
            self.deliver(&joined, lines);
        }
    }

    fn release_wrapped(&mut self) {
        if let Some((begun, lines)) = self.wrapped.release() {
            self.deliver(&begun, lines);
        }
    }

    fn deliver(&mut self, found: &Unwrapped<'_>, lines: Lines) {
        self.deliver_line(found, Line::parse(&found.record.text).as_ref(), lines);
    }

    fn deliver_line(&mut self, found: &Unwrapped<'_>, line: Option<&Line<'_>>, lines: Lines) {
        if self.hosts.deliver(found, line, lines, self.bytes, &mut self.pending) {
            self.attentive = ATTENTION;
        }
    }
}

/// What a line says to the OOM killer's reader, if the kernel wrote it.
fn line_of<'a>(found: &'a Unwrapped<'_>) -> Option<Line<'a>> {
    let text = found.record.text.as_ref();
    match found.record.is_from_kernel() {
        true if !found.stamped && text.starts_with("  ") => indented(text),
        true => Line::parse(text),
        false => None,
    }
}

/// A line of a record of several, which `dmesg` and `journalctl` put under its first.
fn indented(text: &str) -> Option<Line<'_>> {
    let line = Line::parse(text.trim_start_matches(' '));
    line.filter(|line| matches!(line, Line::Stat { .. } | Line::Machine(_))).or_else(|| Line::parse(text))
}

/// ` KEY=value`
fn is_key_of_record(text: &str) -> bool {
    let Some((key, _)) = text.strip_prefix(' ').and_then(|text| text.split_once('=')) else { return false };
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// What follows the bytes that are to be read.
#[derive(Clone, Copy, Debug)]
enum After<'a> {
    /// These, and perhaps more.
    Bytes(&'a [u8]),
    /// Nothing, or nothing for now.
    Nothing,
}

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// With this byte, behind quotation marks.
    Byte(u8),
    /// It is empty.
    Empty,
    /// There is none.
    None,
    /// Too little of it has come.
    Unknown,
}

impl Next {
    fn of(bytes: &[u8]) -> Self {
        match bytes.iter().copied().find(|byte| !matches!(byte, b' ' | b'\t' | b'>' | b'|')) {
            Some(b'\n') => Self::Empty,
            Some(byte) => Self::Byte(byte),
            None => Self::Unknown,
        }
    }
}

/// How many lines end in `bytes`.
fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// A stretch of the log that was looked at for whether its lines can be read as they are: nearly all can, and to find
/// that out for many lines at once costs less.
#[derive(Debug, Default)]
struct Block<'a> {
    start: usize,
    end: usize,
    text: Option<&'a str>,
}

impl<'a> Block<'a> {
    const SIZE: usize = 4096;

    /// The line of `length` bytes at `at`, if it can be read as it is.
    fn line(&mut self, buffer: &'a [u8], at: usize, length: usize) -> Option<&'a str> {
        if at + length > self.end {
            let end = (at + length.max(Self::SIZE)).min(buffer.len());
            let bytes = &buffer[at..end];
            let valid = match str::from_utf8(bytes) {
                Ok(text) => text,
                // Whatever is cut at the end of the stretch.
                Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
            };
            let is_plain = memchr3(ESCAPE, FIXED_BLANK[0], b'\t', bytes).is_none();
            *self = Self { start: at, end: at + valid.len().max(length), text: is_plain.then_some(valid) };
        }
        self.text?.get(at - self.start..at - self.start + length)
    }
}

const ESCAPE: u8 = 0x1b;
/// A blank that is not to be broken.
const FIXED_BLANK: [u8; 2] = [0xc2, 0xa0];

/// So many tabs in a line stand for a table's blanks.
const TABS_OF_TABLE: usize = 3;

/// The line without what terminals and editors have done to it: sequences that colour it (`ESC [ … letter`), blanks that
/// are not to be broken, tabs for the blanks of a table. Bytes that are not UTF-8 are replaced.
fn plain(line: &[u8]) -> Cow<'_, str> {
    let is_table = memchr::memchr_iter(b'\t', line).count() >= TABS_OF_TABLE;
    let first = memchr2(ESCAPE, FIXED_BLANK[0], line).or(is_table.then_some(0));
    let Some(first) = first else { return String::from_utf8_lossy(line) };
    let mut plain = line[..first].to_vec();
    let mut rest = &line[first..];
    while let Some((byte, after)) = rest.split_first() {
        if *byte == ESCAPE && after.first() == Some(&b'[') {
            let end = after[1..].iter().position(u8::is_ascii_alphabetic);
            rest = end.map_or(&[], |end| &after[end + 2..]);
        } else if rest.starts_with(&FIXED_BLANK) {
            plain.push(b' ');
            rest = &rest[FIXED_BLANK.len()..];
        } else if *byte == b'\t' && is_table {
            plain.push(b' ');
            rest = after;
        } else {
            plain.push(*byte);
            rest = after;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}
