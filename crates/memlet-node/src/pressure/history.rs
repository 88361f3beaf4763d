//! The last hour, for a plot: the least that was available in each ten seconds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_policy::eviction::{Kind, Rule};
use serde_json::{Value, json};

/// The time of one sample.
const SAMPLE: Duration = Duration::from_secs(10);
/// An hour of them.
const SAMPLES: usize = 360;

/// What was seen. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    rules: Vec<Rule>,
    since: Option<Timestamp>,
    samples: VecDeque<Sample>,
    /// The beginning of the last sample, by a clock that nobody sets.
    began: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    lowest_available: Bytes,
    highest_working_set: Bytes,
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
        kept.samples.push_back(Sample {
            at: Timestamp::now(),
            lowest_available: available,
            highest_working_set: working_set,
        });
    }

    /// As the node's server tells it.
    pub(crate) fn document(&self) -> Value {
        let kept = self.kept();
        let thresholds = kept.rules.iter().map(|rule| {
            let (kind, after) = match rule.kind {
                Kind::Hard => ("hard", None),
                Kind::Soft { after } => ("soft", Some(after.as_secs())),
            };
            json!({ "signal": rule.signal, "kind": kind, "bytes": rule.threshold, "afterSeconds": after })
        });
        let samples = kept.samples.iter().map(|sample| {
            json!({
                "at": sample.at,
                "lowestAvailable": sample.lowest_available,
                "highestWorkingSet": sample.highest_working_set,
            })
        });
        json!({
            "thresholds": thresholds.collect::<Vec<_>>(),
            "underPressureSince": kept.since,
            "samples": samples.collect::<Vec<_>>(),
        })
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
        let document = history.document();
        let samples = document["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(
            (&samples[0]["lowestAvailable"], &samples[0]["highestWorkingSet"]),
            (&json!(300), &json!(700))
        );
        for second in 0..5000 {
            note(20 + second * 10, 1);
        }
        assert_eq!(history.document()["samples"].as_array().unwrap().len(), SAMPLES);
        assert_eq!(history.document()["underPressureSince"], Value::Null);
        history.set_pressure(true);
        assert!(history.document()["underPressureSince"].is_string());
    }
}
