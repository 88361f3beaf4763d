//! Finds the node of a data folder, and ends it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::folder::DataFolder;
use super::record::NodeRecord;
use crate::embedded::lock;

/// What became of the node of a data folder.
pub(crate) enum Found {
    /// It runs.
    Running(NodeRecord),
    /// A program holds the folder but is no node yet, or no longer.
    Busy,
    /// Nobody holds the folder. What the last node wrote down, if there was one.
    Stopped(Option<NodeRecord>),
}

/// How a running node is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The program alone.
    Program,
    /// Its Pods' containers first.
    WithPods,
}

/// By this signal a node ends its Pods' containers before itself. SIGTERM and SIGINT end the program alone.
pub(crate) const END_PODS: Signal = Signal::USR2;

/// Looks who holds the folder.
pub(crate) fn find(data: &DataFolder) -> Result<Found> {
    let path = data.lock();
    if !path.exists() {
        return Ok(Found::Stopped(None));
    }
    if !lock::is_held(&path)? {
        return Ok(Found::Stopped(NodeRecord::read(data)));
    }
    let holder = lock::holder_pid(&path);
    Ok(match NodeRecord::read(data) {
        Some(record) if Some(record.pid) == holder => Found::Running(record),
        _ => Found::Busy,
    })
}

/// The node that runs, or what to do where none does.
pub(crate) fn require(data: &DataFolder) -> Result<NodeRecord> {
    match find(data)? {
        Found::Running(record) => Ok(record),
        Found::Busy => {
            bail!("the node in {} is starting or ending; try again in a moment", data.path().display())
        }
        Found::Stopped(_) => bail!(
            "no node runs in {}; start one with `memlet node`, or name another folder with --data",
            data.path().display()
        ),
    }
}

/// Asks the node to end, and waits until it has; `patience` is how long that may take.
pub(crate) fn stop(data: &DataFolder, node: &NodeRecord, how: Stop, patience: Duration) -> Result<()> {
    let pid = Pid::from_raw(node.pid).context("the node's record holds no process number")?;
    let signal = match how {
        Stop::Program => Signal::TERM,
        Stop::WithPods => END_PODS,
    };
    // By a file descriptor, which stays with the process where its number does not; and only then: is it still the holder?
    let process = pidfd_open(pid, PidfdFlags::empty());
    if let (Ok(process), Found::Running(still)) = (&process, find(data)?)
        && still.pid == node.pid
    {
        pidfd_send_signal(process, signal)
            .with_context(|| format!("process {} cannot be told to end", node.pid))?;
    }
    let began = Instant::now();
    let has_ended = || process.as_ref().map_or(true, |process| has_ended(process, Duration::from_millis(20)));
    while !(has_ended() && matches!(find(data)?, Found::Stopped(_))) {
        if began.elapsed() > patience {
            bail!(
                "the node (process {}) has not ended within {} s; it may still be ending its Pods, each with its grace \
                 period: see `memlet status`",
                node.pid,
                patience.as_secs()
            );
        }
    }
    Ok(())
}

/// Whether the process has ended, or does within `patience`.
fn has_ended(process: &OwnedFd, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).ok();
    let mut ends = [PollFd::new(process, PollFlags::IN)];
    matches!(poll(&mut ends, patience.as_ref()), Ok(1))
}
