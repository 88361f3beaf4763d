//! The processes of a group as they are at one moment, held so that their end can be waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use crate::{Cgroup, Error, Pid, Result};

/// Processes of a group, each by a pidfd: it becomes readable when the process has ended and given back its memory.
#[derive(Debug, Default)]
pub struct Residents(Vec<(Pid, OwnedFd)>);

/// Each takes a descriptor, of which a process has few.
const MOST: usize = 256;

impl Cgroup {
    /// Who is in this group and below it now; where they are very many, some of them.
    ///
    /// # Errors
    /// Where the group is gone.
    pub fn residents(&self) -> Result<Residents> {
        let members = self.members_recursive()?.pids;
        let opened: Vec<_> = members.iter().filter_map(|pid| Some((*pid, pid.open()?))).take(MOST).collect();
        // Between the list and the opening a process may have ended and its number gone to a stranger.
        let still = self.members_recursive()?.pids;
        Ok(Residents(opened.into_iter().filter(|(pid, _)| still.contains(pid)).collect()))
    }

    /// Sends SIGKILL to every process in this group and below it, and waits for none. Answers who they were. On v1, where
    /// forks race with it and very many are killed some at a time, ask again when those have ended.
    ///
    /// # Errors
    /// Where the group is gone, or a process may not be killed.
    pub fn kill_now(&self) -> Result<Residents> {
        let residents = self.residents()?;
        if !self.write_optional("cgroup.kill", "1")? {
            residents.kill(self)?;
        }
        Ok(residents)
    }
}

impl Residents {
    pub(crate) fn kill(&self, group: &Cgroup) -> Result<Vec<Pid>> {
        let mut killed = Vec::new();
        for (pid, pidfd) in &self.0 {
            match rustix::process::pidfd_send_signal(pidfd, Signal::KILL) {
                Ok(()) => killed.push(*pid),
                Err(rustix::io::Errno::SRCH) => {}
                Err(errno) => return Err(Error::system("kill process in", group.dir_path(), errno)),
            }
        }
        Ok(killed)
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// What to wait for with `poll`, one descriptor for each process.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|(_, pidfd)| pidfd.as_fd())
    }

    /// Lets go of those that have ended; whether all have.
    pub fn forget_ended(&mut self) -> bool {
        self.0.retain(|(_, pidfd)| !has_ended(pidfd.as_fd()));
        self.0.is_empty()
    }
}

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut poll = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&at_once)).is_ok_and(|ready| ready > 0)
}
