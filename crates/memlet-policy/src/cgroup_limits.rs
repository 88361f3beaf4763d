//! What kubelet writes into the memory controller for a Pod, its containers and its memory-backed volumes.
//!
//! Which cgroup gets which limit, as `pkg/kubelet/cm/helpers_linux.go` and
//! `pkg/kubelet/kuberuntime/kuberuntime_container_linux.go` decide. How a limit is written is not known here.
//! Requests are written nowhere: they show only in [`crate::oom_score_adj`].

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, PodSpec};
use memlet_bytes::Bytes;

use crate::oom_score_adj::is_critical;
use crate::qos::QosClass;
use crate::quantity::Quantity;
use crate::resources::{self, Side};

/// The limit of the Pod's own cgroup, overhead included; `None` where it is not limited.
///
/// A `BestEffort` Pod has none. A Burstable Pod has one only if every container has, init containers and
/// sidecars included, or the Pod sets one as a whole: one container without a limit leaves the whole Pod
/// without.
pub fn pod_memory_limit(spec: &PodSpec, class: QosClass) -> Option<Bytes> {
    let bounded = match class {
        QosClass::BestEffort => false,
        QosClass::Guaranteed => true,
        QosClass::Burstable => {
            resources::pod_level_memory(spec, Side::Limits).is_some()
                || resources::counted_containers(spec)
                    .all(|container| resources::memory_limit(container).is_some())
        }
    };
    if bounded { resources::pod_memory_limit_sum(spec) } else { None }
}

/// The containers whose missing memory limit keeps the Pod's cgroup unlimited, by name; empty where they don't.
pub fn containers_without_limit(spec: &PodSpec) -> Vec<&str> {
    if resources::pod_level_memory(spec, Side::Limits).is_some() {
        return Vec::new();
    }
    resources::counted_containers(spec)
        .filter(|container| resources::memory_limit(container).is_none())
        .map(|container| container.name.as_str())
        .collect()
}

/// The limit of a container's cgroup: its own, else the one that the Pod sets as a whole; `None` where neither
/// is set.
pub fn container_memory_limit(spec: &PodSpec, container: &Container) -> Option<Bytes> {
    resources::memory_limit(container).or_else(|| resources::pod_level_memory(spec, Side::Limits))
}

/// What containers may do with swap (kubelet's `memorySwap.swapBehavior`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SwapBehavior {
    /// No container swaps, whatever the node has.
    #[default]
    NoSwap,
    /// Burstable containers swap in proportion to their request.
    LimitedSwap,
}

/// The swap that a container may use (`memory.swap.max`), on a cgroup v2 node with a swap controller.
///
/// Under [`SwapBehavior::LimitedSwap`] it is the node's swap times the container's part of the node's memory;
/// nothing for other classes than Burstable, critical Pods, and containers that name no memory or request all
/// of their limit.
pub fn container_swap_limit(
    pod: &Pod,
    container: &Container,
    behavior: SwapBehavior,
    node_memory: Bytes,
    node_swap: Bytes,
) -> Bytes {
    let request = resources::memory_request(container).unwrap_or_default();
    let limit = resources::memory_limit(container).unwrap_or_default();
    let swaps = behavior == SwapBehavior::LimitedSwap
        && QosClass::of_pod(pod) == QosClass::Burstable
        && !is_critical(pod)
        && request != limit;
    if !swaps {
        return Bytes::ZERO;
    }
    let Some(share) = request.share_of(node_memory) else { return Bytes::ZERO };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "kubelet computes this in float64 and truncates; the cast saturates and nothing is negative"
    )]
    Bytes::new((share * node_swap.get() as f64) as u64)
}

/// The node's two versions of the memory controller, where a rule differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CgroupVersion {
    /// The `memory` hierarchy by itself.
    V1,
    /// The unified hierarchy.
    V2,
}

/// `singleProcessOOMKill: false` on cgroup v1, which cannot kill a container as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid configuration: singleProcessOOMKill must not be explicitly set to false when using cgroup v1"
)]
pub struct NoGroupKill;

/// Whether an OOM kill takes all processes of a container (`memory.oom.group` of its cgroup). The Pod's cgroup
/// never has it: a kill at the Pod's limit takes the victim's container.
///
/// # Errors
/// Where group kill is asked for on cgroup v1.
pub fn kills_whole_container(
    version: CgroupVersion,
    single_process_oom_kill: Option<bool>,
) -> Result<bool, NoGroupKill> {
    match (version, single_process_oom_kill) {
        (CgroupVersion::V1, Some(false)) => Err(NoGroupKill),
        (CgroupVersion::V1, _) => Ok(false),
        (CgroupVersion::V2, single) => Ok(single != Some(true)),
    }
}

/// Whether a volume is held in memory.
pub fn is_memory_backed(volume: &EmptyDirVolumeSource) -> bool {
    volume.medium.as_deref() == Some("Memory")
}

/// The size of a memory-backed `emptyDir`: the smallest of what the node can allocate, the Pod's
/// [limit](pod_memory_limit) and the volume's `sizeLimit`. Writing past it is ENOSPC, not an OOM.
pub fn memory_volume_size(
    volume: &EmptyDirVolumeSource,
    node_allocatable: Bytes,
    pod_memory_limit: Option<Bytes>,
) -> Bytes {
    let size_limit = volume.size_limit.as_ref().and_then(|api| Quantity::try_from(api).ok());
    let bounds = [pod_memory_limit, size_limit.map(|quantity| quantity.bytes())];
    bounds
        .into_iter()
        .flatten()
        .filter(|bound| *bound > Bytes::ZERO)
        .fold(node_allocatable, std::cmp::Ord::min)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "tables of json! values read better by value")]
    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    /// A container with this memory limit (none where the text is empty) and half of nothing else.
    fn limited(name: &str, limit: &str) -> Value {
        if limit.is_empty() {
            json!({"name": name})
        } else {
            json!({"name": name, "resources": {"limits": {"memory": limit}}})
        }
    }

    fn limit(spec: Value) -> Option<Bytes> {
        let pod = pod(spec);
        pod_memory_limit(pod.spec.as_ref().unwrap(), QosClass::of_pod(&pod))
    }

    #[test]
    fn a_pod_is_limited_when_all_its_containers_are() {
        let mib = |amount| Some(Bytes::from_mib(amount));
        for (expected, spec) in [
            (None, json!({"containers": [limited("a", "")]})),
            (mib(100), json!({"containers": [limited("a", "100Mi")]})),
            (mib(160), json!({"containers": [limited("a", "100Mi"), limited("b", "60Mi")]})),
            // As recorded: one without a limit leaves the Pod without.
            (None, json!({"containers": [limited("a", "60Mi"), limited("b", "")]})),
            (None, json!({"containers": [limited("a", "60Mi"), limited("b", "0")]})),
            (None, json!({"containers": [limited("a", "60Mi")], "initContainers": [limited("i", "")]})),
            (mib(70), json!({"containers": [limited("a", "60Mi")], "overhead": {"memory": "10Mi"}})),
            (
                mib(200),
                json!({"containers": [limited("a", "60Mi"), limited("b", "")],
                       "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "200Mi"}}}),
            ),
            (None, json!({"containers": [{"name": "a", "resources": {"requests": {"memory": "200Mi"}}}]})),
        ] {
            assert_eq!(limit(spec.clone()), expected, "{spec}");
        }
        // Empty resources of the Pod's own make it BestEffort, whatever its containers say.
        assert_eq!(limit(json!({"containers": [limited("a", "60Mi")], "resources": {}})), None);
        let two = pod(json!({"containers": [limited("a", "60Mi"), limited("b", "")]}));
        assert_eq!(containers_without_limit(two.spec.as_ref().unwrap()), ["b"]);
    }

    #[test]
    fn guaranteed_pods_have_their_limit() {
        let all = json!({"cpu": "100m", "memory": "100Mi"});
        let spec = json!({"containers": [{"name": "a", "resources": {"requests": all, "limits": all}}]});
        assert_eq!(limit(spec), Some(Bytes::new(104_857_600)));
    }

    #[test]
    fn a_container_without_limit_takes_the_pods() {
        let pod = pod(json!({
            "containers": [limited("a", "60Mi"), limited("b", "")],
            "resources": {"limits": {"memory": "200Mi"}},
        }));
        let mut spec = pod.spec.unwrap();
        let limits =
            |spec: &PodSpec| [0, 1].map(|index| container_memory_limit(spec, &spec.containers[index]));
        assert_eq!(limits(&spec), [Some(Bytes::from_mib(60)), Some(Bytes::from_mib(200))]);
        spec.resources = None;
        assert_eq!(limits(&spec), [Some(Bytes::from_mib(60)), None]);
    }

    #[test]
    fn swap_is_for_burstable_containers() {
        let (memory, swap) = (Bytes::from_gib(4), Bytes::from_gib(2));
        let swap_of = |spec: Value, behavior| {
            let pod = pod(spec);
            container_swap_limit(&pod, &pod.spec.as_ref().unwrap().containers[0], behavior, memory, swap)
        };
        let requesting = |request: &str, limit: &str| json!({"containers": [{"name": "a", "resources": {"requests": {"memory": request}, "limits": {"memory": limit}}}]});
        assert_eq!(swap_of(requesting("1Gi", "2Gi"), SwapBehavior::LimitedSwap), Bytes::from_mib(512));
        assert_eq!(swap_of(requesting("1Gi", "2Gi"), SwapBehavior::NoSwap), Bytes::ZERO);
        assert_eq!(swap_of(requesting("1Gi", "1Gi"), SwapBehavior::LimitedSwap), Bytes::ZERO);
        let mut critical = requesting("1Gi", "2Gi");
        critical["priority"] = json!(2_000_000_000);
        assert_eq!(swap_of(critical, SwapBehavior::LimitedSwap), Bytes::ZERO);
        assert_eq!(swap_of(json!({"containers": [{"name": "a"}]}), SwapBehavior::LimitedSwap), Bytes::ZERO);
    }

    #[test]
    fn group_kill_needs_version_two() {
        assert_eq!(kills_whole_container(CgroupVersion::V2, None), Ok(true));
        assert_eq!(kills_whole_container(CgroupVersion::V2, Some(true)), Ok(false));
        assert_eq!(kills_whole_container(CgroupVersion::V1, None), Ok(false));
        assert_eq!(kills_whole_container(CgroupVersion::V1, Some(false)), Err(NoGroupKill));
    }

    #[test]
    fn memory_volumes_take_the_smallest_bound() {
        let volume = |limit: &str| -> EmptyDirVolumeSource {
            let limit = if limit.is_empty() { Value::Null } else { json!(limit) };
            serde_json::from_value(json!({"medium": "Memory", "sizeLimit": limit})).unwrap()
        };
        assert!(is_memory_backed(&volume("")) && !is_memory_backed(&EmptyDirVolumeSource::default()));
        let mib = Bytes::from_mib;
        for (limit, pod_limit, size) in [
            ("", None, mib(924)),
            ("", Some(mib(100)), mib(100)),
            ("", Some(mib(2000)), mib(924)),
            ("50Mi", Some(mib(100)), mib(50)),
            ("200Mi", Some(mib(100)), mib(100)),
            ("0", None, mib(924)),
        ] {
            assert_eq!(
                memory_volume_size(&volume(limit), mib(924), pod_limit),
                size,
                "{limit} {pod_limit:?}"
            );
        }
    }
}
