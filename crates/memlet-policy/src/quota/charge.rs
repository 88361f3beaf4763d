//! What one Pod takes of the quotas that cover it, and for how long.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ScopedResourceSelectorRequirement};

use super::scope::Traits;
use crate::phase;
use crate::quantity::{Format, Quantity};
use crate::resize;
use crate::resources::Amounts;

/// Every Pod that is stored, whatever became of it.
const ALL_PODS: &str = "count/pods";
/// Pods that have not ended.
const PODS: &str = "pods";
const REQUESTS: &str = "requests.";
const HUGE_PAGES: &str = "hugepages-";

/// Resources that are counted under three names.
const COMPUTE: [[&str; 3]; 3] = [
    ["cpu", "requests.cpu", "limits.cpu"],
    ["memory", "requests.memory", "limits.memory"],
    ["ephemeral-storage", "requests.ephemeral-storage", "limits.ephemeral-storage"],
];

/// What quotas look at in a Pod, read once.
#[derive(Clone, Debug)]
pub struct PodCharge {
    /// While the Pod counts.
    usage: Amounts,
    counts: Counts,
    traits: Traits,
}

/// How long a Pod takes more than its place in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Always,
    /// A Pod that does not end in its time is not held against its owner.
    Until(Timestamp),
    Never,
}

impl PodCharge {
    /// Reads a Pod. What is being resized counts as what is asked, granted or used, whichever is most.
    pub fn of(pod: &Pod) -> Self {
        let mut usage = by_quota_name(&resize::pod_requests(pod), &resize::pod_limits(pod));
        for name in [ALL_PODS, PODS] {
            usage.insert(name.to_owned(), Quantity::from_integer(1, Format::DecimalSi));
        }
        Self { usage, counts: Counts::of(pod), traits: Traits::of(pod) }
    }

    /// Whether the Pod will take no more than its place from some time on, even if nothing happens to it.
    pub fn counts_for_a_time(&self) -> bool {
        matches!(self.counts, Counts::Until(_))
    }

    /// What the Pod takes, by the names that quotas use.
    pub fn usage(&self, now: Timestamp) -> impl Iterator<Item = (&String, &Quantity)> {
        let counts = match self.counts {
            Counts::Always => true,
            Counts::Until(end) => now <= end,
            Counts::Never => false,
        };
        self.usage.iter().filter(move |(name, _)| counts || *name == ALL_PODS)
    }

    pub(super) fn is_in(&self, selector: &ScopedResourceSelectorRequirement) -> bool {
        self.traits.are_in(selector)
    }
}

impl Counts {
    fn of(pod: &Pod) -> Self {
        if phase::is_over(pod) {
            return Self::Never;
        }
        match (&pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds) {
            (Some(begun), Some(grace)) => {
                let end = begun.0.checked_add(SignedDuration::from_secs(grace));
                Self::Until(end.unwrap_or(Timestamp::MAX))
            }
            _ => Self::Always,
        }
    }
}

/// Whether a name in a quota is about Pods.
pub fn is_pod_resource(name: &str) -> bool {
    let huge_pages = name.strip_prefix(REQUESTS).unwrap_or(name).starts_with(HUGE_PAGES);
    let extended = name.starts_with(REQUESTS) && is_qualified(name);
    matches!(name, ALL_PODS | PODS) || COMPUTE.as_flattened().contains(&name) || huge_pages || extended
}

/// Whether a resource is somebody's own rather than Kubernetes'.
fn is_qualified(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// Amounts of containers by the names under which quotas count them.
pub(super) fn by_quota_name(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut named = Amounts::new();
    for [resource, request_name, limit_name] in COMPUTE {
        if let Some(request) = requests.get(resource) {
            named.insert(resource.to_owned(), request.clone());
            named.insert(request_name.to_owned(), request.clone());
        }
        if let Some(limit) = limits.get(resource) {
            named.insert(limit_name.to_owned(), limit.clone());
        }
    }
    for (name, request) in requests {
        if name.starts_with(HUGE_PAGES) {
            named.insert(name.clone(), request.clone());
        }
        let extended = is_qualified(name) && !name.starts_with(REQUESTS);
        if extended || name.starts_with(HUGE_PAGES) {
            named.insert(format!("{REQUESTS}{name}"), request.clone());
        }
    }
    named
}
