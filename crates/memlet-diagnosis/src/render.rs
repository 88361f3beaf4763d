//! A verdict as text for people.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style as Ansi};

use crate::evidence::Victim;
use crate::verdict::{Outcome, Remedy, Verdict};

/// How to show a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour it with ANSI sequences.
    pub colour: bool,
    /// How many columns there are; `None` for what reads well in a file.
    pub width: Option<usize>,
    /// Whether to name the container with its Pod, as where there are several Pods.
    pub with_pod: bool,
}

/// The columns of text that goes nowhere in particular.
const USUAL_WIDTH: usize = 100;
/// Narrower than this, wrapping makes it worse.
const LEAST_WIDTH: usize = 40;
/// Where the facts begin: two blanks, a label, two blanks.
const INDENT: usize = 11;
/// So many kills of children are listed; more are counted.
const CHILDREN_LISTED: usize = 3;

/// The headline, then a line or more per fact, child, remedy and missing witness. Ends with a newline.
pub fn text(verdict: &Verdict, style: Style) -> String {
    let mut page = Page::new(style);
    page.headline(verdict);
    for fact in &verdict.facts {
        page.paragraph(fact.topic.label(), &fact.text);
    }
    for child in verdict.children.iter().take(CHILDREN_LISTED) {
        let label = if child.victim == Victim::Child { "child" } else { "process" };
        page.paragraph(label, &format!("killed: {}", child.text));
    }
    if let Some(more @ 1..) = verdict.children.len().checked_sub(CHILDREN_LISTED) {
        page.paragraph("", &format!("and {more} more"));
    }
    if let Some(remedy) = &verdict.remedy {
        page.remedy(remedy);
    }
    for missing in &verdict.missing {
        page.paragraph("missing", &format!("{}: {}", missing.source, missing.reason));
    }
    page.out
}

/// A page of labelled paragraphs, as verdicts are.
#[derive(Clone, Debug)]
pub struct Page {
    style: Style,
    pub(crate) out: String,
}

impl Page {
    /// Nothing is on it yet.
    pub fn new(style: Style) -> Self {
        Self { style, out: String::new() }
    }

    /// What is on it.
    pub fn finish(self) -> String {
        self.out
    }

    fn headline(&mut self, verdict: &Verdict) {
        let colour = match verdict.outcome {
            Outcome::Completed => AnsiColor::Green,
            Outcome::Running => AnsiColor::Cyan,
            _ => AnsiColor::Red,
        };
        let subject = &verdict.subject;
        let mut name = subject.container.clone();
        if self.style.with_pod {
            name = format!("{}/{name}", subject.pod);
        }
        if subject.restart_count > 0 {
            name = format!("{name} (restart {})", subject.restart_count);
        }
        let headline = self.styled(Ansi::new().bold().fg_color(Some(colour.into())), &verdict.headline);
        let _ = writeln!(self.out, "{}: {headline}", printable(&name));
    }

    /// One or more lines over the whole width, which stand out.
    pub fn title(&mut self, text: &str, colour: AnsiColor) {
        let style = Ansi::new().bold().fg_color(Some(colour.into()));
        for line in wrapped(&printable(text), self.width()) {
            let _ = writeln!(self.out, "{}", self.styled(style, &line));
        }
    }

    /// A line as it is, dimmed or not; what it holds must be printable.
    pub fn line(&mut self, line: &str, style: Ansi) {
        let line = self.styled(style, line.trim_end());
        let _ = writeln!(self.out, "{line}");
    }

    fn width(&self) -> usize {
        self.style.width.unwrap_or(USUAL_WIDTH).max(LEAST_WIDTH)
    }

    /// A label and what it is about.
    pub fn paragraph(&mut self, label: &str, text: &str) {
        let width = self.width() - INDENT;
        let text = printable(text);
        for (index, line) in wrapped(&text, width).into_iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            let label = self.styled(Ansi::new().dimmed(), &format!("{label:<7}"));
            let _ = writeln!(self.out, "  {label}  {line}");
        }
    }

    /// What to change, and the change ready to paste.
    pub(crate) fn remedy(&mut self, remedy: &Remedy) {
        self.paragraph("change", &remedy.text);
        for line in remedy.patch.iter().flat_map(|patch| patch.yaml.lines()) {
            self.preformatted(line);
        }
    }

    /// A line that must survive being copied: never wrapped.
    pub fn preformatted(&mut self, line: &str) {
        let line = self.styled(Ansi::new().fg_color(Some(AnsiColor::Green.into())), &printable(line));
        let _ = writeln!(self.out, "{:INDENT$}{line}", "");
    }

    fn styled(&self, style: Ansi, text: &str) -> String {
        if self.style.colour && !text.trim().is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// Process names are chosen by whoever runs the process: no control character of theirs reaches a terminal, and none
/// that turns the direction of writing, hides, or ends a line.
pub fn printable(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// Breaks at blanks; a word longer than a line keeps one of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
