//! Which number to change, and what it would have changed.

use memlet_bytes::Bytes;
use memlet_policy::eviction::{Candidate, Kind};

use super::otherwise::{evicted, next, spared};
use super::verdict::name;
use super::{ContainerShare, Eviction};
use crate::amount::quantity;
use crate::remedy::{friendly, suggested_limit};
use crate::verdict::{Patch, Remedy};

pub(super) fn of(eviction: &Eviction) -> Remedy {
    let Some(own) = evicted(eviction).map(|ranked| ranked.candidate) else {
        return Remedy { text: "the Pod's place in the order was not recorded".to_owned(), patch: None };
    };
    let spared = spared(eviction);
    if !own.exceeds() && spared.is_none() {
        return within_request(eviction, &own);
    }
    // What it used, and what it takes to be passed over.
    let needed = own.usage.max(spared.map_or(Bytes::ZERO, |spared| spared.request));
    let most = most_to_request(eviction);
    let consequence = match spared {
        Some(spared) => format!(
            "With {} or more, {} would have gone first",
            quantity(friendly_step(spared.request.saturating_sub(of_others(eviction, &own)))),
            name(&spared.instead.pod)
        ),
        None => format!("No request would have put another before it: {}", obstacle(eviction)),
    };
    if needed > most {
        return too_large(eviction, &own, most, &consequence);
    }
    let mut remedy = raise(eviction, &own, friendly(needed).min(most));
    remedy.text = format!("{}. {consequence}", remedy.text);
    if let Some(limit) = unlimited(eviction) {
        remedy.text.push_str(&limit);
    }
    remedy
}

/// What a node of this size may be asked for: what its hard threshold keeps free, no Pod may request.
fn most_to_request(eviction: &Eviction) -> Bytes {
    match eviction.rule.kind {
        Kind::Hard => eviction.capacity.saturating_sub(eviction.rule.threshold),
        Kind::Soft { .. } => eviction.capacity,
    }
}

/// It kept what it requested, and the others are more important or there are none.
fn within_request(eviction: &Eviction, own: &Candidate) -> Remedy {
    let text = format!(
        "it used no more than the {} that it requested, and no request would have put another before it: {}. Make room otherwise: fewer Pods on the node, limits for \
         those that use more than they request, or more memory reserved for what runs outside Pods",
        own.request,
        obstacle(eviction)
    );
    Remedy { text, patch: None }
}

/// Why no request would have helped.
fn obstacle(eviction: &Eviction) -> String {
    match next(eviction) {
        Some(other) => format!("{} has priority {}", name(&other.pod), other.candidate.priority),
        None => "no other Pod may be evicted".to_owned(),
    }
}

fn too_large(eviction: &Eviction, own: &Candidate, most: Bytes, consequence: &str) -> Remedy {
    let text = format!(
        "it used {} of {}, and no Pod on a node of this size may request more than {most}. It needs a larger node, or to \
         use less; with a limit it meets its own before the node's. {consequence}",
        own.usage, eviction.capacity
    );
    Remedy { text, patch: None }
}

/// A higher request for the container that is furthest above its own, or for the Pod as a whole.
fn raise(eviction: &Eviction, own: &Candidate, wanted: Bytes) -> Remedy {
    if let Some(request) = eviction.pod_level_request {
        let text = format!(
            "spec.resources.requests.memory {} → {} (the Pod used {})",
            quantity(request),
            quantity(wanted),
            own.usage
        );
        return Remedy { text, patch: None };
    }
    let Some(largest) = largest(eviction) else {
        return Remedy { text: format!("requests.memory {} in all", quantity(wanted)), patch: None };
    };
    let new = friendly_step(wanted.saturating_sub(of_others(eviction, own)));
    let old = if largest.request == Bytes::ZERO { "none".to_owned() } else { quantity(largest.request) };
    let limit = largest.limit.filter(|limit| *limit < new).map(|_| new);
    let with_limit =
        limit.map(|limit| format!(", and limits.memory {} with it", quantity(limit))).unwrap_or_default();
    Remedy {
        text: format!(
            "requests.memory of {} {old} → {}{with_limit} (it used {}), so that it is placed where that much is free",
            largest.name,
            quantity(new),
            largest.usage
        ),
        patch: Some(Patch::of(&largest.name, largest.is_init, Some(new), limit)),
    }
}

/// The container that is furthest above its request.
fn largest(eviction: &Eviction) -> Option<&ContainerShare> {
    let regular = eviction.containers.iter().filter(|container| !container.is_init);
    regular.max_by_key(|container| container.usage.saturating_sub(container.request))
}

/// What of the Pod's request is that of its other containers.
fn of_others(eviction: &Eviction, own: &Candidate) -> Bytes {
    if eviction.pod_level_request.is_some() {
        return Bytes::ZERO;
    }
    largest(eviction).map_or(Bytes::ZERO, |largest| own.request.saturating_sub(largest.request))
}

/// Advice for a container that may use all there is.
fn unlimited(eviction: &Eviction) -> Option<String> {
    let held = |container: &&ContainerShare| container.usage;
    let largest =
        eviction.containers.iter().filter(|container| container.limit.is_none()).max_by_key(held)?;
    let limit = suggested_limit(largest.usage);
    let advice =
        if limit <= eviction.capacity { format!(" of {}, say,", quantity(limit)) } else { String::new() };
    Some(format!(
        ". {} has no limit: with one{advice} it would meet its own limit before the node's if it goes on growing",
        largest.name
    ))
}

/// Rounded up to whole mebibytes.
fn friendly_step(amount: Bytes) -> Bytes {
    Bytes::new(amount.get().checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX))
}
