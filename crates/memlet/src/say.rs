//! How this program speaks: errors once with their causes, warnings, its own log; colour only on a terminal.

use std::io::{self, IsTerminal, Write};

/// Whether to colour what goes to this stream: it is a terminal, and `NO_COLOR` is not set.
pub(crate) fn colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints an error with its causes, each on a line, on standard error.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because: {cause}\n"));
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints a warning on standard error.
pub(crate) fn warning(text: &str) {
    let _ = writeln!(io::stderr(), "warning: {text}");
}

/// Shows the program's own log on standard error if asked to.
pub(crate) fn start_tracing(filter: Option<&str>) {
    if let Some(filter) = filter {
        let filter = tracing_subscriber::EnvFilter::new(filter);
        let colour = colour(&io::stderr());
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colour).init();
    }
}
