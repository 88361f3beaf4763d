//! Who died and what they held, or why nobody did.

use memlet_bytes::Bytes;
use memlet_oomlog::{Ending, Victim};

use super::Scene;
use crate::amount::counted;
use crate::facts::held;
use crate::log::Place;

/// So many victims are described; more are counted.
const DESCRIBED: usize = 5;

pub(super) fn sentence(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let (first, others) = report.victims.split_first()?;
    let mut text = described(first);
    if let Some(place) =
        scene.task_place.filter(|place| scene.place.is_none_or(|limit| limit.path != place.path))
    {
        text.push_str(&format!(", of {}", place.name));
    }
    if let Some(cgroup) = &report.group_kill {
        let others = match others.len() as u64 {
            0 => "the log names no other".to_owned(),
            others => counted(others, "other process", "other processes"),
        };
        text.push_str(&format!(
            "; with it all of {} ({others}), as memory.oom.group asks",
            Place::of_path(cgroup).name
        ));
    }
    for victim in others.iter().take(DESCRIBED - 1) {
        text.push_str(&format!("; {}", described(victim)));
    }
    let more = others.len().saturating_sub(DESCRIBED - 1) as u64 + report.dropped.victims;
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    if let Some(reaped) = first.reaped {
        let left = reaped.anon_rss + reaped.shmem_rss;
        let whose = if others.is_empty() {
            "Its memory".to_owned()
        } else {
            format!("The memory of pid {}", first.pid)
        };
        text.push_str(&match left {
            Bytes::ZERO => format!(". {whose} was taken back (oom_reaper)"),
            left => format!(". {whose} was taken back but for {left} (oom_reaper)"),
        });
    }
    Some(text)
}

/// `pid 861 (memhog), user 0: 63.3Mi anonymous, 572Ki of files, 0 shared, 168Ki page tables`.
fn described(victim: &Victim) -> String {
    let user = victim.uid.map(|uid| format!(", user {uid}")).unwrap_or_default();
    let mut text = format!("pid {} ({}){user}", victim.pid, victim.comm);
    if let Some(held) = held(victim) {
        text.push_str(&format!(": {held}"));
        if let Some(tables) = victim.pgtables {
            text.push_str(&format!(", {tables} page tables"));
        }
    }
    text
}

/// How it ended, where nothing was killed or the kernel did not choose.
pub(super) fn otherwise(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let text = match report.ending {
        Some(Ending::AlreadyExiting) => {
            "the process that the kernel chose was already on its way out, so nothing was killed"
        }
        Some(Ending::NoKillableProcess) => {
            "nothing was killed: the kernel may kill none of the processes there (oom_score_adj -1000, init, kernel \
             threads), or there is none"
        }
        Some(Ending::Deadlock) => "the kernel panicked, since it found no process that it may kill",
        Some(Ending::Panic) => "the kernel panicked instead of killing, as vm.panic_on_oom asks",
        None if report.victims.is_empty() => "how it ended is not in the log",
        Some(Ending::Killed | Ending::KilledAllocatingTask) | None => return None,
    };
    Some(text.to_owned())
}
