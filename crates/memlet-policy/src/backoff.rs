//! When a failed container may start again, and when a failed image pull may be tried again.
//!
//! By kubelet's `doBackOff` and client-go's `flowcontrol.Backoff`. Time is given, never read, so that a crash
//! loop of hours can be replayed in a test.

use std::time::Duration;

use jiff::Timestamp;

/// How fast delays grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The first delay; each next one is twice the last.
    pub initial: Duration,
    /// The longest delay. After quiet for twice as long, delays begin anew.
    pub max: Duration,
}

impl Growth {
    /// Of container restarts: 10 s to 5 min.
    pub const CONTAINER: Self = Self { initial: Duration::from_secs(10), max: Duration::from_mins(5) };
    /// Of image pulls: 10 s to 5 min.
    pub const IMAGE_PULL: Self = Self::CONTAINER;

    /// With the longest delay set by `crashLoopBackOff.maxContainerRestartPeriod`; a first delay above it
    /// is lowered to it.
    #[must_use]
    pub fn with_max(self, max: Duration) -> Self {
        Self { initial: self.initial.min(max), max }
    }
}

/// A wait that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The whole delay, as messages name it.
    pub delay: Duration,
    /// What is left of it.
    pub left: Duration,
}

/// The back-off of one container (of one image and one set of resources: a change of either begins a new one),
/// or of one Pod's pulls of one image.
///
/// ```
/// use jiff::{Timestamp, ToSpan};
/// use memlet_policy::backoff::{BackOff, Growth, go_duration};
///
/// let mut back_off = BackOff::new(Growth::CONTAINER);
/// let first_exit = Timestamp::UNIX_EPOCH;
/// assert_eq!(back_off.wait(first_exit, first_exit), None); // the first restart is immediate
/// back_off.starting(first_exit, first_exit);
///
/// let second_exit = first_exit + 17.seconds();
/// let wait = back_off.wait(second_exit, second_exit).unwrap();
/// assert_eq!(go_duration(wait.delay), "10s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackOff {
    growth: Growth,
    entry: Option<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

impl BackOff {
    /// A back-off in which nothing has happened.
    pub fn new(growth: Growth) -> Self {
        Self { growth, entry: None }
    }

    /// The back-off of a container that has been restarted so often, for the last time at `last_start`, as somebody finds it
    /// who did not see it happen. `delay` where a message told it ([`crash_loop_delay`]); else as if every exit had come
    /// soon.
    pub fn resumed(growth: Growth, restarts: u32, delay: Option<Duration>, last_start: Timestamp) -> Self {
        let grown =
            |restarts: u32| growth.initial.saturating_mul(1 << (restarts - 1).min(20)).min(growth.max);
        let delay = delay.or_else(|| (restarts > 0).then(|| grown(restarts)));
        Self { growth, entry: delay.map(|delay| Entry { delay, updated: last_start }) }
    }

    /// Whether a container that finished at `finished_at` must still wait at `now`.
    pub fn wait(&self, finished_at: Timestamp, now: Timestamp) -> Option<Wait> {
        let entry = self.entry.filter(|entry| !self.is_over(*entry, finished_at))?;
        remaining(entry.delay, finished_at, now)
    }

    /// Whether a pull must still wait at `now`, counted from the last failure.
    pub fn wait_since_failure(&self, now: Timestamp) -> Option<Wait> {
        let entry = self.entry.filter(|entry| !self.is_over(*entry, now))?;
        remaining(entry.delay, entry.updated, now)
    }

    /// Notes a restart at `now` after an exit at `finished_at`: the next one waits longer, or, after quiet of
    /// twice the longest delay, as the first.
    pub fn starting(&mut self, finished_at: Timestamp, now: Timestamp) {
        let delay = match self.entry {
            Some(entry) if !self.is_over(entry, finished_at) => {
                entry.delay.saturating_mul(2).min(self.growth.max)
            }
            _ => self.growth.initial,
        };
        self.entry = Some(Entry { delay, updated: now });
    }

    /// Notes a failed pull at `now`.
    pub fn failed(&mut self, now: Timestamp) {
        self.starting(now, now);
    }

    /// Forgets everything, as after a pull that worked.
    pub fn reset(&mut self) {
        self.entry = None;
    }

    /// The delay that the next exit meets, were it soon; `None` before the first.
    pub fn delay(&self) -> Option<Duration> {
        self.entry.map(|entry| entry.delay)
    }

    fn is_over(&self, entry: Entry, event: Timestamp) -> bool {
        since(entry.updated, event) > self.growth.max.saturating_mul(2)
    }
}

fn remaining(delay: Duration, from: Timestamp, now: Timestamp) -> Option<Wait> {
    let left = delay.checked_sub(since(from, now)).filter(|left| !left.is_zero())?;
    Some(Wait { delay, left })
}

/// From `earlier` to `later`; zero where the clock went back.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    later.duration_since(earlier).try_into().unwrap_or(Duration::ZERO)
}

/// The message of a container that waits: reason `CrashLoopBackOff`.
pub fn crash_loop_message(delay: Duration, container: &str, pod: &str, namespace: &str, uid: &str) -> String {
    format!(
        "back-off {} restarting failed container={container} pod={pod}_{namespace}({uid})",
        go_duration(delay)
    )
}

/// The delay in a [`crash_loop_message`].
pub fn crash_loop_delay(message: &str) -> Option<Duration> {
    let text = message.strip_prefix("back-off ")?.split(' ').next().filter(|text| !text.is_empty())?;
    let (mut seconds, mut number) = (0, None);
    for character in text.chars() {
        let factor = match character {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => {
                let digit = u64::from(character.to_digit(10)?);
                number = Some(number.unwrap_or(0_u64).checked_mul(10)?.checked_add(digit)?);
                continue;
            }
        };
        seconds = number.take()?.checked_mul(factor)?.checked_add(seconds)?;
    }
    number.is_none().then(|| Duration::from_secs(seconds))
}

/// The message of the Warning event `BackOff` at each start that is put off.
pub fn back_off_event_message(container: &str, pod: &str, namespace: &str, uid: &str) -> String {
    format!("Back-off restarting failed container {container} in pod {pod}_{namespace}({uid})")
}

/// The message of a container that waits for its image: reason `ImagePullBackOff`. `last_error` is the last
/// pull's reason and detail, as `ErrImagePull: not found`.
pub fn image_pull_message(image: &str, last_error: Option<&str>) -> String {
    match last_error {
        Some(error) => format!("Back-off pulling image \"{image}\": {error}"),
        None => format!("Back-off pulling image \"{image}\""),
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`, `1h0m0s`, `1.5s`, `250ms`.
pub fn go_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    let whole_seconds = duration.as_secs();
    if whole_seconds == 0 {
        return match nanoseconds {
            0..1_000 => format!("{nanoseconds}ns"),
            1_000..1_000_000 => format!("{}µs", with_fraction(nanoseconds, 3)),
            _ => format!("{}ms", with_fraction(nanoseconds, 6)),
        };
    }
    let (hours, minutes) = (whole_seconds / 3600, whole_seconds / 60 % 60);
    let seconds = with_fraction(nanoseconds - u128::from(hours * 60 + minutes) * 60_000_000_000, 9);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `amount` / 10^`places`, without zeros at the end.
fn with_fraction(amount: u128, places: u32) -> String {
    let unit = 10_u128.pow(places);
    let (whole, fraction) = (amount / unit, amount % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0width$}", width = places as usize);
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    #[test]
    fn who_did_not_see_it_resumes_as_if_he_had() {
        let now: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
        let mut seen = BackOff::new(Growth::CONTAINER);
        for restarts in 0..9 {
            let resumed = BackOff::resumed(Growth::CONTAINER, restarts, None, now);
            assert_eq!(resumed.delay(), seen.delay(), "{restarts}");
            seen.starting(now, now);
        }
        let told = BackOff::resumed(Growth::CONTAINER, 50, Some(Duration::from_secs(20)), now);
        assert_eq!(told.delay(), Some(Duration::from_secs(20)));
        assert_eq!(told.wait(now, now + 5.seconds()).map(|wait| wait.left), Some(Duration::from_secs(15)));
        assert_eq!(told.wait(now + 21.minutes(), now + 21.minutes()), None, "it had run long enough");
        assert_eq!(told.wait(now, now - 1.hours()).map(|wait| wait.left), Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_delay_is_read_from_its_message() {
        for seconds in [10, 20, 40, 80, 160, 300, 3600, 3725] {
            let delay = Duration::from_secs(seconds);
            assert_eq!(crash_loop_delay(&crash_loop_message(delay, "c", "p", "n", "u")), Some(delay));
        }
        for other in
            ["", "back-off ", "back-off s restarting", "back-off 1.5s", "back-off 10 restarting", "x"]
        {
            assert_eq!(crash_loop_delay(other), None, "{other}");
        }
    }

    /// Runs a crash loop: each run lasts `run` seconds; answers the delays met.
    fn delays(back_off: &mut BackOff, from: Timestamp, run: i64, exits: usize) -> Vec<String> {
        let mut exit = from;
        (0..exits)
            .map(|_| {
                let wait = back_off.wait(exit, exit);
                let start = exit + wait.map_or(Duration::ZERO, |wait| wait.left);
                assert_eq!(back_off.wait(exit, start), None);
                back_off.starting(exit, start);
                exit = start + run.seconds();
                wait.map_or_else(|| "at once".to_owned(), |wait| go_duration(wait.delay))
            })
            .collect()
    }

    #[test]
    fn first_at_once_then_doubling_to_five_minutes() {
        let mut back_off = BackOff::new(Growth::CONTAINER);
        assert_eq!(
            delays(&mut back_off, Timestamp::UNIX_EPOCH, 16, 8),
            ["at once", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]
        );
    }

    #[test]
    fn a_long_run_begins_anew() {
        let mut back_off = BackOff::new(Growth::CONTAINER);
        let start = Timestamp::UNIX_EPOCH;
        back_off.starting(start, start);
        assert_eq!(delays(&mut back_off.clone(), start + 600.seconds(), 1, 2), ["10s", "20s"]);
        assert_eq!(delays(&mut back_off, start + 601.seconds(), 1, 3), ["at once", "10s", "20s"]);
    }

    #[test]
    fn counted_from_the_finish() {
        let mut back_off = BackOff::new(Growth::CONTAINER);
        let start = Timestamp::UNIX_EPOCH;
        back_off.starting(start, start);
        let exit = start + 30.seconds();
        let wait =
            |seconds: i64| back_off.wait(exit, exit + seconds.seconds()).map(|wait| wait.left.as_secs());
        assert_eq!(
            [wait(0), wait(4), wait(9), wait(10), wait(-5)],
            [Some(10), Some(6), Some(1), None, Some(10)]
        );
    }

    #[test]
    fn a_node_may_cap_it() {
        let mut back_off = BackOff::new(Growth::CONTAINER.with_max(Duration::from_secs(15)));
        assert_eq!(delays(&mut back_off, Timestamp::UNIX_EPOCH, 1, 4), ["at once", "10s", "15s", "15s"]);
        assert_eq!(Growth::CONTAINER.with_max(Duration::from_secs(1)).initial, Duration::from_secs(1));
    }

    #[test]
    fn pulls_wait_from_the_failure() {
        let mut back_off = BackOff::new(Growth::IMAGE_PULL);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(back_off.wait_since_failure(now), None);
        back_off.failed(now);
        assert_eq!(back_off.wait_since_failure(now + 3.seconds()).unwrap().left, Duration::from_secs(7));
        back_off.failed(now + 10.seconds());
        assert_eq!(back_off.delay(), Some(Duration::from_secs(20)));
        assert_eq!(back_off.wait_since_failure(now + 30.seconds()), None);
        back_off.reset();
        assert_eq!(back_off.delay(), None);
    }

    #[test]
    fn durations_print_as_gos() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (10_000_000_000, "10s"),
            (80_000_000_000, "1m20s"),
            (300_000_000_000, "5m0s"),
            (245_001_000_000, "4m5.001s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (480_000_000_001, "8m0.000000001s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanoseconds)), text);
        }
    }

    #[test]
    fn messages() {
        let delay = Duration::from_secs(80);
        insta::assert_snapshot!(
            crash_loop_message(delay, "eater", "memory-eater", "default", "39ea"),
            @"back-off 1m20s restarting failed container=eater pod=memory-eater_default(39ea)"
        );
        insta::assert_snapshot!(
            back_off_event_message("eater", "memory-eater", "default", "39ea"),
            @"Back-off restarting failed container eater in pod memory-eater_default(39ea)"
        );
        insta::assert_snapshot!(
            image_pull_message("busybox", Some("ErrImagePull: not found")),
            @r#"Back-off pulling image "busybox": ErrImagePull: not found"#
        );
    }
}
