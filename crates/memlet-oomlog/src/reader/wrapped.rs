//! Lines that a mailer, a terminal or an editor broke: the pieces of one record are put together again. Only lines of
//! a report are, and only where the whole is more than its first piece.

use crate::assembler::Lines;
use crate::line::{Columns, Line};
use crate::source::Unwrapped;

/// No line of a report is broken into more pieces.
const MOST_PIECES: usize = 24;
const LONGEST: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Wrapped {
    begun: Option<Begun>,
    /// The columns of the last table, by which a row can be known to be cut, and how long its header is: as long as its
    /// rows at least, but for the name.
    columns: Option<(Columns, usize)>,
    width: Width,
}

/// At which column lines are broken. A terminal breaks all at the same, wherever that is in a word; a mailer breaks at
/// blanks.
#[derive(Clone, Copy, Debug, Default)]
enum Width {
    #[default]
    Unknown,
    /// One line was broken, and was so long.
    Once(usize),
    /// All that were broken were so long.
    Always(usize),
    Varies,
}

impl Width {
    /// What nearly every terminal has, as long as nothing tells otherwise.
    const USUAL: usize = 80;

    fn is_full(self, length: usize) -> bool {
        match self {
            Self::Unknown | Self::Once(Self::USUAL) => length == Self::USUAL,
            Self::Always(width) => length == width,
            Self::Once(_) | Self::Varies => false,
        }
    }

    fn and(self, length: usize) -> Self {
        match self {
            Self::Unknown => Self::Once(length),
            Self::Once(width) | Self::Always(width) if width == length => Self::Always(width),
            _ => Self::Varies,
        }
    }
}

#[derive(Debug)]
struct Begun {
    found: Unwrapped<'static>,
    lines: Lines,
    pieces: usize,
    /// The last piece is as long as all lines that are broken: the next goes on right behind it.
    is_full: bool,
    /// It says all that such a line does, unless its last number goes on.
    is_whole: bool,
    /// The text after the last piece that made it say more, and where that piece is.
    best: (String, Lines),
}

impl Wrapped {
    pub(super) fn is_empty(&self) -> bool {
        self.begun.is_none()
    }

    /// What was begun, if `found` does not go on with it.
    pub(super) fn take_back(&mut self, found: &Unwrapped<'_>) -> Option<(Unwrapped<'static>, Lines)> {
        let begun = self.begun.as_ref()?;
        let goes_on = !found.stamped
            && found.tag.is_none()
            && begun.pieces < MOST_PIECES
            && begun.found.record.text.len() + found.record.text.len() < LONGEST
            && !found.record.text.trim().is_empty()
            && if is_number(&found.record.text) {
                true
            } else if begun.is_full {
                begun.goes_on_with(&found.record.text)
            } else if begun.is_whole {
                false
            } else {
                begun.found.record.text.trim().is_empty() || !stands_alone(&found.record.text)
            };
        if goes_on { None } else { self.release() }
    }

    /// Whether `found`, whose text is `line`, is the beginning of a broken line.
    pub(super) fn is_beginning(&self, found: &Unwrapped<'_>, line: Option<&Line<'_>>) -> bool {
        found.record.is_from_kernel()
            && (self.wants_more(line, &found.record.text, found.stamped)
                || line.is_some()
                    && found.stamped
                    && (self.width.is_full(found.length) || ends_in_digit(&found.record.text)))
    }

    /// Begins with `found`, or joins it with what was begun. Returns what is whole.
    pub(super) fn join(&mut self, found: Unwrapped<'_>, lines: Lines) -> Option<(Unwrapped<'static>, Lines)> {
        let Some(mut begun) = self.begun.take() else {
            let best = (found.record.text.clone().into_owned(), lines);
            let is_full = found.stamped && self.width.is_full(found.length);
            let line = Line::parse(&found.record.text);
            let is_whole = !self.wants_more(line.as_ref(), &found.record.text, found.stamped);
            self.begun = Some(Begun { found: found.into_owned(), lines, pieces: 0, is_full, is_whole, best });
            return None;
        };
        // The rest of a number.
        let is_rest = ends_in_digit(&begun.found.record.text) && is_number(&found.record.text);
        let is_close = begun.is_full || is_rest;
        let text = joined(&begun.found.record.text, &found.record.text, is_close);
        begun.lines.1 = lines.1;
        begun.pieces += 1;
        let (before, now) = (quality(&begun.best.0), quality(&text));
        if now > before || (is_close && now == before) {
            begun.best = (text.clone(), begun.lines);
        }
        if now > before && begun.pieces == 1 {
            self.width = self.width.and(begun.found.length);
        }
        begun.is_full &= self.width.is_full(found.length);
        let wants_more =
            begun.is_full || self.wants_more(Line::parse(&text).as_ref(), &text, begun.found.stamped);
        begun.found.record.text = text.into();
        self.begun = Some(begun);
        if wants_more { None } else { self.release() }
    }

    /// What was begun, as far as it has come.
    pub(super) fn release(&mut self) -> Option<(Unwrapped<'static>, Lines)> {
        let mut begun = self.begun.take()?;
        let (text, lines) = begun.best;
        self.note(Line::parse(&text).as_ref(), &text);
        begun.found.record.text = text.into();
        Some((begun.found, lines))
    }

    /// Notes what the rows of the table to come look like.
    pub(super) fn note(&mut self, line: Option<&Line<'_>>, text: &str) {
        if let Some(Line::TasksHeader(columns)) = line {
            self.columns = Some((columns.clone(), text.len()));
        }
    }

    /// Whether `text` is the beginning of a report's line, and not all of it.
    fn wants_more(&self, line: Option<&Line<'_>>, text: &str, stamped: bool) -> bool {
        match line {
            Some(Line::Invoked(_)) => !text.contains("adj=") || text.ends_with("adj="),
            Some(Line::Cpu(read)) => read.kernel.is_none() || !text.contains(" #"),
            Some(Line::OomKill(read)) => !read.is_whole(),
            Some(Line::Killed(read)) => {
                let last = text.trim_end().rsplit(", ").next().unwrap_or_default();
                read.total_vm.is_none()
                    || !(last.ends_with("kB") && !last.starts_with("UID:") || last.contains("adj:"))
            }
            Some(Line::TaskRow(row)) => self
                .columns
                .as_ref()
                .is_some_and(|(columns, header)| text.len() < *header && columns.want_more_than(row)),
            Some(Line::StatsOf { stats, .. }) => !stats.contains("unevictable:"),
            // A path may be broken anywhere.
            Some(Line::StatsFor { .. } | Line::Torn(_) | Line::TaskIn { .. }) => true,
            Some(_) => false,
            None => {
                (stamped && text.trim_ascii().is_empty())
                    || text.starts_with(['M', 'O', 'K', 'T', '[', 'm', 's', 'k'])
                        && BEGINNINGS.iter().any(|words| text.starts_with(words))
            }
        }
    }
}

impl Begun {
    /// Whether a line that is full to the last column goes on with this text, which may as well be the next of a record
    /// of several lines.
    fn goes_on_with(&self, text: &str) -> bool {
        match Line::parse(text.trim_start()) {
            None => true,
            // Behind a number's name that is what the number looks like.
            Some(Line::Stat { .. }) => !self.found.record.text.trim_end().ends_with(':'),
            Some(_) => false,
        }
    }
}

fn ends_in_digit(text: &str) -> bool {
    text.ends_with(|last: char| last.is_ascii_digit())
}

/// Whether a line is nothing but digits: the rest of a number that was broken, and no longer than one.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How lines of a report begin that say nothing before they are whole.
const BEGINNINGS: [&str; 13] = [
    "Memory cgroup out of memory",
    "Out of memory",
    "Out of Memory",
    "Killed process ",
    "Kill process ",
    "Task in /",
    "Tasks state (",
    "[  pid  ] ",
    "[ pid ] ",
    "memory: usage ",
    "memory+swap: usage ",
    "swap: usage ",
    "kmem: usage ",
];

/// Whether a line is one of a report by itself, so that it goes on with none.
fn stands_alone(text: &str) -> bool {
    let text = text.trim_start_matches(' ');
    !matches!(Line::parse(text), None | Some(Line::Machine(_) | Line::Cpuset { .. }))
}

/// Both pieces as one text, with or without a blank between: whichever says more. `is_close`: there was none.
fn joined(begun: &str, piece: &str, is_close: bool) -> String {
    let piece = piece.trim_end();
    let close = format!("{begun}{piece}");
    if is_close || begun.is_empty() || begun.ends_with(' ') || piece.starts_with(' ') {
        return close;
    }
    let apart = format!("{begun} {piece}");
    // Between the parts of a path or a list there are no blanks.
    let is_list = ["oom-kill:", "Task in ", "Tasks in "].iter().any(|words| begun.starts_with(words));
    match quality(&apart).cmp(&quality(&close)) {
        std::cmp::Ordering::Less => close,
        std::cmp::Ordering::Equal if is_list => close,
        std::cmp::Ordering::Greater | std::cmp::Ordering::Equal => apart,
    }
}

/// How much a text says as a line of a report.
fn quality(text: &str) -> usize {
    let said = |options: &[bool]| options.iter().filter(|said| **said).count();
    match Line::parse(text) {
        None => 0,
        Some(Line::Torn(_)) => 1,
        Some(Line::Invoked(read)) => {
            2 + said(&[
                read.gfp_bits.is_some(),
                read.order.is_some(),
                read.oom_score_adj.is_some(),
                read.gfp_names.is_some(),
            ])
        }
        Some(Line::OomKill(read)) => {
            2 + said(&[
                read.constraint.is_some(),
                read.cpuset.is_some(),
                read.oom_memcg.is_some() || read.global,
                read.task_memcg.is_some(),
                read.is_whole(),
            ])
        }
        Some(Line::Killed(read)) => {
            2 + said(&[
                read.total_vm.is_some(),
                read.anon_rss.is_some(),
                read.file_rss.is_some(),
                read.shmem_rss.is_some(),
                read.uid.is_some(),
                read.pgtables.is_some(),
                read.oom_score_adj.is_some(),
            ])
        }
        Some(Line::TasksHeader(columns)) => 2 + columns.known(),
        Some(Line::TaskRow(_)) => 2 + text.split_ascii_whitespace().count(),
        Some(Line::StatsOf { stats, .. }) => 3 + stats.split_ascii_whitespace().count(),
        Some(Line::TaskIn { oom_memcg, .. }) if !oom_memcg.contains(' ') => 3 + oom_memcg.len(),
        Some(Line::Cpu(read)) => 2 + said(&[read.kernel.is_some(), text.contains(" #")]),
        Some(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::unwrap_text;

    /// The texts that come out of these lines.
    fn texts(lines: &[&str]) -> Vec<String> {
        let mut wrapped = Wrapped::default();
        let mut texts = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let mut found = unwrap_text(line);
            found.length = line.len();
            texts.extend(wrapped.take_back(&found).map(|(found, _)| found.record.text.into_owned()));
            if wrapped.is_empty() && !wrapped.is_beginning(&found, Line::parse(&found.record.text).as_ref()) {
                texts.push(found.record.text.into_owned());
            } else {
                let joined = wrapped.join(found, (number, number));
                texts.extend(joined.map(|(found, _)| found.record.text.into_owned()));
            }
        }
        texts.extend(wrapped.release().map(|(found, _)| found.record.text.into_owned()));
        texts
    }

    #[test]
    fn broken_lines_are_put_together() {
        for (lines, whole) in [
            (
                &[
                    "[ 1.000000] x invoked oom-killer: ",
                    "gfp_mask=0xcc0(GFP_KERNEL), order=0,",
                    "oom_score_adj=0",
                ][..],
                "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
            ),
            (
                &[
                    "[ 1.000000] ",
                    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom",
                    "_memcg=/test,task_m",
                    "emcg=/test,task=stress,pid=1122,uid=0",
                ],
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/test,task_memcg=/test,task=stress,pid=1122,uid=0",
            ),
            (
                &[
                    "[ 1.000000] Memory cgroup out of memory: Killed process 7 (br) total-vm:22239",
                    "788kB, anon-rss:1kB, file-rss",
                    ":0kB",
                ],
                "Memory cgroup out of memory: Killed process 7 (br) total-vm:22239788kB, anon-rss:1kB, file-rss:0kB",
            ),
            (
                &["[ 1.000000] Out of memory: Kill process 284", "(x y) score 5 or sacrifice child"],
                "Out of memory: Kill process 284 (x y) score 5 or sacrifice child",
            ),
            (
                &[
                    "[ 1.000000] [  pid  ]   uid  tgid total_vm      rss ",
                    "pgtables_bytes swapents oom_score_ad",
                    "j name",
                ],
                "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
            ),
        ] {
            assert_eq!(texts(lines), [whole]);
        }
    }

    /// A terminal breaks at its last column, wherever that is.
    #[test]
    fn lines_of_a_terminal_are_put_together_as_they_were() {
        const HEADER: &str =
            "php-fpm invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0";
        const WHOLE: [&str; 5] = [
            HEADER,
            HEADER,
            "memory: usage 2097152kB, limit 2097152kB, failcnt 2084326",
            "Task in /docker/2e088fe462e25e60b killed as a result of limit of /docker/2e088fe462e2",
            "Memory cgroup out of memory: Killed process 39029 (php-fpm) total-vm:8kB, anon-rss:4kB, file-rss:0kB",
        ];
        for width in 60..100 {
            let lines: Vec<String> = WHOLE
                .iter()
                .flat_map(|text| {
                    let line = format!("[{:>17}] {text}", "41066.536886");
                    let pieces: Vec<String> = line
                        .as_bytes()
                        .chunks(width)
                        .map(|it| String::from_utf8_lossy(it).into_owned())
                        .collect();
                    pieces
                })
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let found = texts(&lines);
            // Two lines broken at the same column tell that all are; 80 is what nearly all terminals have.
            let known = if width == 80 { 0 } else { 2 };
            assert_eq!(found[known..], WHOLE[known..], "{width}");
        }
    }

    #[test]
    fn what_does_not_go_on_stays_apart() {
        let lines = [
            "[ 1.000000] x invoked oom-killer: ",
            "[ 1.000000] Call Trace:",
            "[ 1.000000] Out of memory",
            "and more of it",
        ];
        assert_eq!(texts(&lines), ["x invoked oom-killer: ", "Call Trace:", "Out of memory"]);
    }
}
