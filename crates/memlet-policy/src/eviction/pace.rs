//! Whether there is time: how fast memory is used up, and whether a grace would come too late.
//!
//! kubelet gives its grace whatever happens, and so loses the race against the kernel's OOM killer whenever the Pod does
//! not heed SIGTERM and goes on allocating.

use std::collections::VecDeque;
use std::time::Duration;

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

/// From SIGKILL to the memory's being free: what a process holds is given back at some GiB a second, and it may have to be
/// woken first.
pub const DYING: Duration = Duration::from_millis(150);
/// Samples that are kept for [`Growth`].
const KEPT: usize = 64;
/// They are no nearer to each other than this, so that they cover the last moments however often one looks.
const APART: Duration = Duration::from_millis(10);
/// What is older says nothing of the pace of now.
const LATELY: Duration = Duration::from_millis(150);
/// Two looks within this time say nothing.
const SHORTEST: Duration = Duration::from_millis(4);
/// Memory comes in pieces, a huge page at a time: within so short a time, what is no more than two of these is no pace.
const PIECES: u64 = 4 << 20;
const OF_PIECES: Duration = Duration::from_millis(100);

/// What is used, looked at again and again.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    samples: VecDeque<(Duration, Bytes)>,
    last: Option<(Duration, Bytes)>,
}

impl Growth {
    /// One more look, at `now` since any fixed moment.
    pub fn look(&mut self, now: Duration, used: Bytes) {
        self.last = Some((now, used));
        if self.samples.back().is_some_and(|(then, _)| now.saturating_sub(*then) < APART) {
            return;
        }
        if self.samples.len() >= KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back((now, used));
    }

    /// Bytes a second: the fastest growth between an earlier look that is kept and the last. Zero where nothing grows, or
    /// no more than the size of the pieces would explain; `None` where there has been but one look.
    ///
    /// The fastest, since a burst that has just begun hides in the mean; and of the last moments, since one that is over
    /// says nothing of what comes.
    pub fn rate(&self) -> Option<u64> {
        let (now, used) = self.last?;
        let earlier = self.samples.iter().rev().filter_map(|&(then, had)| {
            let time = now.checked_sub(then).filter(|time| *time >= SHORTEST)?;
            Some((time, used.saturating_sub(had)))
        });
        let rate = |(time, grown): (Duration, Bytes)| {
            let pieces = if time < OF_PIECES { PIECES } else { 0 };
            let grown = u128::from(grown.get().saturating_sub(pieces));
            u64::try_from(grown * 1_000_000_000 / time.as_nanos()).unwrap_or(u64::MAX)
        };
        // Where there was no look in the last moments, the one before them.
        let lately = earlier.clone().take_while(|(time, _)| *time <= LATELY).map(rate).max();
        lately.or_else(|| earlier.map(rate).next())
    }
}

/// What becomes of a Pod's grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grace {
    /// It has all of it.
    Given,
    /// The memory would be used up before it ends.
    TooLate {
        /// When it would be, at the pace of now.
        in_: Duration,
    },
}

/// Whether `grace` may be waited for while memory is used up at `rate` bytes a second and `left` bytes are left until the
/// kernel kills.
///
/// ```
/// use std::time::Duration;
/// use memlet_bytes::Bytes;
/// use memlet_policy::eviction::pace::{Grace, grace};
///
/// let two = Duration::from_secs(2);
/// assert_eq!(grace(two, Bytes::from_mib(100), 20 << 20), Grace::Given);
/// assert!(matches!(grace(two, Bytes::from_mib(100), 1 << 30), Grace::TooLate { .. }));
/// ```
pub fn grace(grace: Duration, left: Bytes, rate: u64) -> Grace {
    match time_left(left, rate) {
        Some(time) if time < grace + DYING => Grace::TooLate { in_: time },
        _ => Grace::Given,
    }
}

/// When `left` bytes are used up at `rate` bytes a second; `None` where nothing grows.
pub fn time_left(left: Bytes, rate: u64) -> Option<Duration> {
    let nanoseconds = u128::from(left.get()) * 1_000_000_000 / u128::from(rate.max(1));
    (rate > 0).then(|| Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(looks: &[(u64, u64)]) -> Option<u64> {
        let mut growth = Growth::default();
        for (milliseconds, mebibytes) in looks {
            growth.look(Duration::from_millis(*milliseconds), Bytes::from_mib(*mebibytes));
        }
        growth.rate().map(|rate| rate >> 20)
    }

    #[test]
    fn the_rate_is_that_of_the_burst() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[(0, 5)]), None);
        assert_eq!(growth(&[(0, 100), (1000, 200)]), Some(100));
        assert_eq!(growth(&[(0, 100), (1000, 100), (1010, 124)]), Some(2000), "a burst that just began");
        assert_eq!(growth(&[(0, 300), (1000, 200)]), Some(0), "it falls");
        assert_eq!(growth(&[(0, 0), (1000, 14), (1001, 24)]), Some(23), "too short a time");
        assert_eq!(growth(&[(0, 100), (980, 100), (1005, 103)]), Some(0), "a huge page is no flood");
        let many: Vec<_> = (0..100).map(|step| (step * 100, step * 10)).collect();
        assert_eq!(growth(&many), Some(100));
        assert_eq!(growth(&[(0, 0), (10, 800), (400, 800), (800, 801)]), Some(2), "a burst that is over");
    }

    /// Whoever leaves is looked at every three milliseconds.
    #[test]
    fn slow_growth_is_seen_however_often_one_looks() {
        for rate in [10, 20, 45, 60] {
            let mut growth = Growth::default();
            for look in 0..400_u64 {
                let used = rate * (1 << 20) * look * 3 / 1000;
                growth.look(Duration::from_millis(look * 3), Bytes::new(used));
            }
            let seen = growth.rate().unwrap() >> 20;
            assert!(seen.abs_diff(rate) <= 1, "{rate} is taken for {seen}");
        }
    }

    #[test]
    fn a_grace_needs_its_time() {
        let two = Duration::from_secs(2);
        let mib = Bytes::from_mib;
        assert_eq!(grace(two, mib(100), 0), Grace::Given);
        assert_eq!(grace(two, mib(100), 40 << 20), Grace::Given);
        assert_eq!(grace(two, mib(100), 50 << 20), Grace::TooLate { in_: two });
        // What is left of it may be given where the whole would not be.
        assert_eq!(grace(Duration::from_millis(500), mib(100), 50 << 20), Grace::Given);
        assert_eq!(grace(Duration::ZERO, Bytes::ZERO, 1), Grace::TooLate { in_: Duration::ZERO });
    }
}
