//! An eviction, for tests.

use std::time::Duration;

use memlet_bytes::Bytes;
use memlet_policy::eviction::{Candidate, Kind, Rule, Signal};

use super::{Course, Eviction, GraceStory, PodName, Ranked};

pub(super) fn ranked(name: &str, usage: u64, request: u64, priority: i32) -> Ranked {
    Ranked {
        pod: PodName { namespace: "lab".to_owned(), name: name.to_owned(), uid: name.to_owned() },
        candidate: Candidate {
            usage: Bytes::new(usage),
            request: Bytes::new(request),
            priority,
            critical: false,
        },
    }
}

/// The first of these goes.
pub(super) fn eviction(ranked: Vec<Ranked>) -> Eviction {
    Eviction {
        at: jiff::Timestamp::UNIX_EPOCH,
        node: "memlet".to_owned(),
        pod: ranked[0].pod.clone(),
        containers: Vec::new(),
        pod_level_request: None,
        pod_level_limit: None,
        rule: Rule {
            signal: Signal::AllocatableMemory,
            kind: Kind::Hard,
            threshold: Bytes::from_mib(100),
            minimum_reclaim: Bytes::ZERO,
        },
        available: Bytes::ZERO,
        capacity: Bytes::from_gib(1),
        allocatable: None,
        left: Bytes::ZERO,
        growth: None,
        reclaim: None,
        grace: GraceStory::Given { grace: Duration::from_secs(2) },
        candidates: ranked.len(),
        ranked,
        message: String::new(),
        course: Course::default(),
    }
}
