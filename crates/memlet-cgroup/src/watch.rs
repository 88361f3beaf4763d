//! Being told of an OOM, without polling.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::inotify;

use crate::{Cgroup, Error, Result, Version, file};

/// Becomes readable when something happened at the limit of a group.
///
/// It is a hint to read [`Cgroup::events`], not a verdict: v1 tells the whole subtree below the group whose limit
/// was hit, also groups that lost nobody, and once more when the group is removed; v2 tells of every change of
/// `memory.events`, also of groups below and of hits that killed nobody.
#[derive(Debug)]
pub struct OomWatch {
    version: Version,
    notifications: File,
    /// v1: the kernel drops the registration with the last of these.
    _oom_control: Option<File>,
}

impl Cgroup {
    /// Starts to watch: v1 registers an eventfd on `memory.oom_control`, v2 an inotify watch on `memory.events`.
    /// Works with `poll`, `epoll` and async runtimes through [`AsFd`].
    ///
    /// # Errors
    /// Where the group is gone, or the kernel has no more of what is needed.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        match self.version {
            Version::V1 => self.watch_oom_control(),
            Version::V2 => self.watch_memory_events(),
        }
    }

    fn watch_oom_control(&self) -> Result<OomWatch> {
        let eventfd: OwnedFd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("make an eventfd for", self.dir_path(), errno))?;
        let name = "memory.oom_control";
        let oom_control =
            file::open_read(self.dir.as_fd(), name).map_err(|error| self.failure("open", name, error))?;
        let registration = format!("{} {}", eventfd.as_raw_fd(), oom_control.as_raw_fd());
        self.write("cgroup.event_control", &registration)?;
        Ok(OomWatch {
            version: Version::V1,
            notifications: File::from(eventfd),
            _oom_control: Some(oom_control),
        })
    }

    fn watch_memory_events(&self) -> Result<OomWatch> {
        let notifications = modified(self, "memory.events")?;
        Ok(OomWatch { version: Version::V2, notifications, _oom_control: None })
    }
}

/// An inotify watch on a file of the group; what comes of it are events without a name.
pub(crate) fn modified(group: &Cgroup, name: &'static str) -> Result<File> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watcher = inotify::init(flags)
        .map_err(|errno| Error::system("make an inotify watch for", group.dir_path(), errno))?;
    // Through the open directory, so that a later group of the same name is not watched instead.
    let path = format!("/proc/self/fd/{}/{name}", group.dir.as_raw_fd());
    inotify::add_watch(&watcher, path, inotify::WatchFlags::MODIFY)
        .map_err(|errno| group.failure("watch", name, io::Error::from(errno)))?;
    Ok(File::from(watcher))
}

impl OomWatch {
    /// Takes what has been notified so far and answers how much that was; 0 where nothing was. Never blocks.
    ///
    /// # Errors
    /// What the kernel says when it is read.
    pub fn drain(&self) -> io::Result<u64> {
        let mut total = 0;
        // Enough for an eventfd's counter and for some inotify events; those of one file have no name.
        let mut buffer = [0; 1024];
        loop {
            match (&self.notifications).read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(length) => total += self.count(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn count(&self, read: &[u8]) -> u64 {
        match self.version {
            Version::V1 => read.first_chunk().map_or(0, |counter| u64::from_ne_bytes(*counter)),
            // struct inotify_event without a name is 16 bytes.
            Version::V2 => (read.len() / 16) as u64,
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.notifications.as_raw_fd()
    }
}
