//! A node and its past to show, for tests.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::{ContainerShare, Course, Eviction, GraceStory, PodName, Ranked};
use memlet_diagnosis::evidence::{KillRecord, Level, Subject, Victim};
use memlet_node::Record;
use memlet_policy::eviction::{Candidate, Kind, Rule, Signal};
use serde_json::json;

use super::Now;
use super::past::Past;
use crate::top::evictions;
use crate::top::held::Owner;
use crate::top::order_table::Orders;
use crate::top::processes::{self, Process};
use crate::top::sample::usage;
use memlet_node::{PressureHistory, PressureSample, PressureThreshold};

pub(super) const AT: &str = "2026-03-01T10:00:00Z";

pub(in crate::explain) fn ago(seconds: i64) -> Timestamp {
    let now: Timestamp = AT.parse().unwrap();
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap()
}

/// Used memory rises over the last 40 minutes, falls where something is evicted, and rises again.
fn samples() -> Vec<PressureSample> {
    (0..240)
        .rev()
        .map(|tens| {
            let age = tens * 10;
            let used = match age {
                600.. => 100 + u64::try_from((2400 - age) * 850 / 1800).unwrap(),
                _ => 300 + u64::try_from((600 - age) * 500 / 600).unwrap(),
            };
            let used = Bytes::from_mib(used);
            PressureSample {
                at: ago(age),
                lowest_available: Bytes::from_gib(1).saturating_sub(used),
                highest_working_set: used,
            }
        })
        .collect()
}

pub(super) fn now() -> Now {
    let usage = usage().nodes.remove(0);
    let process = |pid, name: &str, pod: &str, mib, oom_score_adj| Process {
        pid,
        name: name.to_owned(),
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        container: Some(name.to_owned()),
        rss: Bytes::from_mib(mib),
        swap: Bytes::ZERO,
        page_tables: Bytes::ZERO,
        oom_score_adj,
    };
    let all = [process(301, "server", "steady", 100, 939), process(302, "main", "hog", 600, 1000)];
    let threshold = |signal: Signal| PressureThreshold {
        signal,
        kind: "hard".to_owned(),
        bytes: Bytes::from_mib(100),
        after_seconds: None,
    };
    let condition = json!([
        {"type": "Ready", "status": "True", "message": "kubelet is posting ready status"},
        {"type": "MemoryPressure", "status": "True", "message": "kubelet has insufficient memory available"},
    ]);
    Now {
        conditions: serde_json::from_value(condition).unwrap(),
        pressure: Some(PressureHistory {
            thresholds: vec![threshold(Signal::Memory), threshold(Signal::AllocatableMemory)],
            under_pressure_since: Some(ago(610)),
            samples: samples(),
        }),
        next: Orders {
            node: usage.name.clone(),
            kill_order: processes::order(&all, Owner::Node, Bytes::from_gib(1), Bytes::new(4096)),
            eviction_order: evictions::order(&usage),
        },
        usage,
    }
}

/// An eviction ten minutes ago, a kill at the node's limit half an hour ago, another long before.
pub(super) fn past() -> Past {
    let kill = |at: Timestamp| Record::Kill(Box::new(kill(at)));
    let records = vec![kill(ago(90_000)), kill(ago(1800)), Record::Eviction(Box::new(eviction()))];
    Past::of("memlet", &[], records, AT.parse().unwrap())
}

/// At the node's limit.
pub(in crate::explain) fn kill(at: Timestamp) -> KillRecord {
    KillRecord {
        at,
        subject: Subject {
            namespace: "lab".to_owned(),
            pod: "burst".to_owned(),
            pod_uid: "u9".to_owned(),
            container: "main".to_owned(),
            container_id: "c9".to_owned(),
            restart_count: 0,
        },
        victim: Victim::Main,
        level: Some(Level::NodeAllocatable),
        report: None,
        container_memory: None,
        pod_memory: None,
        oom_score_adj: None,
        neighbours: Vec::new(),
        missing: Vec::new(),
    }
}

/// Of the Pod `lab/greedy`, whose uid is `u7`, ten minutes ago.
pub(in crate::explain) fn eviction() -> Eviction {
    let pod = PodName { namespace: "lab".to_owned(), name: "greedy".to_owned(), uid: "u7".to_owned() };
    let candidate =
        Candidate { usage: Bytes::from_mib(700), request: Bytes::from_mib(64), priority: 0, critical: false };
    Eviction {
        at: ago(601),
        node: "memlet".to_owned(),
        containers: vec![ContainerShare {
            name: "main".to_owned(),
            usage: Bytes::from_mib(700),
            request: Bytes::from_mib(64),
            limit: Some(Bytes::from_mib(900)),
            is_init: false,
        }],
        pod_level_request: None,
        pod_level_limit: None,
        rule: Rule {
            signal: Signal::AllocatableMemory,
            kind: Kind::Hard,
            threshold: Bytes::from_mib(100),
            minimum_reclaim: Bytes::ZERO,
        },
        available: Bytes::from_mib(74),
        capacity: Bytes::from_gib(1),
        allocatable: None,
        left: Bytes::from_mib(74),
        growth: None,
        reclaim: None,
        grace: GraceStory::Given { grace: Duration::from_secs(2) },
        ranked: vec![Ranked { pod: pod.clone(), candidate }],
        candidates: 1,
        message: String::new(),
        course: Course::default(),
        pod,
    }
}
