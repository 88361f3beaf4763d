//! A clock that nobody sets, for waits: a change of the machine's clock must neither stretch them nor cut them short.

use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;

/// Now, as a time that goes on from this process's start, whatever becomes of the machine's clock.
pub(crate) fn now() -> Timestamp {
    static START: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));
    let (time, instant) = *START;
    time.checked_add(instant.elapsed()).unwrap_or(time)
}

/// What the machine's clock calls `at`, by this clock.
pub(crate) fn of(at: Timestamp) -> Timestamp {
    let now = now();
    now.checked_add(at.duration_since(Timestamp::now())).unwrap_or(now)
}

/// The same of something that has happened.
pub(crate) fn of_past(at: Timestamp) -> Timestamp {
    of(at).min(now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_goes_with_the_clock_until_that_is_set() {
        let tolerance = jiff::SignedDuration::from_millis(500);
        let a_minute_ago = Timestamp::now() - Duration::from_mins(1);
        assert!(
            (now().duration_since(of(a_minute_ago)) - jiff::SignedDuration::from_mins(1)).abs() < tolerance
        );
        assert!(of(Timestamp::now() + Duration::from_mins(1)) > now());
        assert!(of_past(Timestamp::now() + Duration::from_mins(1)) <= now());
    }
}
