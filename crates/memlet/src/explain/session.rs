//! One run of the command: logs one after the other, or all at once where they are followed; then what was found, or
//! that nothing was.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use memlet_bytes::Bytes;
use memlet_oomlog::{Finding, LogReader, Report};

use super::document::Input;
use super::progress::Progress;
use super::repeats::Repeats;
use super::sink::{Sink, Stop};
use super::source::{Message, Source, spoken};
use super::tail::Tail;
use crate::cli::ExplainArguments;
use crate::exit::Exit;
use crate::run::signals::Signals;
use crate::say;

/// Pieces that may wait to be parsed.
const WAITING: usize = 4;
/// So long nothing must come until what waits for more is handed out.
pub(super) const SILENCE: Duration = Duration::from_millis(300);
/// The exit code after a second Ctrl-C, as shells show it.
const INTERRUPTED_TWICE: i32 = 130;
/// The beginning of a log that is looked at to tell text from other data.
const LOOKED_AT: usize = 64 << 10;

/// The run of the command.
pub(crate) struct Session {
    sink: Sink,
    progress: Progress,
    /// What was read.
    inputs: Vec<Input>,
    repeats: Repeats,
    /// Logs begun.
    begun: usize,
    /// Whether an input could not be read.
    failed: bool,
    /// Whether somebody wants the reading to end; `None` while nobody listens for that.
    interrupted: Option<Arc<AtomicBool>>,
}

/// A log on its way through the reader.
struct Reading {
    /// Which of the logs it is.
    number: usize,
    name: String,
    reader: LogReader,
    found: u64,
    /// Reports that another log told already.
    repeated: u64,
    looked_at: usize,
    /// Bytes that no text has.
    strange: usize,
    is_open: bool,
}

impl Reading {
    fn new(number: usize, name: String) -> Self {
        Self {
            number,
            name,
            reader: LogReader::default(),
            found: 0,
            repeated: 0,
            looked_at: 0,
            strange: 0,
            is_open: true,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let looked_at = piece.len().min(LOOKED_AT - self.looked_at);
        self.strange += piece[..looked_at].iter().filter(|byte| is_strange(**byte)).count();
        self.looked_at += looked_at;
        self.reader.push(piece);
    }

    /// More than a tenth of it is no text: a log that a crash left zeros in has less, or has reports all the same.
    fn is_binary(&self) -> bool {
        self.found == 0 && self.strange * 10 > self.looked_at
    }
}

fn is_strange(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x1b | 0x08 | 0x07)
}

impl Session {
    pub(crate) fn new(arguments: &ExplainArguments) -> Self {
        Self {
            sink: Sink::new(arguments),
            progress: Progress::new(0),
            inputs: Vec::new(),
            repeats: Repeats::default(),
            begun: 0,
            failed: false,
            interrupted: None,
        }
    }

    /// From now on Ctrl-C ends the reading instead of the program.
    pub(super) fn listen(&mut self) -> Result<()> {
        if self.interrupted.is_none() {
            let interrupted = Arc::new(AtomicBool::new(false));
            self.interrupted = Some(Arc::clone(&interrupted));
            listen(interrupted)?;
        }
        Ok(())
    }

    /// Whether somebody wants the reading to end.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.as_ref().is_some_and(|interrupted| interrupted.load(Ordering::Relaxed))
    }

    /// Reads the logs to their ends, in the order given.
    pub(crate) fn read(&mut self, files: &[PathBuf]) -> Result<(), Stop> {
        let mut sources = Vec::new();
        for file in files {
            match Source::open(file) {
                Ok(source) => sources.push(source),
                Err(error) => self.cannot_open(file, &error),
            }
        }
        self.progress = Progress::new(sources.iter().filter_map(|source| source.size).sum());
        for source in sources {
            let (sender, messages) = mpsc::sync_channel(WAITING);
            self.progress.next(source.position());
            let is_open_ended = source.is_open_ended();
            if is_open_ended {
                self.listen()?;
            }
            let reading = self.begin(&source);
            source.start(0, sender, true)?;
            self.drain(&messages, vec![reading], is_open_ended)?;
            if self.is_interrupted() {
                break;
            }
        }
        self.progress.close();
        Ok(())
    }

    /// Reads the logs and what is added to them, until somebody ends it.
    pub(crate) fn follow(&mut self, files: &[PathBuf]) -> Result<(), Stop> {
        let (sender, messages) = mpsc::sync_channel(WAITING);
        let mut readings = Vec::new();
        for file in files {
            let source = if file.as_os_str() == "-" {
                Source::open(file)
            } else {
                Tail::open(file).map(|tail| Source::plain(file.display().to_string(), Box::new(tail)))
            };
            match source {
                Ok(source) => {
                    let unpack = source.name == "-";
                    readings.push(self.begin(&source));
                    source.start(readings.len() - 1, sender.clone(), unpack)?;
                }
                Err(error) => self.cannot_open(file, &error),
            }
        }
        if readings.is_empty() {
            return Ok(());
        }
        self.listen()?;
        self.drain(&messages, readings, true)
    }

    fn begin(&mut self, source: &Source) -> Reading {
        self.begun += 1;
        Reading::new(self.begun, source.name.clone())
    }

    fn cannot_open(&mut self, file: &Path, error: &Error) {
        self.fail(error);
        let (file, error) = (file.display().to_string(), Some(format!("{error:#}")));
        self.inputs.push(Input { file, error, ..Input::default() });
    }

    /// Feeds the readers until all logs are at their ends.
    fn drain(
        &mut self,
        messages: &Receiver<Message>,
        mut readings: Vec<Reading>,
        is_open_ended: bool,
    ) -> Result<(), Stop> {
        let mut is_settled = true;
        while readings.iter().any(|reading| reading.is_open) && !self.is_interrupted() {
            match messages.recv_timeout(SILENCE) {
                Ok(Message::Piece(number, piece)) => {
                    readings[number].push(&piece);
                    self.take(&mut readings[number])?;
                    is_settled = false;
                }
                Ok(Message::End(number, result)) => self.close(&mut readings[number], result.err())?,
                Err(RecvTimeoutError::Timeout) if is_open_ended && !is_settled => {
                    is_settled = true;
                    for reading in &mut readings {
                        reading.reader.settle();
                        self.take(reading)?;
                    }
                    self.sink.live()?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.progress.show();
        }
        for reading in readings.iter_mut().filter(|reading| reading.is_open) {
            self.close(reading, None)?;
        }
        Ok(())
    }

    /// A log is at its end.
    fn close(&mut self, reading: &mut Reading, error: Option<io::Error>) -> Result<(), Stop> {
        reading.is_open = false;
        reading.reader.finish();
        self.take(reading)?;
        let statistics = reading.reader.statistics();
        let name = spoken(&reading.name);
        let error = match error {
            Some(error) => Some(Error::new(error).context(format!("cannot read {name}"))),
            None if reading.is_binary() => {
                Some(Error::msg(format!("{name} holds binary data, which no log does")))
            }
            None => None,
        };
        if let Some(error) = &error {
            self.fail(error);
        }
        self.inputs.push(Input {
            file: reading.name.clone(),
            bytes: statistics.bytes,
            lines: statistics.lines,
            long_lines: statistics.long_lines,
            repeated: reading.repeated,
            newest_first: statistics.newest_first,
            forms: statistics.forms,
            error: error.map(|error| format!("{error:#}")),
        });
        Ok(())
    }

    fn take(&mut self, reading: &mut Reading) -> Result<(), Stop> {
        while let Some(finding) = reading.reader.next_finding() {
            reading.found += 1;
            match finding {
                Finding::Kernel(report) if self.repeats.knows(&report, reading.number) => {
                    reading.repeated += 1;
                }
                Finding::Kernel(report) => self.sink.report(&report, &reading.name, &self.progress)?,
                Finding::Userspace(kill) => self.sink.userspace_kill(&kill, &reading.name, &self.progress)?,
            }
        }
        Ok(())
    }

    /// A report that comes from elsewhere than a log of text.
    pub(super) fn report(&mut self, report: &Report, name: &str) -> Result<(), Stop> {
        self.sink.report(report, name, &self.progress)
    }

    /// What was read elsewhere than in a log of text.
    pub(super) fn was_read(&mut self, input: Input) {
        self.inputs.push(input);
    }

    fn fail(&mut self, error: &Error) {
        self.failed = true;
        self.progress.aside(|| say::error(error));
    }

    /// The last words, and how the program ends.
    pub(crate) fn end(mut self, told: Result<(), Stop>) -> Result<Exit> {
        self.progress.close();
        let told =
            told.and_then(|()| if self.inputs.is_empty() { Ok(()) } else { self.sink.end(&self.inputs) });
        match told {
            Err(Stop::ReaderGone) => return Ok(Exit::DONE),
            Err(Stop::Failed(error)) => return Err(error),
            Ok(()) => {}
        }
        if self.sink.found == 0 && !self.failed {
            say::note(&nothing(&self.inputs));
        }
        for input in self.inputs.iter().filter(|input| input.newest_first) {
            say::warning(&reversed(&input.file));
        }
        for input in self.inputs.iter().filter(|input| input.repeated > 0) {
            say::note(&repeated(input));
        }
        Ok(match self.sink.found {
            _ if self.failed => Exit::MISTAKE,
            0 => Exit::NOT_FOUND,
            _ => Exit::DONE,
        })
    }
}

/// What to do with a log whose newest line is the first.
fn reversed(file: &str) -> String {
    let how = if file == "-" { "tac | memlet explain -" } else { "tac FILE | memlet explain -" };
    format!(
        "{} is written newest line first, so its reports are torn: turn it round ({how}; journalctl without --reverse)",
        spoken(file)
    )
}

/// What was left out of a log, since another had it.
fn repeated(input: &Input) -> String {
    let reports = if input.repeated == 1 { "report" } else { "reports" };
    format!("{}: {} {reports} told above, from another log\n", spoken(&input.file), input.repeated)
}

/// What was read, where there was nothing in it.
fn nothing(inputs: &[Input]) -> String {
    let mut text = "no report of the OOM killer in what was read\n".to_owned();
    for input in inputs {
        let lines = if input.lines == 1 { "line" } else { "lines" };
        let forms = match input.forms.as_slice() {
            [] if input.lines == 0 => String::new(),
            [] => ", in no form that is known".to_owned(),
            forms => format!(", read as {}", forms.join(", ")),
        };
        let too_long = match input.long_lines {
            0 => String::new(),
            1 => "; 1 line is longer than any log's, and was not read".to_owned(),
            count => format!("; {count} lines are longer than any log's, and were not read"),
        };
        text.push_str(&format!(
            "  {}: {} in {} {lines}{forms}{too_long}\n",
            spoken(&input.file),
            Bytes::new(input.bytes),
            input.lines
        ));
    }
    text
}

/// Ctrl-C and SIGTERM end the reading, and what was found is told; a second one ends the program at once, as where
/// nobody reads what it prints.
fn listen(interrupted: Arc<AtomicBool>) -> Result<()> {
    let wait = move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            signals.next().await;
            interrupted.store(true, Ordering::Relaxed);
            signals.next().await;
            #[expect(clippy::exit, reason = "the main thread may hang on a reader that does not read")]
            std::process::exit(INTERRUPTED_TWICE)
        })
    };
    let thread = thread::Builder::new().name("memlet-signals".to_owned());
    thread.spawn(wait).context("a thread for signals cannot be started")?;
    Ok(())
}
