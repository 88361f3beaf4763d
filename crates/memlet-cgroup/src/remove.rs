//! `rmdir` of groups, with patience for what is just ending.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;

use crate::{Cgroup, Error, Pid, Result, process};

/// How long a removal waits for a group with a member: it may be about to end.
const PATIENCE_WITH_THE_LIVING: Duration = Duration::from_millis(500);

/// How long a removal waits for a group that lists no member and is busy all the same: what is dying leaves
/// `cgroup.procs` before the group itself, and on a loaded machine takes its time to finish (`do_exit`).
const PATIENCE_WITH_THE_DYING: Duration = Duration::from_secs(5);

/// How long one removal, of however many groups, may wait.
pub(crate) struct Patience(Instant);

impl Patience {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Whether to try `dir` again; what to say of it where not.
    fn is_left(&self, dir: &Path) -> Result<()> {
        let waited = self.0.elapsed();
        if waited < PATIENCE_WITH_THE_LIVING {
            return Ok(());
        }
        let members = process::members_at(dir);
        if members.is_empty() && waited < PATIENCE_WITH_THE_DYING {
            return Ok(());
        }
        let pid = members.pids.first().copied();
        Err(Error::Busy { dir: dir.to_path_buf(), pid, comm: pid.and_then(Pid::comm) })
    }
}

/// Pauses that grow from 1 ms to 32 ms.
#[derive(Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(1 << self.0);
        self.0 = (self.0 + 1).min(5);
        pause
    }
}

impl Cgroup {
    /// Removes this group, which must have neither processes nor groups below it; waits up to half a second for
    /// a process that is just ending, and up to five for those of which only the kernel knows. A group that is gone already is fine; a later one of the same name is left alone.
    ///
    /// # Errors
    /// [`Error::Busy`] naming a process inside; [`Error::Refused`] for `/`.
    pub fn remove(self) -> Result<()> {
        if self.path().is_root() {
            let reason = "it is the root of the hierarchy";
            return Err(Error::Refused { action: "remove", path: self.path().clone(), reason });
        }
        let (patience, mut pause) = (Patience::begin(), Backoff::default());
        loop {
            match self.remove_once() {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) => patience.is_left(self.dir_path())?,
                Err(errno) => return Err(Error::system("remove cgroup", self.dir_path(), errno)),
            }
            thread::sleep(pause.next());
        }
    }

    /// `rmdir` under its name in the directory above, if it is still this group that has the name.
    fn remove_once(&self) -> rustix::io::Result<()> {
        let above = rustix::fs::openat(
            &self.dir,
            "..",
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let named = rustix::fs::statat(&above, self.path().name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if named.st_ino != self.id().get() {
            return Err(Errno::NOENT);
        }
        rustix::fs::unlinkat(&above, self.path().name(), AtFlags::REMOVEDIR)
    }
}

/// Removes the group at `dir` and all below it, deepest first.
pub(crate) fn tree(dir: &Path, patience: &Patience) -> Result<()> {
    let mut pause = Backoff::default();
    loop {
        match tree_once(dir) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if !is_busy(&error) => return Err(Error::system("remove cgroup", dir, error)),
            Err(_) => patience.is_left(dir)?,
        }
        thread::sleep(pause.next());
    }
}

fn tree_once(dir: &Path) -> io::Result<()> {
    let mut children = Ok(());
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match tree_once(&entry.path()) {
                Err(error) if !is_gone(&error) => children = children.and(Err(error)),
                _ => {}
            }
        }
    }
    children?;
    fs::remove_dir(dir)
}

/// The names of the groups directly below.
pub(crate) fn children(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir.as_fd())? {
        let entry = entry?;
        if entry.file_type() == FileType::Directory && ![c".", c".."].contains(&entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
}

fn is_busy(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::BUSY | Errno::NOTEMPTY))
}
