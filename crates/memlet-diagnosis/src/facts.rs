//! The statements that carry a verdict, each made from one kind of evidence.

mod charged; // what kind of memory
mod chosen; // why that process
mod ending; // what the end itself says
mod killed; // what was killed
mod limit; // whose limit

use crate::Evidence;
use crate::evidence::{ContainerEnd, Exit, KillRecord, Level};
use crate::verdict::{Fact, Outcome, Topic};

pub(crate) use charged::{Composition, composition};
pub(crate) use limit::{level_phrase, own_and_pod_limit_equal, peak_below_own_limit};

impl Fact {
    fn new(topic: Topic, text: impl Into<String>) -> Self {
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
    facts.extend(charged::malloc(kill));
    facts.extend(ending::lost_lines(evidence));
    facts
}

/// What to say about an end in which no kill by the OOM killer had a part, as far as is known.
pub(crate) fn of_end(evidence: &Evidence, outcome: &Outcome) -> Vec<Fact> {
    if matches!(outcome, Outcome::StartFailed { .. }) {
        return ending::start(evidence);
    }
    let mut facts = Vec::new();
    if let Some(end) = &evidence.end {
        match end.exit {
            Exit::Signal(signal) => {
                facts.push(ending::signal(evidence, end, signal, outcome));
                facts.extend(ending::lost_lines(evidence));
            }
            Exit::Code(code @ 129..=192) => facts.push(ending::code_like_a_signal(code)),
            Exit::Code(_) => {}
        }
        facts.extend(ending::status_says_otherwise(evidence, end));
    }
    facts
}
