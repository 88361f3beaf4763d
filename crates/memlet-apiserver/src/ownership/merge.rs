//! An applied configuration put over an object, and fields taken out of one (`structured-merge-diff`'s merge and remove).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::compare::{element, item_shape};
use super::set::{self, Element, FieldSet};
use crate::schema::{Shape, Type};

/// The live object with everything that the configuration states.
pub(super) fn merged(live: &Value, config: &Value, root: &'static Type) -> Value {
    merge(Some(live), config, Shape::Struct(root))
}

fn merge(live: Option<&Value>, config: &Value, shape: Shape) -> Value {
    match (live, config, shape) {
        (live, Value::Object(config), Shape::Struct(_) | Shape::Map) => {
            let mut map = live.and_then(Value::as_object).cloned().unwrap_or_default();
            for (name, value) in config {
                let inner = match shape {
                    Shape::Struct(of) => of.shape(name, [map.get(name), Some(value)]),
                    _ => Shape::Whole,
                };
                let value = merge(map.get(name), value, inner);
                map.insert(name.clone(), value);
            }
            Value::Object(map)
        }
        (live, Value::Array(config), Shape::Set | Shape::Keyed(..)) => {
            let live = live.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            Value::Array(merge_lists(live, config, shape))
        }
        (_, config, _) => config.clone(),
    }
}

/// The configuration's elements come in its order; elements of the live list alone stay where they stand among them.
fn merge_lists(live: &[Value], config: &[Value], shape: Shape) -> Vec<Value> {
    let name = |item: &Value| element(item, shape);
    let lives: Vec<(Element, &Value)> = live.iter().map(|item| (name(item), item)).collect();
    let configs: Vec<(Element, &Value)> = config.iter().map(|item| (name(item), item)).collect();
    let mut live_by_name: BTreeMap<&str, &Value> = BTreeMap::new();
    for (name, item) in &lives {
        live_by_name.entry(name).or_insert(item);
    }
    let applied: BTreeSet<&str> = configs.iter().map(|(name, _)| name.as_str()).collect();
    let inner = item_shape(shape);
    let mut all = Vec::with_capacity(live.len() + config.len());
    let mut rest = lives.iter().peekable();
    for (name, item) in &configs {
        // What only the live list has comes before the next applied element that both have.
        if live_by_name.contains_key(name.as_str()) {
            while let Some((other, value)) = rest.next_if(|(other, _)| other != name) {
                if !applied.contains(other.as_str()) {
                    all.push((*value).clone());
                }
            }
            rest.next();
        }
        all.push(merge(live_by_name.get(name.as_str()).copied(), item, inner));
    }
    all.extend(rest.filter(|(name, _)| !applied.contains(name.as_str())).map(|(_, value)| (*value).clone()));
    all
}

/// The value without the fields of the set. What is emptied by that becomes null.
pub(super) fn without(value: &Value, gone: &FieldSet, root: &'static Type) -> Value {
    remove(value, gone, Shape::Struct(root))
}

fn remove(value: &Value, gone: &FieldSet, shape: Shape) -> Value {
    match (value, shape) {
        (Value::Object(map), Shape::Struct(_) | Shape::Map) => {
            let kept: Map<String, Value> = map
                .iter()
                .filter_map(|(name, value)| {
                    let inner = match shape {
                        Shape::Struct(of) => of.shape(name, [Some(value)]),
                        _ => Shape::Whole,
                    };
                    Some((name.clone(), remaining(value, gone.children.get(&set::field(name)), inner)?))
                })
                .collect();
            if kept.is_empty() && !map.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Value::Array(items), Shape::Set | Shape::Keyed(..)) => {
            let kept: Vec<Value> = items
                .iter()
                .filter_map(|item| {
                    remaining(item, gone.children.get(&element(item, shape)), item_shape(shape))
                })
                .collect();
            if kept.is_empty() && !items.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        (value, _) => value.clone(),
    }
}

fn remaining(value: &Value, gone: Option<&FieldSet>, shape: Shape) -> Option<Value> {
    match gone {
        Some(gone) if gone.member => None,
        Some(gone) => Some(remove(value, gone, shape)),
        None => Some(value.clone()),
    }
}

/// The set with every struct field on the way to its members: a struct is there for its fields' sake.
pub(super) fn with_structs(set: &FieldSet, root: &'static Type) -> FieldSet {
    name_structs(set, Shape::Struct(root))
}

fn name_structs(set: &FieldSet, shape: Shape) -> FieldSet {
    let mut whole = FieldSet { member: set.member, children: BTreeMap::new() };
    for (element, below) in &set.children {
        let inner = match (shape, element.strip_prefix("f:")) {
            (Shape::Struct(of), Some(name)) => of.stated_shape(name),
            (Shape::Keyed(_, item), _) => *item,
            _ => Shape::Whole,
        };
        let mut below = name_structs(below, inner);
        below.member |=
            matches!(shape, Shape::Struct(_)) && element.starts_with("f:") && !below.children.is_empty();
        whole.children.insert(element.clone(), below);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use serde_json::json;

    #[test]
    fn lists_merge_by_their_kinds() {
        let live = json!({
            "metadata": {"finalizers": ["x/a", "x/b"], "labels": {"l": "1"}},
            "spec": {
                "containers": [{"name": "a", "image": "i:1", "args": ["1"]}, {"name": "b"}],
                "tolerations": [{"key": "a"}],
            },
        });
        let config = json!({
            "metadata": {"finalizers": ["x/c", "x/b"], "labels": {"m": "1"}},
            "spec": {
                "containers": [{"name": "c"}, {"name": "a", "image": "i:2", "args": ["2"]}],
                "tolerations": [{"key": "b"}],
            },
        });
        assert_eq!(
            merged(&live, &config, &schema::POD),
            json!({
                "metadata": {"finalizers": ["x/c", "x/a", "x/b"], "labels": {"l": "1", "m": "1"}},
                "spec": {
                    "containers": [{"name": "c"}, {"name": "a", "image": "i:2", "args": ["2"]}, {"name": "b"}],
                    "tolerations": [{"key": "b"}],
                },
            })
        );
    }

    #[test]
    fn fields_are_taken_out() {
        let value = json!({"spec": {
            "containers": [{"name": "a", "image": "i", "env": [{"name": "A"}]}, {"name": "b"}],
        }});
        let gone = json!({"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {"f:image": {}, "f:env": {"k:{\"name\":\"A\"}": {}}}, "k:{\"name\":\"b\"}": {},
        }}});
        let gone = FieldSet::from_json(&gone).unwrap();
        assert_eq!(
            without(&value, &gone, &schema::POD),
            json!({"spec": {"containers": [{"name": "a", "env": null}]}})
        );
        let structs = with_structs(&gone, &schema::POD).paths();
        assert!(structs.contains(&".spec.containers".to_owned()));
        assert!(structs.contains(&r#".spec.containers[name="a"].env"#.to_owned()));
        assert!(!structs.contains(&r#".spec.containers[name="a"]"#.to_owned()));
    }
}
