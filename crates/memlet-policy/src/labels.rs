//! Whether labels satisfy a selector: `matchLabels`, `matchExpressions`, and the node selector's comparisons.
//!
//! A selector is read once and then asked often. One that cannot be read (an unknown operator, a bound that is no
//! number) matches nothing, as upstream's error does where it is used for placement.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeSelectorRequirement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels, as objects carry them.
pub type Labels = BTreeMap<String, String>;

/// What one label must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of its value.
    pub test: Test,
}

/// What is asked of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// It is there and one of these.
    In(Vec<String>),
    /// It is absent or none of these.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
    /// It is a whole number above this one.
    Above(i64),
    /// It is a whole number below this one.
    Below(i64),
    /// What was written asks for nothing that can be.
    Impossible,
}

impl Requirement {
    /// The label has exactly this value.
    pub fn equal(key: &str, value: &str) -> Self {
        Self { key: key.to_owned(), test: Test::In(vec![value.to_owned()]) }
    }

    fn read(key: &str, operator: &str, values: Option<&Vec<String>>) -> Self {
        let values = values.cloned().unwrap_or_default();
        let bound = || match values.as_slice() {
            [bound] => bound.parse().ok(),
            _ => None,
        };
        let test = match operator {
            "In" => Test::In(values),
            "NotIn" => Test::NotIn(values),
            "Exists" => Test::Exists,
            "DoesNotExist" => Test::DoesNotExist,
            "Gt" => bound().map_or(Test::Impossible, Test::Above),
            "Lt" => bound().map_or(Test::Impossible, Test::Below),
            _ => Test::Impossible,
        };
        Self { key: key.to_owned(), test }
    }

    /// Whether labels satisfy it.
    pub fn is_met(&self, labels: &Labels) -> bool {
        self.is_met_by(labels.get(&self.key).map(String::as_str))
    }

    /// Whether a value, or its absence, satisfies it.
    pub fn is_met_by(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        let among = |values: &[String]| value.is_some_and(|value| values.iter().any(|one| one == value));
        match &self.test {
            Test::In(values) => among(values),
            Test::NotIn(values) => !among(values),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::Above(bound) => number().is_some_and(|number| number > *bound),
            Test::Below(bound) => number().is_some_and(|number| number < *bound),
            Test::Impossible => false,
        }
    }
}

impl From<&NodeSelectorRequirement> for Requirement {
    fn from(written: &NodeSelectorRequirement) -> Self {
        Self::read(&written.key, &written.operator, written.values.as_ref())
    }
}

/// A label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// No selector: it matches nothing.
    Nothing,
    /// All of these must be met; where there are none, everything matches.
    All(Vec<Requirement>),
}

impl Selector {
    /// Reads `matchLabels` and `matchExpressions`. An absent selector matches nothing, an empty one everything.
    pub fn of(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self::Nothing };
        let labels = selector.match_labels.iter().flatten();
        let expressions = selector.match_expressions.iter().flatten();
        let requirements =
            labels.map(|(key, value)| Requirement::equal(key, value)).chain(expressions.map(|written| {
                match written.operator.as_str() {
                    // Comparisons are the node selector's only.
                    "Gt" | "Lt" => Requirement { key: written.key.clone(), test: Test::Impossible },
                    operator => Requirement::read(&written.key, operator, written.values.as_ref()),
                }
            }));
        Self::All(requirements.collect())
    }

    /// The same selector with one more requirement.
    #[must_use]
    pub fn and(self, requirement: Requirement) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::All(mut requirements) => {
                requirements.push(requirement);
                Self::All(requirements)
            }
        }
    }

    /// Whether it is the empty selector, which matches whatever there is.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(requirements) if requirements.is_empty())
    }

    /// What is asked, for an index to look up; nothing for [`Selector::Nothing`].
    pub fn requirements(&self) -> &[Requirement] {
        match self {
            Self::Nothing => &[],
            Self::All(requirements) => requirements,
        }
    }

    /// Whether labels satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(requirements) => requirements.iter().all(|requirement| requirement.is_met(labels)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(text: &str) -> Labels {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn every_operator_says_what_upstream_says() {
        for (operator, values, met, unmet) in [
            ("In", json!(["a", "b"]), &["k=a", "k=b"][..], &["k=c", ""][..]),
            ("NotIn", json!(["a"]), &["k=b", ""], &["k=a"]),
            ("Exists", json!(null), &["k=", "k=a"], &[""]),
            ("DoesNotExist", json!(null), &["", "other=a"], &["k=a"]),
            ("Gt", json!(["5"]), &["k=6"], &["k=5", "k=x", ""]),
            ("Lt", json!(["5"]), &["k=4", "k=-7"], &["k=5", "k=x", ""]),
            ("Gt", json!(["x"]), &[], &["k=6", ""]),
            ("Lt", json!(["1", "2"]), &[], &["k=0"]),
            ("Like", json!(["a"]), &[], &["k=a", ""]),
        ] {
            let written = json!({"key": "k", "operator": operator, "values": values});
            let written: NodeSelectorRequirement = serde_json::from_value(written).unwrap();
            let requirement = Requirement::from(&written);
            for text in met {
                assert!(requirement.is_met(&labels(text)), "{requirement:?} of {text:?}");
            }
            for text in unmet {
                assert!(!requirement.is_met(&labels(text)), "{requirement:?} of {text:?}");
            }
        }
    }

    #[test]
    fn absent_matches_nothing_and_empty_everything() {
        assert!(!Selector::of(None).matches(&labels("a=b")));
        let empty = Selector::of(Some(&LabelSelector::default()));
        assert!(empty.is_everything() && empty.matches(&labels("")));
        let written = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["test"]},
        ]});
        let selector = Selector::of(Some(&serde_json::from_value(written).unwrap()));
        assert!(selector.matches(&labels("app=web")) && selector.matches(&labels("app=web tier=x")));
        assert!(!selector.matches(&labels("app=web tier=test")) && !selector.matches(&labels("tier=x")));
        let narrower = selector.and(Requirement::equal("hash", "1"));
        assert!(!narrower.matches(&labels("app=web")) && narrower.matches(&labels("app=web hash=1")));
        let comparing = json!({"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["1"]}]});
        assert!(!Selector::of(Some(&serde_json::from_value(comparing).unwrap())).matches(&labels("n=2")));
    }
}
