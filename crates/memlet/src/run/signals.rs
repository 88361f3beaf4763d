//! Ctrl-C and SIGTERM: both end a run in order, and a second one at once.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Exit;

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The next one, as the exit code that it stands for.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::INTERRUPTED,
            _ = self.terminate.recv() => Exit::TERMINATED,
        }
    }
}

/// Whether somebody wants the run to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// It ends when it is over.
    NotAsked,
    /// In order.
    Asked(Exit),
    /// At once.
    AskedTwice(Exit),
}

impl Urgency {
    /// What one more signal makes of it; the first one's exit code counts.
    pub(crate) fn asked(self, exit: Exit) -> Self {
        match self {
            Self::NotAsked => Self::Asked(exit),
            Self::Asked(first) | Self::AskedTwice(first) => Self::AskedTwice(first),
        }
    }

    /// The exit code that the first signal stands for.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::NotAsked => None,
            Self::Asked(exit) | Self::AskedTwice(exit) => Some(exit),
        }
    }
}
