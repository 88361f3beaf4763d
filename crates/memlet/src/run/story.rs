//! What `memlet run` says while Pods run: log lines as the containers wrote them, and what happened between.
//!
//! Lines of our own begin with `--`, so that they are told from a container's at a glance.

use std::io;

use anstyle::{AnsiColor, Style};
use anyhow::Result;

use super::follow::LogLine;
use super::output::{Output, Stream};
use super::usage::Usage;

/// The story, and where it goes: standard output, or standard error beside a JSON result.
pub(crate) struct Story {
    output: Output,
    stream: Stream,
    colour: bool,
    /// Log lines carry their container's name when there is more than one.
    prefix_width: Option<usize>,
    unfinished: bool,
}

impl Story {
    /// Nothing is said yet; `usage` is drawn below the story.
    pub(crate) fn new(stream: Stream, usage: Option<Usage>) -> Result<Self> {
        let colour = match stream {
            Stream::Out => crate::say::colour(&io::stdout()),
            Stream::Err => crate::say::colour(&io::stderr()),
        };
        let output = Output::start(usage)?;
        Ok(Self { output, stream, colour, prefix_width: None, unfinished: false })
    }

    /// The names of all containers: with only one, its lines go out as they are.
    pub(crate) fn set_names(&mut self, names: &[String]) {
        let widest = names.iter().map(String::len).max();
        self.prefix_width = widest.filter(|_| names.len() > 1);
    }

    /// The thread by which it goes out.
    pub(crate) fn output(&self) -> &Output {
        &self.output
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
        self.write(text);
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
        self.write(format!("{begin}{style}{mark} {text}{style:#}\n"));
    }

    /// Text that is ready to be shown, such as a verdict.
    pub(crate) fn write(&mut self, text: String) {
        if !text.is_empty() {
            self.unfinished = !text.ends_with('\n');
            self.output.write(self.stream, text);
        }
    }
}
