//! What may still change in a Pod's spec once it exists (`ValidatePodUpdate`).

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};
use serde_json::Value;

use crate::field::{FieldErrors, FieldPath};

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                       `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                       existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                       previously negative)";

pub(in crate::resources::pod) fn validate(pod: &Pod, old: &Pod, errors: &mut FieldErrors) {
    let (Some(new), Some(old)) = (&pod.spec, &old.spec) else { return };
    let path = FieldPath::new("spec");
    let lists = [
        ("containers", Some(&new.containers), Some(&old.containers)),
        ("initContainers", new.init_containers.as_ref(), old.init_containers.as_ref()),
    ];
    for (field, new, old) in lists {
        if new.map_or(0, Vec::len) != old.map_or(0, Vec::len) {
            errors.forbidden(&path.child(field), "pod updates may not add or remove containers");
            return;
        }
    }
    check_deadline(new.active_deadline_seconds, old.active_deadline_seconds, &path, errors);
    check_tolerations(new, old, &path.child("tolerations"), errors);
    check_gates(new, old, &path.child("schedulingGates"), errors);
    let rest = with_mutable_fields_of(new.clone(), old);
    if rest != *old {
        errors.forbidden(&path, format!("{MUTABLE}\n{}", differences(old, &rest)));
    }
}

/// Tolerations stay, but for their time; others may be added.
fn check_tolerations(new: &PodSpec, old: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let stays = |toleration: &Toleration| {
        new.tolerations.iter().flatten().any(|other| {
            let timed = Toleration { toleration_seconds: other.toleration_seconds, ..toleration.clone() };
            timed == *other
        })
    };
    if !old.tolerations.iter().flatten().all(stays) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

/// Gates may only be taken away.
fn check_gates(new: &PodSpec, old: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !old.scheduling_gates.iter().flatten().any(|other| other == gate) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.forbidden(&path.index(index), detail);
        }
    }
}

/// A deadline may be set or brought nearer.
fn check_deadline(new: Option<i64>, old: Option<i64>, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("activeDeadlineSeconds");
    match (new, old) {
        (Some(new), Some(old)) if new > old => {
            let detail = "must be less than or equal to previous value";
            errors.invalid(&path, new, detail);
        }
        (None, Some(_)) => errors.invalid(&path, new, "must not update from a positive integer to nil value"),
        _ => {}
    }
}

/// The new spec with everything that may change put back.
fn with_mutable_fields_of(mut spec: PodSpec, old: &PodSpec) -> PodSpec {
    fn put_back(new: &mut [Container], old: &[Container]) {
        for (new, old) in new.iter_mut().zip(old) {
            new.image.clone_from(&old.image);
        }
    }
    put_back(&mut spec.containers, &old.containers);
    if let (Some(new), Some(old)) = (&mut spec.init_containers, &old.init_containers) {
        put_back(new, old);
    }
    spec.active_deadline_seconds = old.active_deadline_seconds;
    spec.tolerations.clone_from(&old.tolerations);
    spec.scheduling_gates.clone_from(&old.scheduling_gates);
    let was_negative = old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0);
    if was_negative && spec.termination_grace_period_seconds == Some(1) {
        spec.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    spec
}

/// The fields that differ, as `-` and `+` lines (upstream prints a diff of its Go values here).
fn differences(old: &PodSpec, new: &PodSpec) -> String {
    let mut lines = Vec::new();
    if let (Ok(old), Ok(new)) = (serde_json::to_value(old), serde_json::to_value(new)) {
        compare("spec", &old, &new, &mut lines);
    }
    lines.join("\n")
}

fn compare(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let side = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                compare(&format!("{path}.{key}"), &side(old), &side(new), lines);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{index}]"), old, new, lines);
            }
        }
        (old, new) => {
            let sides = [("-", old), ("+", new)].into_iter().filter(|(_, side)| !side.is_null());
            lines.extend(sides.map(|(sign, side)| format!("{sign} {path}: {side}")));
        }
    }
}
