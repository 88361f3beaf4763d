//! Volumes: one name, one source, and what each source needs.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{HostPathVolumeSource, PodSpec, Volume};
use memlet_policy::quantity::Quantity;
use serde_json::Value;

use crate::field::{FieldErrors, FieldPath};
use crate::names;

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

pub(super) fn validate(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let mut taken = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let path = path.index(index);
        check_one_source(volume, &path, errors);
        if let Some(source) = &volume.empty_dir
            && let Some(limit) = &source.size_limit
            && Quantity::try_from(limit).is_ok_and(|limit| limit.is_negative())
        {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.forbidden(&path.child("emptyDir").child("sizeLimit"), detail);
        }
        if let Some(source) = &volume.host_path {
            validate_host_path(source, &path.child("hostPath"), errors);
        }
        if let Some(source) = &volume.config_map
            && source.name.is_empty()
        {
            errors.required(&path.child("configMap").child("name"), "");
        }
        if let Some(source) = &volume.secret
            && source.secret_name.as_deref().unwrap_or_default().is_empty()
        {
            errors.required(&path.child("secret").child("secretName"), "");
        }
        let name = volume.name.as_str();
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        let messages = names::label(name);
        if messages.is_empty() && !taken.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        errors.each_invalid(&path.child("name"), name, messages);
    }
}

/// The sources are fields of the volume itself, one of which is set.
fn check_one_source(volume: &Volume, path: &FieldPath, errors: &mut FieldErrors) {
    let Ok(Value::Object(fields)) = serde_json::to_value(volume) else { return };
    let mut sources = fields.keys().filter(|key| *key != "name");
    if sources.next().is_none() {
        errors.required(path, "must specify a volume type");
    }
    for other in sources {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}

fn validate_host_path(source: &HostPathVolumeSource, path: &FieldPath, errors: &mut FieldErrors) {
    if source.path.is_empty() {
        errors.required(&path.child("path"), "");
    } else if has_backsteps(&source.path) {
        errors.invalid(&path.child("path"), &source.path, "must not contain '..'");
    }
    let kind = source.type_.as_deref().unwrap_or_default();
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// A path within a volume: relative, and never out of it.
pub(super) fn check_inner_path(inner: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if inner.starts_with('/') {
        errors.invalid(path, inner, "must be a relative path");
    }
    if has_backsteps(inner) {
        errors.invalid(path, inner, "must not contain '..'");
    }
}
