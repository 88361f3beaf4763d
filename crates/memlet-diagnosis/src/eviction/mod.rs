//! A Pod that its node evicted for want of memory: what was known when it was chosen, and what came of it; [`explain`] says why
//! it was that Pod and what to change, [`text`] shows that to people.

mod otherwise; // with another request
mod raise; // which containers' requests, and to how much
mod remedy; // which number to change
mod render; // a verdict as text
mod verdict; // why that Pod

#[cfg(test)]
mod sample;

use std::time::Duration;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_policy::eviction::{Candidate, Rule};
use serde::{Deserialize, Serialize};

pub use render::text;
pub use verdict::{EvictionVerdict, explain};

/// Pods of the order that are kept; those behind them would not have been next.
pub const KEPT: usize = 20;

/// The evidence of one eviction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// When the Pod was chosen.
    pub at: Timestamp,
    /// The node.
    pub node: String,
    /// The Pod.
    pub pod: PodName,
    /// Its containers, init ones included, as they were then.
    pub containers: Vec<ContainerShare>,
    /// Where the Pod requests memory as a whole, that amount: its containers' requests do not count then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_level_request: Option<Bytes>,
    /// Where it is limited as a whole, that limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_level_limit: Option<Bytes>,
    /// The threshold.
    pub rule: Rule,
    /// What was available by the threshold's signal.
    pub available: Bytes,
    /// What there would be with nobody using any: the node's memory, or the limit of all Pods together.
    pub capacity: Bytes,
    /// What Pods may request in all on the node; `None` in records of before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocatable: Option<Bytes>,
    /// What was left until the kernel would have killed, page cache that it drops first not counted as used.
    pub left: Bytes,
    /// How fast memory was used up, in bytes a second; `None` where it was not looked at long enough to know.
    pub growth: Option<u64>,
    /// Page cache that was asked back before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim: Option<Reclaim>,
    /// What became of the Pod's grace.
    pub grace: GraceStory,
    /// The Pods in the order of eviction, the first [`KEPT`] of them and the one that went; critical ones before it were
    /// passed over.
    pub ranked: Vec<Ranked>,
    /// How many there were.
    pub candidates: usize,
    /// As the Pod's status says it.
    pub message: String,
    /// How long it took.
    pub course: Course,
}

impl Eviction {
    /// The evicted Pod's place in the order; `None` where that was not recorded.
    pub fn place(&self) -> Option<&Ranked> {
        self.ranked.iter().find(|ranked| ranked.pod.uid == self.pod.uid)
    }
}

/// A Pod's name in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// One container of the Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerShare {
    /// Its name.
    pub name: String,
    /// Its working set.
    pub usage: Bytes,
    /// What it requested.
    pub request: Bytes,
    /// Its limit.
    pub limit: Option<Bytes>,
    /// Whether it is one of the `initContainers`.
    #[serde(default)]
    pub is_init: bool,
}

/// One Pod of the node, in the order of eviction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranked {
    /// The Pod.
    #[serde(flatten)]
    pub pod: PodName,
    /// What decided about it.
    #[serde(flatten)]
    pub candidate: Candidate,
}

/// Page cache that the kernel was asked to take back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reclaim {
    /// From whom; nobody where it was asked of all together, those that are gone included.
    pub from: Vec<PodName>,
    /// How much was needed.
    pub wanted: Bytes,
    /// By how much their usage fell.
    pub reclaimed: Bytes,
    /// How long that took.
    pub took: Duration,
    /// It was not waited for any longer, since memory was used up too fast.
    #[serde(default)]
    pub given_up: bool,
}

impl Reclaim {
    /// Nothing came of it.
    pub fn nothing(wanted: Bytes, took: Duration) -> Self {
        Self { from: Vec::new(), wanted, reclaimed: Bytes::ZERO, took, given_up: false }
    }
}

/// What became of the time between SIGTERM and SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GraceStory {
    /// The Pod had it, or as much of it as it needed.
    Given {
        /// All of it.
        grace: Duration,
    },
    /// It was killed at once: the memory would have been used up before.
    Skipped {
        /// What it would have had.
        grace: Duration,
        /// When the memory would have been used up, at the pace of then.
        left: Duration,
    },
    /// It was asked to end and went on allocating, so it was killed before its time.
    Cut {
        /// What it would have had.
        grace: Duration,
        /// What it did have.
        after: Duration,
        /// When the memory would have been used up, at the pace of then.
        left: Duration,
    },
}

/// How long an eviction took, each since the node noticed that the threshold was crossed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Course {
    /// Until the first signal to the Pod.
    pub signalled: Option<Duration>,
    /// Until SIGKILL; `None` where none was needed.
    pub killed: Option<Duration>,
    /// Until its containers had ended; `None` where they had not when this was written.
    pub ended: Option<Duration>,
    /// What was available then.
    pub available_after: Option<Bytes>,
}
