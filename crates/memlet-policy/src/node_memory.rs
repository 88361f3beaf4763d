//! A node's memory: what it has, what Pods may request, and what they may use together.
//!
//! The last two differ, and that surprises: the scheduler's figure leaves out the hard eviction threshold and
//! huge pages, the limit of the `kubepods` cgroup does not (`pkg/kubelet/nodestatus/setters.go`,
//! `pkg/kubelet/cm/node_container_manager_linux.go`).

use memlet_bytes::Bytes;

use crate::quantity::Quantity;

/// A threshold of available memory below which Pods are evicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// An amount.
    Amount(Bytes),
    /// A share of the capacity, 0.1 for `10%`. kubelet keeps it as a 32-bit float.
    Share(f32),
}

impl Threshold {
    /// kubelet's own: 100Mi.
    pub const DEFAULT_HARD: Self = Self::Amount(Bytes::from_mib(100));

    /// The threshold in bytes, on a node of this capacity.
    pub fn of(self, capacity: Bytes) -> Bytes {
        match self {
            Self::Amount(amount) => amount,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "kubelet truncates the product of two floats; the cast saturates"
            )]
            Self::Share(share) => Bytes::new((capacity.get() as f64 * f64::from(share)) as u64),
        }
    }
}

/// What decides how much of a node's memory is for Pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeMemory {
    /// All of it (`MemTotal`, or what the node pretends to have).
    pub capacity: Bytes,
    /// Set aside for the node agent and the runtime.
    pub kube_reserved: Bytes,
    /// Set aside for the rest of the system.
    pub system_reserved: Bytes,
    /// The hard eviction threshold on available memory; `None` where it is switched off.
    pub eviction_hard: Option<Threshold>,
    /// Set aside as huge pages, of all sizes together.
    pub huge_pages: Bytes,
    /// Whether `kubepods` is limited to what is not reserved (`enforceNodeAllocatable: [pods]`).
    pub enforce: bool,
}

/// More is reserved than the node has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid Node Allocatable configuration. Resource \"memory\" has a reservation of {} but capacity of {}. Expected capacity >= reservation.",
    Quantity::from_bytes(*.reservation),
    Quantity::from_bytes(*.capacity)
)]
pub struct ReservationTooLarge {
    /// Kube and system reservations and the eviction threshold together.
    pub reservation: Bytes,
    /// What the node has.
    pub capacity: Bytes,
}

impl NodeMemory {
    /// A node of this capacity with kubelet's defaults: nothing reserved, 100Mi eviction threshold, enforced.
    pub const fn new(capacity: Bytes) -> Self {
        Self {
            capacity,
            kube_reserved: Bytes::ZERO,
            system_reserved: Bytes::ZERO,
            eviction_hard: Some(Threshold::DEFAULT_HARD),
            huge_pages: Bytes::ZERO,
            enforce: true,
        }
    }

    /// Checks that the node has what is set aside, as kubelet does at its start.
    ///
    /// # Errors
    /// Names both amounts, in kubelet's words.
    pub fn check(&self) -> Result<(), ReservationTooLarge> {
        let reservation = self.reserved() + self.eviction_bytes();
        if reservation <= self.capacity {
            return Ok(());
        }
        Err(ReservationTooLarge { reservation, capacity: self.capacity })
    }

    /// What Pods may request: capacity without reservations, eviction threshold and huge pages.
    pub fn allocatable(&self) -> Bytes {
        self.capacity
            .saturating_sub(self.reserved())
            .saturating_sub(self.eviction_bytes())
            .saturating_sub(self.huge_pages)
    }

    /// The limit of the `kubepods` cgroup: capacity without reservations.
    pub fn kubepods_limit(&self) -> Bytes {
        if self.enforce { self.capacity.saturating_sub(self.reserved()) } else { self.capacity }
    }

    /// The hard eviction threshold in bytes; zero where it is switched off.
    pub fn eviction_bytes(&self) -> Bytes {
        self.eviction_hard.map_or(Bytes::ZERO, |threshold| threshold.of(self.capacity))
    }

    fn reserved(&self) -> Bytes {
        self.kube_reserved + self.system_reserved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduler_and_kernel_see_different_amounts() {
        // A recorded node: 1 GiB for Pods by a large reservation.
        let capacity = Bytes::from_kib(24_684_092);
        let node = NodeMemory {
            system_reserved: capacity.saturating_sub(Bytes::from_gib(1)),
            ..NodeMemory::new(capacity)
        };
        assert_eq!(node.kubepods_limit(), Bytes::new(1_073_741_824));
        assert_eq!(node.allocatable(), Bytes::from_mib(924));
        assert_eq!(node.check(), Ok(()));
        assert_eq!(NodeMemory { enforce: false, ..node }.kubepods_limit(), capacity);
        let huge_pages = NodeMemory { huge_pages: Bytes::from_gib(2), ..node };
        assert_eq!(
            (huge_pages.allocatable(), huge_pages.kubepods_limit()),
            (Bytes::ZERO, Bytes::from_gib(1))
        );
    }

    #[test]
    fn thresholds_may_be_shares() {
        let node =
            NodeMemory { eviction_hard: Some(Threshold::Share(0.5)), ..NodeMemory::new(Bytes::from_gib(1)) };
        assert_eq!(node.allocatable(), Bytes::from_mib(512));
        assert_eq!(NodeMemory { eviction_hard: None, ..node }.allocatable(), Bytes::from_gib(1));
    }

    #[test]
    fn too_much_reserved() {
        let node = NodeMemory { kube_reserved: Bytes::from_gib(2), ..NodeMemory::new(Bytes::from_gib(1)) };
        insta::assert_snapshot!(
            node.check().unwrap_err(),
            @r#"invalid Node Allocatable configuration. Resource "memory" has a reservation of 2148Mi but capacity of 1Gi. Expected capacity >= reservation."#
        );
    }
}
