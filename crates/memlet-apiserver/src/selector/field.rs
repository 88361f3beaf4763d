//! Field selectors: `spec.nodeName=a,status.phase!=Failed` (apimachinery's `pkg/fields`).

use crate::storage::StoredObject;

#[derive(Clone, Debug, Default)]
pub(super) struct FieldSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    Own(&'static str),
}

impl FieldSelector {
    pub(super) fn parse(text: &str, selectable: &[&'static str]) -> Result<Self, String> {
        terms(text)
            .into_iter()
            .map(|term| Requirement::parse(&term, selectable))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn matches(&self, object: &StoredObject) -> bool {
        self.0
            .iter()
            .all(|requirement| (requirement.field.of(object) == requirement.value) == requirement.equal)
    }
}

impl Field {
    fn parse(label: &str, selectable: &[&'static str]) -> Result<Self, String> {
        match label {
            "metadata.name" => Ok(Self::Name),
            "metadata.namespace" => Ok(Self::Namespace),
            // Upstream's compatibility spelling.
            "spec.host" if selectable.contains(&"spec.nodeName") => Ok(Self::Own("spec.nodeName")),
            _ => selectable
                .iter()
                .find(|field| **field == label)
                .map(|field| Self::Own(stored_name(field)))
                .ok_or_else(|| format!("field label not supported: {label}")),
        }
    }

    fn of<'a>(&self, object: &'a StoredObject) -> &'a str {
        match self {
            Self::Name => &object.key.name,
            Self::Namespace => &object.key.namespace,
            Self::Own(field) => {
                object.fields.iter().find(|(name, _)| name == field).map_or("", |(_, value)| value.as_str())
            }
        }
    }
}

/// What a field is called where it is stored: events of both groups are stored with core's names.
fn stored_name(label: &'static str) -> &'static str {
    match label {
        "regarding.kind" => "involvedObject.kind",
        "regarding.namespace" => "involvedObject.namespace",
        "regarding.name" => "involvedObject.name",
        "regarding.uid" => "involvedObject.uid",
        "regarding.apiVersion" => "involvedObject.apiVersion",
        "regarding.resourceVersion" => "involvedObject.resourceVersion",
        "regarding.fieldPath" => "involvedObject.fieldPath",
        "reportingController" => "reportingComponent",
        other => other,
    }
}

impl Requirement {
    fn parse(term: &str, selectable: &[&'static str]) -> Result<Self, String> {
        // The first of the three operators decides; `==` before `=`, since both start alike.
        let invalid = || format!("invalid selector: '{term}'; can't understand '{term}'");
        let at = term.find(['=', '!']).ok_or_else(invalid)?;
        let (label, rest) = term.split_at(at);
        let (equal, value) = match rest.strip_prefix("!=") {
            Some(value) => (false, value),
            None => (true, rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')).ok_or_else(invalid)?),
        };
        let value = unescape(value)
            .ok_or_else(|| format!("invalid field selector: unescaped or bad escape in {value:?}"))?;
        Ok(Self { field: Field::parse(label, selectable)?, equal, value })
    }
}

/// The terms between commas that no backslash protects; empty ones are skipped.
fn terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut escaped = false;
    for letter in text.chars() {
        match letter {
            ',' if !escaped => terms.push(String::new()),
            _ => terms.iter_mut().last().into_iter().for_each(|term| term.push(letter)),
        }
        escaped = letter == '\\' && !escaped;
    }
    terms.retain(|term| !term.is_empty());
    terms
}

/// `\\`, `\,` and `\=` stand for the letter; any other use of these letters is an error.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next()? {
                protected @ ('\\' | ',' | '=') => plain.push(protected),
                _ => return None,
            },
            ',' | '=' => return None,
            _ => plain.push(letter),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Key;

    fn matches(selector: &str) -> Result<bool, String> {
        let object = StoredObject {
            fields: vec![("spec.nodeName", "n,1".to_owned()), ("status.phase", "Running".to_owned())],
            ..StoredObject::bare(Key::new("default", "a"), 1)
        };
        FieldSelector::parse(selector, &["spec.nodeName", "status.phase"])
            .map(|parsed| parsed.matches(&object))
    }

    #[test]
    fn operators_and_escapes() {
        for (selector, expected) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=default", true),
            ("metadata.name!=a", false),
            (r"spec.nodeName=n\,1", true),
            ("spec.host!=x", true),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("status.phase=", false),
            ("metadata.name=b,status.phase=Running", false),
        ] {
            assert_eq!(matches(selector), Ok(expected), "{selector}");
        }
    }

    #[test]
    fn what_is_not_a_selector_is_refused() {
        assert_eq!(matches("spec.foo=1"), Err("field label not supported: spec.foo".to_owned()));
        for bad in ["spec.nodeName", "spec.nodeName=a=b", r"status.phase=\x", "status.phase!Running"] {
            assert!(matches(bad).is_err(), "{bad}");
        }
    }
}
