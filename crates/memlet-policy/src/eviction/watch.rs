//! When: thresholds held against what is available, over time (kubelet's `synchronize`).

use std::time::Duration;

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::node_memory::Threshold;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// The node's memory less the working set of everything on it.
    #[serde(rename = "memory.available")]
    Memory,
    /// The limit of all Pods together less their working set. Nobody can set its thresholds: it has those of
    /// [`Signal::Memory`] that are hard.
    #[serde(rename = "allocatableMemory.available")]
    AllocatableMemory,
}

impl Signal {
    /// Its name in kubelet's settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::AllocatableMemory => "allocatableMemory.available",
        }
    }
}

/// How a threshold is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// At once.
    Hard,
    /// When it has been met for so long.
    Soft {
        /// The grace period of the threshold, not that of a Pod.
        after: Duration,
    },
}

/// One threshold on one signal, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What is held against it.
    pub signal: Signal,
    /// How it is heeded.
    pub kind: Kind,
    /// Met where less is available.
    pub threshold: Bytes,
    /// Once it asks for a Pod to go, it is met until this much more is available.
    pub minimum_reclaim: Bytes,
}

/// A threshold that asks for a Pod to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The threshold.
    pub rule: Rule,
    /// What was available.
    pub available: Bytes,
}

impl Due {
    /// How much must become available again.
    pub fn missing(&self) -> Bytes {
        (self.rule.threshold + self.rule.minimum_reclaim).saturating_sub(self.available)
    }
}

/// What follows from one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// A threshold is met now, also one whose time has not come.
    pub met: bool,
    /// The node's condition: a threshold is met, or was a short while ago.
    pub under_pressure: bool,
    /// Who asks for a Pod to go, if anybody does: a hard threshold before a soft one.
    pub due: Option<Due>,
    /// When time alone changes something: a soft threshold's grace or the condition's transition period ends.
    pub again: Option<Duration>,
}

/// The thresholds of a node and since when each is met. Moments are durations since any fixed one, by a clock that nobody
/// sets.
#[derive(Clone, Debug)]
pub struct Watch {
    rules: Vec<Watched>,
    transition_period: Duration,
    last_met: Option<Duration>,
}

#[derive(Clone, Debug)]
struct Watched {
    rule: Rule,
    met_since: Option<Duration>,
    /// At the last look it asked for a Pod to go.
    was_due: bool,
}

impl Watch {
    /// The thresholds that these settings mean on a node with this much memory, whose Pods have this limit together
    /// (`None`: none). A share is one of what its signal is part of.
    pub fn new(settings: &Settings, capacity: Bytes, limit: Option<Bytes>) -> Self {
        let rule = |signal, kind, threshold: Threshold| {
            let whole = match signal {
                Signal::Memory => capacity,
                Signal::AllocatableMemory => limit.unwrap_or(capacity),
            };
            let minimum_reclaim = settings.minimum_reclaim.map_or(Bytes::ZERO, |reclaim| reclaim.of(whole));
            Rule { signal, kind, threshold: threshold.of(whole), minimum_reclaim }
        };
        let hard = settings.hard.iter().flat_map(|threshold| {
            let of_pods = limit.map(|_| rule(Signal::AllocatableMemory, Kind::Hard, *threshold));
            [Some(rule(Signal::Memory, Kind::Hard, *threshold)), of_pods].into_iter().flatten()
        });
        let soft = settings
            .soft
            .iter()
            .map(|soft| rule(Signal::Memory, Kind::Soft { after: soft.grace_period }, soft.threshold));
        Self {
            rules: hard.chain(soft).map(|rule| Watched { rule, met_since: None, was_due: false }).collect(),
            transition_period: settings.transition_period,
            last_met: None,
        }
    }

    /// All thresholds, hard ones first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|watched| &watched.rule)
    }

    /// Holds what is available against the thresholds. `now` must not go back.
    pub fn observe(&mut self, available: impl Fn(Signal) -> Bytes, now: Duration) -> Observation {
        let mut seen = Observation::default();
        let mut earliest = |at: Duration| {
            let left = at.saturating_sub(now);
            seen.again = Some(seen.again.map_or(left, |again: Duration| again.min(left)));
        };
        let mut due: Option<Due> = None;
        for Watched { rule, met_since, was_due } in &mut self.rules {
            let available = available(rule.signal);
            // One that only waits for its time has asked nobody to give back anything.
            let bound = if *was_due { rule.threshold + rule.minimum_reclaim } else { rule.threshold };
            // Strictly: what is exactly at its threshold has not crossed it.
            if available >= bound {
                (*met_since, *was_due) = (None, false);
                continue;
            }
            let since = *met_since.get_or_insert(now);
            self.last_met = Some(now);
            seen.met = true;
            let at = match rule.kind {
                Kind::Hard => since,
                Kind::Soft { after } => since + after,
            };
            *was_due = at <= now;
            if at > now {
                earliest(at);
            } else if due.is_none() {
                due = Some(Due { rule: *rule, available });
            }
        }
        let over = self.last_met.map(|last| last + self.transition_period);
        if let Some(over) = over.filter(|over| !seen.met && *over > now) {
            earliest(over);
        }
        seen.due = due;
        seen.under_pressure = seen.met || over.is_some_and(|over| over > now);
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::super::Soft;
    use super::*;

    const MIB: fn(u64) -> Bytes = Bytes::from_mib;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn settings() -> Settings {
        Settings {
            soft: Some(Soft { threshold: Threshold::Amount(MIB(300)), grace_period: seconds(90) }),
            minimum_reclaim: Some(Threshold::Amount(MIB(50))),
            ..Settings::default()
        }
    }

    #[test]
    fn a_hard_threshold_is_strict_and_sticks_until_enough_is_free() {
        let mut watch = Watch::new(&settings(), Bytes::from_gib(1), None);
        let mut look = |available, at| watch.observe(|_| available, seconds(at));
        assert!(!look(MIB(1000), 0).under_pressure);
        let at_threshold = look(MIB(100), 1);
        assert!(at_threshold.met && at_threshold.due.is_none(), "the soft one waits: {at_threshold:?}");
        let below = look(MIB(99), 2);
        assert_eq!(below.due.map(|due| (due.rule.kind, due.missing())), Some((Kind::Hard, MIB(51))));
        assert!(look(MIB(149), 3).due.is_some(), "not enough yet");
        assert!(look(MIB(150), 4).due.is_none());
        assert!(look(MIB(120), 5).due.is_none(), "it is above the threshold, and was released");
    }

    #[test]
    fn a_soft_threshold_has_its_time() {
        let mut watch = Watch::new(&settings(), Bytes::from_gib(1), None);
        let mut look = |available, at| watch.observe(|_| available, seconds(at));
        assert_eq!(look(MIB(299), 10).again, Some(seconds(90)));
        assert_eq!(look(MIB(299), 99).due, None);
        assert!(matches!(look(MIB(299), 100).due.unwrap().rule.kind, Kind::Soft { .. }));
        // Released in between, its time begins anew.
        assert_eq!(look(MIB(400), 101).due, None);
        assert_eq!(look(MIB(299), 102).due, None);
        assert_eq!(look(MIB(299), 192).due.map(|due| due.available), Some(MIB(299)));
        // Only now must more become available than it takes to be above it.
        assert_eq!(look(MIB(349), 193).due.map(|due| due.missing()), Some(MIB(1)));
        assert_eq!(look(MIB(350), 194).due, None);
    }

    #[test]
    fn one_that_waits_for_its_time_has_reclaimed_nothing() {
        let mut watch = Watch::new(&settings(), Bytes::from_gib(1), None);
        let mut look = |available, at| watch.observe(|_| available, seconds(at));
        assert!(look(MIB(299), 0).met);
        assert!(!look(MIB(320), 1).met, "it is above its threshold");
        assert!(look(MIB(320), 91).due.is_none());
    }

    #[test]
    fn a_share_is_one_of_what_its_signal_is_part_of() {
        let settings = Settings {
            hard: Some(Threshold::Share(0.1)),
            minimum_reclaim: Some(Threshold::Share(0.05)),
            ..Settings::default()
        };
        let watch = Watch::new(&settings, MIB(8000), Some(MIB(4000)));
        let mebibytes = |amount: Bytes| amount.get() >> 20;
        let amounts: Vec<_> =
            watch.rules().map(|rule| [rule.threshold, rule.minimum_reclaim].map(mebibytes)).collect();
        assert_eq!(amounts, [[800, 400], [400, 200]]);
    }

    #[test]
    fn the_condition_outlives_the_shortage() {
        let mut watch = Watch::new(&Settings::default(), Bytes::from_gib(1), Some(Bytes::from_gib(1)));
        let mut look = |available, at| {
            let seen = watch.observe(|_| available, seconds(at));
            (seen.under_pressure, seen.again)
        };
        assert_eq!(look(MIB(1), 0), (true, None));
        assert_eq!(look(MIB(500), 1), (true, Some(seconds(299))));
        assert_eq!(look(MIB(500), 299), (true, Some(seconds(1))));
        assert_eq!(look(MIB(500), 300), (false, None));
    }

    #[test]
    fn the_pods_own_signal_has_the_hard_thresholds() {
        let of = |limit| -> Vec<_> {
            let watch = Watch::new(&settings(), Bytes::from_gib(1), limit);
            watch.rules().map(|rule| (rule.signal.as_str(), rule.kind == Kind::Hard)).collect()
        };
        assert_eq!(
            of(Some(MIB(900))),
            [("memory.available", true), ("allocatableMemory.available", true), ("memory.available", false)]
        );
        assert_eq!(of(None).len(), 2);
        // Each is held against its own signal.
        let mut watch = Watch::new(&Settings::default(), Bytes::from_gib(1), Some(Bytes::from_gib(1)));
        let seen =
            watch.observe(|signal| if signal == Signal::Memory { MIB(900) } else { MIB(7) }, seconds(0));
        assert_eq!(seen.due.map(|due| due.rule.signal), Some(Signal::AllocatableMemory));
    }
}
