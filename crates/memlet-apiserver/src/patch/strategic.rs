//! Strategic merge patch (apimachinery's `util/strategicpatch`).
//!
//! A list with a merge key is merged element by element; any other list is replaced. The directives `$patch`,
//! `$deleteFromPrimitiveList`, `$setElementOrder` and `$retainKeys` are honoured. Which list has which key is in `schema`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Refused;
use crate::schema::{ListPatch, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Merges a patch into a value.
pub(super) fn merge(value: &mut Value, patch: &Value, of: &'static Type) -> Result<(), Refused> {
    match (value, patch) {
        (Value::Object(map), Value::Object(patch)) => merge_map(map, patch, of),
        (value, patch) => {
            *value = without_directives(patch);
            Ok(())
        }
    }
}

fn merge_map(
    map: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    of: &'static Type,
) -> Result<(), Refused> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        Some("replace") => {
            *map = fields_without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            map.clear();
            return Ok(());
        }
        None | Some("merge") => {}
        Some(other) => return Err(Refused::Malformed(format!("unknown patch type: {other} in map"))),
    }
    if let Some(keys) = patch.get(RETAIN_KEYS) {
        retain(map, patch, keys)?;
    }
    for (directive, gone) in patch {
        let Some(field) = directive.strip_prefix(DELETE_FROM) else { continue };
        let gone = list_of(gone, "invalid patch format of primitive list")?;
        if let Some(Value::Array(items)) = map.get_mut(field) {
            items.retain(|item| !gone.contains(item));
        }
    }
    for (field, change) in patch.iter().filter(|(field, _)| !field.starts_with('$')) {
        if change.is_null() {
            map.remove(field);
        } else {
            let order = patch.get(&format!("{ELEMENT_ORDER}{field}"));
            merge_field(map, field, change, order, of)?;
        }
    }
    for (directive, order) in patch {
        let Some(field) = directive.strip_prefix(ELEMENT_ORDER) else { continue };
        let order = list_of(order, "invalid patch format of setElementOrder list")?;
        if let (false, Some(Value::Array(items))) = (patch.contains_key(field), map.get_mut(field)) {
            let live = items.clone();
            *items = ordered(std::mem::take(items), order, &live, of.list_patch(field));
        }
    }
    Ok(())
}

fn list_of<'a>(value: &'a Value, otherwise: &str) -> Result<&'a [Value], Refused> {
    let list = value.as_array().ok_or_else(|| Refused::Malformed(otherwise.to_owned()))?;
    Ok(list)
}

/// `$retainKeys`: all that it does not name goes. What the patch sets must be named.
fn retain(map: &mut Map<String, Value>, patch: &Map<String, Value>, keys: &Value) -> Result<(), Refused> {
    let malformed = "invalid patch format of retainKeys";
    let keys = list_of(keys, malformed)?;
    let kept = |name: &String| keys.iter().any(|key| key.as_str() == Some(name));
    if patch.iter().any(|(name, value)| !name.starts_with('$') && !value.is_null() && !kept(name)) {
        return Err(Refused::Malformed(malformed.to_owned()));
    }
    map.retain(|name, _| kept(name));
    Ok(())
}

fn merge_field(
    map: &mut Map<String, Value>,
    field: &str,
    change: &Value,
    order: Option<&Value>,
    of: &'static Type,
) -> Result<(), Refused> {
    let by = of.list_patch(field);
    match (map.get_mut(field), change) {
        (Some(inner @ Value::Object(_)), Value::Object(_)) => merge(inner, change, of.inner(field)),
        (Some(Value::Array(items)), Value::Array(changes)) if by != ListPatch::Replace => {
            let live = items.clone();
            let patched = if let ListPatch::ByKey(key) = by {
                merge_list(items, changes, key, of.inner(field))?
            } else {
                items.extend(changes.iter().cloned());
                deduplicate(items);
                Patched::Merged
            };
            if let Patched::Merged = patched {
                let order = match order {
                    Some(order) => list_of(order, "invalid patch format of setElementOrder list")?,
                    None => changes,
                };
                *items = ordered(std::mem::take(items), order, &live, by);
            }
            Ok(())
        }
        _ => {
            map.insert(field.to_owned(), without_directives(change));
            Ok(())
        }
    }
}

/// What became of a list.
enum Patched {
    Merged,
    Replaced,
}

fn deduplicate(items: &mut Vec<Value>) {
    let mut seen = std::collections::BTreeSet::new();
    items.retain(|item| seen.insert(item.to_string()));
}

fn merge_list(
    items: &mut Vec<Value>,
    changes: &[Value],
    key: &str,
    of: &'static Type,
) -> Result<Patched, Refused> {
    let directive = |change: &Value| change.get(DIRECTIVE).and_then(Value::as_str).map(str::to_owned);
    if changes.iter().any(|change| directive(change).as_deref() == Some("replace")) {
        let plain = changes.iter().filter(|change| change.get(DIRECTIVE).is_none());
        *items = plain.map(without_directives).collect();
        return Ok(Patched::Replaced);
    }
    let identity = |item: &Value| item.get(key).filter(|value| !value.is_null()).map(ToString::to_string);
    let mut gone = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        if let Some(identity) = identity(item) {
            places.entry(identity).or_insert(place);
        }
    }
    for change in changes {
        let own = identity(change).ok_or_else(|| {
            Refused::Unfit(format!("map: {change} does not contain declared merge key: {key}"))
        })?;
        match (directive(change).as_deref(), places.get(&own)) {
            (Some("delete"), _) => gone.push(own),
            (None, Some(place)) => merge(&mut items[*place], change, of)?,
            (None, None) => {
                places.insert(own, items.len());
                items.push(without_directives(change));
            }
            (Some(other), _) => {
                return Err(Refused::Malformed(format!("unknown patch type: {other} in map")));
            }
        }
    }
    if !gone.is_empty() {
        items.retain(|item| identity(item).is_none_or(|identity| !gone.contains(&identity)));
    }
    Ok(Patched::Merged)
}

/// A list in the order that the patch wants: the elements that `order` names in its order, and the others in among them
/// where the live list has them before.
fn ordered(items: Vec<Value>, order: &[Value], live: &[Value], by: ListPatch) -> Vec<Value> {
    let identity = |item: &Value| match by {
        ListPatch::ByKey(key) => item.get(key).map(ToString::to_string),
        _ => Some(item.to_string()),
    };
    let places = |list: &[Value]| {
        let mut places = BTreeMap::new();
        for (place, item) in list.iter().enumerate() {
            if let Some(identity) = identity(item) {
                places.entry(identity).or_insert(place);
            }
        }
        places
    };
    let (wanted, live) = (places(order), places(live));
    let place = |places: &BTreeMap<String, usize>, item: &Value| {
        identity(item).and_then(|identity| places.get(&identity).copied())
    };
    let (mut patched, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(&wanted, item).is_some());
    patched.sort_by_key(|item| place(&wanted, item));
    let mut all = Vec::with_capacity(patched.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in patched {
        let here = place(&live, &item);
        while let Some(other) =
            others.next_if(|other| here.zip(place(&live, other)).is_some_and(|(here, other)| other < here))
        {
            all.push(other);
        }
        all.push(item);
    }
    all.extend(others);
    all
}

/// A part of a patch that becomes part of the object as it is: nulls and directives stay out of it.
fn without_directives(patch: &Value) -> Value {
    match patch {
        Value::Object(map) => Value::Object(fields_without_directives(map)),
        Value::Array(items) => {
            let plain = items.iter().filter(|item| item.get(DIRECTIVE).is_none());
            Value::Array(plain.map(without_directives).collect())
        }
        plain => plain.clone(),
    }
}

fn fields_without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(key, value)| !key.starts_with('$') && !value.is_null())
        .map(|(key, value)| (key.clone(), without_directives(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use serde_json::json;

    fn merged(mut value: Value, patch: &Value) -> Value {
        merge(&mut value, patch, &schema::POD).unwrap();
        value
    }

    #[expect(clippy::needless_pass_by_value, reason = "it is made for the call")]
    fn container(fields: Value) -> Value {
        let mut container = json!({"name": "c"});
        json_patch::merge(&mut container, &fields);
        json!({"spec": {"containers": [container]}})
    }

    fn names(pod: &Value, list: &str) -> String {
        let items = pod["spec"][list].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lists_with_a_key_are_merged_by_it_and_others_are_replaced() {
        let value = json!({
            "metadata": {"labels": {"x": "1", "y": "2"}},
            "status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]},
            "spec": {"tolerations": [{"key": "a"}, {"key": "b"}]},
        });
        let patch = json!({
            "metadata": {"labels": {"x": null, "z": "3"}},
            "status": {"conditions": [
                {"type": "Ready", "status": "True"}, {"type": "New", "status": "True", "reason": null},
            ]},
            "spec": {"tolerations": [{"key": "c"}]},
        });
        assert_eq!(
            merged(value, &patch),
            json!({
                "metadata": {"labels": {"y": "2", "z": "3"}},
                // What is new comes where the patch has it, and the rest where the object had it.
                "status": {"conditions": [
                    {"type": "Ready", "status": "True"}, {"type": "New", "status": "True"},
                    {"type": "Other", "status": "True"},
                ]},
                "spec": {"tolerations": [{"key": "c"}]},
            })
        );
    }

    #[test]
    fn the_order_of_merged_lists() {
        let list = |names: &[&str]| -> Value { names.iter().map(|name| json!({"name": name})).collect() };
        for (live, patch, order, expected) in [
            (vec!["a", "b"], vec!["c"], None, "c a b"),
            (vec!["a", "b"], vec!["b"], None, "a b"),
            (vec!["a", "b"], vec!["b", "a"], None, "b a"),
            (vec!["a", "b", "x"], vec!["c"], Some(vec!["b", "c", "a"]), "b c a x"),
            (vec!["x", "a", "b"], vec![], Some(vec!["b", "a"]), "x b a"),
        ] {
            let value = json!({"spec": {"containers": list(&live)}});
            let mut patch = json!({"spec": {"containers": list(&patch)}});
            if let Some(order) = &order {
                patch["spec"]["$setElementOrder/containers"] = list(order);
            }
            if patch["spec"]["containers"] == json!([]) {
                patch["spec"].as_object_mut().unwrap().remove("containers");
            }
            assert_eq!(names(&merged(value, &patch), "containers"), expected, "{live:?} {patch}");
        }
    }

    #[test]
    fn a_set_is_added_to_and_taken_from() {
        let value = json!({"metadata": {"finalizers": ["x/a", "x/b"]}});
        let patch = json!({"metadata": {
            "finalizers": ["x/c"],
            "$deleteFromPrimitiveList/finalizers": ["x/a"],
            "$setElementOrder/finalizers": ["x/b", "x/c"],
        }});
        assert_eq!(merged(value, &patch), json!({"metadata": {"finalizers": ["x/b", "x/c"]}}));
    }

    #[test]
    fn directives() {
        let env = json!([{"name": "a", "value": "1"}, {"name": "b"}]);
        let delete = container(json!({"env": [{"name": "a", "$patch": "delete"}, {"name": "c"}]}));
        assert_eq!(
            merged(container(json!({"env": env})), &delete),
            container(json!({"env": [{"name": "c"}, {"name": "b"}]}))
        );
        let replace = container(json!({"env": [{"$patch": "replace"}, {"name": "z"}]}));
        assert_eq!(
            merged(container(json!({"env": env})), &replace),
            container(json!({"env": [{"name": "z"}]}))
        );
        let volume = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}});
        let retain = json!({"spec": {"volumes": [
            {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}},
        ]}});
        assert_eq!(
            merged(volume.clone(), &retain),
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}})
        );
        let whole = json!({"spec": {"$patch": "replace", "nodeName": "n"}});
        assert_eq!(merged(volume.clone(), &whole), json!({"spec": {"nodeName": "n"}}));
        assert_eq!(merged(volume, &json!({"spec": {"$patch": "delete"}})), json!({"spec": {}}));
    }

    #[test]
    fn a_field_name_means_what_its_struct_says() {
        let account = json!({"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "a"}]});
        let patch = json!({"imagePullSecrets": [{"name": "b"}], "secrets": [{"name": "b"}]});
        let mut merged = account;
        merge(&mut merged, &patch, &schema::SERVICE_ACCOUNT).unwrap();
        assert_eq!(merged["imagePullSecrets"], json!([{"name": "b"}]), "replaced");
        assert_eq!(merged["secrets"], json!([{"name": "b"}, {"name": "a"}]), "merged");
    }

    #[test]
    fn malformed_patches_are_told() {
        let live = json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}});
        for (patch, told) in [
            (json!({"spec": {"containers": [{"image": "x"}]}}), "does not contain declared merge key: name"),
            (json!({"spec": {"$patch": "twist"}}), "unknown patch type: twist"),
            (
                json!({"spec": {"containers": [{"name": "a", "$patch": "twist"}]}}),
                "unknown patch type: twist",
            ),
            (
                json!({"spec": {"volumes": [{"name": "v", "$retainKeys": 1}]}}),
                "invalid patch format of retainKeys",
            ),
            (
                json!({"spec": {"volumes": [{"name": "v", "$retainKeys": []}]}}),
                "invalid patch format of retainKeys",
            ),
            (
                json!({"spec": {"$setElementOrder/containers": 1}}),
                "invalid patch format of setElementOrder list",
            ),
            (json!({"spec": {"$deleteFromPrimitiveList/x": 1}}), "invalid patch format of primitive list"),
        ] {
            let (Refused::Malformed(why) | Refused::Unfit(why)) =
                merge(&mut live.clone(), &patch, &schema::POD).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }
}
