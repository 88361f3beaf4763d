//! A container's environment: literal values, the downward API, and `$(VAR)` expansion. Pure.
//!
//! The rules are kubelet's `makeEnvironmentVariables` and `third_party/forked/golang/expansion`. Variables for
//! Services are not made: this node knows no Services.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, ObjectFieldSelector, Pod, ResourceFieldSelector};
use memlet_bytes::Bytes;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{self, Side};

/// What the downward API may tell beyond the Pod's own fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeFigures<'a> {
    pub(crate) host_ip: Option<&'a str>,
    /// Stands in for a memory limit that is not set.
    pub(crate) allocatable_memory: Bytes,
    /// Processors; stand in for a cpu limit that is not set.
    pub(crate) cpus: u32,
}

/// A value that cannot be had. Prints as the message of `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("env {variable}: the field {path:?} is not supported")]
    UnknownField { variable: String, path: String },
    #[error(
        "env {variable}: {path} is not known: this node gives Pods no address of their own; use hostNetwork"
    )]
    NoAddress { variable: String, path: String },
    #[error("env {variable}: container {container:?} does not exist")]
    NoContainer { variable: String, container: String },
    #[error("env {variable}: the resource {resource:?} is not supported")]
    UnknownResource { variable: String, resource: String },
}

/// The variables in the order of the spec, each name once, with its last value.
pub(crate) fn variables(
    pod: &Pod,
    container: &Container,
    node: NodeFigures<'_>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut made: Vec<(String, String)> = Vec::new();
    let mut known: HashMap<String, String> = HashMap::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => expand(variable.value.as_deref().unwrap_or_default(), &known),
            Some(source) => from_source(&variable.name, source, pod, container, node)?,
        };
        known.insert(variable.name.clone(), value.clone());
        match made.iter_mut().find(|(name, _)| *name == variable.name) {
            Some(earlier) => earlier.1 = value,
            None => made.push((variable.name.clone(), value)),
        }
    }
    Ok(made)
}

fn from_source(
    variable: &str,
    source: &EnvVarSource,
    pod: &Pod,
    container: &Container,
    node: NodeFigures<'_>,
) -> Result<String, EnvironmentError> {
    if let Some(field) = &source.field_ref {
        return from_field(variable, field, pod, node);
    }
    if let Some(resource) = &source.resource_field_ref {
        return from_resource(variable, resource, pod, container, node);
    }
    // Config maps and secrets are refused at admission.
    Err(EnvironmentError::UnknownField { variable: variable.to_owned(), path: "valueFrom".to_owned() })
}

fn from_field(
    variable: &str,
    field: &ObjectFieldSelector,
    pod: &Pod,
    node: NodeFigures<'_>,
) -> Result<String, EnvironmentError> {
    let path = field.field_path.as_str();
    let spec = pod.spec.as_ref();
    let text = |value: Option<&str>| Ok(value.unwrap_or_default().to_owned());
    let address = |value: Option<&str>| {
        value.map(str::to_owned).ok_or_else(|| EnvironmentError::NoAddress {
            variable: variable.to_owned(),
            path: path.to_owned(),
        })
    };
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => pod.metadata.labels.as_ref(),
            "metadata.annotations" => pod.metadata.annotations.as_ref(),
            _ => None,
        };
        return text(map.and_then(|map| map.get(key)).map(String::as_str));
    }
    let on_host_network = spec.and_then(|spec| spec.host_network) == Some(true);
    match path {
        "metadata.name" => text(pod.metadata.name.as_deref()),
        "metadata.namespace" => text(pod.metadata.namespace.as_deref()),
        "metadata.uid" => text(pod.metadata.uid.as_deref()),
        "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_deref())),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_deref())),
        "status.hostIP" | "status.hostIPs" => address(node.host_ip),
        "status.podIP" | "status.podIPs" => address(node.host_ip.filter(|_| on_host_network)),
        _ => Err(EnvironmentError::UnknownField { variable: variable.to_owned(), path: path.to_owned() }),
    }
}

/// `metadata.labels['key']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, key) = path.split_once("['")?;
    Some((map, key.strip_suffix("']")?))
}

fn from_resource(
    variable: &str,
    selector: &ResourceFieldSelector,
    pod: &Pod,
    container: &Container,
    node: NodeFigures<'_>,
) -> Result<String, EnvironmentError> {
    let wanted =
        selector.container_name.as_deref().filter(|name| !name.is_empty() && *name != container.name);
    let spec = pod.spec.as_ref();
    let of = match wanted {
        None => container,
        Some(name) => spec
            .and_then(|spec| resources::counted_containers(spec).find(|other| other.name == name))
            .ok_or_else(|| EnvironmentError::NoContainer {
                variable: variable.to_owned(),
                container: name.to_owned(),
            })?,
    };
    let (side, resource) = match selector.resource.split_once('.') {
        Some(("limits", resource)) => (Side::Limits, resource),
        Some(("requests", resource)) => (Side::Requests, resource),
        _ => (Side::Limits, ""),
    };
    let amount = resources::amount(side.of(of.resources.as_ref()), resource).filter(Quantity::is_positive);
    let divisor = selector.divisor.as_ref().and_then(|divisor| Quantity::try_from(divisor).ok());
    let divisor = divisor.filter(Quantity::is_positive);
    let divided = match resource {
        resources::MEMORY => {
            let default = if side == Side::Limits { node.allocatable_memory } else { Bytes::ZERO };
            let bytes = amount.map_or(default, |amount| amount.bytes());
            bytes.get().div_ceil(divisor.map_or(1, |divisor| divisor.bytes().get().max(1)))
        }
        resources::CPU => {
            let default = if side == Side::Limits { u64::from(node.cpus) * 1000 } else { 0 };
            let milli = amount.map_or(default, |amount| amount.milli_value().unsigned_abs());
            milli.div_ceil(divisor.map_or(1000, |divisor| divisor.milli_value().unsigned_abs().max(1)))
        }
        _ => {
            let resource = selector.resource.clone();
            return Err(EnvironmentError::UnknownResource { variable: variable.to_owned(), resource });
        }
    };
    Ok(divided.to_string())
}

/// `$(NAME)` replaced where the name is known, left as it is where not; `$$` is one `$`, so `$$(NAME)` stays
/// `$(NAME)`.
pub(crate) fn expand(text: &str, known: &HashMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[at..=at + 2 + name.len()]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use serde_json::json;

    const NODE: NodeFigures<'static> =
        NodeFigures { host_ip: Some("10.0.0.1"), allocatable_memory: Bytes::from_mib(924), cpus: 2 };

    fn pod(env: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "front"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "default", "containers": [
                {"name": "main", "env": env, "resources": {"limits": {"memory": "128Mi"}, "requests": {"cpu": "250m"}}},
            ]},
        }))
        .unwrap()
    }

    fn made(env: serde_json::Value) -> Result<String, EnvironmentError> {
        let pod = pod(env);
        let variables = variables(&pod, &pod.spec.as_ref().unwrap().containers[0], NODE)?;
        Ok(variables.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn expands_as_kubelet() {
        let known = HashMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$", "$"),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand(text, &known), expanded, "{text}");
        }
    }

    #[test]
    fn later_variables_see_earlier_ones() {
        let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}]);
        assert_eq!(made(env).unwrap(), "A=1 B=1$(C) C=3");
        assert_eq!(made(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])).unwrap(), "A=2");
    }

    #[test]
    fn fields_and_resources() {
        let field = |path: &str| made(json!([{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]));
        for (path, value) in [
            ("metadata.name", "X=web"),
            ("metadata.namespace", "X=shop"),
            ("metadata.uid", "X=u-1"),
            ("metadata.labels['app']", "X=front"),
            ("metadata.labels['none']", "X="),
            ("spec.nodeName", "X=n1"),
            ("status.hostIP", "X=10.0.0.1"),
        ] {
            assert_eq!(field(path).unwrap(), value, "{path}");
        }
        assert!(matches!(field("status.podIP"), Err(EnvironmentError::NoAddress { .. })));
        assert!(matches!(field("status.phase"), Err(EnvironmentError::UnknownField { .. })));
        let resource = |name: &str, divisor: &str| {
            let reference = json!({"resource": name, "divisor": divisor});
            made(json!([{"name": "X", "valueFrom": {"resourceFieldRef": reference}}]))
        };
        for (name, divisor, value) in [
            ("limits.memory", "0", "X=134217728"),
            ("limits.memory", "1Mi", "X=128"),
            ("limits.memory", "100M", "X=2"),
            ("requests.memory", "1Mi", "X=0"),
            ("requests.cpu", "0", "X=1"),
            ("requests.cpu", "1m", "X=250"),
            ("limits.cpu", "0", "X=2"),
        ] {
            assert_eq!(resource(name, divisor).unwrap(), value, "{name} {divisor}");
        }
        assert!(resource("limits.gpu", "0").is_err());
    }
}
