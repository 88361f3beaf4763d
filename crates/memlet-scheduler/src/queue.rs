//! The Pods that wait for a node: whose turn it is, who failed and is to wait, and until when.
//!
//! The most important goes first, then the oldest. A Pod that fits nowhere is parked: an event that would change this
//! makes it ready again ([`crate::hints`] knows which). Where it is certain to fit now, it is ready at once; where it is
//! only worth another try, it first waits out a back-off of one second, doubled with every attempt up to ten. Like
//! upstream, nobody is parked for more than five minutes. Pure: the clock is the caller's.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::time::Instant;

use crate::cluster::{PodFacts, PodKey};

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// After this, a parked Pod is tried again although nothing told of a change.
const LONGEST_PARKING: Duration = Duration::from_mins(5);

/// Whose turn is first: priority, then time of creation, then time of arrival.
type Turn = (Reverse<i32>, i64, u64);

/// What an event means for a Pod that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// It changes nothing.
    No,
    /// The Pod is worth another try.
    AfterBackoff,
    /// The Pod fits now.
    Now,
}

/// A Pod that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) pod: Arc<Pod>,
    pub(crate) facts: Arc<PodFacts>,
    /// The last time there was not even a node to ask.
    pub(crate) saw_no_nodes: bool,
    turn: Turn,
    attempts: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// Being decided, or the decision is being written.
    InHand {
        /// What happened meanwhile.
        wake: Wake,
    },
    Parked {
        backoff_until: Instant,
        due: Instant,
        /// A write failed: whatever happens, the API is left alone until the back-off is over.
        deaf: bool,
    },
}

impl State {
    /// Whether an event can make a difference.
    fn hears(self) -> bool {
        !matches!(self, Self::Ready | Self::Parked { deaf: true, .. })
    }
}

/// All Pods that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: HashMap<PodKey, Waiting>,
    ready: BTreeSet<(Turn, PodKey)>,
    /// When parked Pods are to be tried again although nobody woke them.
    due: BTreeSet<(Instant, PodKey)>,
    arrivals: u64,
}

impl Queue {
    /// Takes a Pod in, or what is new about it. One that is new or asks for something else than before is ready.
    pub(crate) fn put(&mut self, pod: Arc<Pod>, facts: Arc<PodFacts>) {
        let key = facts.key.clone();
        if let Some(known) = self.waiting.get_mut(&key) {
            let asks_the_same =
                known.pod.spec == pod.spec && known.pod.metadata.labels == pod.metadata.labels;
            let replaced = known.pod.uid() != pod.uid();
            known.pod = pod;
            known.facts = facts;
            if replaced {
                known.attempts = 0;
            }
            if replaced {
                self.make_ready(&key);
            } else if !asks_the_same {
                self.wake(&key, Wake::Now);
            }
            return;
        }
        self.arrivals += 1;
        let created = pod.creation_timestamp().map_or(i64::MAX, |time| time.0.as_second());
        let turn = (Reverse(facts.priority), created, self.arrivals);
        self.ready.insert((turn, key.clone()));
        let waiting = Waiting { pod, facts, saw_no_nodes: false, turn, attempts: 0, state: State::Ready };
        self.waiting.insert(key, waiting);
    }

    /// Notes what was written into a Pod, which asks for nothing else than before.
    pub(crate) fn remember(&mut self, pod: Pod) {
        if let Some(waiting) = self.waiting.get_mut(&PodKey::of(&pod)) {
            waiting.pod = Arc::new(pod);
        }
    }

    /// Forgets a Pod.
    pub(crate) fn remove(&mut self, key: &PodKey) {
        let Some(waiting) = self.waiting.remove(key) else { return };
        match waiting.state {
            State::Ready => drop(self.ready.remove(&(waiting.turn, key.clone()))),
            State::Parked { due, .. } => drop(self.due.remove(&(due, key.clone()))),
            State::InHand { .. } => {}
        }
    }

    pub(crate) fn get(&self, key: &PodKey) -> Option<&Waiting> {
        self.waiting.get(key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &PodKey> {
        self.waiting.keys()
    }

    /// Whether it is anybody's turn.
    pub(crate) fn has_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty() || self.next_due().is_some_and(|due| due <= now)
    }

    /// Whose turn it is. The Pod is in hand until it is parked or removed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<PodKey> {
        while let Some((due, key)) = self.due.first().cloned() {
            if due > now {
                break;
            }
            self.make_ready(&key);
        }
        let (_, key) = self.ready.pop_first()?;
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.state = State::InHand { wake: Wake::No };
            waiting.attempts += 1;
        }
        Some(key)
    }

    /// Puts a Pod in hand aside until something changes; `retry` where a write failed, so that only time can help.
    pub(crate) fn park(&mut self, key: &PodKey, now: Instant, retry: bool, saw_no_nodes: bool) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        let State::InHand { wake } = waiting.state else { return };
        waiting.saw_no_nodes = saw_no_nodes;
        let backoff_until = now + backoff(waiting.attempts);
        let due = if retry { backoff_until } else { now + LONGEST_PARKING };
        waiting.state = State::Parked { backoff_until, due, deaf: retry };
        self.due.insert((due, key.clone()));
        self.wake(key, wake);
    }

    /// Makes a Pod ready at once, or after its back-off.
    pub(crate) fn wake(&mut self, key: &PodKey, wake: Wake) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        match (&mut waiting.state, wake) {
            (_, Wake::No) | (State::Ready | State::Parked { deaf: true, .. }, _) => {}
            (State::InHand { wake: known }, wake) => {
                if *known != Wake::Now {
                    *known = wake;
                }
            }
            (State::Parked { .. }, Wake::Now) => self.make_ready(key),
            (State::Parked { backoff_until, due, .. }, Wake::AfterBackoff) => {
                self.due.remove(&(*due, key.clone()));
                *due = (*due).min(*backoff_until);
                self.due.insert((*due, key.clone()));
            }
        }
    }

    fn make_ready(&mut self, key: &PodKey) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        match &mut waiting.state {
            State::Ready => {}
            State::InHand { wake } => *wake = Wake::Now,
            State::Parked { due, .. } => {
                self.due.remove(&(*due, key.clone()));
                waiting.state = State::Ready;
                self.ready.insert((waiting.turn, key.clone()));
            }
        }
    }

    /// Those that an event may help, in turn.
    pub(crate) fn sleeping(&self, may_matter: impl Fn(&PodFacts) -> bool) -> Vec<&Waiting> {
        let hearing = self.waiting.values().filter(|waiting| waiting.state.hears());
        let mut sleeping: Vec<&Waiting> = hearing.filter(|waiting| may_matter(&waiting.facts)).collect();
        sleeping.sort_unstable_by_key(|waiting| waiting.turn);
        sleeping
    }

    /// When [`Queue::pop`] will have somebody although no event came.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }
}

fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    (FIRST_BACKOFF * (1 << doublings)).min(LONGEST_BACKOFF)
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
