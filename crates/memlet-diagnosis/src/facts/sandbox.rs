//! What the death of the Pod's pause process means for its containers: the runtime ends them by SIGKILL.

use super::{charged, chosen, killed, limit};
use crate::Evidence;
use crate::evidence::{ContainerEnd, KillRecord};
use crate::kills::sandbox_level;
use crate::summary::whom_and_where;
use crate::verdict::{Fact, Outcome, Topic};

/// The container ran, and ended with its Pod's sandbox.
pub(super) fn ended_with_it(
    evidence: &Evidence,
    end: &ContainerEnd,
    kill: &KillRecord,
    outcome: &Outcome,
) -> Vec<Fact> {
    let level = sandbox_level(kill, end);
    let of_its_own = match outcome {
        Outcome::KilledByOther { .. } => "The kernel did not kill this container's main process itself",
        _ => {
            "Whether the kernel killed this container's main process too is not known: its counter could not be read"
        }
    };
    let text = format!(
        "SIGKILL by the container runtime: the kernel's OOM killer killed the Pod's pause process at {}, and the Pod's \
         containers end with it. {of_its_own}",
        limit::level_phrase(level)
    );
    let mut facts = vec![Fact::new(Topic::Signal, text), limit::fact(evidence, end, Some(kill), level)];
    facts.push(killed::pause(kill));
    facts.extend(chosen::fact(evidence, Some(kill)));
    facts.extend(limit::holders(Some(kill), level, evidence));
    facts.extend(charged::fact(Some(kill)));
    facts
}

/// The container never ran for want of a sandbox.
pub(super) fn before_the_start(kill: &KillRecord) -> Fact {
    Fact::new(
        Topic::Killed,
        format!("{}; without it no container of the Pod can start", whom_and_where(kill)),
    )
}

/// How the container ended is not known; this much is.
pub(super) fn killed(kill: &KillRecord) -> Fact {
    Fact::new(Topic::Killed, format!("{}; the Pod's containers end with it", whom_and_where(kill)))
}
