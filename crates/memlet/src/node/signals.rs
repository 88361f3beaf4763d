//! What a node is told by signals: Ctrl-C and SIGTERM end the program, SIGUSR2 its Pods first.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::running::END_PODS;

/// How the node is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The program alone.
    Program,
    /// The Pods' containers first.
    WithPods,
}

/// The signals that end a node.
pub(crate) struct NodeSignals {
    interrupt: Signal,
    terminate: Signal,
    end_pods: Signal,
}

impl NodeSignals {
    /// Listens from now on.
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            end_pods: listen(SignalKind::from_raw(END_PODS.as_raw()))?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Program,
            _ = self.terminate.recv() => Asked::Program,
            _ = self.end_pods.recv() => Asked::WithPods,
        }
    }
}
