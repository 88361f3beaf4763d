//! Processes of a container that the OOM killer took while the container goes on, told as they happen.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use memlet_cgroup::{Cgroup, OomWatch, Version};
use memlet_policy::oom_kill_mode::OomKillMode;

/// Follows the count of kills of one container.
#[derive(Debug)]
pub(super) struct Losses {
    watch: OomWatch,
    seen: u64,
    /// When to look again, and how long after that.
    again: Option<(Instant, Duration)>,
}

/// cgroup v1 notifies before it kills. The first look comes so long after it, each further one twice as long.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// A kill that has not come by then will not come.
const LAST_LOOK: Duration = Duration::from_millis(512);

impl Losses {
    /// Begins to follow a container, if anything is to go with its processes that the kernel does not take itself.
    pub(super) fn watch(cgroup: &Cgroup, mode: OomKillMode) -> memlet_cgroup::Result<Option<Self>> {
        let is_done_by_kernel = match mode {
            OomKillMode::Process => true,
            OomKillMode::Container => cgroup.version() == Version::V2,
            OomKillMode::Pod => false,
        };
        if is_done_by_kernel {
            return Ok(None);
        }
        Ok(Some(Self { watch: cgroup.watch_oom()?, seen: 0, again: None }))
    }

    /// Whether processes were taken since this was last asked.
    pub(super) fn have_grown(&mut self, cgroup: &Cgroup, now: Instant) -> bool {
        let notified = self.watch.drain().is_ok_and(|count| count > 0);
        if notified {
            self.again = Some((now, FIRST_LOOK));
        }
        let Some((at, wait)) = self.again.filter(|(at, _)| *at <= now) else { return false };
        self.again = (wait <= LAST_LOOK).then(|| (at + wait, wait * 2));
        let kills = cgroup.oom_kills().unwrap_or(self.seen);
        let grown = kills > self.seen;
        self.seen = kills;
        grown
    }

    /// When to ask again without being notified.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.again.map(|(at, _)| at)
    }

    /// Becomes readable when it is time to ask.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}
