//! Laws of the patch formats.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Format, Patch};
use crate::schema::generated::{pod, without_empty};
use crate::schema::{self, ListPatch, Type};

fn patched(value: &Value, format: Format) -> Value {
    let mut value = value.clone();
    Patch { format, oddities: Vec::new() }.apply(&mut value, &schema::POD).unwrap();
    value
}

/// The merge patch from one value to another; none where they are the same.
fn merge_patch(old: &Value, new: &Value) -> Value {
    let (Value::Object(olds), Value::Object(news)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for name in olds.keys().filter(|name| !news.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, new) in news {
        match olds.get(name) {
            Some(old) if old == new => {}
            Some(old) => drop(patch.insert(name.clone(), merge_patch(old, new))),
            None => drop(patch.insert(name.clone(), new.clone())),
        }
    }
    Value::Object(patch)
}

/// The strategic merge patch from one object to another, with a directive wherever there can be one.
fn strategic_patch(old: &Map<String, Value>, new: &Map<String, Value>, of: &'static Type) -> Value {
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, new) in new {
        let old = old.get(name);
        match (old, new, of.list_patch(name)) {
            (Some(old), new, _) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new), _) => {
                patch.insert(name.clone(), strategic_patch(old, new, of.inner(name)));
            }
            (Some(Value::Array(old)), Value::Array(new), ListPatch::ByKey(key)) => {
                let find =
                    |list: &[Value], item: &Value| list.iter().find(|other| other[key] == item[key]).cloned();
                let mut changes = Vec::new();
                for gone in old.iter().filter(|item| find(new, item).is_none()) {
                    changes.push(json!({"$patch": "delete", key: gone[key]}));
                }
                for item in new {
                    let before = find(old, item).unwrap_or_else(|| json!({key: item[key]}));
                    let (before, after) = (before.as_object().unwrap(), item.as_object().unwrap());
                    let mut change = strategic_patch(before, after, of.inner(name));
                    change[key] = item[key].clone();
                    changes.push(change);
                }
                let order: Vec<_> = new.iter().map(|item| json!({key: item[key]})).collect();
                patch.insert(format!("$setElementOrder/{name}"), order.into());
                patch.insert(name.clone(), changes.into());
            }
            (Some(Value::Array(old)), Value::Array(new), ListPatch::Set) => {
                let gone: Vec<_> = old.iter().filter(|item| !new.contains(item)).cloned().collect();
                patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
                patch.insert(format!("$setElementOrder/{name}"), new.clone().into());
                patch.insert(name.clone(), new.clone().into());
            }
            _ => drop(patch.insert(name.clone(), new.clone())),
        }
    }
    Value::Object(patch)
}

proptest! {
    #[test]
    fn a_merge_patch_of_the_difference_gives_the_other(old in pod(), new in pod()) {
        let patch = merge_patch(&old, &new);
        let made = patched(&old, Format::Merge(patch.clone()));
        prop_assert_eq!(&made, &new);
        // Once more is once.
        prop_assert_eq!(patched(&made, Format::Merge(patch)), new);
        prop_assert_eq!(patched(&old, Format::Merge(json!({}))), old);
    }

    #[test]
    fn a_strategic_patch_of_the_difference_gives_the_other(old in pod(), new in pod()) {
        let patch = strategic_patch(old.as_object().unwrap(), new.as_object().unwrap(), &schema::POD);
        let made = patched(&old, Format::Strategic(patch));
        prop_assert_eq!(without_empty(&made), without_empty(&new));
    }

    #[test]
    fn an_object_as_its_own_strategic_patch_changes_nothing(pod in pod(), other in pod()) {
        prop_assert_eq!(&patched(&pod, Format::Strategic(pod.clone())), &pod);
        let once = patched(&pod, Format::Strategic(other.clone()));
        prop_assert_eq!(&patched(&once, Format::Strategic(other)), &once);
    }
}
