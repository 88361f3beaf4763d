//! Which number to change, and to what.
//!
//! The rule for a new amount ([`suggested_limit`]): half as much again as the amount that did not do, rounded up to a
//! number that reads well, never below what a container needs to start. The true need is not known at a kill: the
//! process was still asking, so the old limit is only a lower bound of it.

mod node; // where the node was full

use std::fmt::Write as _;

use memlet_bytes::Bytes;
use memlet_oomlog::Report;

use crate::Evidence;
use crate::amount::quantity;
use crate::charged::is_mostly_shared;
use crate::evidence::{KillRecord, Level, Victim};
use crate::facts::{own_and_pod_limit_equal, peak_below_own_limit};
use crate::kills::sandbox_level;
use crate::tasks;
use crate::verdict::{Outcome, Patch, Remedy};

/// No container starts reliably below this: the runtime's own first process is charged to it (CRI-O refuses less
/// than 12Mi).
const LEAST: Bytes = Bytes::from_mib(16);

/// One and a half times `short`, rounded up by [`friendly`], at least 16Mi.
pub fn suggested_limit(short: Bytes) -> Bytes {
    friendly(Bytes::new(short.get().saturating_add(short.get() / 2))).max(LEAST)
}

/// Rounds up to a multiple of the largest power of two that is at most an eighth of the amount, at least 1Mi: what is
/// added is an eighth at most, and the number stays short (150Mi → 160Mi, 192Mi → 192Mi, 1.5Gi → 1536Mi).
pub fn friendly(amount: Bytes) -> Bytes {
    let eighth = (amount.get() / 8).max(1);
    let step = (1_u64 << eighth.ilog2()).max(1 << 20);
    Bytes::new(amount.get().checked_next_multiple_of(step).unwrap_or(u64::MAX))
}

/// How [`suggested_limit`] came to this amount.
pub(crate) fn how_much(suggested: Bytes) -> &'static str {
    if suggested == LEAST { "the least to start with" } else { "× 1.5, rounded up" }
}

pub(crate) fn of(evidence: &Evidence, outcome: &Outcome, kill: Option<&KillRecord>) -> Option<Remedy> {
    let level = match outcome {
        Outcome::OomKilled { level } => *level,
        Outcome::StartFailed { .. } => return of_failed_start(evidence, kill),
        _ if kill.is_some_and(|kill| kill.victim == Victim::Sandbox) => {
            let end = evidence.end.as_ref();
            Some(kill?.level.or_else(|| sandbox_level(kill?, end?))?)
        }
        // A killed child is as short of memory as a killed main process.
        _ => kill?.level,
    };
    let report = kill.and_then(|kill| kill.report.as_ref());
    match level {
        Some(Level::Container) => raise_own_limit(evidence, report),
        Some(Level::Pod) if own_and_pod_limit_equal(evidence) => raise_own_limit(evidence, report),
        Some(Level::Pod) => Some(pod_limit(evidence, kill)),
        Some(Level::NodeAllocatable | Level::Machine) => Some(node::memory(evidence, report, level)),
        Some(Level::QosClass | Level::Other) => Some(foreign_limit(report)),
        None => if_own_limit(evidence),
    }
}

fn of_failed_start(evidence: &Evidence, kill: Option<&KillRecord>) -> Option<Remedy> {
    let limit = evidence.limit.filter(|limit| *limit < LEAST)?;
    let counted = evidence.end.as_ref().and_then(|end| end.container.as_ref()?.oom_kills).unwrap_or(0);
    let evident = if kill.is_some_and(|kill| kill.victim == Victim::Sandbox) {
        "the kernel killed the Pod's pause process, without which no container starts"
    } else if kill.is_some() || counted > 0 {
        "the kernel killed what was to become the container before its program began"
    } else {
        "too little for the runtime to start anything in"
    };
    let text = format!("limits.memory {} → {}: {evident}", quantity(limit), quantity(LEAST));
    Some(Remedy { text, patch: Some(limit_patch(evidence, limit, LEAST)) })
}

/// A new limit, and the same as the request where the two were equal: so the `QoS` class stays.
fn limit_patch(evidence: &Evidence, old: Bytes, new: Bytes) -> Patch {
    let request = evidence.request.filter(|request| *request == old).map(|_| new);
    Patch::new(evidence, request, Some(new))
}

fn raise_own_limit(evidence: &Evidence, report: Option<&Report>) -> Option<Remedy> {
    let limit = evidence.limit?;
    let new = suggested_limit(limit);
    let mut text = report.and_then(volume).unwrap_or_default();
    let _ = write!(text, "limits.memory {} → {} ({}). ", quantity(limit), quantity(new), how_much(new));
    let _ = write!(
        text,
        "The true need is not known, only that it is above {limit}: it was still asking. If {new} runs out too, look \
         for a leak"
    );
    if new > evidence.node_memory {
        let _ = write!(text, ". This node has only {} for all Pods", evidence.node_memory);
    }
    Some(Remedy { text, patch: Some(limit_patch(evidence, limit, new)) })
}

/// Whose limit it was is not known.
fn if_own_limit(evidence: &Evidence) -> Option<Remedy> {
    let mut remedy = raise_own_limit(evidence, None)?;
    remedy.text.insert_str(0, "if it was this container's own limit: ");
    Some(remedy)
}

/// Where a Pod has memory-backed files, and what to do about them. They stay when a container ends.
pub(crate) const EMPTY_DIR: &str = "an emptyDir with medium: Memory, which counts against this limit and outlives a \
                                    restart: give that volume a sizeLimit, or put it on disk";

/// Where memory-backed files filled the limit, they are the first thing to look at; `such_as` says where they are.
pub(crate) fn shared_first(report: &Report, such_as: &str) -> Option<String> {
    let held = report.charged().filter(is_mostly_shared)?.shmem?;
    Some(format!("most of it, {held}, is shared memory or files on tmpfs, such as {such_as}. Otherwise "))
}

fn volume(report: &Report) -> Option<String> {
    shared_first(report, EMPTY_DIR)
}

/// The Pod's limit ran out, and this container is not alone below it.
fn pod_limit(evidence: &Evidence, kill: Option<&KillRecord>) -> Remedy {
    let report = kill.and_then(|kill| kill.report.as_ref());
    let pod_limit = evidence.pod_limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let container = &evidence.subject.container;
    let volume = report.and_then(volume).unwrap_or_default();
    if let Some((task, held)) = report.and_then(tasks::larger_survivor) {
        let not_this = match peak_below_own_limit(evidence, kill) {
            Some(_) => format!("; {container} stayed below its own limit"),
            None => String::new(),
        };
        return Remedy {
            text: format!(
                "{volume}the Pod's limit{pod_limit} is shared: pid {} ({}) held {held}, more than the process that was \
                 killed. Raise the limit of the container that it belongs to, and so the Pod's, or let it use less\
                 {not_this}",
                task.pid, task.comm
            ),
            patch: None,
        };
    }
    let Some(limit) = evidence.limit else {
        return Remedy {
            text: format!(
                "{volume}the Pod's limit{pod_limit} is too small for its containers together, and {container}, which has none \
                 of its own, held most: raise the Pod's, or give {container} a limit so that it meets its own first"
            ),
            patch: None,
        };
    };
    let new = suggested_limit(limit);
    Remedy {
        text: format!(
            "{volume}the Pod's limit{pod_limit} is the sum of its containers', and {container} held most: limits.memory {} → \
             {} (× 1.5, rounded up) raises both. The true need is not known",
            quantity(limit),
            quantity(new)
        ),
        patch: Some(limit_patch(evidence, limit, new)),
    }
}

fn foreign_limit(report: Option<&Report>) -> Remedy {
    let path = report.and_then(|report| report.oom_memcg.as_deref()).unwrap_or("above or beside the Pod");
    Remedy {
        text: format!(
            "the limit of cgroup {path} ran out, and no manifest sets that one: raise it where it is set"
        ),
        patch: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_as_much_again_and_easy_to_read() {
        for (short, suggested) in [
            ("64Ki", "16Mi"),
            ("10Mi", "16Mi"),
            ("64Mi", "96Mi"),
            ("100Mi", "160Mi"),
            ("128Mi", "192Mi"),
            ("200Mi", "320Mi"),
            ("256Mi", "384Mi"),
            ("1Gi", "1536Mi"),
            ("3Gi", "4608Mi"),
            ("100Gi", "160Gi"),
        ] {
            let (number, unit) = short.split_at(short.len() - 2);
            let shift = match unit {
                "Ki" => 10,
                "Mi" => 20,
                _ => 30,
            };
            let short = Bytes::new(number.parse::<u64>().unwrap() << shift);
            assert_eq!(quantity(suggested_limit(short)), suggested);
        }
    }

    proptest! {
        #[test]
        fn always_more_and_never_twice_as_much(short in (LEAST.get() / 3 * 2)..(1 << 50)) {
            let suggested = suggested_limit(Bytes::new(short)).get();
            prop_assert!(suggested >= short + short / 2);
            prop_assert!(suggested <= short * 3 / 2 + short * 3 / 16 + (1 << 20));
            prop_assert_eq!(suggested % (1 << 20), 0);
        }
    }
}
