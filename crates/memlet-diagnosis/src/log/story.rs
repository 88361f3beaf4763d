//! The story of one report, statement by statement.

mod asked; // who asked for memory
mod charged; // what the memory at the limit was
mod killed; // who died, or why nobody did
mod limit; // whose limit, and how fast it was met
mod machine; // the whole machine's memory
mod missing; // what the log lacks

use memlet_bytes::Bytes;
use memlet_oomlog::{Ending, Limit};

use super::reached::Reached;
use super::{Level, Scene, Statement, Topic, Verification, choice};
use crate::amount::counted;

pub(super) use machine::{Hog, hogs, is_fragmented};

/// The statements that there is evidence for, in the order to read them.
pub(super) fn facts(scene: Scene<'_>, verification: &Verification) -> Vec<Statement> {
    let statements = [
        (Topic::When, when(scene)),
        (Topic::Limit, Some(limit::sentence(scene))),
        (Topic::Asked, asked::sentence(scene)),
        (Topic::Killed, killed::sentence(scene)),
        (Topic::Ended, killed::otherwise(scene)),
        (Topic::Chosen, choice::sentence(scene.report, verification)),
        (Topic::Charged, charged::sentence(scene)),
        (Topic::Machine, machine::sentence(scene)),
        (Topic::Pace, limit::pace(scene)),
        (Topic::Missing, missing::sentence(scene)),
    ];
    statements.into_iter().filter_map(|(topic, text)| Some(Statement { topic, text: text? })).collect()
}

/// `2024-11-22T10:01:02Z on node-3, 1h 2m after its boot, Linux 6.8.0`.
fn when(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let since_boot = report.since_boot.map(|since_boot| {
        let seconds = since_boot.as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => format!("{seconds} s after boot"),
            (0, 0, _) => format!("{minutes} min {} s after boot", seconds % 60),
            (0, _, _) => format!("{hours} h {minutes} min after boot"),
            _ => format!("{} {hours} h after boot", counted(days, "day", "days")),
        }
    });
    let parts: Vec<_> = [
        report.time.as_ref().map(ToString::to_string),
        report.host.as_ref().map(|host| format!("on {host}")),
        since_boot,
        report.kernel.as_ref().map(|kernel| format!("Linux {kernel}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The story in one sentence.
pub(super) fn summary(scene: Scene<'_>) -> String {
    let report = scene.report;
    let whom = match report.victims.as_slice() {
        [] => "the kernel's OOM killer ran".to_owned(),
        [victim] => format!("the kernel killed {} (pid {})", victim.comm, victim.pid),
        [first, others @ ..] => format!(
            "the kernel killed {} (pid {}) and {}",
            first.comm,
            first.pid,
            counted(others.len() as u64, "other process", "other processes")
        ),
    };
    let knows_why = scene.level.is_some() || report.scope.is_some() || report.memory.is_some();
    let why = match scene.level {
        _ if scene.is_by_hand() => "because somebody asked for a kill by hand (SysRq-F)".to_owned(),
        Some(Level::Machine) => format!("because {} ran out of memory", machine::what_ran_out(report)),
        _ if knows_why => reached(scene),
        _ => "whose memory ran out is not in the log".to_owned(),
    };
    let instead = match report.ending {
        _ if !report.victims.is_empty() => "",
        Some(Ending::NoKillableProcess) => ", and found no process that it may kill",
        Some(Ending::Panic | Ending::Deadlock) => ", and the kernel panicked",
        Some(Ending::AlreadyExiting) => ", and the process that it chose was already ending",
        _ => "; whom it killed is not in the log",
    };
    let separator = if knows_why { " " } else { "; " };
    format!("{whom}{separator}{why}{instead}")
}

/// `because Pod … reached its memory limit of 128Mi`.
fn reached(scene: Scene<'_>) -> String {
    let (whose, their, what) = match (scene.level, scene.place) {
        (Some(Level::NodeAllocatable), _) => ("all Pods of the node together", "their", "limit"),
        (_, Some(place)) => (place.name.as_str(), "its", "memory limit"),
        _ => ("a cgroup", "its", "memory limit"),
    };
    let of = |limit: Limit| limit.bytes().map(|limit| format!(" of {limit}")).unwrap_or_default();
    match scene.reached() {
        Reached::Memory => {
            let of = scene.report.memory.map(|memory| of(memory.limit)).unwrap_or_default();
            format!("because {whose} reached {their} {what}{of}")
        }
        Reached::MemoryAndSwap(both) => {
            format!("because {whose} reached {their} limit{} for memory and swap together", of(both.limit))
        }
        Reached::KernelMemory(kmem) => {
            format!("because {whose} reached {their} limit{} for kernel memory", of(kmem.limit))
        }
        Reached::Policy => format!("because a BPF program found the memory of {whose} short"),
        Reached::NoLimit => format!("for {whose}, which has no memory limit by the log"),
    }
}

/// A share in whole percents; `None` of nothing.
fn percent(part: Bytes, whole: Bytes) -> Option<u64> {
    (whole > Bytes::ZERO).then(|| {
        let share = u128::from(part.get()) * 100 / u128::from(whole.get());
        u64::try_from(share).unwrap_or(u64::MAX)
    })
}
