//! How this program speaks: errors once with their causes, warnings, its own log; colour only on a terminal.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};

/// Whether to colour what goes to this stream: it is a terminal that can, and `NO_COLOR` is not set.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && has_cursor()
}

/// Whether a terminal does more than print line after line.
pub(crate) fn has_cursor() -> bool {
    std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// The columns of the terminal that standard output goes to, if it does.
pub(crate) fn columns() -> Option<usize> {
    let stdout = io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    There,
    Gone,
}

/// Writes a command's result to standard output. That its reader has heard enough (`| head`) is no mistake.
pub(crate) fn print(text: &str) -> Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// An error with its causes, each on a line and said once.
pub(crate) fn error_text(error: &anyhow::Error) -> String {
    let mut said: Vec<String> = error.chain().map(words).collect();
    said.dedup();
    let causes = said.split_off(1);
    causes
        .into_iter()
        .fold(format!("error: {}\n", said.concat()), |text, cause| text + "  because: " + &cause + "\n")
}

/// What the API answered is its message, without the form in which it came.
fn words(cause: &(dyn std::error::Error + 'static)) -> String {
    let boxed = || cause.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    match cause.downcast_ref::<kube::Error>().or_else(boxed) {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => status.message.clone(),
        _ => cause.to_string(),
    }
}

/// Prints an error with its causes on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    complain(&error_text(error));
}

/// Prints a warning on standard error.
pub(crate) fn warning(text: &str) {
    complain(&format!("warning: {text}\n"));
}

/// Says something on standard error that is no error.
pub(crate) fn note(text: &str) {
    complain(text);
}

/// Where nobody reads standard error, what would go there must not keep the program from ending.
fn complain(text: &str) {
    let stderr = io::stderr();
    let patience = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
    let mut there = [PollFd::new(&stderr, PollFlags::OUT)];
    if matches!(poll(&mut there, Some(&patience)), Ok(0)) {
        return;
    }
    let _ = (&stderr).write_all(text.as_bytes());
}

/// Shows the program's own log on standard error if asked to.
pub(crate) fn start_tracing(filter: Option<&str>) {
    if let Some(filter) = filter {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let colour = colour(&io::stderr());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour).init();
    }
}
