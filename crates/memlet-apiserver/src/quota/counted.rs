//! The kinds of which quotas count the objects, and under which names.

use std::sync::LazyLock;

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Pod;

use crate::resources;

/// The kinds that have an older name too.
const OLDER_NAMES: [&str; 3] = ["configmaps", "resourcequotas", "secrets"];
/// What upstream counts and nothing here can hold: there is none of it.
const NEVER_THERE: [&str; 6] = [
    "persistentvolumeclaims",
    "replicationcontrollers",
    "requests.storage",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

struct Counted {
    resource: &'static str,
    /// `count/leases.coordination.k8s.io`
    name: String,
}

/// What is in namespaces; but Events, which upstream does not count either, come and go.
static COUNTED: LazyLock<Vec<Counted>> = LazyLock::new(|| {
    let counted = resources::served().filter(|handler| handler.is_namespaced() && !handler.expires());
    let named = counted.map(|handler| {
        let (resource, group) = (handler.resource(), handler.describe().kind.group);
        let name = match group {
            "" => format!("count/{resource}"),
            group => format!("count/{resource}.{group}"),
        };
        Counted { resource, name }
    });
    named.collect()
});

/// Whether quotas count objects of this resource.
pub(crate) fn is_counted(resource: &str) -> bool {
    COUNTED.iter().any(|counted| counted.resource == resource)
}

/// The names under which objects of this resource are counted.
pub(super) fn names_of(resource: &str) -> Vec<&'static str> {
    let older = OLDER_NAMES.into_iter().filter(|name| *name == resource);
    let full = COUNTED.iter().filter(|counted| counted.resource == resource);
    older.chain(full.map(|counted| counted.name.as_str())).collect()
}

/// The resource whose objects are counted under this name; Pods count in their own way.
pub(super) fn resource_of(name: &str) -> Option<&'static str> {
    let named = |counted: &&Counted| {
        counted.name == name || (counted.resource == name && OLDER_NAMES.contains(&name))
    };
    let found = COUNTED.iter().find(named).map(|counted| counted.resource);
    found.filter(|resource| *resource != Pod::URL_PATH_SEGMENT)
}

/// Whether it is known how much of this is used, Pods apart.
pub(super) fn is_known(name: &str) -> bool {
    resource_of(name).is_some() || NEVER_THERE.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_under_which_name() {
        assert_eq!(names_of("secrets"), ["secrets", "count/secrets"]);
        assert_eq!(names_of("leases"), ["count/leases.coordination.k8s.io"]);
        assert_eq!(resource_of("count/configmaps"), Some("configmaps"));
        assert_eq!(resource_of("resourcequotas"), Some("resourcequotas"));
        for name in ["leases", "count/leases", "count/pods", "pods", "count/events", "count/nodes"] {
            assert_eq!(resource_of(name), None, "{name}");
        }
        assert!(is_known("services") && !is_known("count/deployments.apps"));
        assert!(is_counted("pods") && !is_counted("events") && !is_counted("nodes"));
    }
}
