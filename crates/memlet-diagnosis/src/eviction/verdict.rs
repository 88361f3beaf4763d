//! Why that Pod, and what to change.

use std::time::Duration;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_policy::eviction::{Candidate, Kind, Signal, Why, why_before};
use serde::{Deserialize, Serialize};

use super::otherwise::next;
use super::{Eviction, GraceStory, PodName, Ranked, Reclaim, remedy};
use crate::amount::counted;
use crate::verdict::{Fact, Remedy, Topic};

/// Why a Pod was evicted, and what to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvictionVerdict {
    /// When it was chosen.
    pub at: Timestamp,
    /// The node.
    pub node: String,
    /// The Pod.
    pub pod: PodName,
    /// What happened, in one line.
    pub headline: String,
    /// What carries it, in the order to read it.
    pub facts: Vec<Fact>,
    /// What to change.
    pub remedy: Remedy,
}

/// Says why the Pod was evicted.
pub fn explain(eviction: &Eviction) -> EvictionVerdict {
    let facts = [
        Some(short(eviction)),
        Some(used(eviction)),
        chosen(eviction),
        eviction.reclaim.as_ref().map(|reclaim| cache(eviction, reclaim)),
        Some(grace(&eviction.grace)),
        took(eviction),
    ];
    EvictionVerdict {
        at: eviction.at,
        node: eviction.node.clone(),
        pod: eviction.pod.clone(),
        headline: format!("Evicted: node {} was low on memory", eviction.node),
        facts: facts.into_iter().flatten().collect(),
        remedy: remedy::of(eviction),
    }
}

/// The threshold and what was available.
fn short(eviction: &Eviction) -> Fact {
    let rule = &eviction.rule;
    let kind = match rule.kind {
        Kind::Hard => "hard threshold".to_owned(),
        Kind::Soft { after } => format!("soft threshold, met for {}", time(after)),
    };
    let whole = match rule.signal {
        Signal::Memory => format!("of the node's {}", eviction.capacity),
        Signal::AllocatableMemory => format!("of the {} for all Pods", eviction.capacity),
    };
    let bound = if eviction.available < rule.threshold {
        rule.threshold.to_string()
    } else {
        format!("{} and the {} to be reclaimed beyond", rule.threshold, rule.minimum_reclaim)
    };
    let mut text = format!(
        "{} {whole} was available, less than {bound} ({}, {kind})",
        eviction.available,
        rule.signal.as_str()
    );
    if let Some(rate @ 1..) = eviction.growth {
        let left = Duration::from_secs_f64(float(eviction.left.get()) / float(rate));
        text.push_str(&format!(
            ". It was being used up by {} a second: {} until the kernel would have killed",
            Bytes::new(rate),
            time(left)
        ));
    }
    Fact::new(Topic::Short, text)
}

#[expect(clippy::cast_precision_loss, reason = "a time for people")]
fn float(number: u64) -> f64 {
    number as f64
}

/// So many Pods are told of; more are counted.
const TOLD: usize = 4;

/// Who used what against its request.
fn used(eviction: &Eviction) -> Fact {
    let one = |ranked: &Ranked| {
        let Candidate { usage, request, .. } = ranked.candidate;
        let request = if request == Bytes::ZERO { "none".to_owned() } else { request.to_string() };
        format!("{} {usage} (request {request})", name(&ranked.pod))
    };
    let mut told: Vec<String> = eviction.ranked.iter().take(TOLD).map(one).collect();
    if let Some(more @ 1..) = eviction.candidates.checked_sub(told.len()) {
        told.push(format!("and {more} more"));
    }
    Fact::new(Topic::Used, format!("in the order of eviction: {}", told.join(", ")))
}

/// Why this Pod was the first.
fn chosen(eviction: &Eviction) -> Option<Fact> {
    let own = eviction.place()?;
    let passed: Vec<String> = eviction
        .ranked
        .iter()
        .take_while(|ranked| ranked.pod.uid != own.pod.uid)
        .filter(|ranked| ranked.candidate.critical)
        .map(|ranked| name(&ranked.pod))
        .collect();
    let mut text = match next(eviction) {
        Some(other) => first(own, other, eviction.candidates),
        None => "the only Pod that may be evicted".to_owned(),
    };
    if !passed.is_empty() {
        text.push_str(&format!(". Critical, and so passed over: {}", passed.join(", ")));
    }
    Some(Fact::new(Topic::Chosen, text))
}

fn first(own: &Ranked, other: &Ranked, candidates: usize) -> String {
    let (one, two) = (&own.candidate, &other.candidate);
    let next = name(&other.pod);
    let why = match why_before(one, two) {
        Some(Why::ExceedsRequest) => {
            format!("it used more than it requested, which {next}, the next, did not")
        }
        Some(Why::LowerPriority) => {
            format!("its priority {} is lower than {} of {next}, the next", one.priority, two.priority)
        }
        Some(Why::LargerExcess) => {
            format!("it was {}, {next}, the next, {}", distance(one), distance(two))
        }
        Some(Why::OtherIsCritical) => format!("{next} is critical"),
        None => format!("{next} was its equal, and stood behind it"),
    };
    format!("first of {}: {why}", counted(candidates as u64, "Pod", "Pods"))
}

/// `824Mi above its request`.
fn distance(candidate: &Candidate) -> String {
    let Candidate { usage, request, .. } = *candidate;
    if candidate.exceeds() {
        format!("{} above its request", usage.saturating_sub(request))
    } else {
        format!("{} below its request", request.saturating_sub(usage))
    }
}

/// What was tried before, as far as it was measured.
fn cache(eviction: &Eviction, reclaim: &Reclaim) -> Fact {
    let from = match &reclaim.from[..] {
        [] => "the kernel".to_owned(),
        [one] => name(one),
        more => format!("{} Pods", more.len()),
    };
    let Reclaim { wanted, reclaimed, .. } = *reclaim;
    let took = time(reclaim.took);
    let text = if reclaim.given_up {
        // What came of it is not known.
        format!(
            "{wanted} of page cache was asked back first, from {from}; it was not waited for after {took}, since memory was \
             used up too fast"
        )
    } else if reclaimed < wanted {
        format!(
            "page cache was asked back first, from {from}: {reclaimed} of {wanted} came in {took}, which was not enough"
        )
    } else {
        // It may have been read again, or others have used as much.
        format!(
            "page cache was asked back first, from {from}: {reclaimed} came in {took}, of {wanted} that was needed; and yet \
             only {} was available when the Pod was chosen",
            eviction.available
        )
    };
    Fact::new(Topic::Cache, text)
}

fn grace(story: &GraceStory) -> Fact {
    let text = match *story {
        GraceStory::Given { grace } => format!("{} to end in order, given", time(grace)),
        GraceStory::Skipped { grace, left } => format!(
            "{} to end in order, skipped: at that pace the kernel would have killed within {}",
            time(grace),
            time(left)
        ),
        GraceStory::Cut { grace, after, left } => format!(
            "{} to end in order, cut after {}: it went on using memory, and the kernel would have killed within {}",
            time(grace),
            time(after),
            time(left)
        ),
    };
    Fact::new(Topic::Grace, text)
}

/// How fast it went.
fn took(eviction: &Eviction) -> Option<Fact> {
    let course = &eviction.course;
    let steps = [
        (course.signalled.filter(|_| course.killed != course.signalled), "told to end"),
        (course.killed, "killed"),
        (course.ended, "ended"),
    ];
    let told: Vec<String> = steps
        .into_iter()
        .filter_map(|(after, what)| Some(format!("{what} after {}", time(after?))))
        .collect();
    if told.is_empty() {
        return None;
    }
    let mut text = format!("{}, since the threshold was seen crossed", told.join(", "));
    if course.ended.is_none() {
        text.push_str("; it had not ended when this was recorded");
    }
    if let Some(available) = course.available_after {
        text.push_str(&format!("; then {available} was available"));
    }
    Some(Fact::new(Topic::Took, text))
}

/// `default/hog`.
pub(super) fn name(pod: &PodName) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}

/// `2.3 ms`, `41 ms`, `1.5 s`, `90 s`.
fn time(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0 => "no time".to_owned(),
        1..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", micros / 1000),
        _ if micros.is_multiple_of(1_000_000) || micros >= 60_000_000 => format!("{} s", micros / 1_000_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let told = [0, 90, 2_345, 41_000, 999_999, 1_000_000, 1_550_000, 90_000_000]
            .map(|micros| time(Duration::from_micros(micros)));
        assert_eq!(told, ["no time", "0.0 ms", "2.3 ms", "41 ms", "999 ms", "1 s", "1.5 s", "90 s"]);
    }
}
