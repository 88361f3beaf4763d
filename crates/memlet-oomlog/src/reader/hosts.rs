//! One assembler for each machine of an aggregated log.

use std::collections::HashMap;

use super::pending::Pending;
use crate::assembler::{Assembler, Bounds, Event, Lines};
use crate::line::Line;
use crate::report::Pid;
use crate::source::Unwrapped;
use crate::userspace;

/// More machines than whose reports are under way at a time.
const MOST_HOSTS: usize = 4096;
/// Reports of one machine are numbered within its range.
const RANGE: u64 = 1 << 40;
/// A machine with an open report that is silent for so many lines of others has ended it.
const SILENCE: u64 = 100_000;
/// Among so many lines of others, one that goes on with a report has a sign.
const DORMANT_LINES: u64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Hosts {
    bounds: Bounds,
    all: Vec<Host>,
    by_name: HashMap<Box<str>, usize>,
    /// The machine of the last line that named one.
    current: usize,
    begun: u64,
    amid: usize,
    /// What the kernel writes before a kill was seen behind it.
    pub(super) newest_first: bool,
    checked: u64,
}

#[derive(Debug)]
struct Host {
    /// `None`: the log does not say.
    name: Option<Box<str>>,
    assembler: Assembler,
    last_line: u64,
    /// How many records it has written.
    records: u32,
    /// Its name is what stood before its first record, not a host's.
    by_stream: bool,
    amid: bool,
    /// The process of the last line, if that was a kill.
    killed: Option<Pid>,
}

impl Hosts {
    pub(super) fn with_bounds(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Whether the line after `line` may belong to a report that is open on some machine, whatever it says.
    pub(super) fn are_busy(&self, line: u64) -> bool {
        let is_busy =
            |host: &Host| host.amid && host.last_line + DORMANT_LINES > line && host.assembler.is_busy();
        self.amid > 0 && self.all.iter().any(is_busy)
    }

    /// Tells of lines that were passed over, for they have no sign of a report.
    pub(super) fn pass_over(&mut self, lines: u64, bytes: u64, pending: &mut Pending) {
        if self.amid == 0 {
            return;
        }
        for host in self.all.iter_mut().filter(|host| host.amid) {
            host.assembler.pass_over(lines);
            drain(&mut host.assembler, bytes, pending);
            host.amid = host.assembler.is_amid_report();
            self.amid -= usize::from(!host.amid);
        }
    }

    /// Where the oldest open report begins.
    pub(super) fn oldest_line(&self) -> Option<u64> {
        if self.amid == 0 {
            return None;
        }
        self.all.iter().filter_map(|host| host.assembler.oldest_line()).min()
    }

    /// Gives a record to its machine's assembler. Returns whether a report ended or was added to.
    pub(super) fn deliver(
        &mut self,
        found: &Unwrapped<'_>,
        line: Option<&Line<'_>>,
        lines: Lines,
        bytes: u64,
        pending: &mut Pending,
    ) -> bool {
        let index = self.of(found, lines.0);
        let host = &mut self.all[index];
        (host.last_line, host.records) = (lines.1, host.records.saturating_add(1));
        if let Some(kill) = userspace::read(found, lines.0) {
            // The machine is the one that the log named last.
            pending.add_userspace(kill, bytes);
            return true;
        }
        self.newest_first |= line.is_some_and(|line| host.is_behind_kill(line));
        if is_elision(&found.record.text) {
            host.assembler.lost(1);
        }
        host.assembler.push_line(&found.record, line, lines);
        let ended = drain(&mut host.assembler, bytes, pending);
        let amid = host.assembler.is_amid_report();
        if amid != host.amid {
            host.amid = amid;
            self.amid = if amid { self.amid + 1 } else { self.amid - 1 };
        }
        if self.amid > 0 && lines.1 > self.checked + SILENCE / 8 {
            self.checked = lines.1;
            self.end_silent(lines.1, bytes, pending);
        }
        ended
    }

    pub(super) fn finish(&mut self, pending: &mut Pending) {
        for host in &mut self.all {
            host.assembler.flush();
            drain(&mut host.assembler, u64::MAX, pending);
            host.amid = false;
        }
        self.amid = 0;
    }

    fn end_silent(&mut self, line: u64, bytes: u64, pending: &mut Pending) {
        for host in self.all.iter_mut().filter(|host| host.amid && host.last_line + SILENCE < line) {
            host.assembler.flush();
            drain(&mut host.assembler, bytes, pending);
            host.amid = false;
            self.amid -= 1;
        }
    }

    fn of(&mut self, found: &Unwrapped<'_>, line: u64) -> usize {
        let host = found.record.host.as_deref();
        let stream = found.stream.as_deref().filter(|stream| host.is_none() && self.is_stream(stream, line));
        let name = host.or(stream);
        if name.is_none() && found.stamped && self.was_no_stream(line) {
            return self.current;
        }
        let known = self.all.get(self.current);
        // A broken line has no host, and is of the machine that was named last.
        if let Some(known) = known
            && (name.is_none() && !found.stamped || known.name.as_deref() == name)
        {
            return self.current;
        }
        let index = match name {
            Some(name) => self.by_name.get(name).copied(),
            None => self.all.iter().position(|host| host.name.is_none()),
        };
        self.current = index.unwrap_or_else(|| self.add(name, host.is_none()));
        self.current
    }

    /// Whether what stands before a record is the name of one log among several. On a console a record may come behind a
    /// prompt, amid the records of the only log.
    fn is_stream(&self, name: &str, line: u64) -> bool {
        self.by_name.contains_key(name)
            || !self.all.iter().any(|host| host.name.is_none() && host.amid && host.last_line + 1 == line)
    }

    /// The record before, whose name came for the first time, was behind a prompt, for this one has no name: both are of the
    /// same log.
    fn was_no_stream(&mut self, line: u64) -> bool {
        let nameless = self.all.iter().position(|host| host.name.is_none());
        let Some(last) = self.all.get_mut(self.current) else { return false };
        if last.name.is_none() || last.records != 1 || last.last_line + 1 != line || !last.by_stream {
            return false;
        }
        if nameless.is_some_and(|nameless| self.all[nameless].amid) {
            return false;
        }
        if let Some(name) = self.all[self.current].name.take() {
            self.by_name.remove(&name);
        }
        if let Some(nameless) = nameless {
            // There is one without a name at a time; no host is called so, and nothing is under way there.
            self.all[nameless].name = Some("".into());
        }
        true
    }

    fn add(&mut self, name: Option<&str>, by_stream: bool) -> usize {
        let mut assembler = Assembler::with_bounds(self.bounds);
        assembler.number_from(self.begun * RANGE);
        self.begun += 1;
        let host = Host {
            name: name.map(Box::from),
            assembler,
            last_line: 0,
            records: 0,
            by_stream,
            amid: false,
            killed: None,
        };
        let oldest = (self.all.len() >= MOST_HOSTS)
            .then(|| (0..self.all.len()).filter(|index| !self.all[*index].amid))
            .and_then(|idle| idle.min_by_key(|index| self.all[*index].last_line));
        let index = if let Some(index) = oldest {
            let gone = std::mem::replace(&mut self.all[index], host);
            gone.name.and_then(|name| self.by_name.remove(&name));
            index
        } else {
            self.all.push(host);
            self.all.len() - 1
        };
        if let Some(name) = name {
            self.by_name.insert(name.into(), index);
        }
        index
    }
}

impl Host {
    /// Whether this line says whom the kernel chose, behind one that says it was killed: the log's order is reversed.
    fn is_behind_kill(&mut self, line: &Line<'_>) -> bool {
        let chosen = match line {
            Line::OomKill(read) => read.pid,
            Line::Kill(read) => Some(read.pid),
            _ => None,
        };
        let killed = match line {
            Line::Killed(read) => self.killed.replace(read.pid),
            _ => self.killed.take(),
        };
        chosen.is_some() && chosen == killed
    }
}

fn drain(assembler: &mut Assembler, bytes: u64, pending: &mut Pending) -> bool {
    let mut any = false;
    while let Some(event) = assembler.next_event() {
        any = true;
        match event {
            Event::Finished(report) => pending.add(report, bytes),
            Event::Amended { report, amendment, line } => pending.amend(report, amendment, line),
        }
    }
    any
}

/// Whether a line says that somebody left something out: `...`, `[...]`, `[snip]`, `<cut>`.
fn is_elision(text: &str) -> bool {
    let text = text.trim_ascii();
    // Quickly past what nearly every line is.
    let longest = if text.starts_with('[') { 40 } else { 120 };
    if text.len() > longest
        || !matches!(text.as_bytes(), [b'.' | b'[' | b'<' | b'(' | b'-' | b'*' | b'~' | 0x80.., ..])
    {
        return false;
    }
    // Grep's mark between two finds is one too.
    let is_dots = text.contains("..") || text.contains('…') || text == "--";
    let is_mark =
        |c: char| matches!(c, '.' | '…' | '[' | ']' | '<' | '>' | '(' | ')' | '-' | ' ' | '*' | '~');
    let words = text.trim_matches(is_mark);
    if words.is_empty() {
        return is_dots;
    }
    let says_so = ["snip", "cut", "truncated", "omitted"]
        .iter()
        .any(|word| words.strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with(' ')));
    says_so || words.contains("省略") || (is_dots && !words.is_ascii() && text.starts_with(['.', '…']))
}

#[cfg(test)]
mod tests {
    use super::is_elision;

    #[test]
    fn elisions_are_known() {
        for text in [
            "...",
            "--",
            "[...]",
            "[snip]",
            " <snip> ",
            "[ ... cut ... ]",
            "…",
            "... (此处省略若干行内存日志)",
        ] {
            assert!(is_elision(text), "{text}");
        }
        for text in ["", "x", "[  pid  ] name", "memory: usage 1kB", "Call Trace:", "---", "[drm] a..b"] {
            assert!(!is_elision(text), "{text}");
        }
    }
}
