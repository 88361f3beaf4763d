//! What differs between two states of an object, field by field.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{self, Element, FieldSet};
use crate::schema::{Shape, Type};

/// The fields that a change touches.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Added or given another value.
    pub(super) changed: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    pub(super) fn of(old: &Value, new: &Value, root: &'static Type) -> Self {
        let mut found = Self::default();
        compare(Some(old), Some(new), Shape::Struct(root), &mut found);
        found
    }

    /// Leaves these fields, and all below them, out of account.
    pub(super) fn ignore(&mut self, fields: &FieldSet) {
        self.changed.subtract_deep(fields);
        self.removed.subtract_deep(fields);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

fn compare(old: Option<&Value>, new: Option<&Value>, shape: Shape, found: &mut Comparison) {
    match shape {
        Shape::Whole => return whole(old, new, found),
        Shape::Struct(_) | Shape::Map => {
            let (Some(olds), Some(news)) = (entries(old), entries(new)) else {
                return whole(old, new, found);
            };
            if is_bare(olds) && is_bare(news) {
                return whole(old, new, found);
            }
            fields(olds, news, shape, found);
        }
        Shape::Set | Shape::Keyed(..) => {
            let (Some(olds), Some(news)) = (items(old), items(new)) else {
                return whole(old, new, found);
            };
            if olds.is_empty() && news.is_empty() {
                return whole(old, new, found);
            }
            elements(olds, news, shape, found);
        }
    }
    found.changed.member |= old.is_none();
    found.removed.member |= new.is_none();
}

/// A value that is compared as one.
fn whole(old: Option<&Value>, new: Option<&Value>, found: &mut Comparison) {
    match (old, new) {
        (_, None) => found.removed.member |= old.is_some(),
        _ => found.changed.member |= old != new,
    }
}

fn is_bare(map: Option<&Map<String, Value>>) -> bool {
    map.is_none_or(Map::is_empty)
}

/// `Some(None)` where there is nothing, `None` where the value is no object.
#[expect(clippy::option_option, reason = "nothing and something else are two answers")]
fn entries(value: Option<&Value>) -> Option<Option<&Map<String, Value>>> {
    match value {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_object().map(Some),
    }
}

/// `None` where the value is no list.
pub(super) fn items(value: Option<&Value>) -> Option<&[Value]> {
    match value {
        None | Some(Value::Null) => Some(&[]),
        Some(value) => value.as_array().map(Vec::as_slice),
    }
}

fn fields(
    olds: Option<&Map<String, Value>>,
    news: Option<&Map<String, Value>>,
    shape: Shape,
    found: &mut Comparison,
) {
    let mut visit = |name: &str, old: Option<&Value>, new: Option<&Value>| {
        // Most of an object does not change.
        if old == new {
            return;
        }
        let inner = match shape {
            Shape::Struct(of) => of.shape(name, [old, new]),
            _ => Shape::Whole,
        };
        descend(set::field(name), |found| compare(old, new, inner, found), found);
    };
    for (name, old) in olds.into_iter().flatten() {
        visit(name, Some(old), news.and_then(|news| news.get(name)));
    }
    for (name, new) in news.into_iter().flatten() {
        if olds.is_none_or(|olds| !olds.contains_key(name)) {
            visit(name, None, Some(new));
        }
    }
}

fn descend(element: Element, visit: impl FnOnce(&mut Comparison), found: &mut Comparison) {
    let mut below = Comparison::default();
    visit(&mut below);
    if !below.removed.is_empty() {
        found.removed.put(element.clone(), below.removed);
    }
    found.changed.put(element, below.changed);
}

/// The element of an item in a list of this shape.
pub(super) fn element(item: &Value, shape: Shape) -> Element {
    match shape {
        Shape::Keyed(keys, _) => set::keyed(item, keys),
        _ => set::value(item),
    }
}

/// The shape of the items of a list of this shape.
pub(super) fn item_shape(shape: Shape) -> Shape {
    match shape {
        Shape::Keyed(_, item) => *item,
        _ => Shape::Whole,
    }
}

fn elements(olds: &[Value], news: &[Value], shape: Shape, found: &mut Comparison) {
    let mut both: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for old in olds {
        both.entry(element(old, shape)).or_default().0.push(old);
    }
    for new in news {
        both.entry(element(new, shape)).or_default().1.push(new);
    }
    let inner = item_shape(shape);
    for (element, (olds, news)) in both {
        match (&olds[..], &news[..]) {
            ([_] | [], [_] | []) => {
                let (old, new) = (olds.first().copied(), news.first().copied());
                if old != new {
                    descend(element, |found| compare(old, new, inner, found), found);
                }
            }
            // Elements that cannot be told apart count together.
            (olds, news) if olds == news => {}
            (_, []) => found.removed.put(element, FieldSet::leaf()),
            _ => found.changed.put(element, FieldSet::leaf()),
        }
    }
}

/// All fields that a value states.
pub(super) fn stated(value: &Value, root: &'static Type) -> FieldSet {
    let mut found = FieldSet::default();
    state(value, Shape::Struct(root), &mut found);
    found
}

fn state(value: &Value, shape: Shape, found: &mut FieldSet) {
    match (value, shape) {
        (Value::Null, Shape::Struct(_) | Shape::Map | Shape::Set | Shape::Keyed(..)) => {}
        (Value::Object(map), Shape::Struct(_) | Shape::Map) => {
            for (name, value) in map {
                let mut below = FieldSet::default();
                let inner = match shape {
                    Shape::Struct(of) => of.shape(name, [Some(value)]),
                    _ => Shape::Whole,
                };
                state(value, inner, &mut below);
                below.member |= value.is_null() || value.as_object().is_some_and(Map::is_empty);
                found.put(set::field(name), below);
            }
        }
        (Value::Array(items), Shape::Set | Shape::Keyed(..)) => {
            for item in items {
                let mut below = FieldSet::leaf();
                state(item, item_shape(shape), &mut below);
                below.member = true;
                found.put(element(item, shape), below);
            }
        }
        _ => found.member = true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use serde_json::json;

    fn difference(old: &Value, new: &Value) -> (Vec<String>, Vec<String>) {
        let found = Comparison::of(old, new, &schema::POD);
        (found.changed.paths(), found.removed.paths())
    }

    #[test]
    fn structs_maps_and_lists_differ_field_by_field() {
        let old = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/y"]},
            "spec": {
                "containers": [{"name": "a", "image": "i:1", "args": ["1"]}],
                "nodeSelector": {"a": "b"}, "hostPID": true,
            },
        });
        let new = json!({
            "metadata": {"labels": {"a": "1", "b": "3"}, "finalizers": ["x/z"]},
            "spec": {
                "containers": [{"name": "a", "image": "i:2", "args": ["2"]}, {"name": "b", "resources": {}}],
                "nodeSelector": {"a": "c"},
            },
        });
        let (changed, removed) = difference(&old, &new);
        assert_eq!(
            changed,
            [
                r#".metadata.finalizers[="x/z"]"#,
                ".metadata.labels.b",
                r#".spec.containers[name="a"].args"#,
                r#".spec.containers[name="a"].image"#,
                r#".spec.containers[name="b"]"#,
                r#".spec.containers[name="b"].name"#,
                r#".spec.containers[name="b"].resources"#,
                ".spec.nodeSelector",
            ]
        );
        assert_eq!(removed, [r#".metadata.finalizers[="x/y"]"#, ".spec.hostPID"]);
        assert_eq!(difference(&old, &old), (vec![], vec![]));
    }

    #[test]
    fn elements_that_cannot_be_told_apart_count_together() {
        let twice = json!({"spec": {"containers": [{"name": "a"}, {"name": "a", "image": "i"}]}});
        let once = json!({"spec": {"containers": [{"name": "a"}]}});
        assert_eq!(difference(&twice, &twice).0, Vec::<String>::new());
        assert_eq!(difference(&once, &twice).0, [r#".spec.containers[name="a"]"#]);
    }

    #[test]
    fn what_a_configuration_states() {
        let config = json!({
            "spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "1Mi"}}, "securityContext": {}}]},
        });
        assert_eq!(
            stated(&config, &schema::POD).paths(),
            [
                r#".spec.containers[name="a"]"#,
                r#".spec.containers[name="a"].name"#,
                r#".spec.containers[name="a"].resources.limits.memory"#,
                r#".spec.containers[name="a"].securityContext"#,
            ]
        );
    }
}
