//! What makes a Pod refused (upstream's `pkg/apis/core/validation/validation.go`), one topic to a file.
//!
//! Not checked yet: affinity, topology spread, probes' and hooks' insides, DNS configuration, ephemeral containers,
//! the sources of volumes that no runtime here mounts.

mod containers;
mod environment;
mod mounts;
mod resources;
mod security;
mod tolerations;
mod update;
mod volumes;

pub(in crate::resources) use resources::check_name as check_resource_name;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::field::{FieldErrors, FieldPath};
use crate::names;

const RESTART_POLICIES: [&str; 3] = ["Always", "OnFailure", "Never"];
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const PREEMPTION_POLICIES: [&str; 2] = ["Never", "PreemptLowerPriority"];

pub(super) use update::validate as validate_update;

pub(super) fn validate(pod: &Pod, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    let Some(spec) = &pod.spec else {
        errors.required(&path.child("containers"), "");
        return;
    };
    volumes::validate(spec, &path.child("volumes"), errors);
    containers::validate(spec, &path, errors);
    resources::validate_pod_level(spec, &path.child("resources"), errors);
    containers::one_of(
        spec.restart_policy.as_deref(),
        &RESTART_POLICIES,
        &path.child("restartPolicy"),
        errors,
    );
    containers::one_of(spec.dns_policy.as_deref(), &DNS_POLICIES, &path.child("dnsPolicy"), errors);
    security::validate_pod(spec.security_context.as_ref(), &path.child("securityContext"), errors);
    tolerations::validate(spec, &path.child("tolerations"), errors);
    validate_names(spec, &path, errors);
    validate_deadline(spec, &path, errors);
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
    if let Some(policy) = spec.preemption_policy.as_deref()
        && !PREEMPTION_POLICIES.contains(&policy)
    {
        errors.not_supported(&path.child("preemptionPolicy"), policy, &PREEMPTION_POLICIES);
    }
}

fn validate_names(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    for (value, field, check) in [
        (&spec.service_account_name, "serviceAccountName", names::subdomain as fn(&str) -> Vec<String>),
        (&spec.node_name, "nodeName", names::subdomain),
        (&spec.scheduler_name, "schedulerName", names::subdomain),
        (&spec.priority_class_name, "priorityClassName", names::subdomain),
        (&spec.runtime_class_name, "runtimeClassName", names::subdomain),
        (&spec.hostname, "hostname", names::label),
        (&spec.subdomain, "subdomain", names::label),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            errors.each_invalid(&path.child(field), value, check(value));
        }
    }
    let selector = path.child("nodeSelector");
    for (key, value) in spec.node_selector.iter().flatten() {
        errors.each_invalid(&selector, key, names::qualified(key));
        errors.each_invalid(&selector, value, names::label_value(value));
    }
}

fn validate_deadline(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(seconds) = spec.active_deadline_seconds.filter(|seconds| *seconds < 1) {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, detail);
    }
}
