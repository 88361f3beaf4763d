//! Whom first: kubelet's `rankMemoryPressure`.

use std::cmp::{Ordering, Reverse};

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What decides about one Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Its working set. kubelet takes a sample of up to ten seconds ago; read it at the moment of the decision.
    pub usage: Bytes,
    /// What it requests in all.
    pub request: Bytes,
    /// Its priority; 0 where it names none.
    pub priority: i32,
    /// A critical Pod (static, a mirror, or of the system's priorities) has its place in the order and is never evicted.
    pub critical: bool,
}

impl Candidate {
    /// Whether it uses more than it requested.
    pub fn exceeds(&self) -> bool {
        self.usage > self.request
    }

    /// How much more it uses than it requested, below zero where it is less.
    pub fn excess(&self) -> i128 {
        i128::from(self.usage.get()) - i128::from(self.request.get())
    }

    /// The order of two Pods; `Less` goes first.
    pub fn order(&self, other: &Self) -> Ordering {
        let key = |it: &Self| (Reverse(it.exceeds()), it.priority, Reverse(it.excess()));
        key(self).cmp(&key(other))
    }
}

/// Puts Pods into the order in which they are evicted; equals stay in the order they came in. Critical ones are in it, as
/// with kubelet, which passes over them when it comes to them.
pub fn rank<T>(pods: &mut [T], of: impl Fn(&T) -> Candidate) {
    pods.sort_by(|a, b| of(a).order(&of(b)));
}

/// What put one Pod before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// It uses more than it requested, and the other does not.
    ExceedsRequest,
    /// Its priority is lower.
    LowerPriority,
    /// It is further above its request, or less far below.
    LargerExcess,
    /// The other is critical, and so passed over.
    OtherIsCritical,
}

/// What put `first` before `other`; `None` where nothing tells them apart.
pub fn why_before(first: &Candidate, other: &Candidate) -> Option<Why> {
    if first.order(other) == Ordering::Greater {
        return (other.critical && !first.critical).then_some(Why::OtherIsCritical);
    }
    if first.exceeds() != other.exceeds() {
        return Some(Why::ExceedsRequest);
    }
    if first.priority != other.priority {
        return Some(Why::LowerPriority);
    }
    (first.excess() != other.excess()).then_some(Why::LargerExcess)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(usage: u64, request: u64, priority: i32) -> Candidate {
        Candidate {
            usage: Bytes::from_mib(usage),
            request: Bytes::from_mib(request),
            priority,
            critical: false,
        }
    }

    #[test]
    fn the_keys_in_their_order() {
        // Above the request comes before everything, priority before size, and size is that above the request.
        let mut pods = [
            ("below, unimportant", pod(10, 100, -5)),
            ("far above, important", pod(900, 100, 1000)),
            ("just above", pod(101, 100, 0)),
            ("far above", pod(500, 100, 0)),
            ("large, within", pod(800, 800, 0)),
            ("nothing requested", pod(600, 0, 0)),
            ("far below", pod(10, 900, 0)),
        ];
        rank(&mut pods, |(_, candidate)| *candidate);
        assert_eq!(
            pods.map(|(name, _)| name),
            [
                "nothing requested",
                "far above",
                "just above",
                "far above, important",
                "below, unimportant",
                "large, within",
                "far below",
            ]
        );
    }

    #[test]
    fn equals_stay_and_the_first_is_told_why() {
        let mut equal = [("a", pod(5, 0, 0)), ("b", pod(5, 0, 0))];
        rank(&mut equal, |(_, candidate)| *candidate);
        assert_eq!(equal.map(|(name, _)| name), ["a", "b"]);
        assert_eq!(why_before(&equal[0].1, &equal[1].1), None);
        let critical = Candidate { critical: true, ..pod(900, 0, 0) };
        for (first, other, why) in [
            (pod(5, 0, 9), pod(900, 900, 0), Some(Why::ExceedsRequest)),
            (pod(5, 0, 0), pod(900, 0, 1), Some(Why::LowerPriority)),
            (pod(900, 0, 0), pod(5, 0, 0), Some(Why::LargerExcess)),
            (pod(5, 0, 0), critical, Some(Why::OtherIsCritical)),
            (pod(5, 0, 0), pod(900, 0, 0), None),
        ] {
            assert_eq!(why_before(&first, &other), why, "{first:?} {other:?}");
        }
    }

    proptest! {
        /// An idle Pod without a request is never before one that is larger and requests nothing either.
        #[test]
        fn the_hog_is_first(sizes in prop::collection::vec(0_u64..1 << 40, 1..50), hog in 1_u64 << 41..1 << 42) {
            let best_effort = |usage| Candidate { usage: Bytes::new(usage), ..pod(0, 0, 0) };
            let mut pods: Vec<_> = sizes.into_iter().chain([hog]).map(best_effort).collect();
            rank(&mut pods, |candidate| *candidate);
            prop_assert_eq!(pods[0].usage, Bytes::new(hog));
        }

        #[test]
        fn the_order_is_one(pods in prop::collection::vec((0_u64..9, 0_u64..9, -2..2_i32), 3)) {
            let pods: Vec<_> = pods.into_iter().map(|(usage, request, priority)| pod(usage, request, priority)).collect();
            prop_assert_eq!(pods[0].order(&pods[1]), pods[1].order(&pods[0]).reverse());
            if pods[0].order(&pods[1]).is_le() && pods[1].order(&pods[2]).is_le() {
                prop_assert!(pods[0].order(&pods[2]).is_le());
            }
        }
    }
}
