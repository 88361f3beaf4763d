//! What was found, printed on standard output in the form that was asked for.

use std::io::{self, IsTerminal, Write};

use anyhow::Error;
use memlet_diagnosis::log::document::ReportDocument;
use memlet_diagnosis::log::explain;
use memlet_diagnosis::render::Style;
use memlet_oomlog::{Report, UserspaceKill};
use rustix::termios::tcgetwinsize;

use super::document::{Document, Input, Notation};
use super::pages::{Pages, Paper};
use super::progress::Progress;
use crate::cli::{ExplainArguments, ExplainFormat};
use crate::say;

/// Why printing ends early.
pub(crate) enum Stop {
    /// Who read has enough, as `head` has.
    ReaderGone,
    /// Something went wrong.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Standard output.
pub(super) struct Sink {
    form: Form,
    /// How much was found.
    pub(super) found: u64,
}

enum Form {
    Pages(Pages),
    Document(Document),
}

impl Sink {
    pub(super) fn new(arguments: &ExplainArguments) -> Self {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(|| tcgetwinsize(&stdout).ok()).flatten();
        let style = Style {
            colour: say::colour(&stdout),
            width: width.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0),
            with_pod: false,
        };
        let pages = |paper| Form::Pages(Pages::new(paper, arguments.top, arguments.all || arguments.follow));
        let form = match arguments.output {
            ExplainFormat::Text => pages(Paper::Text(style)),
            ExplainFormat::Markdown => pages(Paper::Markdown),
            ExplainFormat::Json => Form::Document(Document::new(Notation::Json)),
            ExplainFormat::Yaml => Form::Document(Document::new(Notation::Yaml)),
        };
        Self { form, found: 0 }
    }

    pub(super) fn report(&mut self, report: &Report, file: &str, progress: &Progress) -> Result<(), Stop> {
        self.found += 1;
        let explanation = explain(report);
        let text = match &mut self.form {
            Form::Pages(pages) => pages.report(report, &explanation, file),
            Form::Document(document) => {
                document.report(&ReportDocument::new(report, &explanation, Some(file)))?
            }
        };
        progress.aside(|| print(&text))
    }

    pub(super) fn userspace_kill(
        &mut self,
        kill: &UserspaceKill,
        file: &str,
        progress: &Progress,
    ) -> Result<(), Stop> {
        self.found += 1;
        let text = match &mut self.form {
            Form::Pages(pages) => pages.userspace_kill(kill),
            Form::Document(document) => {
                document.userspace_kill(kill, file);
                String::new()
            }
        };
        progress.aside(|| print(&text))
    }

    /// Nothing came for a while, and more may come.
    pub(super) fn live(&mut self) -> Result<(), Stop> {
        match &mut self.form {
            Form::Pages(pages) => print(&pages.live()),
            Form::Document(_) => Ok(()),
        }
    }

    /// The last that is printed.
    pub(super) fn end(&mut self, inputs: &[Input]) -> Result<(), Stop> {
        let text = match &mut self.form {
            Form::Pages(pages) => pages.end(),
            Form::Document(document) => document.end(inputs)?,
        };
        print(&text)
    }
}

/// All of it, at once.
fn print(text: &str) -> Result<(), Stop> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stop::ReaderGone),
        Err(error) => Err(Stop::Failed(Error::new(error).context("cannot write to standard output"))),
    }
}
