//! The processes of a group: list them, add them, kill them, wait until they are gone.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::PidfdFlags;
use serde::{Deserialize, Serialize};

use crate::{Cgroup, Error, Result, Version, file, remove};

/// A process id, as seen from this pid namespace. It is a name, not an identity: the kernel uses it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(u32);

impl Pid {
    /// This process.
    pub fn current() -> Self {
        Self(std::process::id())
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The command name now; `None` where the process is gone.
    pub(crate) fn comm(self) -> Option<String> {
        fs::read_to_string(format!("/proc/{self}/comm")).ok().map(|comm| comm.trim_end().to_owned())
    }

    /// A pidfd of the process; `None` where it has ended. Every other refusal, such as for want of descriptors, says
    /// nothing of the process.
    pub(crate) fn open(self) -> rustix::io::Result<Option<OwnedFd>> {
        let Some(pid) = self.raw() else { return Ok(None) };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(pidfd)),
            Err(Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether no process has this number. One that was not waited for has it still, and so may a stranger.
    pub(crate) fn is_free(self) -> bool {
        self.raw().is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH))
    }

    /// `None` for a number that the kernel gives to no process.
    fn raw(self) -> Option<rustix::process::Pid> {
        rustix::process::Pid::from_raw(i32::try_from(self.0).ok()?)
    }
}

impl From<u32> for Pid {
    fn from(pid: u32) -> Self {
        Self(pid)
    }
}

impl TryFrom<i32> for Pid {
    type Error = std::num::TryFromIntError;

    /// From the kernel's own type, in which no process has a negative number.
    fn try_from(pid: i32) -> std::result::Result<Self, Self::Error> {
        u32::try_from(pid).map(Self)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A group whose processes fork faster than they are moved is left as it is.
const MOST_ROUNDS: u32 = 16;

/// Who is in a group.
#[derive(Default)]
pub(crate) struct Members {
    pub(crate) pids: Vec<Pid>,
    /// Members without a number in this pid namespace, which the kernel lists as 0.
    pub(crate) invisible: usize,
}

impl Members {
    pub(crate) fn is_empty(&self) -> bool {
        self.pids.is_empty() && self.invisible == 0
    }

    /// Reads a `cgroup.procs`; what is not a line of it comes back as the error.
    pub(crate) fn parse(text: &str) -> Result<Self, &str> {
        let mut members = Self::default();
        for line in text.lines() {
            match line.trim().parse().map_err(|_| line)? {
                0 => members.invisible += 1,
                pid => members.pids.push(Pid(pid)),
            }
        }
        // v1 promises neither order nor uniqueness.
        members.pids.sort_unstable();
        members.pids.dedup();
        Ok(members)
    }
}

/// How long [`Cgroup::kill_all`] waits for the killed to be gone. A process in an uninterruptible wait (a dead disk
/// or network mount) outlives any bound.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A way into a group, opened beforehand: [`Joiner::join`] is one `write`, so it is safe between `fork` and `exec`.
#[derive(Debug)]
pub struct Joiner(File);

impl Joiner {
    /// Moves the calling thread (v1) or process (v2) into the group. See [`Cgroup::join_current_thread`].
    ///
    /// # Errors
    /// What the kernel says: `ENODEV` where the group is gone, `EBUSY` where it is no leaf (v2).
    pub fn join(&self) -> io::Result<()> {
        (&self.0).write(b"0").map(drop)
    }
}

impl Cgroup {
    /// The processes in this very group, in order of their ids.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        Ok(self.members()?.pids)
    }

    /// The processes in this group and all below it, in order of their ids.
    ///
    /// # Errors
    /// Where the group is gone. A group below that goes away meanwhile has no processes.
    pub fn processes_recursive(&self) -> Result<Vec<Pid>> {
        Ok(self.members_recursive()?.pids)
    }

    /// Moves the calling thread into this group. **Only for a process with a single thread.**
    ///
    /// v1: writes `tasks`, which moves one thread in about 0.2 ms; `cgroup.procs` would move all of them, and takes
    /// 7 to 14 ms because the kernel stops all forks and exits for it (`cgroup_threadgroup_rwsem`). In a process
    /// with more threads the others would stay behind, while memory is charged to the group of the thread-group
    /// leader. v2 has no such way and moves the process.
    ///
    /// Between `fork` and `exec` use a [`Cgroup::joiner`], which allocates nothing.
    ///
    /// # Errors
    /// [`Error::NotALeaf`] (v2); where the group is gone or may not be written.
    pub fn join_current_thread(&self) -> Result<()> {
        let joined = self.joiner()?.join();
        joined.map_err(|error| self.not_joined(self.failure("write", self.join_file(), error)))
    }

    /// Opens the way into this group for a child that will be forked.
    ///
    /// # Errors
    /// Where the group is gone or may not be written.
    pub fn joiner(&self) -> Result<Joiner> {
        file::open_write(self.dir.as_fd(), self.join_file())
            .map(Joiner)
            .map_err(|error| self.failure("open", self.join_file(), error))
    }

    fn join_file(&self) -> &'static str {
        match self.version {
            Version::V1 => "tasks",
            Version::V2 => "cgroup.procs",
        }
    }

    /// Moves a process with all its threads into this group. What it has been charged for stays where it was.
    ///
    /// # Errors
    /// [`Error::NotALeaf`] (v2); where the group is gone or may not be written; `Io` with `ESRCH` where the process
    /// is gone.
    pub fn add(&self, pid: Pid) -> Result<()> {
        self.write("cgroup.procs", &pid.to_string()).map_err(|error| self.not_joined(error))
    }

    /// Moves the processes of this group itself into a group below it, made for them, so that this one can hand its
    /// controllers down: on cgroup v2 only groups without processes do. Those below stay where they are.
    ///
    /// # Errors
    /// [`Error::Io`] where the kernel refuses to make the group or to move a process.
    pub fn move_down(&self, name: &str) -> Result<()> {
        let leaf = self.dir_path().join(name);
        match rustix::fs::mkdirat(&self.dir, name, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(Error::system("create cgroup", &leaf, errno)),
        }
        // Those that are forked meanwhile are in here too.
        for _ in 0..MOST_ROUNDS {
            let pids = self.processes()?;
            if pids.is_empty() {
                break;
            }
            for pid in pids {
                match fs::write(leaf.join("cgroup.procs"), pid.to_string()) {
                    // It has ended.
                    Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                    moved => moved.map_err(|error| Error::system("move a process into", &leaf, error))?,
                }
            }
        }
        Ok(())
    }

    fn not_joined(&self, error: Error) -> Error {
        match &error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::ResourceBusy => {
                Error::NotALeaf { path: self.path().clone() }
            }
            _ => error,
        }
    }

    /// Kills every process in this group and all below it and waits until they are gone, five seconds at most.
    /// Answers whom it killed.
    ///
    /// By `cgroup.kill` where it exists (v2, Linux 5.14); else by pidfd, each checked to be a member after it was
    /// opened, again and again until nothing is left, so that those forked meanwhile are not missed.
    ///
    /// # Errors
    /// [`Error::Busy`] naming one that does not end; [`Error::Refused`] where this process is in the group.
    pub fn kill_all(&self) -> Result<Vec<Pid>> {
        let deadline = Instant::now() + KILL_PATIENCE;
        let mut killed = Vec::new();
        let mut pause = remove::Backoff::default();
        loop {
            let members = self.members_recursive()?;
            if members.pids.contains(&Pid::current()) {
                let reason = "the calling process is in it";
                return Err(Error::Refused { action: "kill", path: self.path().clone(), reason });
            }
            if members.is_empty() {
                killed.sort_unstable();
                killed.dedup();
                return Ok(killed);
            }
            if Instant::now() >= deadline {
                return Err(self.busy(&members));
            }
            killed.extend(self.kill_once(&members)?);
            thread::sleep(pause.next());
        }
    }

    fn kill_once(&self, members: &Members) -> Result<Vec<Pid>> {
        if self.write_optional("cgroup.kill", "1")? {
            return Ok(members.pids.clone());
        }
        self.residents()?.kill(self)
    }

    /// Waits until no process is in this group or below it; `false` where one is still after `timeout`.
    ///
    /// # Errors
    /// Where the group is gone: then it is empty too, see [`Error::is_gone`].
    pub fn wait_empty(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        let mut pause = remove::Backoff::default();
        while !self.members_recursive()?.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            thread::sleep(pause.next().min(left));
        }
        Ok(true)
    }

    pub(crate) fn busy(&self, members: &Members) -> Error {
        let pid = members.pids.first().copied();
        Error::Busy { dir: self.dir_path().to_path_buf(), pid, comm: pid.and_then(Pid::comm) }
    }

    fn members(&self) -> Result<Members> {
        let text = self.read("cgroup.procs")?;
        Members::parse(&text).map_err(|line| self.malformed("cgroup.procs", line))
    }

    pub(crate) fn members_recursive(&self) -> Result<Members> {
        let mut all = self.members()?;
        let failure = |error| self.failure("list", ".", error);
        below(&self.dir, &mut all).map_err(failure)?;
        all.pids.sort_unstable();
        all.pids.dedup();
        Ok(all)
    }
}

/// Adds the members of all groups below `dir`.
fn below(dir: &OwnedFd, all: &mut Members) -> io::Result<()> {
    for child in remove::children(dir)? {
        let found = file::open_dir_at(dir.as_fd(), &child).and_then(|child| {
            let text = file::read(child.as_fd(), "cgroup.procs")?;
            let members = Members::parse(&text).map_err(|line| io::Error::other(line.to_owned()))?;
            all.pids.extend(members.pids);
            all.invisible += members.invisible;
            below(&child, all)
        });
        match found {
            Err(error) if !remove::is_gone(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Who is in the group at `dir` and below it, as far as it can be listed.
pub(crate) fn members_at(dir: &Path) -> Members {
    let Ok(opened) = file::open_dir(dir) else { return Members::default() };
    let mut members = file::read(opened.as_fd(), "cgroup.procs")
        .ok()
        .and_then(|text| Members::parse(&text).ok())
        .unwrap_or_default();
    // What could not be listed is not named; that the group is busy is told all the same.
    let _ = below(&opened, &mut members);
    members
}
