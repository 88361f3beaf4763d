//! Which nodes a Pod asks for: `nodeSelector`, required and preferred node affinity.
//!
//! The scheduler's filter and kubelet's admission ask the same question of a node's name and labels.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorTerm, PodSpec};

use crate::labels::{Labels, Requirement, Test};

/// The only field of a node that a term may ask for.
const NAME_FIELD: &str = "metadata.name";

/// One term: all of its requirements must be met.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl Term {
    /// An empty term selects nothing, so there is none.
    fn of(written: &NodeSelectorTerm) -> Option<Self> {
        let read = |written: &Option<Vec<_>>| written.iter().flatten().map(Requirement::from).collect();
        let term = Self { labels: read(&written.match_expressions), fields: read(&written.match_fields) };
        (!term.labels.is_empty() || !term.fields.is_empty()).then_some(term)
    }

    fn selects(&self, name: &str, labels: &Labels) -> bool {
        self.labels.iter().all(|requirement| requirement.is_met(labels))
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
    selector: Vec<Requirement>,
    /// One of these must select the node; `None` where the Pod has no required node affinity.
    terms: Option<Vec<Term>>,
}

impl NodeRule {
    /// What this Pod requires.
    pub fn of(spec: &PodSpec) -> Self {
        let selector = spec.node_selector.iter().flatten();
        let selector = selector.map(|(key, value)| Requirement::equal(key, value)).collect();
        let required = affinity(spec)
            .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        let terms =
            required.map(|required| required.node_selector_terms.iter().filter_map(Term::of).collect());
        Self { selector, terms }
    }

    /// Whether any node will do.
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    /// Whether this node will do.
    pub fn allows(&self, name: &str, labels: &Labels) -> bool {
        self.selector.iter().all(|requirement| requirement.is_met(labels))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.selects(name, labels)))
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
pub struct NodePreferences(Vec<(i64, Term)>);

impl NodePreferences {
    /// What this Pod would rather have.
    pub fn of(spec: &PodSpec) -> Self {
        let preferred = affinity(spec).into_iter().flat_map(|affinity| {
            affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten()
        });
        let weighed = preferred.filter(|term| term.weight != 0);
        Self(weighed.filter_map(|term| Some((term.weight.into(), Term::of(&term.preference)?))).collect())
    }

    /// Whether all nodes are alike to the Pod.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum of the weights of the terms that select this node.
    pub fn weight(&self, name: &str, labels: &Labels) -> i64 {
        self.0.iter().filter(|(_, term)| term.selects(name, labels)).map(|(weight, _)| weight).sum()
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
