//! What a Pod asks of the Pods around it: affinity, anti-affinity and spreading, read once from the spec.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Pod, PodAffinityTerm, PodSpec, TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use memlet_policy::labels::{Labels, Requirement, Selector, Test};

use super::namespaces::Namespaces;
use super::topology::TopologyId;

/// Pods of some namespaces and labels, and the label of nodes by which "near" is meant.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) selector: Selector,
    namespaces: BTreeSet<String>,
    namespace_selector: Selector,
    pub(crate) topology: TopologyId,
}

impl Term {
    /// Whether Pods of this namespace are meant.
    pub(crate) fn covers(&self, namespace: &str, known: &Namespaces) -> bool {
        self.namespaces.contains(namespace)
            || match &self.namespace_selector {
                Selector::Nothing => false,
                selector @ Selector::All(_) => known.matches(namespace, selector),
            }
    }

    /// Whether a Pod with this namespace and these labels is meant.
    pub(crate) fn matches(&self, namespace: &str, labels: &Labels, known: &Namespaces) -> bool {
        self.covers(namespace, known) && self.selector.matches(labels)
    }
}

/// All affinity terms of a Pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) required: Vec<Term>,
    pub(crate) required_anti: Vec<Term>,
    /// With their weights; those of anti-affinity are negative.
    pub(crate) preferred: Vec<(i64, Term)>,
}

impl Terms {
    pub(crate) fn of(pod: &Pod, follow: &mut impl FnMut(&str) -> TopologyId) -> Self {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let mut terms = Self::default();
        if let Some(near) = near {
            let required = near.required_during_scheduling_ignored_during_execution.iter().flatten();
            terms.required = required.map(|written| term(pod, written, follow)).collect();
            let preferred = near.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.preferred.extend(preferred.map(|written| weighted(pod, written, 1, follow)));
        }
        if let Some(far) = far {
            let required = far.required_during_scheduling_ignored_during_execution.iter().flatten();
            terms.required_anti = required.map(|written| term(pod, written, follow)).collect();
            let preferred = far.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            terms.preferred.extend(preferred.map(|written| weighted(pod, written, -1, follow)));
        }
        terms
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.required.is_empty() && self.required_anti.is_empty() && self.preferred.is_empty()
    }
}

fn weighted(
    pod: &Pod,
    written: &WeightedPodAffinityTerm,
    sign: i64,
    follow: &mut impl FnMut(&str) -> TopologyId,
) -> (i64, Term) {
    (sign * i64::from(written.weight), term(pod, &written.pod_affinity_term, follow))
}

fn term(pod: &Pod, written: &PodAffinityTerm, follow: &mut impl FnMut(&str) -> TopologyId) -> Term {
    let mut selector = Selector::of(written.label_selector.as_ref());
    for (key, value) in own_labels(pod, written.match_label_keys.as_ref()) {
        selector = selector.and(Requirement::equal(key, value));
    }
    for (key, value) in own_labels(pod, written.mismatch_label_keys.as_ref()) {
        selector = selector.and(Requirement { key: key.clone(), test: Test::NotIn(vec![value.clone()]) });
    }
    let mut namespaces: BTreeSet<String> = written.namespaces.iter().flatten().cloned().collect();
    if namespaces.is_empty() && written.namespace_selector.is_none() {
        namespaces.extend(pod.metadata.namespace.clone());
    }
    Term {
        selector,
        namespaces,
        namespace_selector: Selector::of(written.namespace_selector.as_ref()),
        topology: follow(&written.topology_key),
    }
}

/// The Pod's own values of the labels with these keys. An API server may have written them into the selector already;
/// asking twice changes nothing.
fn own_labels<'a>(
    pod: &'a Pod,
    keys: Option<&'a Vec<String>>,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let labels = pod.metadata.labels.as_ref();
    keys.into_iter().flatten().filter_map(move |key| labels?.get_key_value(key))
}

/// One constraint on how unevenly Pods may be spread.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) selector: Selector,
    pub(crate) topology: TopologyId,
    /// Whether the label is the host name, which scores count apart.
    pub(crate) by_host: bool,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: usize,
    /// Whether nodes that the Pod's node affinity excludes are left out of the count.
    pub(crate) honours_affinity: bool,
    /// Whether nodes with taints that the Pod does not tolerate are left out of the count.
    pub(crate) honours_taints: bool,
}

/// The constraints of a Pod: those that must hold, and those that only count in scores.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spreads {
    pub(crate) hard: Vec<Spread>,
    pub(crate) soft: Vec<Spread>,
}

const HOST_NAME: &str = "kubernetes.io/hostname";

impl Spreads {
    pub(crate) fn of(pod: &Pod, spec: &PodSpec, follow: &mut impl FnMut(&str) -> TopologyId) -> Self {
        let mut spreads = Self::default();
        for written in spec.topology_spread_constraints.iter().flatten() {
            let spread = spread(pod, written, follow);
            match written.when_unsatisfiable.as_str() {
                "ScheduleAnyway" => spreads.soft.push(spread),
                _ => spreads.hard.push(spread),
            }
        }
        spreads
    }
}

fn spread(
    pod: &Pod,
    written: &TopologySpreadConstraint,
    follow: &mut impl FnMut(&str) -> TopologyId,
) -> Spread {
    let mut selector = Selector::of(written.label_selector.as_ref());
    for (key, value) in own_labels(pod, written.match_label_keys.as_ref()) {
        selector = selector.and(Requirement::equal(key, value));
    }
    Spread {
        selector,
        topology: follow(&written.topology_key),
        by_host: written.topology_key == HOST_NAME,
        max_skew: written.max_skew.into(),
        min_domains: written.min_domains.and_then(|least| usize::try_from(least).ok()).unwrap_or(1),
        honours_affinity: written.node_affinity_policy.as_deref() != Some("Ignore"),
        honours_taints: written.node_taints_policy.as_deref() == Some("Honor"),
    }
}
