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
