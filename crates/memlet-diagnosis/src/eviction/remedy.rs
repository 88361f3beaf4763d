//! Which number to change, and what it would have changed.

use memlet_bytes::Bytes;
use memlet_policy::eviction::{Candidate, Kind};

use super::otherwise::{next, spared};
use super::raise::{Raise, raises, whole_mebibytes};
use super::verdict::name;
use super::{ContainerShare, Eviction};
use crate::amount::quantity;
use crate::remedy::{friendly, suggested_limit};
use crate::verdict::{Patch, Remedy};

pub(super) fn of(eviction: &Eviction) -> Remedy {
    let Some(own) = eviction.place().map(|ranked| ranked.candidate) else {
        return Remedy { text: "the Pod's place in the order was not recorded".to_owned(), patch: None };
    };
    let spared = spared(eviction);
    if !own.exceeds() && spared.is_none() {
        return within_request(eviction, &own);
    }
    // What it used, and what it takes to be passed over.
    let needed = own.usage.max(spared.map_or(Bytes::ZERO, |spared| spared.request));
    let most = most_to_request(eviction);
    let wanted = friendly(needed).min(most);
    let raises = raises(eviction, own.request, wanted, most);
    let consequence = match spared {
        Some(spared) => format!(
            "With {}, {} would have gone first",
            enough(eviction, &raises, &own, spared.request),
            name(&spared.instead.pod)
        ),
        None => format!("No request would have put another before it: {}", obstacle(eviction)),
    };
    if needed > most {
        return too_large(eviction, &own, most, &consequence);
    }
    let mut remedy = match eviction.pod_level_request {
        Some(request) => raise_pod(eviction, request, &own, wanted),
        None => raise(&raises, wanted),
    };
    remedy.text = format!("{}. {consequence}", remedy.text);
    if let Some(limit) = unlimited(eviction) {
        remedy.text.push_str(&limit);
    }
    remedy
}

/// What a node of this size may be asked for. What its hard threshold keeps free, no Pod may request.
fn most_to_request(eviction: &Eviction) -> Bytes {
    eviction.allocatable.unwrap_or_else(|| match eviction.rule.kind {
        Kind::Hard => eviction.capacity.saturating_sub(eviction.rule.threshold),
        Kind::Soft { .. } => eviction.capacity,
    })
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

/// A higher request for the Pod as a whole: its containers' do not count.
fn raise_pod(eviction: &Eviction, request: Bytes, own: &Candidate, wanted: Bytes) -> Remedy {
    let text = format!(
        "spec.resources.requests.memory {} → {}{} (the Pod used {})",
        quantity(request),
        quantity(wanted),
        raised_limit(eviction.pod_level_limit, wanted),
        own.usage
    );
    Remedy { text, patch: None }
}

/// Higher requests for the containers that used more than they requested, each by what it used.
fn raise(raises: &[Raise<'_>], wanted: Bytes) -> Remedy {
    let Some((first, further)) = raises.split_first() else {
        return Remedy { text: format!("requests.memory {} in all", quantity(wanted)), patch: None };
    };
    let told: Vec<String> = raises.iter().map(raised).collect();
    let container = first.container;
    let patch = Patch::of(&container.name, container.is_init, Some(first.request), with_it(first));
    let patch = further
        .iter()
        .fold(patch, |patch, raise| patch.and(&raise.container.name, Some(raise.request), with_it(raise)));
    let placed = "so that it is placed where that much is free";
    Remedy { text: format!("requests.memory {}, {placed}", told.join(", ")), patch: Some(patch) }
}

/// `of main 64Mi → 640Mi (it used 620Mi)`
fn raised(raise: &Raise<'_>) -> String {
    let Raise { container, request } = *raise;
    let old = if container.request == Bytes::ZERO { "none".to_owned() } else { quantity(container.request) };
    let limit = raised_limit(container.limit, request);
    format!("of {} {old} → {}{limit} (it used {})", container.name, quantity(request), container.usage)
}

/// The new limit where the old one is below the new request.
fn with_it(raise: &Raise<'_>) -> Option<Bytes> {
    limit_for(raise.container.limit, raise.request)
}

fn limit_for(limit: Option<Bytes>, request: Bytes) -> Option<Bytes> {
    limit.filter(|limit| *limit < request).map(|_| request)
}

/// `, and limits.memory 640Mi with it`; nothing where the old one will do.
fn raised_limit(limit: Option<Bytes>, request: Bytes) -> String {
    limit_for(limit, request)
        .map(|limit| format!(", and limits.memory {} with it", quantity(limit)))
        .unwrap_or_default()
}

/// What would have been enough to request: for the container to raise where it is but one, else for the Pod.
fn enough(eviction: &Eviction, raises: &[Raise<'_>], own: &Candidate, request: Bytes) -> String {
    let or_more = |request: Bytes| format!("{} or more", quantity(whole_mebibytes(request)));
    match raises {
        _ if eviction.pod_level_request.is_some() => or_more(request),
        [one] => or_more(request.saturating_sub(one.of_others(own.request))),
        _ => format!("{} in all", or_more(request)),
    }
}

/// Advice for a container that may use all there is.
fn unlimited(eviction: &Eviction) -> Option<String> {
    if eviction.pod_level_limit.is_some() {
        return None;
    }
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
