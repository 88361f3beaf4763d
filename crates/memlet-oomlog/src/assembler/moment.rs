//! When a record was written, by whatever clock its source has: enough to tell that two records are of one report, or
//! cannot be.

use std::time::Duration;

use crate::record::Record;
use crate::time::WrittenTime;

/// When a record was written.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    since_boot: Option<Duration>,
    time: Option<WrittenTime<'static>>,
}

/// The records of several CPUs are not quite in order.
const STEP_BACK: i64 = 2;
/// A clock on the wall is set now and then, by an hour twice a year, and shippers do not keep the order of records.
const SET_BACK: i64 = 2 * 3600;

impl Moment {
    pub(super) fn of(record: &Record<'_>) -> Self {
        let mut moment = Self::default();
        moment.set(record);
        moment
    }

    /// Moves on to this record; where it tells no time, the last that was told stays.
    pub(super) fn set(&mut self, record: &Record<'_>) {
        self.since_boot = record.since_boot.or(self.since_boot);
        let Some(time) = &record.time else { return };
        // The lines of a report are written within a second, mostly.
        if self.time.as_ref().is_none_or(|own| own.text != time.text || own.manner != time.manner) {
            self.time = Some(time.clone().into_owned());
        }
    }

    /// Whether the record was written more than `within` later, or before this: after another boot, in another log.
    /// Where nothing tells, it was not.
    pub(super) fn is_far_from(&self, record: &Record<'_>, within: Duration) -> bool {
        let (seconds, back) = match (self.since_boot, record.since_boot, &self.time, &record.time) {
            (Some(own), Some(other), ..) => {
                if let Some(later) = other.checked_sub(own) {
                    return later > within;
                }
                (-i64::try_from(own.saturating_sub(other).as_secs()).unwrap_or(i64::MAX), STEP_BACK)
            }
            (_, _, Some(own), Some(other)) if own.manner == other.manner => {
                (own.seconds_before(other).unwrap_or(0), SET_BACK)
            }
            _ => return false,
        };
        // Whole seconds may hide nearly one.
        let most = i64::try_from(within.as_secs()).unwrap_or(i64::MAX).saturating_add(1);
        seconds < -back || seconds > most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Manner;

    fn at(seconds: u64) -> Record<'static> {
        Record { since_boot: Some(Duration::from_secs(seconds)), ..Record::default() }
    }

    fn by(text: &str) -> Record<'_> {
        Record { time: Some(WrittenTime::new(Manner::Ctime, text)), ..Record::default() }
    }

    #[test]
    fn far_is_long_after_or_before() {
        let far = |own: &Record<'_>, other: &Record<'_>| {
            Moment::of(own).is_far_from(other, Duration::from_secs(10))
        };
        assert!(!far(&at(100), &at(110)) && far(&at(100), &at(111)));
        assert!(!far(&at(100), &at(98)) && far(&at(100), &at(9)));
        let (noon, later) = (by("Fri Nov 22 12:00:00 2024"), by("Sat Nov 23 12:00:05 2024"));
        assert!(!far(&noon, &by("Fri Nov 22 12:00:09 2024")) && far(&noon, &later) && far(&later, &noon));
        assert!(!far(&noon, &at(5)) && !far(&noon, &Record::default()), "nothing tells");
    }
}
