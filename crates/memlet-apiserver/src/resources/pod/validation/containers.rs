//! Containers: their names, images, ports and policies.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

use super::{environment, mounts, resources, security};
use crate::field::{FieldErrors, FieldPath};
use crate::names;

const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: [&str; 2] = ["FallbackToLogsOnError", "File"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const WITHOUT_SIDECAR: &str = "may not be set for init containers without restartPolicy=Always";
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
/// Longest name of a port.
const PORT_NAME_LENGTH: usize = 15;

pub(super) fn validate(spec: &PodSpec, root: &FieldPath, errors: &mut FieldErrors) {
    let path = root.child("containers");
    if spec.containers.is_empty() {
        errors.required(&path, "");
    }
    let mut names = BTreeSet::new();
    let mut host_ports = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        validate_container(container, spec, &path.index(index), &mut names, errors);
        check_host_ports(container, &path.index(index), &mut host_ports, errors);
        if container.restart_policy.is_some() {
            let detail = "may not be set for non-init containers";
            errors.forbidden(&path.index(index).child("restartPolicy"), detail);
        }
    }
    let path = root.child("initContainers");
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        let path = path.index(index);
        validate_container(container, spec, &path, &mut names, errors);
        validate_init(container, &path, errors);
    }
}

/// What every container must satisfy. `names` are those of the containers before it.
fn validate_container<'a>(
    container: &'a Container,
    spec: &PodSpec,
    path: &FieldPath,
    names: &mut BTreeSet<&'a str>,
    errors: &mut FieldErrors,
) {
    let name = container.name.as_str();
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.each_invalid(&path.child("name"), name, names::label(name));
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    one_of(container.image_pull_policy.as_deref(), &PULL_POLICIES, &path.child("imagePullPolicy"), errors);
    let policy = container.termination_message_policy.as_deref();
    one_of(policy, &MESSAGE_POLICIES, &path.child("terminationMessagePolicy"), errors);
    validate_ports(container.ports.as_deref().unwrap_or_default(), spec, &path.child("ports"), errors);
    environment::validate(container, path, errors);
    mounts::validate(container, spec, &path.child("volumeMounts"), errors);
    resources::validate(container.resources.as_ref(), &path.child("resources"), errors);
    resources::validate_resize_policy(container, spec, &path.child("resizePolicy"), errors);
    security::validate_container(container.security_context.as_ref(), &path.child("securityContext"), errors);
}

/// Init containers either end (and then have no probes or hooks) or, as sidecars, run along.
fn validate_init(container: &Container, path: &FieldPath, errors: &mut FieldErrors) {
    match container.restart_policy.as_deref() {
        Some("Always") => return,
        Some(other) => errors.not_supported(&path.child("restartPolicy"), other, &["Always"]),
        None => {}
    }
    for (set, field) in [
        (container.lifecycle.is_some(), "lifecycle"),
        (container.liveness_probe.is_some(), "livenessProbe"),
        (container.readiness_probe.is_some(), "readinessProbe"),
        (container.startup_probe.is_some(), "startupProbe"),
    ] {
        if set {
            errors.forbidden(&path.child(field), WITHOUT_SIDECAR);
        }
    }
}

fn validate_ports(ports: &[ContainerPort], spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let messages = port_name(name);
            if messages.is_empty() && !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            errors.each_invalid(&path.child("name"), name, messages);
        }
        let is_port = |number: i32| (1..=65_535).contains(&number);
        if port.container_port == 0 {
            errors.required(&path.child("containerPort"), "");
        } else if !is_port(port.container_port) {
            errors.invalid(&path.child("containerPort"), port.container_port, PORT_RANGE);
        }
        let host = port.host_port.unwrap_or(0);
        if host != 0 && !is_port(host) {
            errors.invalid(&path.child("hostPort"), host, PORT_RANGE);
        }
        if spec.host_network == Some(true) && host != port.container_port {
            errors.invalid(
                &path.child("hostPort"),
                host,
                "must match `containerPort` when `hostNetwork` is true",
            );
        }
        one_of(port.protocol.as_deref(), &PROTOCOLS, &path.child("protocol"), errors);
    }
}

/// One host port serves one container.
fn check_host_ports(
    container: &Container,
    path: &FieldPath,
    taken: &mut BTreeSet<String>,
    errors: &mut FieldErrors,
) {
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let Some(host) = port.host_port.filter(|host| *host != 0) else { continue };
        let (ip, protocol) = (port.host_ip.as_deref(), port.protocol.as_deref());
        let whole = format!("{}/{}/{host}", protocol.unwrap_or_default(), ip.unwrap_or_default());
        if !taken.insert(whole.clone()) {
            errors.duplicate(&path.child("ports").index(index).child("hostPort"), whole);
        }
    }
}

fn port_name(name: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut complain = |wrong: bool, message: &str| {
        if wrong {
            messages.push(message.to_owned());
        }
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    complain(name.len() > PORT_NAME_LENGTH, "must be no more than 15 bytes");
    complain(
        !name.bytes().all(plain),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    complain(!name.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    complain(name.contains("--"), "must not contain consecutive hyphens");
    complain(name.starts_with('-') || name.ends_with('-'), "must not begin or end with a hyphen");
    messages
}

/// A field that must be given and be one of a few words.
pub(super) fn one_of(value: Option<&str>, words: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    match value.unwrap_or_default() {
        "" => errors.required(path, ""),
        value if words.contains(&value) => {}
        value => errors.not_supported(path, value, words),
    }
}
