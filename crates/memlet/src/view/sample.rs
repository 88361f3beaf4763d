//! A Pod to show, for tests.

use std::path::PathBuf;

use memlet_bytes::Bytes;

use super::gather::{CgroupView, ContainerView, PodView, ProcessView, SandboxView};

fn cgroup(limit: Option<u64>) -> CgroupView {
    CgroupView {
        path: "/kubepods/burstable/podu/64ae".parse().unwrap(),
        folder: PathBuf::from("/sys/fs/cgroup/memory/kubepods/burstable/podu/64ae"),
        working_set: Some(Bytes::from_mib(12)),
        limit: limit.map(Bytes::from_mib),
        files: [
            (
                "memory.limit_in_bytes",
                limit.map_or(9_223_372_036_854_771_712, |limit| limit << 20).to_string(),
            ),
            ("memory.usage_in_bytes", "12582912".to_owned()),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2".to_owned()),
        ]
        .into(),
    }
}

/// A Pod with a running container and one that has ended.
pub(crate) fn eater() -> PodView {
    let process = |pid, inner| ProcessView {
        pid,
        name: "memory_eater".to_owned(),
        oom_score: Some(1330),
        oom_score_adj: Some(995),
        rss: Some(Bytes::from_mib(10)),
        inner_pid: Some(inner),
    };
    let container = |name: &str, running, state: &str| ContainerView {
        name: name.to_owned(),
        id: Some("64ae20d221399e618bbf8c15f3b5".to_owned()),
        state: state.to_owned(),
        running,
        restart_count: 2,
        cgroup: running.then(|| cgroup(Some(128))),
        processes: if running { vec![process(32309, 7), process(32308, 1)] } else { Vec::new() },
    };
    PodView {
        namespace: "default".to_owned(),
        name: "memory-eater-128".to_owned(),
        uid: "u".to_owned(),
        node: "memlet".to_owned(),
        qos_class: "Burstable".to_owned(),
        phase: "Running".to_owned(),
        cgroup: Some(cgroup(None)),
        sandbox: Some(SandboxView {
            id: "a398d3c012bb37dd".to_owned(),
            cgroup: cgroup(None),
            processes: vec![process(32300, 1)],
        }),
        containers: vec![container("main", true, "Running"), container("init", false, "Completed (0)")],
    }
}
