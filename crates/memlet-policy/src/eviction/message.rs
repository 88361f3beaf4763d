//! What is said of an evicted Pod: kubelet's `evictionMessage` and the annotations of its Event.

use memlet_bytes::Bytes;

use crate::quantity::Quantity;

/// What a Pod without requests is told that comes to a node under pressure; each of its messages ends with a blank.
pub const NODE_CONDITIONS_MESSAGE: &str = "The node had condition: [MemoryPressure]. ";

/// What the evicted Pod had, or one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryUse<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its working set.
    pub usage: Bytes,
    /// What it requested.
    pub request: Bytes,
}

/// The message of an evicted Pod's status, condition and Event, with its trailing blank. `pod` is given where it requests
/// memory as a whole.
///
/// ```
/// use memlet_bytes::Bytes;
/// use memlet_policy::eviction::{MemoryUse, message};
///
/// let main = MemoryUse { name: "main", usage: Bytes::from_kib(974_948), request: Bytes::ZERO };
/// assert_eq!(
///     message(Bytes::from_mib(100), Bytes::from_kib(69_676), None, &[main]),
///     "The node was low on resource: memory. Threshold quantity: 100Mi, available: 69676Ki. \
///      Container main was using 974948Ki, request is 0, has larger consumption of memory. "
/// );
/// ```
pub fn message(
    threshold: Bytes,
    available: Bytes,
    pod: Option<&MemoryUse<'_>>,
    containers: &[MemoryUse<'_>],
) -> String {
    let mut text = format!(
        "The node was low on resource: memory. Threshold quantity: {}, available: {}. ",
        quantity(threshold),
        quantity(available)
    );
    // As kubelet, also where it uses less than it requested.
    if let Some(pod) = pod {
        text.push_str(&larger("Pod", pod));
    }
    for container in exceeding(containers) {
        text.push_str(&larger("Container", container));
    }
    text
}

/// The annotations of the Event: who used how much.
pub fn annotations(pod: Option<&MemoryUse<'_>>, containers: &[MemoryUse<'_>]) -> Vec<(&'static str, String)> {
    let mut annotations = vec![("starved_resource", "memory".to_owned())];
    if let Some(pod) = pod {
        annotations.push(("offending_pod", pod.name.to_owned()));
        annotations.push(("offending_pod_usage", quantity(pod.usage)));
    }
    let names: Vec<_> = exceeding(containers).map(|container| container.name).collect();
    if !names.is_empty() {
        let usages: Vec<_> = exceeding(containers).map(|container| quantity(container.usage)).collect();
        annotations.push(("offending_containers", names.join(",")));
        annotations.push(("offending_containers_usage", usages.join(",")));
    }
    annotations
}

fn exceeding<'a>(containers: &'a [MemoryUse<'a>]) -> impl Iterator<Item = &'a MemoryUse<'a>> {
    containers.iter().filter(|container| container.usage > container.request)
}

fn larger(what: &str, it: &MemoryUse<'_>) -> String {
    let (name, usage, request) = (it.name, quantity(it.usage), quantity(it.request));
    format!("{what} {name} was using {usage}, request is {request}, has larger consumption of memory. ")
}

fn quantity(bytes: Bytes) -> String {
    Quantity::from_bytes(bytes).canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_above_their_request_are_named() {
        let container = |name, usage, request| MemoryUse {
            name,
            usage: Bytes::from_mib(usage),
            request: Bytes::from_mib(request),
        };
        let containers = [container("a", 300, 100), container("b", 100, 100), container("c", 1024, 0)];
        let pod = MemoryUse { name: "p", usage: Bytes::from_mib(1424), request: Bytes::from_gib(2) };
        let text = message(Bytes::from_mib(100), Bytes::ZERO, Some(&pod), &containers);
        assert_eq!(
            text,
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0. Pod p was using 1424Mi, \
             request is 2Gi, has larger consumption of memory. Container a was using 300Mi, request is 100Mi, has larger \
             consumption of memory. Container c was using 1Gi, request is 0, has larger consumption of memory. "
        );
        assert_eq!(
            annotations(None, &containers),
            [
                ("starved_resource", "memory".to_owned()),
                ("offending_containers", "a,c".to_owned()),
                ("offending_containers_usage", "300Mi,1Gi".to_owned()),
            ]
        );
        assert_eq!(annotations(Some(&pod), &[]).len(), 3);
    }
}
