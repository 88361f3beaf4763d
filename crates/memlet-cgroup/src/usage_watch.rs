//! Being told that the usage of a group nears a level, without polling.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;

use crate::{Cgroup, Error, Limit, Result, Version, file, watch};

/// Becomes readable when the usage of a group and all below it rises above a level, and when the kernel has to take memory
/// back because the group's own limit is reached.
///
/// It is a hint to read [`Cgroup::usage`]: v1 also tells when the usage falls below the level again, and both tell again and
/// again while memory is taken back.
///
/// **On cgroup v2 the level is `memory.high`**, since nothing else there tells: above it the kernel takes page cache back
/// and slows down who allocates. [`UsageWatch::set_level`] with [`Limit::Max`] lifts it, and so does dropping the watch.
#[derive(Debug)]
pub struct UsageWatch {
    group: Cgroup,
    level: Limit,
    notifications: File,
    /// v1: the kernel drops a registration with the last of these.
    _watched: Vec<File>,
}

impl UsageWatch {
    /// Starts to watch. v1 registers an eventfd on `memory.usage_in_bytes` and `memory.pressure_level`, v2 sets
    /// `memory.high` and watches `memory.events.local`. Works with `poll` through [`AsFd`].
    ///
    /// # Errors
    /// Where the group is gone, may not be written, or the kernel has no more of what is needed.
    pub fn start(group: Cgroup, level: Limit) -> Result<Self> {
        let (notifications, watched) = match group.version {
            Version::V1 => group.watch_level(level)?,
            Version::V2 => {
                let notifications = watch::modified(&group, "memory.events.local")?;
                group.set_high(level)?;
                (notifications, Vec::new())
            }
        };
        Ok(Self { group, level, notifications, _watched: watched })
    }

    /// The group that is watched.
    pub fn group(&self) -> &Cgroup {
        &self.group
    }

    /// The level that is watched for.
    pub fn level(&self) -> Limit {
        self.level
    }

    /// Watches for another level. What was notified and not drained is lost, so read the usage afterwards: a level that is
    /// exceeded already is not told.
    ///
    /// # Errors
    /// As [`UsageWatch::start`].
    pub fn set_level(&mut self, level: Limit) -> Result<()> {
        match self.group.version {
            Version::V1 => (self.notifications, self._watched) = self.group.watch_level(level)?,
            Version::V2 => drop(self.group.set_high(level)?),
        }
        self.level = level;
        Ok(())
    }

    /// Takes what has been notified so far. Never blocks.
    ///
    /// # Errors
    /// What the kernel says when it is read.
    pub fn drain(&self) -> io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            match (&self.notifications).read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Cgroup {
    fn watch_level(&self, level: Limit) -> Result<(File, Vec<File>)> {
        let eventfd: OwnedFd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::system("make an eventfd for", self.dir_path(), errno))?;
        let mut watched = Vec::new();
        let mut register = |name: &'static str, argument: String| -> Result<()> {
            let file =
                file::open_read(self.dir.as_fd(), name).map_err(|error| self.failure("open", name, error))?;
            let registration = format!("{} {} {argument}", eventfd.as_raw_fd(), file.as_raw_fd());
            self.write("cgroup.event_control", &registration)?;
            watched.push(file);
            Ok(())
        };
        if let Limit::Bytes(level) = level {
            register("memory.usage_in_bytes", level.get().to_string())?;
        }
        // Only this group's own: one below that is full of page cache would tell without end. Not every kernel has it.
        match register("memory.pressure_level", "low,local".to_owned()) {
            Err(error) if error.is_missing_file() => {}
            registered => registered?,
        }
        Ok((File::from(eventfd), watched))
    }
}

impl AsFd for UsageWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }
}

impl Drop for UsageWatch {
    fn drop(&mut self) {
        if self.group.version == Version::V2 {
            // A group that is gone has no level to lift.
            let _ = self.group.set_high(Limit::Max);
        }
    }
}
