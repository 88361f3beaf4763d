//! Scopes: which Pods a quota is about.

use k8s_openapi::api::core::v1::{
    Pod, PodAffinityTerm, ResourceQuotaSpec, ScopedResourceSelectorRequirement,
};

use crate::qos::QosClass;

/// What scopes ask of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Traits {
    /// It has a deadline: it is meant to end.
    terminating: bool,
    best_effort: bool,
    priority_class: Option<String>,
    /// It wants to be near to, or far from, Pods of other namespaces.
    cross_namespace: bool,
}

impl Traits {
    pub(super) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let deadline = spec.and_then(|spec| spec.active_deadline_seconds);
        Self {
            terminating: deadline.is_some_and(|seconds| seconds >= 0),
            best_effort: QosClass::of_pod(pod) == QosClass::BestEffort,
            priority_class: spec
                .and_then(|spec| spec.priority_class_name.clone())
                .filter(|name| !name.is_empty()),
            cross_namespace: affinity_terms(pod).any(|term| {
                term.namespace_selector.is_some() || term.namespaces.iter().flatten().next().is_some()
            }),
        }
    }

    pub(super) fn are_in(&self, selector: &ScopedResourceSelectorRequirement) -> bool {
        match selector.scope_name.as_str() {
            "Terminating" => self.terminating,
            "NotTerminating" => !self.terminating,
            "BestEffort" => self.best_effort,
            "NotBestEffort" => !self.best_effort,
            "PriorityClass" => is_selected(self.priority_class.as_ref(), selector),
            "CrossNamespacePodAffinity" => self.cross_namespace,
            _ => false,
        }
    }
}

/// What is absent is in no list, and so not in the list of `NotIn`.
fn is_selected(value: Option<&String>, selector: &ScopedResourceSelectorRequirement) -> bool {
    let listed =
        value.is_some_and(|value| selector.values.as_ref().is_some_and(|values| values.contains(value)));
    match selector.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// The scopes of a quota, both forms in one: a plain scope is one that must exist.
pub(super) fn selectors(spec: &ResourceQuotaSpec) -> Vec<ScopedResourceSelectorRequirement> {
    let plain = spec.scopes.iter().flatten().map(|scope| ScopedResourceSelectorRequirement {
        operator: "Exists".to_owned(),
        scope_name: scope.clone(),
        values: None,
    });
    let selector =
        spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    plain.chain(selector.cloned()).collect()
}

fn affinity_terms(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let required = near
        .into_iter()
        .flat_map(|near| near.required_during_scheduling_ignored_during_execution.iter().flatten())
        .chain(
            far.into_iter()
                .flat_map(|far| far.required_during_scheduling_ignored_during_execution.iter().flatten()),
        );
    let preferred = near
        .into_iter()
        .flat_map(|near| near.preferred_during_scheduling_ignored_during_execution.iter().flatten())
        .chain(
            far.into_iter()
                .flat_map(|far| far.preferred_during_scheduling_ignored_during_execution.iter().flatten()),
        );
    required.chain(preferred.map(|preferred| &preferred.pod_affinity_term))
}
