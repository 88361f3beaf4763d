//! Kills on cgroup v2, recorded in virtual machines with Debian's kernels: at a container's limit, at a Pod's, of a
//! container as a whole, and of a machine without memory left. Every container has `memory.oom.group`.

mod reading;

use memlet_bytes::Bytes;
use memlet_oomlog::{Constraint, Ending, Limit, Report, Scope};
use reading::reports;

/// What a report must say.
struct Expected {
    /// The release of the kernel.
    kernel: &'static str,
    /// How deep the cgroup whose limit was hit is below `kubepods`; `None` where it was the whole machine.
    depth: Option<usize>,
    limit_mib: Option<u64>,
    /// Pid and anonymous KiB of each that was killed.
    victims: &'static [(i32, u64)],
}

fn check(log: &str, expected: &[Expected]) {
    let found = reports(log.as_bytes());
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (report, expected) in found.iter().zip(expected) {
        check_one(report, expected);
    }
}

fn check_one(report: &Report, expected: &Expected) {
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.kernel.as_deref(), report.ending), (Some(expected.kernel), Some(Ending::Killed)));
    assert_eq!(report.choice_agrees(), Some(true), "{:?}", report.ranking());
    let victims: Vec<_> = report
        .victims
        .iter()
        .map(|victim| (victim.pid, victim.anon_rss.expect("its size").get() / 1024))
        .collect();
    assert_eq!(victims, expected.victims);
    assert!(report.victims.iter().all(|victim| victim.comm == "memory-eater"), "{:#?}", report.victims);
    let below = |cgroup: &str| cgroup.split_once("/kubepods/").map(|(_, below)| below.split('/').count());
    assert_eq!(report.oom_memcg.as_deref().and_then(below), expected.depth, "{:?}", report.oom_memcg);
    assert_eq!(
        report.memory.map(|memory| memory.limit),
        expected.limit_mib.map(|mib| Limit::Bytes(Bytes::from_mib(mib)))
    );
    assert!(report.group_kill.as_deref().is_some_and(|group| report.task_memcg.as_deref() == Some(group)));
    let (scope, constraint) = match expected.depth {
        Some(_) => (Scope::Memcg, Constraint::Memcg),
        None => (Scope::System, Constraint::None),
    };
    assert_eq!((report.scope, report.constraint.as_ref()), (Some(scope), Some(&constraint)));
}

#[test]
fn linux_6_1() {
    let kernel = "6.1.0-50-cloud-amd64";
    check(
        include_str!("fixtures/linux-6.1.txt"),
        &[
            Expected { kernel, depth: Some(3), limit_mib: Some(48), victims: &[(406, 51_420)] },
            Expected { kernel, depth: Some(2), limit_mib: Some(96), victims: &[(418, 100_500)] },
            Expected { kernel, depth: Some(2), limit_mib: Some(64), victims: &[(455, 67_484), (454, 2788)] },
            Expected { kernel, depth: None, limit_mib: None, victims: &[(129, 383_596)] },
        ],
    );
}

#[test]
fn linux_6_12() {
    let kernel = "6.12.95+deb12-cloud-amd64";
    check(
        include_str!("fixtures/linux-6.12.txt"),
        &[
            Expected { kernel, depth: Some(3), limit_mib: Some(48), victims: &[(185, 51_408)] },
            Expected { kernel, depth: Some(2), limit_mib: Some(96), victims: &[(192, 100_436)] },
            Expected { kernel, depth: Some(2), limit_mib: Some(64), victims: &[(236, 67_552), (235, 2764)] },
            Expected { kernel, depth: None, limit_mib: None, victims: &[(253, 386_508)] },
        ],
    );
}

#[test]
fn linux_7_3() {
    let kernel = "7.3.4+deb13-cloud-amd64";
    check(
        include_str!("fixtures/linux-7.3.txt"),
        &[
            Expected { kernel, depth: Some(3), limit_mib: Some(48), victims: &[(145, 51_524)] },
            Expected { kernel, depth: Some(2), limit_mib: Some(96), victims: &[(152, 100_488)] },
            Expected { kernel, depth: Some(2), limit_mib: Some(64), victims: &[(196, 67_620), (195, 2788)] },
            Expected { kernel, depth: None, limit_mib: None, victims: &[(214, 368_180)] },
        ],
    );
}
