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

/// How long a removal waits for a busy group: a killed process leaves its group a little after its end is seen.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// A moment after which a busy group is an error.
pub(crate) struct Patience(Instant);

impl Patience {
    pub(crate) fn new(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.0
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
    /// what is just ending. A group that is gone already is fine; a later one of the same name is left alone.
    ///
    /// # Errors
    /// [`Error::Busy`] naming a process inside; [`Error::Refused`] for `/`.
    pub fn remove(self) -> Result<()> {
        if self.path().is_root() {
            let reason = "it is the root of the hierarchy";
            return Err(Error::Refused { action: "remove", path: self.path().clone(), reason });
        }
        let (patience, mut pause) = (Patience::new(PATIENCE), Backoff::default());
        loop {
            match self.remove_once() {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) if patience.is_over() => {
                    return Err(busy(self.dir_path()));
                }
                Err(Errno::BUSY | Errno::NOTEMPTY) => thread::sleep(pause.next()),
                Err(errno) => return Err(Error::system("remove cgroup", self.dir_path(), errno)),
            }
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
            Err(_) if patience.is_over() => return Err(busy(dir)),
            Err(_) => thread::sleep(pause.next()),
        }
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

fn busy(dir: &Path) -> Error {
    let pid = process::inhabitant(dir);
    Error::Busy { dir: dir.to_path_buf(), pid, comm: pid.and_then(Pid::comm) }
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
