//! Environment variables: their names and their sources.

use k8s_openapi::api::core::v1::{Container, EnvVarSource, ResourceFieldSelector};

use crate::field::{FieldErrors, FieldPath};
use crate::names;

/// Fields of a Pod that an environment variable may hold.
const POD_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Amounts of a container that an environment variable may hold.
const AMOUNTS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate(container: &Container, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let path = path.child("env").index(index);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            let messages = names::environment_variable(&variable.name);
            errors.each_invalid(&path.child("name"), &variable.name, messages);
        }
        if let Some(source) = &variable.value_from {
            let has_value = variable.value.as_ref().is_some_and(|value| !value.is_empty());
            validate_source(source, has_value, &path.child("valueFrom"), errors);
        }
    }
    for (index, source) in container.env_from.iter().flatten().enumerate() {
        let path = path.child("envFrom").index(index);
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`");
            }
            (Some(_), Some(_)) => {
                errors.invalid(&path, "", "may not have more than one field specified at a time");
            }
            (Some(map), None) if map.name.is_empty() => errors.required(&path.child("configMapRef.name"), ""),
            (None, Some(secret)) if secret.name.is_empty() => {
                errors.required(&path.child("secretRef.name"), "");
            }
            _ => {}
        }
    }
}

fn validate_source(source: &EnvVarSource, has_value: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let given = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ];
    match given.iter().filter(|given| **given).count() {
        0 => errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        1 if has_value => errors.invalid(path, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => errors.invalid(path, "", "may not have more than one field specified at a time"),
    }
    if let Some(field) = &source.field_ref {
        let path = path.child("fieldRef").child("fieldPath");
        let of_map = ["metadata.labels['", "metadata.annotations['"]
            .iter()
            .any(|start| field.field_path.starts_with(start) && field.field_path.ends_with("']"));
        if field.field_path.is_empty() {
            errors.required(&path, "");
        } else if !of_map && !POD_FIELDS.contains(&field.field_path.as_str()) {
            errors.not_supported(&path, &field.field_path, &POD_FIELDS);
        }
    }
    if let Some(amount) = &source.resource_field_ref {
        validate_amount(amount, &path.child("resourceFieldRef"), errors);
    }
    let keys = [
        (source.config_map_key_ref.as_ref().map(|key| (&key.name, &key.key)), "configMapKeyRef"),
        (source.secret_key_ref.as_ref().map(|key| (&key.name, &key.key)), "secretKeyRef"),
    ];
    for (key, field) in keys {
        let Some((name, key)) = key else { continue };
        let path = path.child(field);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if key.is_empty() {
            errors.required(&path.child("key"), "");
        } else {
            errors.each_invalid(&path.child("key"), key, names::config_key(key));
        }
    }
}

fn validate_amount(amount: &ResourceFieldSelector, path: &FieldPath, errors: &mut FieldErrors) {
    let huge_pages = ["limits.hugepages-", "requests.hugepages-"];
    if amount.resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !AMOUNTS.contains(&amount.resource.as_str())
        && !huge_pages.iter().any(|start| amount.resource.starts_with(start))
    {
        errors.not_supported(&path.child("resource"), &amount.resource, &AMOUNTS);
    }
}
