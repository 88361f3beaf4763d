//! Pods for property tests: few names, so that two of them have much in common.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn subset(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(names, 0..=names.len()).prop_shuffle()
}

fn map() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", "[01]", 0..3).prop_map(|map| json!(map))
}

fn keyed(key: &'static str, inner: BoxedStrategy<Map<String, Value>>) -> impl Strategy<Value = Value> {
    subset(&["a", "b", "c", "d"]).prop_flat_map(move |names| {
        let items: Vec<_> = names
            .into_iter()
            .map(|name| {
                inner.clone().prop_map(move |mut item| {
                    item.insert(key.to_owned(), name.into());
                    Value::Object(item)
                })
            })
            .collect();
        items.prop_map(Value::Array)
    })
}

/// A struct that has some of these fields.
fn some_of(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Map<String, Value>> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| prop::option::of(value).prop_map(move |value| (name, value)))
        .collect();
    let present = |(name, value): (&str, Option<Value>)| value.map(|value| (name.to_owned(), value));
    fields.prop_map(move |fields| fields.into_iter().filter_map(present).collect()).boxed()
}

fn text() -> BoxedStrategy<Value> {
    "[a-c]".prop_map(Value::from).boxed()
}

/// A Pod's JSON, as much of it as matters to merging.
pub(crate) fn pod() -> impl Strategy<Value = Value> {
    let variable = some_of(vec![("value", text())]);
    let container = some_of(vec![
        ("image", text()),
        ("args", prop::collection::vec(text(), 1..3).prop_map(Value::Array).boxed()),
        ("env", keyed("name", variable).boxed()),
        ("resources", some_of(vec![("limits", map().boxed())]).prop_map(Value::Object).boxed()),
    ]);
    let finalizers = subset(&["x/a", "x/b", "x/c"]).prop_map(|names| json!(names)).boxed();
    let metadata = some_of(vec![("labels", map().boxed()), ("finalizers", finalizers)]);
    let spec = some_of(vec![
        ("containers", keyed("name", container).boxed()),
        ("nodeName", text()),
        ("nodeSelector", map().boxed()),
        ("tolerations", prop::collection::vec(text(), 0..3).prop_map(Value::Array).boxed()),
    ]);
    (metadata, spec).prop_map(|(metadata, spec)| json!({"metadata": metadata, "spec": spec}))
}

/// The value without what is empty: lists, maps and nulls, that say nothing.
pub(crate) fn without_empty(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(name, value)| (name.clone(), without_empty(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => items.iter().map(without_empty).collect(),
        plain => plain.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
