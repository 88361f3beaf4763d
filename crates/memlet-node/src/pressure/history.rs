//! The last hour, for a plot: the least that was available in each ten seconds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_policy::eviction::{Kind, Rule, Signal};
use serde::{Deserialize, Serialize};

/// The time of one sample.
const SAMPLE: Duration = Duration::from_secs(10);
/// An hour of them.
const SAMPLES: usize = 360;

/// What the node tells of it at `/memlet/pressure` of its own server: thresholds, and what was available.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PressureHistory {
    /// Hard ones first.
    pub thresholds: Vec<PressureThreshold>,
    /// Since when the node has had the condition `MemoryPressure`; `None` where it does not.
    pub under_pressure_since: Option<Timestamp>,
    /// Oldest first.
    pub samples: Vec<PressureSample>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PressureThreshold {
    /// What is held against it.
    pub signal: Signal,
    /// `hard`, `soft`.
    pub kind: String,
    /// Met where less is available.
    pub bytes: Bytes,
    /// How long a soft one must be met.
    #[serde(default)]
    pub after_seconds: Option<u64>,
}

/// Some ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PressureSample {
    /// When they began.
    pub at: Timestamp,
    /// The least that was available by any signal.
    pub lowest_available: Bytes,
    /// The most that Pods used.
    pub highest_working_set: Bytes,
}

impl PressureThreshold {
    fn of(rule: &Rule) -> Self {
        let (kind, after_seconds) = match rule.kind {
            Kind::Hard => ("hard", None),
            Kind::Soft { after } => ("soft", Some(after.as_secs())),
        };
        Self { signal: rule.signal, kind: kind.to_owned(), bytes: rule.threshold, after_seconds }
    }
}

/// What was seen. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    rules: Vec<Rule>,
    since: Option<Timestamp>,
    samples: VecDeque<PressureSample>,
    /// The beginning of the last sample, by a clock that nobody sets.
    began: Duration,
}

impl History {
    /// The node's thresholds.
    pub(super) fn set_rules(&self, rules: Vec<Rule>) {
        self.kept().rules = rules;
    }

    /// The node came under pressure now, or is out of it.
    pub(super) fn set_pressure(&self, on: bool) {
        let mut kept = self.kept();
        kept.since = on.then(|| kept.since.unwrap_or_else(Timestamp::now));
    }

    /// One look, at `now` since any fixed moment.
    pub(super) fn note(&self, now: Duration, available: Bytes, working_set: Bytes) {
        let mut kept = self.kept();
        let goes_on = now.saturating_sub(kept.began) < SAMPLE;
        if let Some(last) = kept.samples.back_mut().filter(|_| goes_on) {
            last.lowest_available = last.lowest_available.min(available);
            last.highest_working_set = last.highest_working_set.max(working_set);
            return;
        }
        if kept.samples.len() >= SAMPLES {
            kept.samples.pop_front();
        }
        kept.began = now;
        kept.samples.push_back(PressureSample {
            at: Timestamp::now(),
            lowest_available: available,
            highest_working_set: working_set,
        });
    }

    /// The node's thresholds as they are told.
    pub(crate) fn thresholds(&self) -> Vec<PressureThreshold> {
        self.kept().rules.iter().map(PressureThreshold::of).collect()
    }

    /// As the node's server tells it.
    pub(crate) fn document(&self) -> PressureHistory {
        let thresholds = self.thresholds();
        let kept = self.kept();
        PressureHistory {
            thresholds,
            under_pressure_since: kept.since,
            samples: kept.samples.iter().copied().collect(),
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_seconds_are_one_sample_and_an_hour_is_kept() {
        let history = History::default();
        let note = |second, available| {
            history.note(Duration::from_secs(second), Bytes::new(available), Bytes::new(1000 - available));
        };
        note(0, 500);
        note(4, 300);
        note(9, 400);
        note(10, 700);
        let samples = history.document().samples;
        assert_eq!(samples.len(), 2);
        assert_eq!(
            (samples[0].lowest_available, samples[0].highest_working_set),
            (Bytes::new(300), Bytes::new(700))
        );
        for second in 0..5000 {
            note(20 + second * 10, 1);
        }
        assert_eq!(history.document().samples.len(), SAMPLES);
        assert_eq!(history.document().under_pressure_since, None);
        history.set_pressure(true);
        assert!(history.document().under_pressure_since.is_some());
    }

    #[test]
    fn as_it_is_written() {
        let text = r#"{"thresholds": [
                {"signal": "memory.available", "kind": "hard", "bytes": 104857600, "afterSeconds": null},
                {"signal": "memory.available", "kind": "soft", "bytes": 209715200, "afterSeconds": 90}],
            "underPressureSince": "2026-03-01T10:00:03.5Z",
            "samples": [{"at": "2026-03-01T10:00:00Z", "lowestAvailable": 7, "highestWorkingSet": 9}]}"#;
        let read: PressureHistory = serde_json::from_str(text).unwrap();
        assert_eq!(read.thresholds[1].after_seconds, Some(90));
        assert_eq!(read.samples[0].lowest_available, Bytes::new(7));
        let bare = r#"{"thresholds": [], "underPressureSince": null, "samples": []}"#;
        assert_eq!(serde_json::from_str::<PressureHistory>(bare).unwrap(), PressureHistory::default());
    }
}
