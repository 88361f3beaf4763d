//! Strategic merge patch (apimachinery's `util/strategicpatch`), for the lists of the kinds served here.
//!
//! A list with a merge key is merged element by element; any other list is replaced. The directives `$patch`,
//! `$deleteFromPrimitiveList`, `$setElementOrder` and `$retainKeys` are honoured.

use serde_json::{Map, Value};

/// How a list is merged, by the name of its field. Upstream holds this as tags on its Go types; among the kinds served
/// here one name never means two things.
enum Strategy {
    ByKey(&'static str),
    /// A list of plain values, merged as a set.
    Set,
    Replace,
}

/// How a list that is not simply replaced is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListMerge {
    /// Element by element, by the value of this key.
    ByKey(&'static str),
    /// As a set of plain values.
    Set,
}

/// How the list of a field is merged; `None` where it is replaced.
pub(crate) fn list_merge(field: &str) -> Option<ListMerge> {
    match strategy(field) {
        Strategy::ByKey(key) => Some(ListMerge::ByKey(key)),
        Strategy::Set => Some(ListMerge::Set),
        Strategy::Replace => None,
    }
}

fn strategy(field: &str) -> Strategy {
    Strategy::ByKey(match field {
        "conditions" | "addresses" => "type",
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
        | "secrets"
        | "resourceClaimStatuses"
        | "volumesAttached" => "name",
        "ports" => "containerPort",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" | "podIPs" | "hostIPs" => "ip",
        "ownerReferences" => "uid",
        "topologySpreadConstraints" => "topologyKey",
        "finalizers" | "podCIDRs" => return Strategy::Set,
        _ => return Strategy::Replace,
    })
}

/// Merges a patch into a value.
pub(super) fn merge(value: &mut Value, patch: &Value) -> Result<(), String> {
    match (value, patch) {
        (Value::Object(map), Value::Object(patch)) => merge_map(map, patch),
        (value, patch) => {
            *value = without_directives(patch);
            Ok(())
        }
    }
}

fn merge_map(map: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            map.clone_from(patch);
            map.remove("$patch");
            return Ok(());
        }
        Some("delete") => {
            map.clear();
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => return Err(format!("unknown patch type: {other}")),
    }
    if let Some(keys) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| keys.iter().any(|kept| kept == key));
    }
    for (key, change) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(field), change) {
                items.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
            // `$setElementOrder/…` is done last, the others were done above.
        } else if change.is_null() {
            map.remove(key);
        } else {
            merge_field(map, key, change)?;
        }
    }
    for (key, order) in patch {
        if let (Some(field), Value::Array(order)) = (key.strip_prefix("$setElementOrder/"), order)
            && let Some(Value::Array(items)) = map.get_mut(field)
        {
            reorder(items, order, field);
        }
    }
    Ok(())
}

fn merge_field(map: &mut Map<String, Value>, field: &str, change: &Value) -> Result<(), String> {
    match change {
        Value::Object(_) => {
            let inner = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
            if !inner.is_object() {
                *inner = Value::Object(Map::new());
            }
            merge(inner, change)
        }
        Value::Array(changes) => match strategy(field) {
            Strategy::Replace => {
                map.insert(field.to_owned(), without_directives(change));
                Ok(())
            }
            Strategy::Set => {
                let items = list(map, field);
                for change in changes {
                    if !items.contains(change) {
                        items.push(change.clone());
                    }
                }
                Ok(())
            }
            Strategy::ByKey(key) => merge_list(list(map, field), changes, field, key),
        },
        plain => {
            map.insert(field.to_owned(), plain.clone());
            Ok(())
        }
    }
}

/// The list of a field, made if it is missing or something else.
fn list<'a>(map: &'a mut Map<String, Value>, field: &str) -> &'a mut Vec<Value> {
    let value = map.entry(field).or_insert_with(|| Value::Array(Vec::new()));
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(items) => items,
        _ => unreachable!("made an array just above"),
    }
}

fn merge_list(items: &mut Vec<Value>, changes: &[Value], field: &str, key: &str) -> Result<(), String> {
    let directive = |change: &Value| change.get("$patch").and_then(Value::as_str).map(str::to_owned);
    if changes
        .iter()
        .any(|change| directive(change).as_deref() == Some("replace") && change.get(key).is_none())
    {
        *items =
            changes.iter().filter(|change| directive(change).is_none()).map(without_directives).collect();
        return Ok(());
    }
    for change in changes {
        let identity = change.get(key).filter(|identity| !identity.is_null()).ok_or_else(|| {
            format!("map: {change} does not contain declared merge key: {key} (in {field})")
        })?;
        let found = items.iter().position(|item| item.get(key) == Some(identity));
        match (found, directive(change).as_deref()) {
            (Some(index), Some("delete")) => {
                items.remove(index);
            }
            (None, Some("delete")) => {}
            (Some(index), _) => merge(&mut items[index], change)?,
            (None, _) => items.push(without_directives(change)),
        }
    }
    Ok(())
}

/// Elements named in `order` take that order; the others keep their place behind the ones before them.
fn reorder(items: &mut [Value], order: &[Value], field: &str) {
    let place = |item: &Value| match strategy(field) {
        Strategy::ByKey(key) => order.iter().position(|wanted| wanted.get(key) == item.get(key)),
        Strategy::Set | Strategy::Replace => order.iter().position(|wanted| wanted == item),
    };
    let mut last = 0;
    let mut ranked: Vec<(usize, Value)> = items
        .iter()
        .map(|item| {
            last = place(item).unwrap_or(last);
            (last, item.clone())
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    for (slot, (_, item)) in items.iter_mut().zip(ranked) {
        *slot = item;
    }
}

/// A part of a patch that becomes part of the object as it is: nulls and directives stay out of it.
fn without_directives(patch: &Value) -> Value {
    match patch {
        Value::Object(map) => Value::Object(
            map.iter()
                .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
                .map(|(key, value)| (key.clone(), without_directives(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(without_directives).collect()),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(mut value: Value, patch: &Value) -> Value {
        merge(&mut value, patch).unwrap();
        value
    }

    #[test]
    fn lists_with_a_key_are_merged_by_it_and_others_are_replaced() {
        let value = json!({
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}],
            "args": ["a", "b"],
            "labels": {"x": "1", "y": "2"},
        });
        let patch = json!({
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "New", "status": "True", "reason": null}],
            "args": ["c"],
            "labels": {"x": null, "z": "3"},
        });
        assert_eq!(
            merged(value, &patch),
            json!({
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "Other", "status": "True"},
                    {"type": "New", "status": "True"},
                ],
                "args": ["c"],
                "labels": {"y": "2", "z": "3"},
            })
        );
    }

    #[test]
    fn directives() {
        let value =
            json!({"env": [{"name": "a", "value": "1"}, {"name": "b"}], "finalizers": ["x/a", "x/b"]});
        let patch = json!({
            "env": [{"name": "a", "$patch": "delete"}, {"name": "c"}],
            "$setElementOrder/env": [{"name": "c"}, {"name": "b"}],
            "$deleteFromPrimitiveList/finalizers": ["x/a"],
        });
        assert_eq!(
            merged(value, &patch),
            json!({"env": [{"name": "c"}, {"name": "b"}], "finalizers": ["x/b"]})
        );
        let value = json!({"env": [{"name": "a"}], "strategy": {"a": 1, "b": 2}});
        let patch = json!({"env": [{"$patch": "replace"}, {"name": "z"}], "strategy": {"$retainKeys": ["b"], "b": 3}});
        assert_eq!(merged(value, &patch), json!({"env": [{"name": "z"}], "strategy": {"b": 3}}));
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let error = merge(&mut json!({}), &json!({"containers": [{"image": "x"}]})).unwrap_err();
        assert!(error.contains("does not contain declared merge key: name"), "{error}");
    }
}
