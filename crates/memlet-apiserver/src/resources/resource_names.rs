//! The names of resources outside of containers: which are Kubernetes' own, and which a quota may bound
//! (upstream's `pkg/apis/core/helper`).

use crate::field::{FieldErrors, FieldPath};
use crate::names;

/// What a quota may bound as an amount, beside huge pages and what has a prefix.
const AMOUNTS: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// What it may bound as a number, of which there are no halves.
const COUNTS: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

const REQUESTS: &str = "requests.";

/// Whether a quota may bound what has this name, which has no prefix.
pub(super) fn is_of_quotas(name: &str) -> bool {
    AMOUNTS.contains(&name)
        || COUNTS.contains(&name)
        || name.strip_prefix(REQUESTS).unwrap_or(name).starts_with("hugepages-")
}

/// Whether there may be more requested of it than there is.
pub(super) fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// Whether only whole numbers of it make sense.
pub(super) fn is_counted_whole(name: &str) -> bool {
    COUNTS.contains(&name)
        || (!is_native(name)
            && !name.starts_with(REQUESTS)
            && names::qualified(&format!("{REQUESTS}{name}")).is_empty())
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// The form of a resource's name, whatever it is of; whether it has it.
pub(super) fn check(name: &str, path: &FieldPath, errors: &mut FieldErrors) -> bool {
    let messages = names::qualified(name);
    let known = name.contains('/') || name == "storage" || is_of_quotas(name);
    if messages.is_empty() && !known {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    let good = messages.is_empty() && known;
    errors.each_invalid(path, name, messages);
    good
}
