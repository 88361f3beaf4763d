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
pub(super) const PAUSE: Duration = Duration::from_secs(1);

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
