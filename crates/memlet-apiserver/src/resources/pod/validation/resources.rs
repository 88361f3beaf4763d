//! Requests and limits, of containers and of the Pod (`ValidateContainerResourceRequirements`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{Side, container_totals, is_pod_level_resource};

use crate::field::{FieldErrors, FieldPath};
use crate::names;

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

pub(super) fn validate(table: Option<&ResourceRequirements>, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(table) = table else { return };
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, amount) in amounts(table.limits.as_ref()) {
        check_name(name, &limits.key(name), errors);
        check_amount(name, &amount, &limits.key(name), errors);
    }
    for (name, amount) in amounts(table.requests.as_ref()) {
        check_name(name, &requests.key(name), errors);
        check_amount(name, &amount, &requests.key(name), errors);
        check_against_limit(name, &amount, table, path, errors);
    }
    let named = |name: &str| {
        amounts(table.limits.as_ref())
            .chain(amounts(table.requests.as_ref()))
            .any(|(found, _)| found.starts_with(name))
    };
    if named("hugepages-") && !named("cpu") && !named("memory") {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// A request fits under its limit; of what cannot be shared, it is the limit. The field named is the whole side.
fn check_against_limit(
    name: &str,
    request: &Quantity,
    table: &ResourceRequirements,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let limit = table.limits.as_ref().and_then(|limits| limits.get(name));
    let shared = STANDARD.contains(&name);
    match limit.and_then(|limit| Quantity::try_from(limit).ok()) {
        Some(limit) if !shared && *request != limit => {
            let detail = format!("must be equal to {name} limit of {limit}");
            errors.invalid(&path.child("requests"), request.to_string(), detail);
        }
        Some(limit) if *request > limit => {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid(&path.child("requests"), request.to_string(), detail);
        }
        None if !shared => {
            errors.required(&path.child("limits"), "Limit must be set for non overcommitable resources");
        }
        _ => {}
    }
}

/// The form of a resource's name where containers use it.
pub(in crate::resources) fn check_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let messages = names::qualified(name);
    if !messages.is_empty() {
        errors.each_invalid(path, name, messages);
    } else if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        errors.invalid(path, name, "must be a standard resource for containers");
    } else if name.contains('/') && (name.contains("kubernetes.io/") || name.starts_with("requests.")) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn check_amount(name: &str, amount: &Quantity, path: &FieldPath, errors: &mut FieldErrors) {
    if amount.is_negative() {
        errors.invalid(path, amount.to_string(), "must be greater than or equal to 0");
    }
    if name.contains('/') && !amount.is_integer() {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
}

fn amounts(side: Option<&BTreeMap<String, ApiQuantity>>) -> impl Iterator<Item = (&str, Quantity)> {
    // What is no quantity was refused when the Pod was decoded.
    let read = |(name, amount): (_, &ApiQuantity)| {
        let name: &String = name;
        Some((name.as_str(), Quantity::try_from(amount).ok()?))
    };
    side.into_iter().flatten().filter_map(read)
}

/// The Pod's own resources bound those of its containers.
pub(super) fn validate_pod_level(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(table) = &spec.resources else { return };
    if table.claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        errors.forbidden(&path.child("claims"), "claims may not be set for Resources at pod-level");
    }
    let sides = [("limits", table.limits.as_ref()), ("requests", table.requests.as_ref())];
    for (side, name, amount) in sides
        .into_iter()
        .flat_map(|(side, table)| amounts(table).map(move |(name, amount)| (side, name, amount)))
    {
        let path = path.child(side).key(name);
        if is_pod_level_resource(name) {
            check_amount(name, &amount, &path, errors);
        } else {
            errors.not_supported(&path, name, &["cpu", "hugepages-", "memory"]);
        }
    }
    let totals = container_totals(spec, Side::Requests);
    for (name, request) in amounts(table.requests.as_ref()) {
        check_against_limit(name, &request, table, path, errors);
        if let Some(total) = totals.get(name).filter(|total| **total > request) {
            let detail = format!("must be greater than or equal to aggregate container requests of {total}");
            errors.invalid(&path.child("requests").key(name), request.to_string(), detail);
        }
    }
    for (name, bound) in amounts(table.limits.as_ref()) {
        for (index, container) in spec.containers.iter().enumerate() {
            let own = container.resources.as_ref().and_then(|table| table.limits.as_ref());
            if let Some((_, limit)) = amounts(own).find(|(other, limit)| *other == name && *limit > bound) {
                // Upstream's path, odd as it is.
                let path = path.child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {bound}");
                errors.invalid(&path, limit.to_string(), detail);
            }
        }
    }
}

pub(super) fn validate_resize_policy(
    container: &Container,
    spec: &PodSpec,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let never = spec.restart_policy.as_deref() == Some("Never");
    for policy in container.resize_policy.iter().flatten() {
        if !RESIZABLE.contains(&policy.resource_name.as_str()) {
            errors.not_supported(path, &policy.resource_name, &RESIZABLE);
        }
        match policy.restart_policy.as_str() {
            "NotRequired" => {}
            "RestartContainer" if !never => {}
            "RestartContainer" => errors.invalid(
                path,
                &policy.restart_policy,
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            ),
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["NotRequired", "RestartContainer"]),
        }
    }
}
