//! The `oom_score_adj` of every process of a node, and which rule gave it.
//!
//! The kernel adds `oom_score_adj` thousandths of all memory to a process's size when it chooses whom to kill.
//! The values for containers are kubelet's `GetContainerOOMScoreAdjust` (`pkg/kubelet/qos/policy.go`), since
//! the change that moved Guaranteed from −998 to −997.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use memlet_bytes::Bytes;

use crate::qos::QosClass;
use crate::quantity::Quantity;
use crate::resources::{self, Side};

/// The node agent itself: kubelet, and whoever does its work.
pub const NODE_AGENT: i32 = -999;
/// The pause process of a sandbox, set by the runtime: it outlives its containers.
pub const PAUSE: i32 = -998;
/// Containers of Guaranteed and of node-critical Pods.
pub const GUARANTEED: i32 = -997;
/// The least that a Burstable container gets, however large its request.
pub const BURSTABLE_FLOOR: i32 = 1000 + GUARANTEED;
/// The most that a Burstable container gets, however small its request.
pub const BURSTABLE_CEILING: i32 = BEST_EFFORT - 1;
/// Containers of `BestEffort` Pods: the first to go.
pub const BEST_EFFORT: i32 = 1000;

/// From this priority on a Pod is critical.
pub const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// A container's `oom_score_adj` and why it is that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The value.
    pub value: i32,
    /// The rule that gave it.
    pub rule: Rule,
}

/// The rule that gave a container's `oom_score_adj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The Pod is critical and of class `system-node-critical`: always [`GUARANTEED`].
    NodeCritical,
    /// The Pod is Guaranteed: always [`GUARANTEED`].
    Guaranteed,
    /// The Pod is `BestEffort`: always [`BEST_EFFORT`].
    BestEffort,
    /// The Pod is Burstable: the more is requested, the lower.
    Burstable(Burstable),
}

/// The figures behind a Burstable container's value: 1000 − 1000 × `counted` / `capacity`, in whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burstable {
    /// The container's own memory request; zero where it has none.
    pub request: Bytes,
    /// Its share of what the Pod requests as a whole beyond its containers' requests.
    pub pod_level_share: Bytes,
    /// Where a sidecar is judged by a regular container's request, because that is larger: that request, the
    /// smallest of the regular containers', with its share.
    pub sidecar_raised_to: Option<Bytes>,
    /// The memory of the node.
    pub capacity: Bytes,
    /// What the formula gave before it was kept within [`BURSTABLE_FLOOR`] and [`BURSTABLE_CEILING`].
    pub formula: i64,
}

impl Burstable {
    /// The amount that counted in the formula.
    pub fn counted(&self) -> Bytes {
        self.sidecar_raised_to.unwrap_or(self.request + self.pod_level_share)
    }
}

/// The `oom_score_adj` of a container of this Pod, on a node with `capacity` of memory (the machine's
/// `MemTotal`, not what is allocatable).
pub fn for_container(pod: &Pod, container: &Container, capacity: Bytes) -> Explanation {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    if is_node_critical(pod) {
        return Explanation { value: GUARANTEED, rule: Rule::NodeCritical };
    }
    match QosClass::of_pod(pod) {
        QosClass::Guaranteed => Explanation { value: GUARANTEED, rule: Rule::Guaranteed },
        QosClass::BestEffort => Explanation { value: BEST_EFFORT, rule: Rule::BestEffort },
        QosClass::Burstable => {
            let burstable = burstable(spec, container, capacity);
            Explanation { value: clamp(burstable.formula), rule: Rule::Burstable(burstable) }
        }
    }
}

fn burstable(spec: &PodSpec, container: &Container, capacity: Bytes) -> Burstable {
    let request = resources::memory_request(container).unwrap_or_default();
    let pod_level_share = pod_level_share(spec);
    let own = formula(request + pod_level_share, capacity);
    // A sidecar must not die before the containers it serves.
    let raised = is_sidecar_of(spec, container)
        .then(|| smallest_regular_request(spec) + pod_level_share)
        .map(|amount| (amount, formula(amount, capacity)))
        .filter(|(_, by_regular)| *by_regular < own);
    Burstable {
        request,
        pod_level_share,
        sidecar_raised_to: raised.map(|(amount, _)| amount),
        capacity,
        formula: raised.map_or(own, |(_, by_regular)| by_regular),
    }
}

/// 1000 − 1000 × amount / capacity, truncated as Go's integers. A node without memory counts as one byte.
fn formula(amount: Bytes, capacity: Bytes) -> i64 {
    let thousandths = u128::from(amount.get()) * 1000 / u128::from(capacity.get().max(1));
    1000_i64.saturating_sub(i64::try_from(thousandths).unwrap_or(i64::MAX))
}

fn clamp(formula: i64) -> i32 {
    i32::try_from(formula).unwrap_or(BURSTABLE_FLOOR).clamp(BURSTABLE_FLOOR, BURSTABLE_CEILING)
}

/// What the Pod requests as a whole beyond its containers, divided by all containers, init ones included.
fn pod_level_share(spec: &PodSpec) -> Bytes {
    let Some(pod_level) = resources::pod_level_memory(spec, Side::Requests) else { return Bytes::ZERO };
    let containers = resources::counted_containers(spec).count().max(1);
    let requested = resources::container_totals(spec, Side::Requests);
    let requested = requested.get(resources::MEMORY).map_or(Bytes::ZERO, Quantity::bytes);
    Bytes::new(pod_level.saturating_sub(requested).get() / containers as u64)
}

fn is_sidecar_of(spec: &PodSpec, container: &Container) -> bool {
    resources::init_containers(spec)
        .iter()
        .any(|init| init.name == container.name && resources::is_sidecar(init))
}

fn smallest_regular_request(spec: &PodSpec) -> Bytes {
    let requests =
        spec.containers.iter().map(|container| resources::memory_request(container).unwrap_or_default());
    requests.min().unwrap_or_default()
}

/// Whether the Pod is critical: static, a mirror of a static one, or of a system priority.
pub fn is_critical(pod: &Pod) -> bool {
    let annotation = |name: &str| pod.metadata.annotations.as_ref()?.get(name).map(String::as_str);
    let is_static = annotation("kubernetes.io/config.source").is_some_and(|source| source != "api");
    let is_mirror = annotation("kubernetes.io/config.mirror").is_some();
    let priority = pod.spec.as_ref().and_then(|spec| spec.priority);
    is_static || is_mirror || priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY)
}

/// Whether the Pod is [critical](is_critical) and of priority class `system-node-critical`.
pub fn is_node_critical(pod: &Pod) -> bool {
    let class = pod.spec.as_ref().and_then(|spec| spec.priority_class_name.as_deref());
    class == Some("system-node-critical") && is_critical(pod)
}

impl fmt::Display for Explanation {
    /// One sentence without its full stop, as `939: Burstable, 1000 − 1000 × 123Mi / 2041888Ki`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.value)?;
        match self.rule {
            Rule::NodeCritical => write!(f, "the Pod is node-critical"),
            Rule::Guaranteed => write!(f, "the Pod is Guaranteed"),
            Rule::BestEffort => write!(f, "the Pod is BestEffort"),
            Rule::Burstable(burstable) => {
                burstable.fmt(f)?;
                if i64::from(self.value) != burstable.formula {
                    let bound = if self.value == BURSTABLE_FLOOR { "least" } else { "most" };
                    write!(
                        f,
                        " = {}, but a Burstable container gets at {bound} {}",
                        burstable.formula, self.value
                    )?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Burstable {
    /// The formula with exact amounts, so that it can be checked by hand.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = Quantity::from_bytes;
        write!(f, "Burstable, 1000 − 1000 × ")?;
        match self.sidecar_raised_to {
            Some(amount) => {
                write!(f, "{} (a sidecar, judged as the smallest regular container)", exact(amount))?;
            }
            None if self.pod_level_share > Bytes::ZERO => {
                let (request, share) = (exact(self.request), exact(self.pod_level_share));
                write!(f, "({request} + {share} of the Pod's own request)")?;
            }
            None => write!(f, "{}", exact(self.request))?,
        }
        write!(f, " / {}", exact(self.capacity))
    }
}

#[cfg(test)]
mod tests;
