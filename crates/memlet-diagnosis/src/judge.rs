//! Who ended a container, and at whose limit. The witnesses are asked in this order:
//!
//! 1. `wait(2)`: what did not die by SIGKILL was not ended by the OOM killer, whatever else was killed.
//! 2. The kernel's report, joined by the node agent: it names the main process, or another.
//! 3. The cgroup's own counter of OOM kills, less the kills known to be of children.
//!
//! The reason in the Pod's status decides only that a container never started. A bare `OOMKilled` there proves
//! nothing: runtimes write it on bystanders and on containers that lost a child.

use std::fmt::Write as _;

use crate::Evidence;
use crate::amount::counted;
use crate::evidence::{ContainerEnd, Exit, KillRecord, Level, Missing, Victim};
use crate::facts;
use crate::kills::{Kills, deadly, unaccounted};
use crate::remedy;
use crate::signal;
use crate::summary::whom_and_where;
use crate::verdict::{ChildKill, Outcome, Verdict};

/// Decides how the container ended, why, and what to change.
pub fn judge(evidence: &Evidence) -> Verdict {
    let deadly = deadly(evidence);
    let outcome = outcome(evidence, deadly);
    let deadly = deadly.filter(|_| matches!(outcome, Outcome::OomKilled { .. }));
    let kills = Kills::sorted(evidence, &outcome, deadly);
    let children: Vec<_> = kills.children.iter().map(|kill| child_kill(kill)).collect();
    let mut facts = match (&outcome, &evidence.end) {
        (Outcome::OomKilled { level }, Some(end)) => facts::of_kill(evidence, end, deadly, *level),
        _ => facts::of_end(evidence, &outcome, &kills),
    };
    facts.extend(facts::of_launches(&outcome, &kills));
    Verdict {
        subject: evidence.subject.clone(),
        headline: headline(evidence, &outcome, &children, kills.sandbox.is_some()),
        remedy: remedy::of(evidence, &outcome, kills.most_telling()),
        facts,
        children,
        missing: missing(evidence),
        outcome,
    }
}

fn outcome(evidence: &Evidence, deadly: Option<&KillRecord>) -> Outcome {
    let reason = evidence.reason.as_deref();
    if reason.is_some_and(is_start_failure) {
        return Outcome::StartFailed {
            reason: evidence.reason.clone(),
            code: evidence.end.as_ref().map(|end| end.exit.code()),
        };
    }
    let Some(end) = &evidence.end else {
        let lost = reason.is_some_and(|reason| matches!(reason, "Unknown" | "ContainerStatusUnknown"));
        return if lost { Outcome::Unknown } else { Outcome::Running };
    };
    match end.exit {
        Exit::Code(0) => Outcome::Completed,
        Exit::Code(code) => Outcome::Failed { code },
        Exit::Signal(9) => match (deadly, unaccounted(evidence, end)) {
            (Some(kill), _) => Outcome::OomKilled { level: kill.level.or_else(|| level_by_counters(end)) },
            (None, _) if end.taken_along.is_some() => Outcome::KilledByOther { signal: 9 },
            (None, Some(0)) => Outcome::KilledByOther { signal: 9 },
            (None, Some(_)) => Outcome::OomKilled { level: level_by_counters(end) },
            (None, None) => Outcome::KilledByUnknown { signal: 9 },
        },
        Exit::Signal(signal) => Outcome::KilledByOther { signal },
    }
}

/// Reasons of a container that never ran, in the words of kubelet and of the runtimes.
fn is_start_failure(reason: &str) -> bool {
    matches!(
        reason,
        "StartError"
            | "ContainerCannotRun"
            | "RunContainerError"
            | "CreateContainerError"
            | "CreateContainerConfigError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "PostStartHookError"
            | "ErrImagePull"
            | "ImagePullBackOff"
            | "ErrImageNeverPull"
            | "InvalidImageName"
            | "ImageInspectError"
    )
}

/// Whose limit it was, by elimination: a limit that was never hit did not run out.
pub(crate) fn level_by_counters(end: &ContainerEnd) -> Option<Level> {
    let failcnt =
        |snapshot: &Option<memlet_cgroup::Snapshot>| snapshot.as_ref().and_then(|memory| memory.failcnt);
    match (failcnt(&end.container)?, failcnt(&end.pod)?) {
        (1.., 0) => Some(Level::Container),
        (0, 1..) => Some(Level::Pod),
        // Neither: above the Pod, where this cannot see. Both: either.
        _ => None,
    }
}

fn child_kill(kill: &KillRecord) -> ChildKill {
    let victim = kill.report.as_ref().and_then(|report| report.victims.first());
    ChildKill {
        at: kill.at,
        pid: victim.map(|victim| victim.pid),
        name: victim.map(|victim| victim.comm.clone()),
        victim: kill.victim,
        level: kill.level,
        text: whom_and_where(kill),
    }
}

fn headline(evidence: &Evidence, outcome: &Outcome, children: &[ChildKill], lost_pause: bool) -> String {
    let taken_along = evidence.end.as_ref().and_then(|end| end.taken_along.as_ref());
    let mut headline = match outcome {
        Outcome::Unknown => "ended, how is not known (no exit code)".to_owned(),
        Outcome::Running => "running".to_owned(),
        Outcome::StartFailed { reason, .. } => {
            format!("did not start ({})", reason.as_deref().unwrap_or("no reason given"))
        }
        Outcome::Completed => "Completed (exit code 0)".to_owned(),
        Outcome::Failed { code } => format!("Error (exit code {code})"),
        Outcome::OomKilled { .. } => {
            "OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)".to_owned()
        }
        Outcome::KilledByOther { signal: 9 } if lost_pause => {
            "Error (exit code 137: SIGKILL, because the kernel's OOM killer killed the Pod's pause process)"
                .to_owned()
        }
        Outcome::KilledByOther { signal: 9 } if let Some(cause) = taken_along => format!(
            "Error (exit code 137: SIGKILL by the container runtime, along with {})",
            facts::lost_to_the_oom_killer(evidence, cause)
        ),
        Outcome::KilledByOther { signal: 9 } => {
            "Error (exit code 137: SIGKILL, not by the OOM killer)".to_owned()
        }
        Outcome::KilledByUnknown { signal: 9 } => {
            "Error (exit code 137: SIGKILL, by whom is not known)".to_owned()
        }
        Outcome::KilledByOther { signal } | Outcome::KilledByUnknown { signal } => {
            format!("Error (exit code {}: {})", 128 + signal, signal::name(*signal))
        }
    };
    if !children.is_empty() {
        let known = children.iter().all(|kill| kill.victim == Victim::Child);
        let (one, many) =
            if known { ("child process", "child processes") } else { ("process of it", "processes of it") };
        let count = counted(children.len() as u64, one, many);
        let _ = write!(headline, "; the OOM killer killed {count}");
    }
    headline
}

/// The witnesses that each kill lacks, once each, and the counter where the verdict needed it.
fn missing(evidence: &Evidence) -> Vec<Missing> {
    let mut missing: Vec<Missing> = Vec::new();
    for witness in evidence.kills.iter().flat_map(|kill| &kill.missing) {
        if !missing.contains(witness) {
            missing.push(witness.clone());
        }
    }
    if let Some(end) = evidence.end.as_ref().filter(|end| end.exit.is_sigkill())
        && unaccounted(evidence, end).is_none()
        && missing.is_empty()
    {
        missing.push(Missing {
            source: "the cgroup's counter of OOM kills".to_owned(),
            reason: "it was not read before the cgroup was removed, or this kernel has none (Linux 4.13)"
                .to_owned(),
        });
    }
    missing
}
