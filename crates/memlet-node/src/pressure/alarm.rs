//! At which usage the kernel is to tell.

use memlet_bytes::Bytes;
use memlet_cgroup::{Limit, Version};

/// The usage at which the kernel is to tell: where the threshold would be crossed if it is page cache no more than now, on
/// cgroup v1 half-way there first, so that the pace is known when it matters. `None`: as it is.
///
/// On v2 the level is also a brake. It stays while a Pod leaves, and is lifted where there is no `distance`: no threshold is
/// left to be crossed, or nobody may go, and then the kernel must be able to choose.
pub(super) fn level(usage: Bytes, distance: Option<Bytes>, version: Version) -> Option<Limit> {
    let Some(distance) = distance else { return Some(Limit::Max) };
    let half = Bytes::new(distance.get() / 2);
    match version {
        _ if distance == Bytes::ZERO => None,
        Version::V1 if half > HALVES => Some(Limit::Bytes(usage + half)),
        Version::V1 | Version::V2 => Some(Limit::Bytes(usage + distance)),
    }
}

/// Below this distance the next word is that of the threshold itself.
const HALVES: Bytes = Bytes::from_mib(32);

/// Whether the level has moved so much that the kernel must hear of it.
pub(super) fn is_other(level: Limit, wanted: Limit, distance: Bytes) -> bool {
    match (level, wanted) {
        (Limit::Bytes(level), Limit::Bytes(wanted)) => {
            let apart = level.saturating_sub(wanted) + wanted.saturating_sub(level);
            apart > Bytes::new(distance.get() / 16).max(Bytes::from_kib(256))
        }
        (level, wanted) => level != wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_halves_the_way_on_v1_and_is_the_threshold_on_v2() {
        let mib = Bytes::from_mib;
        let at = |distance, version| level(mib(100), Some(mib(distance)), version);
        assert_eq!(at(800, Version::V1), Some(Limit::Bytes(mib(500))));
        assert_eq!(at(60, Version::V1), Some(Limit::Bytes(mib(160))));
        assert_eq!(at(800, Version::V2), Some(Limit::Bytes(mib(900))));
        assert_eq!(at(0, Version::V2), None, "it goes on braking");
        assert_eq!(level(mib(100), None, Version::V2), Some(Limit::Max));
        assert!(!is_other(Limit::Bytes(mib(500)), Limit::Bytes(mib(520)), mib(800)));
        assert!(is_other(Limit::Bytes(mib(500)), Limit::Bytes(mib(560)), mib(800)));
        assert!(is_other(Limit::Max, Limit::Bytes(mib(500)), mib(800)));
    }
}
