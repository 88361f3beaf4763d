//! Label selectors: `app=web,tier in (a, b),!old` (apimachinery's `pkg/labels`).

use crate::names;
use crate::storage::Labels;

#[derive(Clone, Debug, Default)]
pub(super) struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    /// Also true where the label is absent.
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for term in terms(text) {
            requirements.push(Requirement::parse(term.trim())?);
        }
        Ok(Self(requirements))
    }

    pub(super) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.test.holds(labels.get(&requirement.key)))
    }
}

impl Test {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |values: &Vec<String>| values.iter().any(|other| Some(other.as_str()) == value);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::Exists => value.is_some(),
            Self::Absent => value.is_none(),
            Self::In(values) => among(values),
            Self::NotIn(values) => !among(values),
            Self::Greater(bound) => number().is_some_and(|number| number > *bound),
            Self::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl Requirement {
    fn parse(term: &str) -> Result<Self, String> {
        let (key, test) = if let Some(key) = term.strip_prefix('!') {
            (key, Test::Absent)
        } else if let Some((key, values)) = set(term, " notin") {
            (key, Test::NotIn(values?))
        } else if let Some((key, values)) = set(term, " in") {
            (key, Test::In(values?))
        } else if let Some(at) = term.find(['=', '!', '>', '<']) {
            let (key, rest) = term.split_at(at);
            (key, comparison(rest).ok_or_else(|| unparsable(term))?)
        } else {
            (term, Test::Exists)
        };
        let key = key.trim();
        match names::qualified(key).into_iter().next() {
            None => Ok(Self { key: key.to_owned(), test }),
            Some(why) => Err(format!("unable to parse requirement: <nil>: Invalid value: {key:?}: {why}")),
        }
    }
}

fn unparsable(term: &str) -> String {
    format!("unable to parse requirement: cannot understand '{term}'")
}

/// `key in (a, b)` and `key notin (a, b)`.
fn set<'a>(term: &'a str, operator: &str) -> Option<(&'a str, Result<Vec<String>, String>)> {
    let (key, rest) = term.split_once(operator)?;
    let rest = rest.trim();
    if !rest.starts_with('(') {
        return None;
    }
    let values = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let values = values.map(|values| values.split(',').map(|value| value.trim().to_owned()).collect());
    Some((key, values.ok_or_else(|| unparsable(term))))
}

fn comparison(rest: &str) -> Option<Test> {
    let one = |value: &str| vec![value.trim().to_owned()];
    let plain = |value: &&str| names::label_value(value.trim()).is_empty();
    if let Some(value) = rest.strip_prefix("!=").filter(plain) {
        Some(Test::NotIn(one(value)))
    } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).filter(plain) {
        Some(Test::In(one(value)))
    } else if let Some(value) = rest.strip_prefix('>') {
        value.trim().parse().ok().map(Test::Greater)
    } else {
        rest.strip_prefix('<').and_then(|value| value.trim().parse().ok()).map(Test::Less)
    }
}

/// The terms between commas outside of parentheses.
fn terms(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let terms = text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth <= 0
    });
    terms.filter(|term| !term.trim().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str) -> Result<bool, String> {
        let labels = [("app", "web"), ("tier", "a"), ("n", "5")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
        LabelSelector::parse(selector).map(|parsed| parsed.matches(&labels))
    }

    #[test]
    fn every_operator() {
        for (selector, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!old", true),
            ("app=web,tier==a", true),
            ("app = web", true),
            ("app!=web", false),
            ("other!=web", true),
            ("tier in (a, b)", true),
            ("tier notin (a,b)", false),
            ("other notin (a)", true),
            ("tier in (b),app=web", false),
            ("n>4", true),
            ("n<5", false),
        ] {
            assert_eq!(matches(selector), Ok(expected), "{selector}");
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused() {
        for bad in ["=a", "a b", "app in (x", "n>x", "a=b=c", "Ex_/x=1"] {
            assert!(matches(bad).is_err(), "{bad}");
        }
    }
}
