//! What stands before each line of a text that was pasted, and is not of it: an editor's line numbers, the name of the
//! file in which a search found it, indentation.
//!
//! Only lines without any stamp of a source need this: where there is one, it tells where the text begins. A margin is
//! believed where a line is one of a report without it and none with it; from there on it is taken off the lines that
//! follow, which say nothing by themselves.

use crate::line::Line;

/// The margin of the lines read last.
#[derive(Debug, Default)]
pub(super) struct Margin {
    /// The number of the last line that had one.
    number: Option<u64>,
    /// The file before the last line that had one.
    file: String,
    /// How far the lines are indented.
    blanks: usize,
}

impl Margin {
    /// Notes the number of a line that needs no more: the next, if it has none of a source's stamps, goes on with it.
    pub(super) fn note(&mut self, line: &str) {
        if matches!(line.as_bytes().first(), Some(b' ' | b'\t' | b'0'..=b'9')) {
            self.number = numbered(line).map(|(number, _)| number).or(self.number);
        }
    }

    /// `text` without its margin.
    pub(super) fn off<'a>(&mut self, text: &'a str) -> &'a str {
        if !matches!(text.as_bytes().first(), Some(b' ' | b'\t' | b'0'..=b'9')) {
            if let Some(rest) = self.behind_file(text) {
                return rest;
            }
            if self.blanks > 0 && is_of_report(text) {
                self.blanks = 0;
            }
            return text;
        }
        if let Some((number, rest)) = numbered(text) {
            let follows = self.number.is_some_and(|last| last.checked_add(1) == Some(number));
            if follows || (!says_something(text) && begins_numbers(text, rest)) {
                self.number = Some(number);
                return self.off_blanks(rest);
            }
        }
        self.off_blanks(text)
    }

    /// What is behind the name of the file, and perhaps the line's number in it.
    fn behind_file<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        const MARKS: [char; 2] = [':', '-'];
        let behind = |file: &str| {
            let rest = text.strip_prefix(file)?.strip_prefix(MARKS)?;
            let number = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            Some(number.strip_prefix(MARKS).filter(|_| number.len() < rest.len()).unwrap_or(rest))
        };
        if !self.file.is_empty()
            && let Some(rest) = behind(&self.file)
        {
            return Some(rest);
        }
        let word = &text[..text.find(' ')?];
        // A dash is the mark of lines around a find, and stands in names.
        let files = word.match_indices(':').map(|(at, _)| &text[..at]).filter(|file| {
            behind(file).is_some_and(|rest| match Line::parse(rest) {
                // A process may be called nearly anything.
                Some(Line::Invoked(_)) => looks_like_file(file),
                _ => is_of_report(rest),
            })
        });
        // The name may hold a mark itself; where a number follows, it is at its end.
        let with_number =
            |file: &&str| behind(file).is_some_and(|rest| text.len() - rest.len() > file.len() + 1);
        let file = files.clone().find(with_number).or_else(|| files.clone().next())?;
        if says_something(text) {
            return None;
        }
        file.clone_into(&mut self.file);
        behind(file)
    }

    fn off_blanks<'a>(&mut self, text: &'a str) -> &'a str {
        let rest = text.trim_start_matches(BLANKS);
        let blanks = text.len() - rest.len();
        if blanks != self.blanks && is_of_report(rest) {
            self.blanks = blanks;
        }
        &text[blanks.min(self.blanks)..]
    }
}

const BLANKS: [char; 2] = [' ', '\t'];
/// More digits than the number of a line that somebody pasted.
const MOST_DIGITS: usize = 9;

/// `  12\t`, `12:`, `12-`, `12. `, `12 | `, `  12 `, as nl, cat, grep, less and editors write it: the number, and what
/// is behind it.
fn numbered(text: &str) -> Option<(u64, &str)> {
    let rest = text.trim_start_matches(BLANKS);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let number = number.parse().ok().filter(|_| digits <= MOST_DIGITS)?;
    let behind =
        ["\t", ":", "-", ". ", " | ", "| ", "|", " "].iter().find_map(|mark| rest.strip_prefix(mark));
    // Nothing but the number: an empty line.
    Some((number, behind.or_else(|| rest.is_empty().then_some(""))?))
}

/// Whether a word is rather the name of a log than of a process.
fn looks_like_file(word: &str) -> bool {
    let name = word.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    word.starts_with(['/', '.'])
        || [".log", ".txt", ".out"].iter().any(|part| word.contains(part))
        || ["messages", "syslog", "dmesg", "kern"].contains(&name)
}

/// Whether a number before what is a line of a report is that of the line, not the beginning of a name.
fn begins_numbers(text: &str, rest: &str) -> bool {
    let line = rest.trim_start_matches(BLANKS);
    if !matches!(Line::parse(line), Some(Line::Invoked(_))) {
        return is_of_report(line);
    }
    let is_padded = text.starts_with(BLANKS);
    let number = text.trim_start_matches(BLANKS);
    let mark = number.trim_start_matches(|c: char| c.is_ascii_digit());
    is_padded
        || (!number.starts_with('0') && mark.starts_with([':', '\t', '.', '|']) || mark.starts_with(" |"))
}

/// Whether a line is one of a report by itself, whatever stands around it.
fn is_of_report(text: &str) -> bool {
    !matches!(
        Line::parse(text),
        None | Some(
            Line::Stat { .. }
                | Line::Machine(_)
                | Line::Cpuset { .. }
                | Line::Torn(_)
                | Line::CallTrace
                | Line::CallTraceEnd
        )
    )
}

/// Whether a line says something as it is, other than that a name looks like a margin.
fn says_something(text: &str) -> bool {
    !matches!(Line::parse(text), None | Some(Line::Invoked(_) | Line::Cpuset { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: [&str; 7] = [
        "java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        " dump_stack+0x1/0x2",
        "",
        "anon 4096",
        "0 pages reserved",
        "[    123]     0   123    77057    16384   167936        0             0 java",
        "Memory cgroup out of memory: Killed process 123 (java) total-vm:8kB, anon-rss:4kB, file-rss:0kB",
    ];

    fn off(lines: impl Iterator<Item = String>) -> Vec<String> {
        let mut margin = Margin::default();
        lines.map(|line| margin.off(&line).to_owned()).collect()
    }

    #[test]
    fn numbers_and_indentation_go() {
        let number = |form: fn(usize, &str) -> String| (98..).zip(REPORT).map(move |(n, line)| form(n, line));
        for lines in [
            off(number(|n, line| format!("{n:6}\t{line}"))),
            off(number(|n, line| format!("{n}:{line}"))),
            off(number(|n, line| format!("{n:7} {line}"))),
            off(number(|n, line| format!("{n} | {line}"))),
            off(number(|n, line| format!("    {n}. {line}"))),
            off(REPORT.iter().map(|line| format!("    {line}"))),
            off(REPORT.iter().map(|line| format!("\t{line}"))),
            off(REPORT.iter().map(|line| format!("/var/log/kern.log:{line}"))),
            off(number(|n, line| format!("dmesg-1.txt:{n}:{line}"))),
            off(REPORT.iter().map(|line| (*line).to_owned())),
        ] {
            assert_eq!(lines, REPORT);
        }
    }

    #[test]
    fn what_is_no_margin_stays() {
        for comm in [
            "syslog-ng",
            "01-cpu-hotplug",
            "dmesg-watch",
            "12-worker",
            "rs:main Q:Reg",
            "kworker/u8:2",
            "oom02:4583",
            "runc:[2:INIT]",
        ] {
            let text =
                format!("{comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0");
            assert_eq!(Margin::default().off(&text), text);
        }
        for text in ["0 pages RAM", " active_anon:1 inactive_anon:2", "12 apples", "   indented prose", "7"] {
            assert_eq!(Margin::default().off(text), text);
        }
        let mut margin = Margin::default();
        assert_eq!(margin.off(&format!("    {}", REPORT[6])), REPORT[6]);
        assert_eq!(margin.off("      prose"), "  prose");
        assert_eq!(margin.off(REPORT[6]), REPORT[6]);
        assert_eq!(margin.off("    prose"), "    prose");
    }
}
