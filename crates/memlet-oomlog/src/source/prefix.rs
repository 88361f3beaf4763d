//! What stands before the kernel's text in a line of a log: any number of the things that log sources put there, each
//! known by its shape.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::word::{
    behind_structured_data, facility_and_level, is_facility, is_host, is_relative, places, split_word,
    stream, tag,
};
use super::{Form, USER, Unwrapped, stamp};
use crate::record::{Level, Record};
use crate::time::{Manner, WrittenTime};

/// More things than any chain of log shippers puts before a text.
const MOST_PREFIXES: usize = 8;
/// Where a last look for the kernel's own stamp ends.
const LAST_LOOK: usize = 240;

/// Takes off all that stands before the text. `line` has no newline.
pub(crate) fn unwrap_text(line: &str) -> Unwrapped<'_> {
    let mut prefix = Prefix::of(line);
    prefix.take_all();
    prefix.unwrapped()
}

/// What stood before the text of the last line. The lines of a report are written within a second, and where a source
/// tells no less than that, they all begin alike.
#[derive(Debug, Default)]
pub(crate) struct LastPrefix {
    bytes: Vec<u8>,
    time: Option<(Manner, Range<usize>)>,
    host: Option<Range<usize>>,
    level: Option<Level>,
    facility: Option<u16>,
    form: Form,
    reading: Reading,
}

impl LastPrefix {
    /// As [`unwrap_text`]; costs less where the line begins as the last one did.
    pub(crate) fn unwrap_text<'a>(&mut self, line: &'a str) -> Unwrapped<'a> {
        let mut prefix = Prefix::of(line);
        if !self.bytes.is_empty() && line.as_bytes().starts_with(&self.bytes) {
            let record = &mut prefix.found.record;
            let part = |range: &Range<usize>| &line[range.clone()];
            record.time = self.time.as_ref().map(|(manner, range)| WrittenTime::new(*manner, part(range)));
            record.host = self.host.as_ref().map(|range| part(range).into());
            (record.level, record.facility) = (self.level, self.facility);
            (prefix.found.form, prefix.found.stamped) = (self.form, true);
            (prefix.rest, prefix.reading) = (&line[self.bytes.len()..], self.reading);
            while prefix.reading != Reading::Text && prefix.take_one() {}
        } else {
            self.bytes.clear();
            if let Some((length, reading)) = prefix.take_all() {
                self.note(line, length, reading, &prefix);
            }
        }
        prefix.unwrapped()
    }

    /// Notes what the next line may begin with: the first `length` bytes of this one.
    fn note(&mut self, line: &str, length: usize, reading: Reading, prefix: &Prefix<'_>) {
        let record = &prefix.found.record;
        if prefix.found.tag.is_some() || prefix.found.stream.is_some() {
            return;
        }
        let alike = &line[..length];
        self.time = record.time.as_ref().and_then(|time| Some((time.manner, place_in(alike, &time.text)?)));
        self.host = record.host.as_ref().and_then(|host| place_in(alike, host));
        if self.time.is_some() != record.time.is_some() || self.host.is_some() != record.host.is_some() {
            return;
        }
        (self.level, self.facility, self.form) = (record.level, record.facility, prefix.found.form);
        self.reading = reading;
        self.bytes.extend_from_slice(alike.as_bytes());
    }
}

/// Where `part` stands in `line`, if it is a part of it.
fn place_in(line: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(line.as_ptr().addr())?;
    let range = start..start + part.len();
    (line.get(range.clone()) == Some(part)).then_some(range)
}

/// Takes a line of a container's log apart: what stands before the text, and the text. `None`: it is none.
pub(crate) fn container_line(line: &str) -> Option<(&str, &str)> {
    let rest = line[stamp::iso(line)?..].trim_start_matches(' ');
    let text = STREAMS.iter().find_map(|stream| rest.strip_prefix(stream))?.get(2..)?;
    Some(line.split_at(line.len() - text.len()))
}

/// Of a container, in its log.
const STREAMS: [&str; 2] = ["stdout ", "stderr "];

struct Prefix<'a> {
    /// What has not been read yet.
    rest: &'a str,
    found: Unwrapped<'a>,
    reading: Reading,
}

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Anything,
    /// The kernel is named: its own stamp, or its text.
    KernelStamp,
    /// The text, whatever it looks like.
    Text,
}

impl<'a> Prefix<'a> {
    /// Of a line of which nothing has been read.
    fn of(line: &'a str) -> Self {
        Self { rest: line, found: Unwrapped::default(), reading: Reading::default() }
    }

    /// Takes all there is. Returns how much of the line every line of its second begins with, and what comes behind: up
    /// to where the kernel is named, or to its text where there is no time in digits of its own.
    fn take_all(&mut self) -> Option<(usize, Reading)> {
        let line = self.rest;
        let quoted = self.skip_quotation();
        let alike = self.take_things(line.len());
        if self.found.stamped {
            return alike.filter(|_| self.found.form != Form::Kmsg && !self.found.is_piece);
        }
        if !self.skip_place() && !self.look_for_stamp() && !quoted {
            // A text may itself begin with what looks like a quotation's indentation.
            self.rest = line;
        }
        None
    }

    /// Takes one thing after the other off a line of this length.
    fn take_things(&mut self, length: usize) -> Option<(usize, Reading)> {
        let mut alike = None;
        for _ in 0..MOST_PREFIXES {
            if self.reading == Reading::Text || !self.take_one() {
                break;
            }
            if self.reading != Reading::Anything && alike.is_none() && self.found.record.since_boot.is_none()
            {
                alike = Some((length - self.rest.len(), self.reading));
            }
        }
        alike
    }

    fn unwrapped(self) -> Unwrapped<'a> {
        let Self { rest, mut found, .. } = self;
        if found.form != Form::Kmsg {
            found.record.text = tidied(rest, found.form);
        }
        found
    }

    /// Quotation marks of mails and the indentation of pasted text. Returns whether there was a mark.
    fn skip_quotation(&mut self) -> bool {
        if !matches!(self.rest.as_bytes().first(), Some(b' ' | b'\t' | b'>' | b'|' | 0xef)) {
            return false;
        }
        let mut marks = 0;
        loop {
            let rest = self.rest.trim_start_matches([' ', '\t', '\u{feff}']);
            let Some(after) = rest.strip_prefix('>').or_else(|| rest.strip_prefix("| ")) else {
                // The indentation goes only if something follows that is no text of the kernel's.
                if marks > 0
                    || rest.starts_with(['[', '<'])
                    || rest.starts_with(|c: char| c.is_ascii_digit())
                    || is_facility(rest)
                {
                    self.rest =
                        if marks > 0 { self.rest.strip_prefix(' ').unwrap_or(self.rest) } else { rest };
                }
                return marks > 0;
            };
            self.rest = after;
            marks += 1;
        }
    }

    /// Takes one thing off the front. Returns whether there was one.
    fn take_one(&mut self) -> bool {
        let taken = match self.rest.as_bytes().first() {
            Some(first) if self.reading == Reading::KernelStamp && !matches!(first, b'[' | b'<') => false,
            Some(b'[') => self.take_bracket(),
            Some(b'<') => self.take_priority(),
            Some(b'0'..=b'9') => {
                self.take_kmsg()
                    || self.take_iso()
                    || self.take_epoch()
                    || self.take_broken_bracket()
                    || self.take_node()
            }
            Some(b' ') if self.found.stamped => {
                self.rest = self.rest.trim_start_matches(' ');
                true
            }
            // A month first: that is what most such lines begin with.
            Some(_) => {
                self.take_syslog()
                    || self.take_facility()
                    || self.take_weekday()
                    || self.take_bare_tag()
                    || self.take_cut_ctime()
            }
            None => false,
        };
        self.found.stamped |= taken;
        taken
    }

    /// `[ 3770.064130] `, `[Fri Nov 22 10:01:02 2024] `, `[Nov22 10:01] `, `[  +0.000004] `, `[2024-11-22T10:01:02Z]: `,
    /// and the caller's `[ T123] ` behind one of them; `[pod/NAME/CONTAINER] ` of `kubectl logs --prefix`.
    fn take_bracket(&mut self) -> bool {
        let Some(end) = memchr::memchr(b']', &self.rest.as_bytes()[..self.rest.len().min(80)]) else {
            return false;
        };
        let (inside, after) = (&self.rest[1..end], &self.rest[end + 1..]);
        let record = &mut self.found.record;
        if let Some((since_boot, rest)) = stamp::seconds(inside) {
            // `dmesg -d` puts the difference behind.
            if !(rest.is_empty() || rest.trim_start().starts_with('<')) {
                return false;
            }
            record.since_boot = Some(since_boot);
        } else if stamp::is_ctime(inside) {
            record.time = Some(WrittenTime::new(Manner::Ctime, inside));
        } else if stamp::iso(inside) == Some(inside.len()) {
            record.time = Some(WrittenTime::new(Manner::Iso, inside));
        } else if stamp::clock(inside.as_bytes()) == Some(inside.len()) {
            // A terminal program's own.
        } else if inside.starts_with("pod/") && after.starts_with(' ') {
            self.found.stream = Some(inside.into());
            self.rest = &after[1..];
            return true;
        } else if !is_relative(inside) {
            return false;
        }
        self.take_text_behind_bracket(after);
        true
    }

    fn take_text_behind_bracket(&mut self, after: &'a str) {
        let after = after.strip_prefix(':').unwrap_or(after);
        let after = self.take_caller(after);
        // One blank: the text may begin with more.
        self.rest = after.strip_prefix(' ').unwrap_or(after);
        if self.found.form == Form::Plain {
            self.found.form = Form::Dmesg;
        }
        // `journalctl -o short-monotonic` has the host and the tag behind the time.
        let (host, rest) = split_word(self.rest);
        if let Some(text) = rest.strip_prefix("kernel: ").filter(|_| is_host(host))
            && self.found.record.host.is_none()
        {
            self.found.record.host = Some(host.into());
            self.rest = text;
        }
        // A console's own time before the kernel's.
        let is_stamp = self.found.record.since_boot.is_none()
            && self
                .rest
                .strip_prefix('[')
                .and_then(stamp::seconds)
                .is_some_and(|(_, rest)| rest.starts_with(']'));
        self.reading = if is_stamp { Reading::KernelStamp } else { Reading::Text };
    }

    /// `[ T123]` or `[   C0]`, right behind the time or one blank away.
    fn take_caller(&mut self, after: &'a str) -> &'a str {
        let inside = after.strip_prefix('[').or_else(|| after.strip_prefix(" ["));
        let Some((caller, rest)) = inside.and_then(|inside| inside.split_once(']')) else { return after };
        let caller = caller.trim();
        let number = caller.strip_prefix(['T', 'C']).unwrap_or_default();
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return after;
        }
        self.found.record.caller = Some(caller.into());
        rest
    }

    /// `41066.536886] ` or `Thu May 23 18:40:42 2024] `: the bracket was not copied.
    fn take_broken_bracket(&mut self) -> bool {
        let Some((since_boot, rest)) = stamp::seconds(self.rest) else { return false };
        let Some(after) = rest.strip_prefix(']') else { return false };
        self.found.record.since_boot = Some(since_boot);
        self.take_text_behind_bracket(after);
        true
    }

    /// `<6>`: syslog's priority, as `dmesg -r` and the wire have it.
    fn take_priority(&mut self) -> bool {
        let Some((number, after)) = self.rest[1..].split_once('>') else { return false };
        let Some(priority) = number.parse::<u32>().ok().filter(|_| number.len() <= 3) else { return false };
        let record = &mut self.found.record;
        record.level = Some(Level::of_priority(priority));
        record.facility = u16::try_from(priority >> 3).ok();
        self.rest = after;
        // RFC 5424 has its version here.
        if let Some(fields) = after.strip_prefix("1 ") {
            self.take_rfc5424(fields);
        }
        true
    }

    /// `TIME HOST APP PROCID MSGID STRUCTURED-DATA TEXT`
    fn take_rfc5424(&mut self, fields: &'a str) {
        let mut words = fields.splitn(6, ' ');
        let (Some(time), Some(host), Some(app), Some(_), Some(_), Some(data)) =
            (words.next(), words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        if time != "-" {
            self.found.record.time = Some(WrittenTime::new(Manner::Iso, time));
        }
        if host != "-" {
            self.found.record.host = Some(host.into());
        }
        self.note_tag(app);
        self.found.form = Form::Syslog;
        let text = data.strip_prefix('-').unwrap_or_else(|| behind_structured_data(data));
        self.rest = text.strip_prefix(' ').unwrap_or(text).trim_start_matches('\u{feff}');
    }

    /// A record as read from `/dev/kmsg`.
    fn take_kmsg(&mut self) -> bool {
        let head = &self.rest.as_bytes()[..self.rest.len().min(80)];
        if memchr::memchr2(b',', b' ', &head[..head.len().min(8)]).is_none_or(|at| head[at] == b' ') {
            return false;
        }
        let Ok(record) = Record::parse_kmsg(self.rest.as_bytes()) else { return false };
        let (time, host) = (self.found.record.time.take(), self.found.record.host.take());
        // The text is read already, escapes undone.
        self.found.record = Record { time, host, ..record };
        self.found.form = Form::Kmsg;
        self.rest = "";
        self.reading = Reading::Text;
        true
    }

    fn take_iso(&mut self) -> bool {
        let Some(length) = stamp::iso(self.rest) else { return false };
        let (time, after) = self.rest.split_at(length);
        if self.found.record.time.is_none() {
            self.found.record.time = Some(WrittenTime::new(Manner::Iso, time));
        }
        if self.found.form == Form::Plain {
            self.found.form = Form::Iso;
        }
        self.rest = after.trim_start_matches([' ', '\t']);
        for stream in STREAMS {
            let tagged = self.rest.strip_prefix(stream).and_then(|rest| rest.split_at_checked(2));
            if let Some((tag @ ("F " | "P "), text)) = tagged {
                self.rest = text;
                self.found.is_piece = tag == "P ";
                self.found.form = Form::ContainerLog;
                return true;
            }
        }
        // `dmesg --time-format iso` has a comma and nothing else.
        if time.contains(',') {
            let after = self.take_caller(after);
            self.rest = after.strip_prefix(' ').unwrap_or(after);
            self.found.form = Form::Dmesg;
            self.reading = Reading::Text;
        } else {
            self.take_host_and_tag();
        }
        true
    }

    /// `1732269662.064130 host kernel: ` of `journalctl -o short-unix`.
    fn take_epoch(&mut self) -> bool {
        let Some((_, rest)) = stamp::seconds(self.rest) else { return false };
        let time = &self.rest[..self.rest.len() - rest.len()];
        if stamp::digits(time.as_bytes()) != 10 || !rest.starts_with(' ') {
            return false;
        }
        self.found.record.time = Some(WrittenTime::new(Manner::EpochSeconds, time));
        self.found.form = Form::Syslog;
        self.rest = rest.trim_start_matches(' ');
        self.take_host_and_tag();
        true
    }

    /// `10.200.70.91: ` before a facility, as `talosctl dmesg` has it.
    fn take_node(&mut self) -> bool {
        let (node, rest) = split_word(self.rest);
        // A search's number before an IPv4 address is none of an IPv6 one's.
        let is_numbered = node.contains('.') && node.trim_end_matches(':').contains(':');
        let node = node.strip_suffix(':').filter(|node| is_host(node) && is_facility(rest) && !is_numbered);
        let Some(node) = node else {
            return false;
        };
        self.found.record.host = Some(node.into());
        self.rest = rest;
        true
    }

    /// `kern  :info  : `, as `dmesg -x` has it.
    fn take_facility(&mut self) -> bool {
        if !is_facility(self.rest) {
            return self.take_node();
        }
        let mut fields = self.rest.splitn(3, ':');
        let (Some(facility), Some(level), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        if facility.trim_end() != "kern" {
            self.found.record.facility = Some(USER);
        }
        self.found.record.level = Level::of_name(level.trim());
        self.found.form = Form::Dmesg;
        self.rest = text.strip_prefix(' ').unwrap_or(text);
        true
    }

    /// `Nov 22 10:01:02 `, then the host and the tag.
    fn take_syslog(&mut self) -> bool {
        let Some(length) = stamp::syslog(self.rest) else { return false };
        let (time, after) = self.rest.split_at(length);
        if self.found.record.time.is_none() {
            self.found.record.time = Some(WrittenTime::new(Manner::Syslog, time));
        }
        self.found.form = Form::Syslog;
        self.rest = after.strip_prefix(':').unwrap_or(after).trim_start_matches(' ');
        self.take_host_and_tag();
        true
    }

    fn take_cut_ctime(&mut self) -> bool {
        let Some(end) = memchr::memchr(b']', &self.rest.as_bytes()[..self.rest.len().min(48)]) else {
            return false;
        };
        if !stamp::is_ctime(&self.rest[..end]) || self.rest[..end].contains('[') {
            return false;
        }
        self.found.record.time = Some(WrittenTime::new(Manner::Ctime, &self.rest[..end]));
        self.take_text_behind_bracket(&self.rest[end + 1..]);
        true
    }

    /// `Fri 2024-11-22 10:01:02 UTC `, as `journalctl -o with-unit` has it.
    fn take_weekday(&mut self) -> bool {
        let (word, rest) = split_word(self.rest);
        if word.len() > 12 || stamp::iso(rest).is_none() {
            return false;
        }
        self.rest = rest;
        self.take_iso()
    }

    /// `kernel: ` with nothing before it.
    fn take_bare_tag(&mut self) -> bool {
        let Some(text) = self.rest.strip_prefix("kernel: ") else { return false };
        self.rest = text;
        self.reading = Reading::KernelStamp;
        true
    }

    /// `HOST TAG: `, or `TAG: ` alone; `BusyBox` has `HOST kern.info TAG: `.
    fn take_host_and_tag(&mut self) {
        let (first, rest) = split_word(self.rest);
        if let Some(tag) = tag(first).filter(|_| is_tag(first, rest)) {
            self.note_tag(tag);
            self.rest = rest;
            return;
        }
        let (mut second, mut text) = split_word(rest);
        if let Some((_, text)) = facility_and_level(first)
            .map(|facility| (facility, rest))
            .filter(|(facility, _)| *facility == "kern" && second == "kernel:")
        {
            // No host stands before them.
            self.rest = text;
            return self.take_host_and_tag();
        }
        if !is_host(first) {
            return;
        }
        if let Some(facility) = facility_and_level(second) {
            if facility != "kern" {
                self.found.record.facility = Some(USER);
            }
            (second, text) = split_word(text);
        }
        if let Some(tag) = tag(second) {
            self.found.record.host = Some(first.into());
            self.note_tag(tag);
            self.rest = text;
        }
    }

    fn note_tag(&mut self, tag: &'a str) {
        if tag == "kernel" {
            self.reading = Reading::KernelStamp;
            return;
        }
        self.found.tag = Some(tag.into());
        self.found.record.facility = Some(USER);
        self.reading = Reading::Text;
    }

    /// `kern.log:`, `kern.log-12-`, `  12\t`: where a search or an editor found the line, whose own stamp follows.
    fn skip_place(&mut self) -> bool {
        let line = self.rest.trim_start_matches([' ', '\t']);
        for behind in places(line) {
            let mut inner = Self::of(&line[behind..]);
            inner.take_things(inner.rest.len());
            if inner.found.stamped {
                *self = inner;
                return true;
            }
        }
        false
    }

    /// What stands before the text has no shape that is known: looks for the kernel's own stamp behind it.
    fn look_for_stamp(&mut self) -> bool {
        let head = &self.rest[..self.rest.floor_char_boundary(LAST_LOOK)];
        for at in memchr::memchr_iter(b'[', head.as_bytes()) {
            let inside = &head[at + 1..];
            let is_stamp = stamp::seconds(inside).is_some_and(|(_, rest)| rest.starts_with(']'))
                || inside.split_once(']').is_some_and(|(inside, _)| {
                    stamp::is_ctime(inside) || stamp::iso(inside) == Some(inside.len())
                });
            if is_stamp {
                self.found.stream = stream(&head[..at]).map(Cow::from);
                self.rest = &self.rest[at..];
                return self.take_one();
            }
        }
        if let Some(at) = KERNEL.find(head.as_bytes()) {
            self.rest = &self.rest[at + "kernel: ".len()..];
            self.found.stamped = true;
            self.found.form = Form::Syslog;
            self.take_one();
            return true;
        }
        false
    }
}

/// Whether a word with a colon is a tag, not the beginning of a process's name that asks for memory.
fn is_tag(word: &str, rest: &str) -> bool {
    word.contains('[') || word == "kernel:" || !rest.contains(" invoked oom-killer: gfp_mask=")
}

static KERNEL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("kernel: "));

/// The text without what copying and logging have done to it.
fn tidied(text: &str, form: Form) -> Cow<'_, str> {
    let mut text = text;
    // Padding of a console; one blank may be the kernel's.
    if text.ends_with("  ") {
        text = text.trim_end_matches(' ');
    }
    if matches!(form, Form::Syslog | Form::Iso)
        && memchr::memchr(b'#', text.as_bytes()).is_some()
        && text.contains("#012")
    {
        // Rsyslog's newline.
        return Cow::Owned(text.replace("#012", "\n"));
    }
    Cow::Borrowed(text)
}
