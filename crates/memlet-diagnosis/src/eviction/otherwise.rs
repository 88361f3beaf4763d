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
    let own = eviction.place()?.candidate;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{eviction, ranked};
    use super::*;

    proptest! {
        /// With the request that is named somebody else would have been first, with a byte less it would have been this Pod.
        #[test]
        fn the_smallest_request_that_spares(
            pods in prop::collection::vec((1..1000_u64, 0..1000_u64, -1..2_i32), 1..6)
        ) {
            let mut ranking: Vec<Ranked> = pods
                .iter()
                .enumerate()
                .map(|(number, (usage, request, priority))| ranked(&number.to_string(), *usage, *request, *priority))
                .collect();
            rank(&mut ranking, |ranked| ranked.candidate);
            let first_with = |request: u64| {
                let mut changed = ranking.clone();
                changed[0].candidate.request = Bytes::new(request);
                rank(&mut changed, |ranked| ranked.candidate);
                changed.remove(0).pod
            };
            let eviction = eviction(ranking.clone());
            let own = &ranking[0];
            if let Some(spared) = spared(&eviction) {
                let least = spared.request.get();
                prop_assert_eq!(&first_with(least), &spared.instead.pod);
                prop_assert!(least > own.candidate.request.get());
                prop_assert_eq!(&first_with(least - 1), &own.pod);
            } else {
                prop_assert_eq!(&first_with(1 << 50), &own.pod);
            }
        }
    }
}
