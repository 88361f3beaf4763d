//! Page cache asked back before any Pod is evicted for it (kubernetes issue 43916: it counts as used while it is used
//! now and then, and the kernel would drop it rather than kill).
//!
//! In a thread of its own, since asking takes as long as it takes, and what is used up meanwhile is watched.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};
use memlet_diagnosis::eviction::Reclaim;

use super::pods::Here;

/// After it was asked, this long is waited before it is asked again: those who read files must get to use some.
const PAUSE: Duration = Duration::from_secs(1);
/// The most that is waited. cgroup v1 drops all that it can, also where little was wanted; whoever goes on reading the same
/// files must not be made to read them from the disk each time, and the kernel drops cache itself where it must.
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// What was asked back last, and how long it is not asked again. Moments are durations since some start.
#[derive(Debug, Default)]
pub(super) struct AskedBack {
    last: Option<Last>,
    pause: Duration,
}

#[derive(Debug)]
struct Last {
    at: Duration,
    reclaim: Reclaim,
    /// With it no threshold was met any more, whatever the kernel said that it gave.
    was_enough: bool,
}

impl AskedBack {
    /// This came of it, and it `was_enough` or not.
    pub(super) fn note(&mut self, now: Duration, reclaim: Reclaim, was_enough: bool) {
        let soon = self.last.as_ref().is_some_and(|last| now.saturating_sub(last.at) < 2 * self.pause);
        self.pause = if soon && was_enough { (2 * self.pause).min(LONGEST_PAUSE) } else { PAUSE };
        self.last = Some(Last { at: now, reclaim, was_enough });
    }

    /// What came of it a short while ago.
    pub(super) fn lately(&self, now: Duration) -> Option<&Reclaim> {
        self.last_within(PAUSE, now).map(|last| &last.reclaim)
    }

    /// Whether it was not enough, a short while ago: then more is not to be had.
    pub(super) fn was_too_little(&self, now: Duration) -> bool {
        self.last_within(PAUSE, now).is_some_and(|last| !last.was_enough)
    }

    /// Whether it was enough and is to be left in use for a while.
    pub(super) fn rests(&self, now: Duration) -> bool {
        self.last_within(self.pause, now).is_some_and(|last| last.was_enough)
    }

    fn last_within(&self, time: Duration, now: Duration) -> Option<&Last> {
        self.last.as_ref().filter(|last| now.saturating_sub(last.at) < time)
    }
}

/// Page cache on its way back.
#[derive(Debug)]
pub(super) struct Reclaiming {
    thread: JoinHandle<Reclaim>,
    wanted: Bytes,
    began: Instant,
}

impl Reclaiming {
    /// Asks those who have most of it, until `wanted` is free, and then all that is in `kubepods`. `None` where no thread can
    /// be had.
    pub(super) fn start(
        wanted: Bytes,
        pods: Vec<Here>,
        kubepods: CgroupPath,
        hierarchy: Hierarchy,
    ) -> Option<Self> {
        let thread = std::thread::Builder::new().name("memlet-reclaim".to_owned());
        let thread = thread.spawn(move || ask(wanted, &pods, &kubepods, &hierarchy)).ok()?;
        Some(Self { thread, wanted, began: Instant::now() })
    }

    /// What came of it, once it is over.
    pub(super) fn result(self) -> Result<Reclaim, Self> {
        if !self.thread.is_finished() {
            return Err(self);
        }
        let (wanted, took) = (self.wanted, self.began.elapsed());
        // A panic in there is a bug, which its message tells; nothing came of it.
        Ok(self.thread.join().unwrap_or_else(|_| Reclaim::nothing(wanted, took)))
    }

    /// It is not waited for any longer.
    pub(super) fn give_up(self) -> Reclaim {
        Reclaim { given_up: true, ..Reclaim::nothing(self.wanted, self.began.elapsed()) }
    }
}

fn ask(wanted: Bytes, pods: &[Here], kubepods: &CgroupPath, hierarchy: &Hierarchy) -> Reclaim {
    let began = Instant::now();
    let mut holders: Vec<_> = pods
        .iter()
        .filter_map(|here| {
            let group = Cgroup::open(hierarchy, &here.cgroup).ok()?;
            let held = group.stat().ok()?.active_file?;
            Some((held, group, here))
        })
        .collect();
    holders.sort_by_key(|(held, ..)| std::cmp::Reverse(*held));
    let mut reclaim = Reclaim::nothing(wanted, Duration::ZERO);
    let mut missing = wanted;
    for (held, group, here) in holders {
        if missing == Bytes::ZERO || held == Bytes::ZERO {
            break;
        }
        let back = take_back(&group, missing);
        reclaim.reclaimed += back.fell;
        missing = missing.saturating_sub(back.of_use);
        reclaim.from.push(here.name.clone());
    }
    // A file stays in memory when the Pod that read it has gone: in use, by nobody who could be asked.
    if missing > Bytes::ZERO
        && let Ok(all) = Cgroup::open(hierarchy, kubepods)
    {
        let back = take_back(&all, missing);
        reclaim.reclaimed += back.fell;
        if back.fell > Bytes::ZERO {
            // Whose that was is not known.
            reclaim.from.clear();
        }
    }
    reclaim.took = began.elapsed();
    reclaim
}

/// What a group gave back.
#[derive(Default)]
struct Back {
    /// By how much its usage fell.
    fell: Bytes,
    /// How much of that counted as used.
    of_use: Bytes,
}

/// Asks for this much that counts as used. The kernel takes what was not used lately first, so that comes along.
fn take_back(group: &Cgroup, amount: Bytes) -> Back {
    let unused = group.stat().ok().and_then(|stat| stat.inactive_file).unwrap_or_default();
    match group.reclaim(amount + unused) {
        Ok(fell) => {
            let fell = fell.unwrap_or_default();
            Back { fell, of_use: fell.saturating_sub(unused) }
        }
        Err(error) => {
            tracing::debug!("page cache cannot be asked back: {error}");
            Back::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gave(mebibytes: u64) -> Reclaim {
        Reclaim {
            reclaimed: Bytes::from_mib(mebibytes),
            ..Reclaim::nothing(Bytes::from_mib(10), Duration::ZERO)
        }
    }

    #[test]
    fn cache_that_comes_back_is_left_in_use_longer_each_time() {
        let mut asked = AskedBack::default();
        let mut now = Duration::from_secs(100);
        assert!(!asked.rests(now) && asked.lately(now).is_none());
        for pause in [1, 2, 4, 8, 16, 32, 32] {
            asked.note(now, gave(300), true);
            let shortly_before = now + Duration::from_millis(1000 * pause - 1);
            now += Duration::from_secs(pause);
            assert!(asked.rests(shortly_before) && !asked.rests(now), "{pause}");
            assert!(!asked.was_too_little(now));
        }
        now += Duration::from_mins(1);
        asked.note(now, gave(300), true);
        assert!(!asked.rests(now + PAUSE), "it had not come back for long");
    }

    #[test]
    fn what_gave_too_little_is_not_waited_for() {
        let mut asked = AskedBack::default();
        let now = Duration::from_secs(100);
        asked.note(now, gave(300), true);
        asked.note(now + PAUSE, gave(300), false);
        let after = now + PAUSE + PAUSE / 2;
        assert!(asked.was_too_little(after) && !asked.rests(after));
        assert!(!asked.was_too_little(now + 2 * PAUSE), "it is asked anew");
    }
}
