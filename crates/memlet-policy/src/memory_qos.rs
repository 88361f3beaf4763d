//! kubelet's `MemoryQoS`: requests that the kernel protects from reclaim, and a brake before the limit. Only
//! cgroup v2 has the files, and the feature is off unless a node turns it on.
//!
//! The formulas are those of Kubernetes 1.36 (`pkg/kubelet/kuberuntime/kuberuntime_container_linux.go`,
//! `pkg/kubelet/cm/helpers_linux.go`, `qos_container_manager_linux.go`); before 1.27 the brake was a plain part of
//! the limit, and before 1.36 every request was protected by `memory.min`.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use memlet_bytes::Bytes;

use crate::qos::QosClass;
use crate::resources;

/// What a node does with requests and limits beyond enforcing limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryQos {
    /// `memoryThrottlingFactor`
    pub throttling: ThrottlingFactor,
    /// `memoryReservationPolicy`
    pub reservation: ReservationPolicy,
}

impl Default for MemoryQos {
    /// As the feature is when nothing but its gate is turned on.
    fn default() -> Self {
        Self { throttling: ThrottlingFactor::default(), reservation: ReservationPolicy::None }
    }
}

/// Whether requests are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReservationPolicy {
    /// They are not.
    #[default]
    None,
    /// Guaranteed requests are never reclaimed, others only where nothing else can be.
    TieredReservation,
}

/// How far between request and limit a container gets before it is slowed down: above 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThrottlingFactor(f64);

/// A factor that is no part of anything.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a throttling factor; write a number above 0 and at most 1, as 0.9")]
pub struct ParseThrottlingFactorError(String);

impl Default for ThrottlingFactor {
    fn default() -> Self {
        Self(0.9)
    }
}

impl std::str::FromStr for ThrottlingFactor {
    type Err = ParseThrottlingFactorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor: Option<f64> = text.trim().parse().ok();
        factor
            .filter(|factor| *factor > 0.0 && *factor <= 1.0)
            .map(Self)
            .ok_or_else(|| ParseThrottlingFactorError(text.to_owned()))
    }
}

/// What a cgroup keeps when memory is reclaimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Protection {
    /// `memory.min`: never reclaimed.
    pub min: Bytes,
    /// `memory.low`: reclaimed only where nothing unprotected is left.
    pub low: Bytes,
}

impl MemoryQos {
    /// Where a container is slowed down (`memory.high`); `None` where it is not: it requests all of its limit, or the
    /// brake would be below what it requests.
    ///
    /// Without a limit, what the node can allocate takes its place.
    pub fn container_high(
        &self,
        container: &Container,
        node_allocatable: Bytes,
        page_size: Bytes,
    ) -> Option<Bytes> {
        let request = resources::memory_request(container).unwrap_or_default();
        let limit = resources::memory_limit(container).unwrap_or_default();
        if request == limit {
            return None;
        }
        let most = if limit > Bytes::ZERO { limit } else { node_allocatable };
        let high = between(request, most, self.throttling, page_size);
        (high > request).then_some(high)
    }

    /// What a container keeps.
    pub fn container_protection(&self, class: QosClass, container: &Container) -> Protection {
        self.protection(class, resources::memory_request(container).unwrap_or_default())
    }

    /// What a Pod keeps, overhead included.
    pub fn pod_protection(&self, class: QosClass, spec: &PodSpec) -> Protection {
        match class {
            QosClass::BestEffort => Protection::default(),
            QosClass::Guaranteed | QosClass::Burstable => {
                self.protection(class, resources::pod_memory_request(spec))
            }
        }
    }

    fn protection(&self, class: QosClass, request: Bytes) -> Protection {
        match (self.reservation, class) {
            (ReservationPolicy::None, _) => Protection::default(),
            (ReservationPolicy::TieredReservation, QosClass::Guaranteed) => {
                Protection { min: request, low: Bytes::ZERO }
            }
            (ReservationPolicy::TieredReservation, QosClass::Burstable | QosClass::BestEffort) => {
                Protection { min: Bytes::ZERO, low: request }
            }
        }
    }

    /// What `kubepods` (`memory.min`) and the Burstable tier (`memory.low`) keep for the Pods below them: without it the
    /// kernel would grant those nothing.
    ///
    /// `pods` are their classes and requests, overhead included.
    pub fn tier_protection(&self, pods: impl Iterator<Item = (QosClass, Bytes)>) -> TierProtection {
        let mut tiers = TierProtection::default();
        if self.reservation == ReservationPolicy::None {
            return tiers;
        }
        for (class, request) in pods {
            match class {
                QosClass::Guaranteed => tiers.kubepods_min += request,
                QosClass::Burstable => {
                    tiers.kubepods_min += request;
                    tiers.burstable_low += request;
                }
                QosClass::BestEffort => {}
            }
        }
        tiers
    }
}

/// What the cgroups above the Pods keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TierProtection {
    /// `memory.min` of `kubepods`.
    pub kubepods_min: Bytes,
    /// `memory.low` of the Burstable tier.
    pub burstable_low: Bytes,
}

/// A point between `request` and `most`, in whole pages.
fn between(request: Bytes, most: Bytes, factor: ThrottlingFactor, page_size: Bytes) -> Bytes {
    let page = page_size.get().max(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "kubelet computes this in float64 and truncates; the cast saturates at nothing"
    )]
    let pages = {
        let (request, most) = (request.get() as f64, most.get() as f64);
        ((request + (most - request) * factor.0) / page as f64).floor() as u64
    };
    Bytes::new(pages.saturating_mul(page))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    const PAGE: Bytes = Bytes::new(4096);

    fn pod(request: &str, limit: &str) -> Pod {
        let mut resources = json!({"requests": {}, "limits": {}});
        if !request.is_empty() {
            resources["requests"]["memory"] = json!(request);
        }
        if !limit.is_empty() {
            resources["limits"]["memory"] = json!(limit);
        }
        let spec = json!({"containers": [{"name": "a", "resources": resources}]});
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    fn high(request: &str, limit: &str, factor: &str) -> Option<u64> {
        let qos = MemoryQos { throttling: factor.parse().unwrap(), ..MemoryQos::default() };
        let pod = pod(request, limit);
        let container = &pod.spec.as_ref().unwrap().containers[0];
        qos.container_high(container, Bytes::from_mib(1000), PAGE).map(Bytes::get)
    }

    #[test]
    fn the_brake_is_between_request_and_limit() {
        const MIB: u64 = 1 << 20;
        assert_eq!(high("100Mi", "200Mi", "0.9"), Some(190 * MIB));
        assert_eq!(high("100Mi", "200Mi", "0.5"), Some(150 * MIB));
        assert_eq!(high("100Mi", "200Mi", "1"), Some(200 * MIB));
        assert_eq!(high("", "100Mi", "0.9"), Some(90 * MIB), "no request counts as nothing");
        assert_eq!(high("100Mi", "", "0.9"), Some(910 * MIB), "no limit: what the node can allocate");
        assert_eq!(high("100Mi", "100Mi", "0.9"), None, "all of the limit is requested");
        assert_eq!(high("", "", "0.9"), None);
        assert_eq!(high("2000Mi", "", "0.9"), None, "it requests more than the brake would leave it");
        // In whole pages, rounded down.
        assert_eq!(high("1", "10000", "0.9"), Some(8192));
    }

    #[test]
    fn requests_are_protected_by_class() {
        let none = MemoryQos::default();
        let tiered = MemoryQos { reservation: ReservationPolicy::TieredReservation, ..none };
        let pod = pod("100Mi", "200Mi");
        let spec = pod.spec.as_ref().unwrap();
        let request = Bytes::from_mib(100);
        let (min, low) =
            (Protection { min: request, low: Bytes::ZERO }, Protection { min: Bytes::ZERO, low: request });
        for (class, container, whole) in [
            (QosClass::Guaranteed, min, min),
            (QosClass::Burstable, low, low),
            (QosClass::BestEffort, low, Protection::default()),
        ] {
            assert_eq!(tiered.container_protection(class, &spec.containers[0]), container, "{class}");
            assert_eq!(tiered.pod_protection(class, spec), whole, "{class}");
            assert_eq!(none.container_protection(class, &spec.containers[0]), Protection::default());
            assert_eq!(none.pod_protection(class, spec), Protection::default());
        }
        let pods = || {
            [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort].map(|class| (class, request))
        };
        assert_eq!(
            tiered.tier_protection(pods().into_iter()),
            TierProtection { kubepods_min: Bytes::from_mib(200), burstable_low: request }
        );
        assert_eq!(none.tier_protection(pods().into_iter()), TierProtection::default());
    }

    #[test]
    fn a_factor_is_a_part() {
        for text in ["0.9", "1", " 0.001 "] {
            assert!(text.parse::<ThrottlingFactor>().is_ok(), "{text}");
        }
        for text in ["0", "1.1", "-1", "NaN", "", "90%"] {
            let error = text.parse::<ThrottlingFactor>().unwrap_err();
            assert!(error.to_string().contains("above 0 and at most 1"), "{text}");
        }
    }
}
