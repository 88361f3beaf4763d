//! A node to show, for tests.

use memlet_bytes::Bytes;
use memlet_node::PressureThreshold;
use memlet_policy::eviction::Signal;

use super::gather::{ContainerUsage, NodeUsage, PodUsage, Usage};
use super::held::{Held, Left, Owner};
use super::thresholds::Available;

fn held(anon: u64, active: u64, inactive: u64) -> Held {
    Held {
        usage: Some(Bytes::from_mib(anon + active + inactive)),
        working_set: Some(Bytes::from_mib(anon + active)),
        rss: Some(Bytes::from_mib(anon)),
        page_cache: Some(Bytes::from_mib(active + inactive)),
        active_file: Some(Bytes::from_mib(active)),
        inactive_file: Some(Bytes::from_mib(inactive)),
        shared: Some(Bytes::ZERO),
    }
}

fn left(mib: u64, of: Owner) -> Left {
    Left { bytes: Bytes::from_mib(mib), of }
}

pub(crate) fn threshold(signal: Signal, mib: u64, after_seconds: Option<u64>) -> PressureThreshold {
    let kind = if after_seconds.is_some() { "soft" } else { "hard" }.to_owned();
    PressureThreshold { signal, kind, bytes: Bytes::from_mib(mib), after_seconds }
}

/// A `BestEffort` Pod that has most, and a Burstable one of two containers below its own limits.
pub(crate) fn usage() -> Usage {
    let hog = PodUsage {
        namespace: "lab".to_owned(),
        name: "hog".to_owned(),
        uid: "u1".to_owned(),
        qos_class: "BestEffort".to_owned(),
        priority: 0,
        critical: false,
        request: Bytes::ZERO,
        pod_level_request: None,
        limit: None,
        held: held(601, 12, 40),
        left: Some(left(200, Owner::Node)),
        containers: vec![ContainerUsage {
            name: "main".to_owned(),
            is_init: false,
            id: "64ae20d2".to_owned(),
            request: None,
            limit: None,
            held: held(600, 12, 40),
            left: Some(left(200, Owner::Node)),
        }],
        cgroup: None,
    };
    let container = |name: &str, anon, limit: u64| ContainerUsage {
        name: name.to_owned(),
        is_init: false,
        id: "a398d3c0".to_owned(),
        request: Some(Bytes::from_mib(64)),
        limit: Some(Bytes::from_mib(limit)),
        held: held(anon, 4, 0),
        left: Some(left(limit - anon - 4, Owner::Container)),
    };
    let steady = PodUsage {
        namespace: "default".to_owned(),
        name: "steady".to_owned(),
        uid: "u2".to_owned(),
        qos_class: "Burstable".to_owned(),
        priority: 0,
        critical: false,
        request: Bytes::from_mib(128),
        pod_level_request: None,
        limit: Some(Bytes::from_mib(256)),
        held: held(161, 8, 0),
        left: Some(left(87, Owner::Pod)),
        containers: vec![container("server", 100, 128), container("side", 60, 128)],
        cgroup: None,
    };
    let node = NodeUsage {
        name: "memlet".to_owned(),
        capacity: Bytes::from_gib(1),
        allocatable: Bytes::from_mib(924),
        limit: Some(Bytes::from_gib(1)),
        eviction_threshold: Bytes::from_mib(100),
        eviction_thresholds: Some(vec![
            threshold(Signal::Memory, 100, None),
            threshold(Signal::AllocatableMemory, 100, None),
        ]),
        available: Some(Available { memory: Bytes::from_mib(200), allocatable: Bytes::from_mib(200) }),
        held: held(804, 20, 40),
        left: Some(left(200, Owner::Node)),
        requests: Bytes::from_mib(128),
        limits: None,
        pods: vec![hog, steady],
    };
    Usage { at: "2026-03-01T10:00:00Z".parse().unwrap(), nodes: vec![node] }
}
