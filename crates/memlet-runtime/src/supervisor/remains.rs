//! Supervisors that an earlier daemon started: found among the machine's processes by what they were started with.
//!
//! A process is told by its command line (`memlet shim FOLDER`), by running from a sealed copy of this program, and, from
//! what a supervisor forks, by leading a session under the name of one. A container's process that pretends all that
//! gains nothing but its own end.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::program;
use crate::shim;

/// A supervisor that is told to end has done so within this: it kills what it has, and waits for nobody.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process of which it is known that it is a supervisor, or that it is gone.
#[derive(Debug)]
pub(crate) struct Remains(Option<OwnedFd>);

impl Remains {
    /// One whose process nobody knows, or which is gone.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// The supervisor of `folder` if this process is that.
    pub(crate) fn of(pid: i32, folder: &Path) -> Self {
        let Some(pid) = Pid::from_raw(pid) else { return Self(None) };
        // First the handle, so that what is read is said of the process that is held.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Self(None) };
        Self((folder_of(pid).as_deref() == Some(folder)).then_some(handle))
    }

    /// Asks it to end with all that it supervises; kills it where it does not.
    pub(crate) fn terminate(&self) {
        let Some(handle) = &self.0 else { return };
        // One that has ended meanwhile needs no signal.
        let _ = pidfd_send_signal(handle, Signal::TERM);
        if !ends_within(handle, PATIENCE) {
            self.kill();
        }
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let Some(handle) = &self.0 else { return };
        let _ = pidfd_send_signal(handle, Signal::KILL);
        if !ends_within(handle, PATIENCE) {
            tracing::error!("a supervisor does not end, not even by SIGKILL");
        }
    }
}

/// A process's handle becomes readable when it has ended.
fn ends_within(handle: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Every supervisor of a sandbox below `state`, with its folder.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn find(state: &Path) -> io::Result<Vec<(PathBuf, Remains)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(folder) = Pid::from_raw(pid).and_then(folder_of) else { continue };
        if folder.starts_with(state) {
            found.push((folder.clone(), Remains::of(pid, &folder)));
        }
    }
    Ok(found)
}

/// The folder of the sandbox that this process supervises, if it does that.
fn folder_of(pid: Pid) -> Option<PathBuf> {
    let pid = pid.as_raw_pid();
    let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = words.split(|byte| *byte == 0).skip(1);
    let is_shim = words.next()? == shim::COMMAND.as_bytes();
    let folder = words.next()?;
    let runs = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    (is_shim && program::is_sealed_copy(&runs) && leads(pid))
        .then(|| PathBuf::from(OsStr::from_bytes(folder)))
}

fn leads(pid: i32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let session = rustix::process::getsid(Pid::from_raw(pid)).ok().map(Pid::as_raw_pid);
    session == Some(pid) && name.trim_end() == shim::NAME
}
