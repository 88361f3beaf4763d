//! The processes of a group as they are at one moment, held so that their end can be waited for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::{Cgroup, Error, Pid, Result};

/// Processes of a group, each by a pidfd: it becomes readable when the process has ended and given back its memory.
#[derive(Debug, Default)]
pub struct Residents {
    held: Vec<(Pid, OwnedFd)>,
    /// Those for which no pidfd could be had, by number alone.
    unheld: Vec<Pid>,
}

/// Each takes a descriptor, of which a process has few.
const MOST: usize = 256;

/// Where descriptors run out, so many are given back: to list a group takes some.
const TO_LIST: usize = 8;

impl Cgroup {
    /// Who is in this group and below it now; where they are very many, some of them.
    ///
    /// # Errors
    /// Where the group is gone, or cannot be listed.
    pub fn residents(&self) -> Result<Residents> {
        let mut residents = Residents::open(&self.members_recursive()?.pids);
        // Between the list and the opening a process may have ended and its number gone to a stranger.
        let still = self.members_recursive()?.pids;
        residents.held.retain(|(pid, _)| still.contains(pid));
        residents.unheld.retain(|pid| still.contains(pid));
        Ok(residents)
    }

    /// Sends SIGKILL to every process in this group and below it, and waits for none. Answers who they were. On v1, where
    /// forks race with it and very many are killed some at a time, ask again when those have ended.
    ///
    /// # Errors
    /// Where the group is gone or cannot be listed, or a process may not be killed.
    pub fn kill_now(&self) -> Result<Residents> {
        let residents = self.residents();
        // Whoever they are, and also where that could not be told.
        if self.write_optional("cgroup.kill", "1")? {
            return residents;
        }
        let residents = residents?;
        residents.kill(self)?;
        Ok(residents)
    }
}

impl Residents {
    fn open(pids: &[Pid]) -> Self {
        let mut residents = Self::default();
        for &pid in pids {
            if residents.held.len() == MOST {
                break;
            }
            if !residents.unheld.is_empty() {
                residents.unheld.push(pid);
                continue;
            }
            match pid.open() {
                Ok(Some(pidfd)) => residents.held.push((pid, pidfd)),
                Ok(None) => {}
                Err(_) => {
                    let kept = residents.held.len().saturating_sub(TO_LIST);
                    residents.unheld.extend(residents.held.drain(kept..).map(|(pid, _)| pid));
                    residents.unheld.push(pid);
                }
            }
        }
        residents
    }

    pub(crate) fn kill(&self, group: &Cgroup) -> Result<Vec<Pid>> {
        let mut killed = Vec::new();
        let refused = |errno| Error::system("kill process in", group.dir_path(), errno);
        for (pid, pidfd) in &self.held {
            killed.extend(kill(*pid, pidfd).map_err(refused)?);
        }
        for pid in &self.unheld {
            // One at a time: that needs a single descriptor.
            let Some(pidfd) = pid.open().map_err(refused)? else { continue };
            if group.members_recursive()?.pids.contains(pid) {
                killed.extend(kill(*pid, &pidfd).map_err(refused)?);
            }
        }
        Ok(killed)
    }

    /// Adds others.
    pub fn extend(&mut self, others: Self) {
        self.held.extend(others.held);
        self.unheld.extend(others.unheld);
    }

    /// What to wait for with `poll`, one descriptor for each process; none for those of which none could be had.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.held.iter().map(|(_, pidfd)| pidfd.as_fd())
    }

    /// Whether nobody was there, or all were forgotten.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && self.unheld.is_empty()
    }

    /// Lets go of those that have ended; whether all have. One without a descriptor counts as there until its number is
    /// free: rather too long than not long enough.
    pub fn forget_ended(&mut self) -> bool {
        self.held.retain(|(_, pidfd)| !has_ended(pidfd.as_fd()));
        self.unheld.retain(|pid| !pid.is_free());
        self.is_empty()
    }
}

/// Whom it killed; nobody where the process has ended.
fn kill(pid: Pid, pidfd: &OwnedFd) -> rustix::io::Result<Option<Pid>> {
    match rustix::process::pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) => Ok(Some(pid)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut poll = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&at_once)).is_ok_and(|ready| ready > 0)
}
