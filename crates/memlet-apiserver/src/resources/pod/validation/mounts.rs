//! Where a container mounts which volume.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::volumes::check_inner_path;
use crate::field::{FieldErrors, FieldPath};

const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];

pub(super) fn validate(container: &Container, spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let volumes: BTreeSet<&str> = spec.volumes.iter().flatten().map(|volume| volume.name.as_str()).collect();
    let mut taken = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path.index(index);
        if mount.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if !volumes.contains(mount.name.as_str()) {
            errors.not_found(&path.child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(&path.child("mountPath"), "");
        }
        if !taken.insert(mount.mount_path.as_str()) {
            errors.invalid(&path.child("mountPath"), &mount.mount_path, "must be unique");
        }
        let inner = mount.sub_path.as_deref().filter(|inner| !inner.is_empty());
        let expression = mount.sub_path_expr.as_deref().filter(|inner| !inner.is_empty());
        if let Some(inner) = inner {
            check_inner_path(inner, &path.child("subPath"), errors);
        }
        if let Some(expression) = expression {
            if inner.is_some() {
                errors.invalid(
                    &path.child("subPathExpr"),
                    expression,
                    "subPathExpr and subPath are mutually exclusive",
                );
            }
            check_inner_path(expression, &path.child("subPathExpr"), errors);
        }
        if let Some(propagation) = mount.mount_propagation.as_deref() {
            check_propagation(propagation, container, &path.child("mountPropagation"), errors);
        }
    }
}

fn check_propagation(propagation: &str, container: &Container, path: &FieldPath, errors: &mut FieldErrors) {
    let privileged =
        container.security_context.as_ref().and_then(|context| context.privileged).unwrap_or(false);
    if !PROPAGATIONS.contains(&propagation) {
        errors.not_supported(path, propagation, &PROPAGATIONS);
    } else if propagation == "Bidirectional" && !privileged {
        errors.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
    }
}
