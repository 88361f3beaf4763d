//! What would have happened otherwise: with which request another Pod would have gone.

use memlet_bytes::Bytes;
use memlet_policy::eviction::{Candidate, rank};

use super::{Eviction, Ranked};

/// Another request and its consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spared<'a> {
    /// The smallest request of the whole Pod with which it would not have been first.
    pub(super) request: Bytes,
    /// Who would have been.
    pub(super) instead: &'a Ranked,
}

/// The evicted Pod's place.
pub(super) fn evicted(eviction: &Eviction) -> Option<&Ranked> {
    eviction.ranked.iter().find(|ranked| ranked.pod.uid == eviction.pod.uid)
}

/// The Pod that would have gone next, as things were.
pub(super) fn next(eviction: &Eviction) -> Option<&Ranked> {
    others(eviction).next()
}

/// Every other Pod that could have gone, in order.
pub(super) fn others(eviction: &Eviction) -> impl Iterator<Item = &Ranked> {
    eviction.ranked.iter().filter(|ranked| ranked.pod.uid != eviction.pod.uid && !ranked.candidate.critical)
}

/// `None` where no request would have spared it: the others are more important, or there are none.
pub(super) fn spared(eviction: &Eviction) -> Option<Spared<'_>> {
    let own = evicted(eviction)?.candidate;
    let instead_with = |request: u64| {
        let own = Candidate { request: Bytes::new(request), ..own };
        // The evicted Pod first: among equals it stays so.
        let mut pods: Vec<(Option<&Ranked>, Candidate)> = vec![(None, own)];
        pods.extend(others(eviction).map(|other| (Some(other), other.candidate)));
        rank(&mut pods, |(_, candidate)| *candidate);
        pods.first().and_then(|(first, _)| *first)
    };
    // Beyond this it has a larger unused part of its request than anybody, so more changes nothing.
    let largest = others(eviction).map(|other| other.candidate.request).max()?;
    let (mut short, mut enough) = (own.request.get(), (own.usage + largest).get().saturating_add(1));
    instead_with(enough)?;
    while short < enough {
        let middle = short + (enough - short) / 2;
        match instead_with(middle) {
            Some(_) => enough = middle,
            None => short = middle + 1,
        }
    }
    Some(Spared { request: Bytes::new(enough), instead: instead_with(enough)? })
}
