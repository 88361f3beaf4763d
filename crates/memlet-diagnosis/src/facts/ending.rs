//! What the end itself says, where no kill by the OOM killer explains it.

use memlet_policy::oom_kill_mode::{ANNOTATION, OomKillMode};

use crate::Evidence;
use crate::amount::counted;
use crate::evidence::{ContainerEnd, Exit, TakenAlong};
use crate::kills::Kills;
use crate::signal;
use crate::summary::with_role;
use crate::verdict::{Fact, Outcome, Topic};

/// What the runtime said of a start that failed, and what the kernel counted meanwhile.
pub(super) fn start(evidence: &Evidence, kills: &Kills<'_>) -> Vec<Fact> {
    let message = evidence.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let count =
        evidence.end.as_ref().and_then(|end| end.container.as_ref()?.oom_kills).filter(|kills| *kills > 0);
    let counted = count.map(|kills| {
        let text = counted(kills, "process", "processes");
        Fact::new(Topic::Killed, format!("{text} by the OOM killer before the program began"))
    });
    let start = message.map(|message| Fact::new(Topic::Start, message));
    start.into_iter().chain(killed_launches(kills).or(counted)).collect()
}

/// Kills of what was to become the container: the last in full.
pub(super) fn killed_launches(kills: &Kills<'_>) -> Option<Fact> {
    let last = kills.launches.last()?;
    let count = counted(kills.launches.len() as u64, "process", "processes");
    let the_last = if kills.launches.len() > 1 { "the last " } else { "" };
    Some(Fact::new(
        Topic::Killed,
        format!("{count} by the OOM killer before the program began: {the_last}{}", with_role(last, "")),
    ))
}

/// Its supervisor or its runtime lost sight of it.
pub(super) fn unknown(evidence: &Evidence) -> Fact {
    let message = evidence.message.as_deref().map(str::trim).filter(|message| !message.is_empty());
    let message = message.unwrap_or("the runtime does not say how it ended");
    Fact::new(
        Topic::Status,
        format!("{message}. So its exit code is not known, nor whether a signal ended it, nor who sent that"),
    )
}

pub(super) fn signal(evidence: &Evidence, end: &ContainerEnd, signal: i32, outcome: &Outcome) -> Fact {
    if !end.exit.is_sigkill() {
        return Fact::new(Topic::Signal, format!("{}: {}", signal::name(signal), signal::meaning(signal)));
    }
    let kills = end.container.as_ref().and_then(|memory| memory.oom_kills);
    let text = match (outcome, kills) {
        (Outcome::KilledByOther { .. }, Some(0)) => format!(
            "SIGKILL, but not out of memory: the kernel counted no OOM kill in this container. {SENDERS}"
        ),
        (Outcome::KilledByOther { .. }, Some(kills)) => format!(
            "SIGKILL, but not out of memory: the kernel counted {}, and each is accounted for below. {SENDERS}",
            counted(kills, "OOM kill in this container", "OOM kills in this container")
        ),
        _ => format!(
            "SIGKILL, and whether the OOM killer sent it is not known: its counter could not be read{}",
            evidence
                .reason
                .as_deref()
                .map(|reason| format!(". The Pod's status says {reason}"))
                .unwrap_or_default()
        ),
    };
    Fact::new(Topic::Signal, text)
}

/// The runtime killed it, because the Pod wants that.
pub(super) fn taken_along(evidence: &Evidence, cause: &TakenAlong) -> Fact {
    let text = format!(
        "SIGKILL by the container runtime, because the kernel's OOM killer killed {}, and the Pod's annotation \
         {ANNOTATION} ({}) has the {} end with it",
        lost_to_the_oom_killer(evidence, cause),
        cause.mode,
        if cause.mode == OomKillMode::Pod { "Pod" } else { "container" },
    );
    Fact::new(Topic::Signal, text)
}

/// `a process of this container`, or of another.
pub(crate) fn lost_to_the_oom_killer(evidence: &Evidence, cause: &TakenAlong) -> String {
    if cause.container == evidence.subject.container {
        "a process of this container".to_owned()
    } else {
        format!("a process of container {}", cause.container)
    }
}

/// Who sends SIGKILL besides the OOM killer. Which of them it was leaves no trace with the kernel.
const SENDERS: &str = "Others send it at the end of a grace period (a Pod deleted or evicted, a liveness probe that \
                       failed), by hand (kill -9), or from within the container; the Pod's events may tell";

/// A main process that ends with 137 by itself is mostly a shell that passes on how its child died.
pub(super) fn code_like_a_signal(code: i32) -> Fact {
    let text = format!(
        "none: the main process ended by itself with code {code}. Shells do so when their last child died by {}",
        signal::name(code - 128)
    );
    Fact::new(Topic::Signal, text)
}

/// Some runtimes say `OOMKilled` of every container in whose neighbourhood something was killed.
pub(super) fn status_says_otherwise(evidence: &Evidence, end: &ContainerEnd) -> Option<Fact> {
    if evidence.reason.as_deref() != Some("OOMKilled") {
        return None;
    }
    let text = match end.exit {
        Exit::Code(code) => format!(
            "says OOMKilled, but the main process ended by itself with code {code}; some runtimes say so of every \
             container near a kill"
        ),
        Exit::Signal(9) if end.container.as_ref().is_some_and(|memory| memory.oom_kills.is_some()) => {
            "says OOMKilled, but no kill that the kernel counted was of the main process".to_owned()
        }
        Exit::Signal(signal) if signal != 9 => {
            format!("says OOMKilled, but {} ended it", signal::name(signal))
        }
        Exit::Signal(_) => return None,
    };
    Some(Fact::new(Topic::Status, text))
}

/// What a sudden death does to output that had not left the program.
pub(super) fn lost_lines(evidence: &Evidence) -> Option<Fact> {
    if evidence.tty {
        return None;
    }
    Some(Fact::new(
        Topic::Logs,
        "lines may be missing: what stdio still held back, as it does into a pipe, died with it",
    ))
}
