//! The downward API: what a container may learn of its own Pod, as a variable or as a file. Pure.
//!
//! The rules are kubelet's `podFieldSelectorRuntimeValue`, `fieldpath.ExtractFieldPathAsString` and
//! `resource.ExtractContainerResourceValue`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceFieldSelector};
use memlet_bytes::Bytes;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{self, Side};

/// What the downward API may tell beyond the Pod's own fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeFigures<'a> {
    pub(crate) host_ip: Option<&'a str>,
    /// Stands in for a memory limit that is not set.
    pub(crate) allocatable_memory: Bytes,
    /// Stands in for a limit on ephemeral storage that is not set.
    pub(crate) allocatable_storage: Bytes,
    /// Thousandths of a processor; stand in for a cpu limit that is not set.
    pub(crate) allocatable_cpu: i64,
}

/// A value that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DownwardError {
    #[error("the field {0:?} is not supported")]
    UnknownField(String),
    #[error("{0} is not known: this node gives Pods no address of their own; use hostNetwork")]
    NoAddress(String),
    #[error("container {0} not found")]
    NoContainer(String),
    #[error("unsupported container resource : {0}")]
    UnknownResource(String),
}

/// A field of the Pod as text. Whole maps (`metadata.labels`) are for files; a variable takes one key.
pub(crate) fn field(pod: &Pod, path: &str, node: NodeFigures<'_>) -> Result<String, DownwardError> {
    let spec = pod.spec.as_ref();
    let text = |value: Option<&str>| Ok(value.unwrap_or_default().to_owned());
    let address = |value: Option<&str>| {
        value.map(str::to_owned).ok_or_else(|| DownwardError::NoAddress(path.to_owned()))
    };
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => pod.metadata.labels.as_ref(),
            "metadata.annotations" => pod.metadata.annotations.as_ref(),
            _ => return Err(DownwardError::UnknownField(path.to_owned())),
        };
        return text(map.and_then(|map| map.get(key)).map(String::as_str));
    }
    let on_host_network = spec.and_then(|spec| spec.host_network) == Some(true);
    match path {
        "metadata.name" => text(pod.metadata.name.as_deref()),
        "metadata.namespace" => text(pod.metadata.namespace.as_deref()),
        "metadata.uid" => text(pod.metadata.uid.as_deref()),
        "metadata.labels" => Ok(lines(pod.metadata.labels.as_ref())),
        "metadata.annotations" => Ok(lines(pod.metadata.annotations.as_ref())),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_deref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_deref())),
        "status.hostIP" | "status.hostIPs" => address(node.host_ip),
        "status.podIP" | "status.podIPs" => address(node.host_ip.filter(|_| on_host_network)),
        _ => Err(DownwardError::UnknownField(path.to_owned())),
    }
}

/// A map as a file shows it: a line for each key, in order, the value quoted (`fieldpath.FormatMap`).
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quoted(value));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// As Go's `%q` writes a text.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            control if control.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// `metadata.labels['key']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.split_once("['")?;
    Some((map, key.strip_suffix("']")?))
}

/// A container's limit or request, divided and rounded up. `own` is the container that asks, where one does: it need not
/// name itself.
pub(crate) fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    node: NodeFigures<'_>,
) -> Result<String, DownwardError> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let of = match (name, own) {
        (None, Some(own)) => own,
        (Some(name), Some(own)) if own.name == name => own,
        (name, _) => {
            let name = name.unwrap_or_default();
            resources::counted_containers(spec)
                .find(|other| other.name == name)
                .ok_or_else(|| DownwardError::NoContainer(name.to_owned()))?
        }
    };
    let unknown = || DownwardError::UnknownResource(selector.resource.clone());
    let (side, resource) = match selector.resource.split_once('.') {
        Some(("limits", resource)) => (Side::Limits, resource),
        Some(("requests", resource)) => (Side::Requests, resource),
        _ => return Err(unknown()),
    };
    // Where the Pod has a limit as a whole, that bounds a container without one, not the node.
    let set = |table| resources::amount(side.of(table), resource).filter(Quantity::is_positive);
    let of_pod = spec.resources.as_ref().filter(|_| side == Side::Limits);
    let amount = set(of.resources.as_ref()).or_else(|| set(of_pod));
    let divisor = selector.divisor.as_ref().and_then(|divisor| Quantity::try_from(divisor).ok());
    let divisor = divisor.filter(Quantity::is_positive);
    let bytes = |of_node: Bytes| {
        let default = if side == Side::Limits { of_node } else { Bytes::ZERO };
        let bytes = amount.as_ref().map_or(default, Quantity::bytes);
        bytes.get().div_ceil(divisor.as_ref().map_or(1, |divisor| divisor.bytes().get().max(1)))
    };
    let divided = match resource {
        resources::MEMORY => bytes(node.allocatable_memory),
        "ephemeral-storage" => bytes(node.allocatable_storage),
        resources::CPU => {
            let default = if side == Side::Limits { node.allocatable_cpu } else { 0 };
            let milli = amount.as_ref().map_or(default, Quantity::milli_value).unsigned_abs();
            milli.div_ceil(
                divisor.as_ref().map_or(1000, |divisor| divisor.milli_value().unsigned_abs().max(1)),
            )
        }
        // This node has none to give to whoever names no amount.
        huge if huge.starts_with("hugepages-") => bytes(Bytes::ZERO),
        _ => return Err(unknown()),
    };
    Ok(divided.to_string())
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NODE: NodeFigures<'static> = NodeFigures {
        host_ip: Some("10.0.0.1"),
        allocatable_memory: Bytes::from_mib(924),
        allocatable_storage: Bytes::from_gib(1),
        allocatable_cpu: 1500,
    };

    fn pod(resources: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "web", "namespace": "shop", "uid": "u-1", "labels": {"tier": "a", "app": "fr\"ont\n"},
            },
            "spec": {"nodeName": "n1", "serviceAccountName": "default", "resources": resources, "containers": [
                {"name": "main", "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "250m"}}},
                {"name": "open"},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn fields() {
        let pod = pod(json!({}));
        for (path, value) in [
            ("metadata.name", "web"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u-1"),
            ("metadata.labels['tier']", "a"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"fr\\\"ont\\n\"\ntier=\"a\""),
            ("metadata.annotations", ""),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "default"),
            ("status.hostIP", "10.0.0.1"),
        ] {
            assert_eq!(field(&pod, path, NODE).unwrap(), value, "{path}");
        }
        assert!(matches!(field(&pod, "status.podIP", NODE), Err(DownwardError::NoAddress(_))));
        for path in ["status.phase", "spec.labels['a']"] {
            assert!(matches!(field(&pod, path, NODE), Err(DownwardError::UnknownField(_))), "{path}");
        }
    }

    #[test]
    fn amounts() {
        let of = |container: &str, resource: &str, divisor: &str, of_pod: Value| {
            let pod = pod(of_pod);
            let selector = serde_json::from_value(
                json!({"containerName": container, "resource": resource, "divisor": divisor}),
            );
            super::resource(&pod, None, &selector.unwrap(), NODE)
        };
        for (container, resource, divisor, value) in [
            ("main", "limits.memory", "0", "134217728"),
            ("main", "limits.memory", "1Mi", "128"),
            ("main", "limits.memory", "100M", "2"),
            ("main", "requests.memory", "1Mi", "0"),
            ("main", "requests.cpu", "0", "1"),
            ("main", "requests.cpu", "1m", "250"),
            ("main", "limits.cpu", "0", "2"),
            ("main", "limits.cpu", "1m", "1500"),
            ("open", "limits.memory", "1Mi", "924"),
            ("open", "limits.ephemeral-storage", "1Gi", "1"),
            ("open", "requests.ephemeral-storage", "1", "0"),
            ("open", "limits.hugepages-2Mi", "1", "0"),
        ] {
            assert_eq!(
                of(container, resource, divisor, json!({})).unwrap(),
                value,
                "{container} {resource} {divisor}"
            );
        }
        let of_pod = json!({"limits": {"memory": "256Mi"}});
        assert_eq!(of("open", "limits.memory", "1Mi", of_pod).unwrap(), "256");
        insta::assert_snapshot!(of("open", "limits.gpu", "1", json!({})).unwrap_err(), @"unsupported container resource : limits.gpu");
        insta::assert_snapshot!(of("none", "limits.cpu", "1", json!({})).unwrap_err(), @"container none not found");
    }
}
