//! What makes a quota refused (upstream's `ValidateResourceQuota`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopedResourceSelectorRequirement};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_policy::quantity::Quantity;

use crate::field::{FieldErrors, FieldPath};
use crate::resources::resource_names;

const BEST_EFFORT: &str = "BestEffort";
const PRIORITY_CLASS: &str = "PriorityClass";
const VOLUME_ATTRIBUTES_CLASS: &str = "VolumeAttributesClass";
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    BEST_EFFORT,
    "NotBestEffort",
    PRIORITY_CLASS,
    "CrossNamespacePodAffinity",
    VOLUME_ATTRIBUTES_CLASS,
];
/// No Pod is in both of a pair.
const CONFLICTS: [[&str; 2]; 2] = [[BEST_EFFORT, "NotBestEffort"], ["Terminating", "NotTerminating"]];

const POD_COMPUTE: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];

pub(super) fn validate(quota: &ResourceQuota, errors: &mut FieldErrors) {
    if let Some(spec) = &quota.spec {
        let path = FieldPath::new("spec");
        check_amounts(spec.hard.as_ref(), &path.child("hard"), errors);
        check_scopes(spec, &path.child("scopes"), errors);
        check_selector(spec, &path.child("scopeSelector"), errors);
    }
    validate_status(quota, errors);
}

pub(super) fn validate_status(quota: &ResourceQuota, errors: &mut FieldErrors) {
    let Some(status) = &quota.status else { return };
    let path = FieldPath::new("status");
    check_amounts(status.hard.as_ref(), &path.child("hard"), errors);
    check_amounts(status.used.as_ref(), &path.child("used"), errors);
}

pub(super) fn validate_update(quota: &ResourceQuota, old: &ResourceQuota, errors: &mut FieldErrors) {
    fn scopes(quota: &ResourceQuota) -> &[String] {
        quota.spec.as_ref().and_then(|spec| spec.scopes.as_deref()).unwrap_or_default()
    }
    fn set(scopes: &[String]) -> BTreeSet<&String> {
        scopes.iter().collect()
    }
    if set(scopes(quota)) != set(scopes(old)) {
        errors.invalid(&FieldPath::new("spec.scopes"), scopes(quota), "field is immutable");
    }
}

fn check_amounts(
    amounts: Option<&BTreeMap<String, ApiQuantity>>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    for (name, amount) in amounts.into_iter().flatten() {
        let path = path.key(name);
        resource_names::check(name, &path, errors);
        if !name.contains('/') && !resource_names::is_of_quotas(name) {
            errors.invalid(&path, name, "must be a standard resource for quota");
        }
        // What is no quantity was refused when the quota was decoded.
        let Ok(amount) = Quantity::try_from(amount) else { continue };
        if amount.is_negative() {
            errors.invalid(&path, amount.to_string(), "must be greater than or equal to 0");
        }
        if resource_names::is_counted_whole(name) && !amount.is_integer() {
            errors.invalid(&path, amount.to_string(), "must be an integer");
        }
    }
}

fn check_scopes(spec: &ResourceQuotaSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(scopes) = spec.scopes.as_ref().filter(|scopes| !scopes.is_empty()) else { return };
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(path, scopes, "unsupported scope");
        }
        if has_unscoped(spec, scope) {
            errors.invalid(path, scopes, "unsupported scope applied to resource");
        }
    }
    if conflict(scopes) {
        errors.invalid(path, scopes, "conflicting scopes");
    }
}

fn check_selector(spec: &ResourceQuotaSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(selector) = &spec.scope_selector else { return };
    let path = path.child("matchExpressions");
    let requirements = selector.match_expressions.as_deref().unwrap_or_default();
    for requirement in requirements {
        let scope = &requirement.scope_name;
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        if has_unscoped(spec, scope) {
            errors.invalid(&path, selector, "unsupported scope applied to resource");
        }
        check_requirement(requirement, &path, errors);
    }
    let scopes: Vec<String> = requirements.iter().map(|requirement| requirement.scope_name.clone()).collect();
    if conflict(&scopes) {
        errors.invalid(&path, &spec.scopes, "conflicting scopes");
    }
}

fn check_requirement(
    requirement: &ScopedResourceSelectorRequirement,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let ScopedResourceSelectorRequirement { operator, scope_name, values } = requirement;
    let is_class = [PRIORITY_CLASS, VOLUME_ATTRIBUTES_CLASS].contains(&scope_name.as_str());
    if SCOPES.contains(&scope_name.as_str()) && !is_class && operator != "Exists" {
        let detail = "must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, \
                      ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                      ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.invalid(&path.child("operator"), operator, detail);
    }
    let values = values.as_deref().unwrap_or_default();
    match operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.required(&path.child("values"), detail);
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.invalid(&path.child("values"), values, detail);
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
    }
}

/// Whether a quota bounds something of Kubernetes' own to which the scope does not apply.
fn has_unscoped(spec: &ResourceQuotaSpec, scope: &str) -> bool {
    let mut names = spec.hard.iter().flat_map(BTreeMap::keys).map(String::as_str);
    names.any(|name| resource_names::is_of_quotas(name) && !applies(scope, name))
}

fn applies(scope: &str, name: &str) -> bool {
    match scope {
        BEST_EFFORT => name == "pods",
        VOLUME_ATTRIBUTES_CLASS => CLAIMS.contains(&name),
        scope if SCOPES.contains(&scope) => name == "pods" || POD_COMPUTE.contains(&name),
        _ => true,
    }
}

fn conflict(scopes: &[String]) -> bool {
    let has = |scope: &str| scopes.iter().any(|other| other == scope);
    CONFLICTS.iter().any(|pair| pair.iter().all(|scope| has(scope)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ApiError;

    fn quota(spec: &Value) -> ResourceQuota {
        serde_json::from_value(json!({"metadata": {"name": "q"}, "spec": spec})).unwrap()
    }

    fn told(errors: FieldErrors) -> String {
        if errors.is_empty() {
            return "good".to_owned();
        }
        let error = ApiError::invalid("ResourceQuota", "q", errors);
        error.status().message.clone().unwrap().replace("ResourceQuota \"q\" is invalid: ", "")
    }

    fn refused(spec: &Value) -> String {
        let mut errors = FieldErrors::default();
        validate(&quota(spec), &mut errors);
        told(errors)
    }

    #[test]
    fn what_is_refused_in_upstreams_words() {
        let selector = |requirements: Value| json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": requirements}});
        let class = |operator: &str, values: Value| {
            selector(json!([{"scopeName": "PriorityClass", "operator": operator, "values": values}]))
        };
        let cases = [
            json!({}),
            json!({"hard": {
                "memory": "1Gi", "count/configmaps": "5", "requests.hugepages-2Mi": "4Mi",
                "requests.example.com/gpu": "1500m", "services.nodeports": "0",
            }}),
            json!({"hard": {"foo": "1"}}),
            json!({"hard": {"storage": "1Gi"}}),
            json!({"hard": {"a b": "1"}}),
            json!({"hard": {"memory": "-1Gi", "pods": "1500m"}}),
            json!({"hard": {"pods": "1", "memory": "1Gi"}, "scopes": ["NotBestEffort", "Terminating"]}),
            json!({"hard": {"memory": "1Gi"}, "scopes": ["BestEffort"]}),
            json!({"hard": {"configmaps": "1"}, "scopes": ["NotTerminating"]}),
            json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
            json!({"hard": {"pods": "1"}, "scopes": ["Bogus"]}),
            selector(json!([{"scopeName": "Terminating", "operator": "In", "values": ["a"]}])),
            selector(json!([{"scopeName": "Bogus", "operator": "Exists"}])),
            class("In", json!([])),
            class("Exists", json!(["a"])),
            class("Like", json!([])),
            class("NotIn", json!(["a"])),
            selector(json!([
                {"scopeName": "Terminating", "operator": "Exists"},
                {"scopeName": "NotTerminating", "operator": "Exists"},
            ])),
        ];
        insta::assert_snapshot!(cases.iter().map(refused).collect::<Vec<_>>().join("\n"), @r#"
        good
        good
        [spec.hard[foo]: Invalid value: "foo": must be a standard resource type or fully qualified, spec.hard[foo]: Invalid value: "foo": must be a standard resource for quota]
        spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota
        [spec.hard[a b]: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), spec.hard[a b]: Invalid value: "a b": must be a standard resource for quota]
        [spec.hard[memory]: Invalid value: "-1Gi": must be greater than or equal to 0, spec.hard[pods]: Invalid value: "1500m": must be an integer]
        good
        spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource
        spec.scopes: Invalid value: ["NotTerminating"]: unsupported scope applied to resource
        spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes
        spec.scopes: Invalid value: ["Bogus"]: unsupported scope
        spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exist' only operator when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity
        spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Bogus": unsupported scope
        spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector
        spec.scopeSelector.matchExpressions.values: Invalid value: ["a"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector
        spec.scopeSelector.matchExpressions.operator: Invalid value: "Like": not a valid selector operator
        good
        spec.scopeSelector.matchExpressions: Invalid value: null: conflicting scopes
        "#);
    }

    #[test]
    fn scopes_stay() {
        let scoped = |scopes: Value| quota(&json!({"scopes": scopes}));
        let changed = |new: Value| {
            let mut errors = FieldErrors::default();
            validate_update(&scoped(new), &scoped(json!(["Terminating", "BestEffort"])), &mut errors);
            told(errors)
        };
        assert_eq!(changed(json!(["BestEffort", "Terminating"])), "good");
        assert_eq!(
            changed(json!(["BestEffort"])),
            r#"spec.scopes: Invalid value: ["BestEffort"]: field is immutable"#
        );
    }
}
