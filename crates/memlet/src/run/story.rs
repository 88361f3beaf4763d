//! What `memlet run` says while Pods run: log lines as the containers wrote them, and what happened between.
//!
//! Lines of our own begin with `--`, so that they are told from a container's at a glance.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use indicatif::MultiProgress;

use super::follow::LogLine;

/// Where the story goes: a terminal with bars below it, a file, or standard error beside a JSON result.
pub(crate) struct Story {
    to_stderr: bool,
    colour: bool,
    bars: Option<MultiProgress>,
    /// Log lines carry their container's name when there is more than one.
    prefix_width: Option<usize>,
    unfinished: bool,
}

impl Story {
    /// `names` are those of all containers; with only one, its lines go out as they are.
    pub(crate) fn new(to_stderr: bool, bars: Option<MultiProgress>, names: &[String]) -> Self {
        let colour =
            if to_stderr { crate::say::colour(&io::stderr()) } else { crate::say::colour(&io::stdout()) };
        let widest = names.iter().map(String::len).max().unwrap_or(0);
        Self { to_stderr, colour, bars, prefix_width: (names.len() > 1).then_some(widest), unfinished: false }
    }

    /// What a container wrote.
    pub(crate) fn log(&mut self, name: &str, lines: &[LogLine]) {
        let mut text = String::new();
        for line in lines {
            if let Some(width) = self.prefix_width {
                text.push_str(&format!("{name:width$} | "));
            }
            text.push_str(&line.text);
            // With prefixes a piece of a line stands alone; without, its end follows.
            if !line.partial || self.prefix_width.is_some() {
                text.push('\n');
            }
        }
        self.write(&text);
    }

    /// Something that happened.
    pub(crate) fn note(&mut self, text: &str) {
        self.styled("--", text, AnsiColor::BrightBlack);
    }

    /// Something that went wrong.
    pub(crate) fn alarm(&mut self, text: &str) {
        self.styled("--", text, AnsiColor::Yellow);
    }

    fn styled(&mut self, mark: &str, text: &str, colour: AnsiColor) {
        let style = if self.colour { Style::new().fg_color(Some(colour.into())) } else { Style::new() };
        let begin = if self.unfinished { "\n" } else { "" };
        self.write(&format!("{begin}{style}{mark} {text}{style:#}\n"));
    }

    /// Text that is ready to be shown, such as a verdict.
    pub(crate) fn write(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.unfinished = !text.ends_with('\n');
        let write = || {
            if self.to_stderr {
                io::stderr().write_all(text.as_bytes())
            } else {
                io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())
            }
        };
        // A reader that went away (`| head`) does not stop the Pods from being ended in order.
        let _ = match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        };
    }
}
