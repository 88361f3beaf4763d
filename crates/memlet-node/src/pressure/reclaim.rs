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
    last: Option<(Duration, Reclaim)>,
    pause: Duration,
}

impl AskedBack {
    /// This came of it.
    pub(super) fn note(&mut self, now: Duration, reclaim: Reclaim) {
        let soon = self.last.as_ref().is_some_and(|(at, _)| now.saturating_sub(*at) < 2 * self.pause);
        let came_back = soon && reclaim.reclaimed >= reclaim.wanted;
        self.pause = if came_back { (2 * self.pause).min(LONGEST_PAUSE) } else { PAUSE };
        self.last = Some((now, reclaim));
    }

    /// What came of it a short while ago.
    pub(super) fn lately(&self, now: Duration) -> Option<&Reclaim> {
        let (at, reclaim) = self.last.as_ref()?;
        (now.saturating_sub(*at) < PAUSE).then_some(reclaim)
    }

    /// Whether it gave less than was wanted, a short while ago: then more is not to be had.
    pub(super) fn gave_less(&self, now: Duration) -> bool {
        self.lately(now).is_some_and(|reclaim| reclaim.reclaimed < reclaim.wanted)
    }

    /// Whether it gave enough and is to be left in use for a while.
    pub(super) fn rests(&self, now: Duration) -> bool {
        self.last.as_ref().is_some_and(|(at, reclaim)| {
            reclaim.reclaimed >= reclaim.wanted && now.saturating_sub(*at) < self.pause
        })
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
        let nothing = |_| Reclaim { from: Vec::new(), wanted, reclaimed: Bytes::ZERO, took, given_up: false };
        Ok(self.thread.join().unwrap_or_else(nothing))
    }

    /// It is not waited for any longer.
    pub(super) fn give_up(self) -> Reclaim {
        Reclaim {
            from: Vec::new(),
            wanted: self.wanted,
            reclaimed: Bytes::ZERO,
            took: self.began.elapsed(),
            given_up: true,
        }
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
    let mut reclaim =
        Reclaim { from: Vec::new(), wanted, reclaimed: Bytes::ZERO, took: Duration::ZERO, given_up: false };
    for (held, group, here) in holders {
        let missing = wanted.saturating_sub(reclaim.reclaimed);
        if missing == Bytes::ZERO || held == Bytes::ZERO {
            break;
        }
        reclaim.reclaimed += take_back(&group, missing);
        reclaim.from.push(here.name.clone());
    }
    // A file stays in memory when the Pod that read it has gone: in use, by nobody who could be asked.
    let missing = wanted.saturating_sub(reclaim.reclaimed);
    if missing > Bytes::ZERO
        && let Ok(all) = Cgroup::open(hierarchy, kubepods)
    {
        let got = take_back(&all, missing);
        reclaim.reclaimed += got;
        if got > Bytes::ZERO {
            // Whose that was is not known.
            reclaim.from.clear();
        }
    }
    reclaim.took = began.elapsed();
    reclaim
}

fn take_back(group: &Cgroup, amount: Bytes) -> Bytes {
    match group.reclaim(amount) {
        Ok(got) => got.unwrap_or_default(),
        Err(error) => {
            tracing::debug!("page cache cannot be asked back: {error}");
            Bytes::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gave(mebibytes: u64) -> Reclaim {
        Reclaim {
            from: Vec::new(),
            wanted: Bytes::from_mib(10),
            reclaimed: Bytes::from_mib(mebibytes),
            took: Duration::ZERO,
            given_up: false,
        }
    }

    #[test]
    fn cache_that_comes_back_is_left_in_use_longer_each_time() {
        let mut asked = AskedBack::default();
        let mut now = Duration::from_secs(100);
        assert!(!asked.rests(now) && asked.lately(now).is_none());
        for pause in [1, 2, 4, 8, 16, 32, 32] {
            asked.note(now, gave(300));
            let shortly_before = now + Duration::from_millis(1000 * pause - 1);
            now += Duration::from_secs(pause);
            assert!(asked.rests(shortly_before) && !asked.rests(now), "{pause}");
            assert!(!asked.gave_less(now));
        }
        now += Duration::from_mins(1);
        asked.note(now, gave(300));
        assert!(!asked.rests(now + PAUSE), "it had not come back for long");
    }

    #[test]
    fn what_gave_too_little_is_not_waited_for() {
        let mut asked = AskedBack::default();
        let now = Duration::from_secs(100);
        asked.note(now, gave(300));
        asked.note(now + PAUSE, gave(5));
        let after = now + PAUSE + PAUSE / 2;
        assert!(asked.gave_less(after) && !asked.rests(after));
        assert!(!asked.gave_less(now + 2 * PAUSE), "it is asked anew");
    }
}
