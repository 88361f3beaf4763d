//! Which nodes a Pod asks for: `nodeSelector`, required and preferred node affinity.
//!
//! The scheduler's filter and kubelet's admission ask the same question of a node's name and labels.

use std::collections::BTreeSet;
use std::ops::Range;

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorTerm, PodSpec};

use crate::labels::{Labels, Requirement, Test};

/// The only field of a node that a term may ask for.
const NAME_FIELD: &str = "metadata.name";

/// One term: all of its requirements must be met. Those about labels stand in the list that all terms share.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    labels: Range<usize>,
    fields: Vec<Requirement>,
}

impl Term {
    /// An empty term selects nothing, so there is none.
    fn of(written: &NodeSelectorTerm, requirements: &mut Vec<Requirement>) -> Option<Self> {
        let read = |written: &Option<Vec<_>>| -> Vec<Requirement> {
            written.iter().flatten().map(Requirement::from).collect()
        };
        let start = requirements.len();
        requirements.extend(read(&written.match_expressions));
        let term = Self { labels: start..requirements.len(), fields: read(&written.match_fields) };
        (!term.labels.is_empty() || !term.fields.is_empty()).then_some(term)
    }

    fn selects(&self, name: &str, is_met: &impl Fn(usize) -> bool) -> bool {
        self.labels.clone().all(is_met)
            && self.fields.iter().all(|field| field.key == NAME_FIELD && field.is_met_by(Some(name)))
    }

    /// The names to which the term confines itself.
    fn names(&self) -> Option<BTreeSet<&str>> {
        let on_name = self.fields.iter().filter(|field| field.key == NAME_FIELD);
        let sets = on_name.filter_map(|field| match &field.test {
            Test::In(names) => Some(names.iter().map(String::as_str).collect::<BTreeSet<_>>()),
            _ => None,
        });
        sets.reduce(|left, right| left.intersection(&right).copied().collect())
    }
}

/// What a Pod requires of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeRule {
    /// What is asked of labels, of `nodeSelector` first.
    requirements: Vec<Requirement>,
    /// How many of them are those of `nodeSelector`.
    selector: usize,
    /// One of these must select the node; `None` where the Pod has no required node affinity.
    terms: Option<Vec<Term>>,
}

impl NodeRule {
    /// What this Pod requires.
    pub fn of(spec: &PodSpec) -> Self {
        let selector = spec.node_selector.iter().flatten();
        let mut requirements: Vec<_> = selector.map(|(key, value)| Requirement::equal(key, value)).collect();
        let selector = requirements.len();
        let required = affinity(spec)
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let terms = required.map(|required| {
            let written = required.node_selector_terms.iter();
            written.filter_map(|written| Term::of(written, &mut requirements)).collect()
        });
        Self { requirements, selector, terms }
    }

    /// Whether any node will do.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && self.terms.is_none()
    }

    /// Whether this node will do.
    pub fn allows(&self, name: &str, labels: &Labels) -> bool {
        self.allows_where(name, |index| self.requirements[index].is_met(labels))
    }

    /// Everything that is asked of labels, in the order by which [`NodeRule::allows_where`] numbers it.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// As [`NodeRule::allows`], by one who knows which of the requirements the node's labels meet.
    pub fn allows_where(&self, name: &str, is_met: impl Fn(usize) -> bool) -> bool {
        (0..self.selector).all(&is_met)
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.selects(name, &is_met)))
    }

    /// The names of the only nodes that can do, where every term confines itself to names. An empty set means
    /// that the terms contradict themselves.
    pub fn names(&self) -> Option<BTreeSet<&str>> {
        let terms = self.terms.as_ref().filter(|terms| !terms.is_empty())?;
        let mut names = BTreeSet::new();
        for term in terms {
            names.extend(term.names()?);
        }
        Some(names)
    }
}

/// What a Pod would rather have of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePreferences {
    requirements: Vec<Requirement>,
    terms: Vec<(i64, Term)>,
}

impl NodePreferences {
    /// What this Pod would rather have.
    pub fn of(spec: &PodSpec) -> Self {
        let mut preferences = Self::default();
        let preferred = affinity(spec).into_iter().flat_map(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten()
        });
        for written in preferred.filter(|written| written.weight != 0) {
            if let Some(term) = Term::of(&written.preference, &mut preferences.requirements) {
                preferences.terms.push((written.weight.into(), term));
            }
        }
        preferences
    }

    /// Whether all nodes are alike to the Pod.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The sum of the weights of the terms that select this node.
    pub fn weight(&self, name: &str, labels: &Labels) -> i64 {
        self.weight_where(name, |index| self.requirements[index].is_met(labels))
    }

    /// Everything that is asked of labels, in the order by which [`NodePreferences::weight_where`] numbers it.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// As [`NodePreferences::weight`], by one who knows which of the requirements the node's labels meet.
    pub fn weight_where(&self, name: &str, is_met: impl Fn(usize) -> bool) -> i64 {
        self.terms.iter().filter(|(_, term)| term.selects(name, &is_met)).map(|(weight, _)| weight).sum()
    }
}

fn affinity(spec: &PodSpec) -> Option<&NodeAffinity> {
    spec.affinity.as_ref()?.node_affinity.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(written: &Value) -> PodSpec {
        let mut spec = json!({"containers": []});
        spec.as_object_mut().unwrap().extend(written.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn required(terms: &Value) -> NodeRule {
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        NodeRule::of(&spec(&json!({"affinity": {"nodeAffinity": required}})))
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn selector_and_one_of_the_terms_must_be_met() {
        let ssd = labels(&[("disk", "ssd")]);
        assert!(NodeRule::of(&spec(&json!({}))).is_empty());
        let selector = NodeRule::of(&spec(&json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(selector.allows("a", &ssd) && !selector.allows("a", &labels(&[])));
        let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "disk", "operator": operator, "values": values}]});
        let either = required(&json!([expression("In", json!(["hdd"])), expression("Exists", json!(null))]));
        assert!(either.allows("a", &ssd) && !either.allows("a", &labels(&[])));
        // No term, or an empty one, selects nothing.
        assert!(!required(&json!([])).allows("a", &ssd));
        assert!(!required(&json!([{}])).allows("a", &ssd));
    }

    #[test]
    fn fields_name_nodes() {
        let named = |values: Value| json!({"key": NAME_FIELD, "operator": "In", "values": values});
        let one = required(&json!([{"matchFields": [named(json!(["a"]))]}]));
        assert!(one.allows("a", &labels(&[])) && !one.allows("b", &labels(&[])));
        assert_eq!(one.names(), Some(["a"].into()));
        let both = required(&json!([
            {"matchFields": [named(json!(["a", "b"])), named(json!(["b", "c"]))]},
            {"matchFields": [named(json!(["d"]))]},
        ]));
        assert_eq!(both.names(), Some(["b", "d"].into()));
        let contradiction = required(&json!([{"matchFields": [named(json!(["a"])), named(json!(["b"]))]}]));
        assert_eq!(contradiction.names(), Some(BTreeSet::new()));
        let open = json!([{"matchFields": [named(json!(["a"]))]}, {"matchExpressions": [{"key": "x", "operator": "Exists"}]}]);
        assert_eq!(required(&open).names(), None);
    }

    #[test]
    fn preferences_add_up() {
        let term = |weight: i32, key: &str| json!({"weight": weight, "preference": {"matchExpressions": [{"key": key, "operator": "Exists"}]}});
        let empty = json!({"weight": 50, "preference": {}});
        let written = json!([term(10, "a"), term(5, "b"), empty]);
        let affinity = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": written}});
        let preferences = NodePreferences::of(&spec(&json!({"affinity": affinity})));
        assert_eq!(preferences.weight("n", &labels(&[("a", ""), ("b", "")])), 15);
        assert_eq!(preferences.weight("n", &labels(&[("b", "")])), 5);
        assert_eq!(preferences.weight("n", &labels(&[])), 0);
    }
}
