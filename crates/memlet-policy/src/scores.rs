//! How well a Pod would sit on a node by its resources, 0 to 100, as kube-scheduler scores it.

/// The best score.
pub const MAX_SCORE: i64 = 100;
/// What a container without a request is taken to use of the processor, for scores only.
pub const ASSUMED_MILLI_CPU: u64 = 100;
/// What a container without a request is taken to use of memory, for scores only.
pub const ASSUMED_MEMORY: u64 = 200 << 20;

/// One resource of a node, with the Pod in question counted as requested.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// What Pods may request in all.
    pub allocatable: u64,
    /// What they request.
    pub requested: u64,
}

/// `LeastAllocated`: the mean of the shares that would stay free. A resource that the node does not have is not
/// counted.
pub fn least_allocated(shares: [Share; 2]) -> i64 {
    let (mut sum, mut counted) = (0, 0);
    for Share { allocatable, requested } in shares {
        if allocatable == 0 {
            continue;
        }
        counted += 1;
        let free = allocatable.saturating_sub(requested);
        sum += i64::try_from(free.saturating_mul(100) / allocatable).unwrap_or(MAX_SCORE);
    }
    if counted == 0 { 0 } else { sum / counted }
}

/// `NodeResourcesBalancedAllocation`: whether the Pod brings the shares in use closer together or further apart;
/// 75 where it changes nothing, 50 to 100 in all.
pub fn balanced(with: [Share; 2], without: [Share; 2]) -> i64 {
    MAX_SCORE / 2 + (MAX_SCORE / 2 + evenness(with) - evenness(without)) / 2
}

/// 100 less the standard deviation of the shares in use.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "shares of 0.0 to 1.0, cut as upstream cuts"
)]
fn evenness(shares: [Share; 2]) -> i64 {
    let used = |share: Share| (share.requested as f64 / share.allocatable as f64).min(1.0);
    let [first, second] = shares;
    let deviation = match (first.allocatable, second.allocatable) {
        // One share alone deviates from nothing.
        (0, _) | (_, 0) => 0.0,
        _ => ((used(first) - used(second)) / 2.0).abs(),
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}

/// `DefaultNormalizeScore`: the largest becomes 100, or 0 where few is good.
pub fn normalise(scores: &mut [i64], few_is_good: bool) {
    let largest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        if largest > 0 {
            *score = MAX_SCORE * *score / largest;
        }
        if few_is_good {
            *score = if largest == 0 { MAX_SCORE } else { MAX_SCORE - *score };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(requested: u64, allocatable: u64) -> Share {
        Share { allocatable, requested }
    }

    #[test]
    fn least_allocated_is_the_mean_of_what_is_free() {
        for (cpu, memory, score) in [
            (share(0, 4000), share(0, 10_000), 100),
            (share(3000, 4000), share(5000, 10_000), 37),
            (share(4000, 4000), share(5000, 10_000), 25),
            (share(5000, 4000), share(5000, 10_000), 25),
            (share(0, 0), share(5000, 10_000), 50),
            (share(0, 0), share(0, 0), 0),
        ] {
            assert_eq!(least_allocated([cpu, memory]), score, "{cpu:?} {memory:?}");
        }
    }

    #[test]
    fn balance_is_judged_by_the_change() {
        let even = [share(2000, 4000), share(5000, 10_000)];
        let uneven = [share(3000, 4000), share(0, 10_000)];
        assert_eq!(balanced(even, even), 75);
        assert_eq!(balanced(uneven, even), 50 + (50 + 62 - 100) / 2);
        assert_eq!(balanced(even, uneven), 50 + (50 + 100 - 62) / 2);
        assert_eq!(balanced([share(1, 0), share(1, 1)], [share(0, 0), share(0, 1)]), 75);
    }

    #[test]
    fn normalised_by_the_largest() {
        let mut scores = [5, 10, 0];
        normalise(&mut scores, false);
        assert_eq!(scores, [50, 100, 0]);
        normalise(&mut scores, true);
        assert_eq!(scores, [50, 0, 100]);
        let mut none = [0, 0];
        normalise(&mut none, false);
        assert_eq!(none, [0, 0]);
        normalise(&mut none, true);
        assert_eq!(none, [100, 100]);
    }

    proptest! {
        #[test]
        fn scores_stay_in_range(sizes: [u64; 2], used: [u64; 2], asked: [u64; 2]) {
            let shares = |of: [u64; 2]| [share(of[0], sizes[0]), share(of[1], sizes[1])];
            let with = [used[0].saturating_add(asked[0]), used[1].saturating_add(asked[1])];
            prop_assert!((0..=MAX_SCORE).contains(&least_allocated(shares(with))));
            prop_assert!((50..=MAX_SCORE).contains(&balanced(shares(with), shares(used))));
        }
    }
}
