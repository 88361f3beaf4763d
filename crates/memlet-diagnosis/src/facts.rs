//! The statements that carry a verdict, each made from one kind of evidence.

mod charged; // what kind of memory
mod chosen; // why that process
mod ending; // what the end itself says
mod killed; // what was killed
mod limit; // whose limit
mod sandbox; // what the death of the pause process means
mod stalled; // how long processes waited before

use crate::Evidence;
use crate::evidence::{ContainerEnd, Exit, KillRecord, Level};
use crate::kills::Kills;
use crate::verdict::{Fact, Outcome, Topic};

pub(crate) use chosen::scored;
pub(crate) use ending::lost_to_the_oom_killer;
pub(crate) use killed::{brief, held};
pub use limit::level_phrase;
pub(crate) use limit::{counter, own_and_pod_limit_equal, peak_below_own_limit, shortened};

impl Fact {
    pub(crate) fn new(topic: Topic, text: impl Into<String>) -> Self {
        Self { topic, text: text.into() }
    }
}

/// Everything there is to say about a kill by the OOM killer that ended the container.
pub(crate) fn of_kill(
    evidence: &Evidence,
    end: &ContainerEnd,
    kill: Option<&KillRecord>,
    level: Option<Level>,
) -> Vec<Fact> {
    let mut facts = vec![limit::fact(evidence, end, kill, level)];
    facts.extend(killed::fact(end, kill));
    facts.extend(chosen::fact(evidence, kill));
    facts.extend(limit::holders(kill, level, evidence));
    facts.extend(charged::fact(kill));
    facts.extend(stalled::fact(end));
    facts.extend(charged::malloc(kill));
    facts.extend(ending::lost_lines(evidence));
    facts
}

/// What to say about an end in which no kill by the OOM killer had a part, as far as is known.
pub(crate) fn of_end(evidence: &Evidence, outcome: &Outcome, kills: &Kills<'_>) -> Vec<Fact> {
    match outcome {
        Outcome::StartFailed { .. } => {
            let mut facts = ending::start(evidence, kills);
            facts.extend(kills.sandbox.map(sandbox::before_the_start));
            return facts;
        }
        Outcome::Unknown => {
            let mut facts = vec![ending::unknown(evidence)];
            facts.extend(kills.sandbox.map(sandbox::killed));
            return facts;
        }
        _ => {}
    }
    let mut facts = Vec::new();
    if let Some(end) = &evidence.end {
        match (end.exit, kills.sandbox) {
            (Exit::Signal(9), Some(kill)) => {
                facts.extend(sandbox::ended_with_it(evidence, end, kill, outcome));
                facts.extend(ending::lost_lines(evidence));
            }
            (Exit::Signal(signal), _) => {
                facts.push(match &end.taken_along {
                    Some(cause) => ending::taken_along(evidence, cause),
                    None => ending::signal(evidence, end, signal, outcome),
                });
                facts.extend(ending::lost_lines(evidence));
            }
            (Exit::Code(code @ 129..=192), _) => facts.push(ending::code_like_a_signal(code)),
            (Exit::Code(_), _) => {}
        }
        facts.extend(ending::status_says_otherwise(evidence, end));
    }
    facts
}

/// Earlier tries to make the container that the kernel ended, where it ran in the end.
pub(crate) fn of_launches(outcome: &Outcome, kills: &Kills<'_>) -> Option<Fact> {
    ending::killed_launches(kills).filter(|_| !matches!(outcome, Outcome::StartFailed { .. }))
}
