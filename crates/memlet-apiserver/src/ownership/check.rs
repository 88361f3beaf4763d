//! Whether a configuration can be applied at all: known fields, and lists whose elements can be told apart.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compare::element;
use super::set::FieldSet;
use crate::schema::{Shape, Type};

/// What is wrong with a configuration, as `path: what`. `unknown` are the paths of fields that the kind does not have,
/// with lists' elements by number.
pub(crate) fn check(config: &Value, unknown: &[String], root: &'static Type) -> Vec<String> {
    let mut wrong: Vec<String> = unknown
        .iter()
        .map(|path| format!("{}: field not declared in schema", named(config, path, root)))
        .collect();
    visit(config, Shape::Struct(root), &mut String::new(), &mut wrong);
    wrong
}

fn visit(value: &Value, shape: Shape, path: &mut String, wrong: &mut Vec<String>) {
    let length = path.len();
    match (value, shape) {
        (Value::Object(map), Shape::Struct(of)) => {
            for (name, value) in map {
                path.push('.');
                path.push_str(name);
                visit(value, of.shape(name, [Some(value)]), path, wrong);
                path.truncate(length);
            }
        }
        (Value::Array(items), Shape::Set | Shape::Keyed(..)) => {
            if let Shape::Keyed(keys, _) = shape {
                for (index, item) in items.iter().enumerate() {
                    let lacks = |name: &str| item.get(name).is_none_or(Value::is_null);
                    if let Some(key) = keys.iter().find(|key| key.default.is_none() && lacks(key.name)) {
                        wrong.push(format!(
                            "{path}: element {index}: associative list with keys has an element that omits key field {:?} \
                             (and doesn't have default value)",
                            key.name
                        ));
                        return;
                    }
                }
            }
            let mut seen = BTreeSet::new();
            for item in items {
                let element = element(item, shape);
                let printed = FieldSet::printed_element(&element);
                if !seen.insert(element) {
                    wrong.push(format!("{path}: duplicate entries for key {printed}"));
                    return;
                }
                path.push_str(&printed);
                if let Shape::Keyed(_, item_shape) = shape {
                    visit(item, *item_shape, path, wrong);
                }
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// `spec.containers[0].foo` as `.spec.containers[name="main"].foo`.
fn named(config: &Value, path: &str, root: &'static Type) -> String {
    let mut shape = Shape::Struct(root);
    let mut value = Some(config);
    let mut text = String::new();
    for part in path.split('.') {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        value = value.and_then(|value| value.get(name));
        shape = match shape {
            Shape::Struct(of) => of.shape(name, [value]),
            _ => Shape::Whole,
        };
        text.push('.');
        text.push_str(name);
        for index in indices.split('[').filter_map(|index| index.strip_suffix(']')) {
            value = value.and_then(|value| value.get(index.parse::<usize>().ok()?));
            if let (Some(item), Shape::Keyed(_, item_shape)) = (value, shape) {
                text.push_str(&FieldSet::printed_element(&element(item, shape)));
                shape = *item_shape;
            } else {
                text.push_str(&format!("[{index}]"));
                shape = Shape::Whole;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use serde_json::json;

    #[test]
    fn what_is_wrong_has_its_place() {
        let config = json!({"spec": {"containers": [{"name": "a", "foo": 1}], "volumes": [{"name": "v"}, {"name": "v"}]}});
        assert_eq!(
            check(&config, &["spec.containers[0].foo".to_owned(), "spec.bar".to_owned()], &schema::POD),
            [
                r#".spec.containers[name="a"].foo: field not declared in schema"#,
                ".spec.bar: field not declared in schema",
                r#".spec.volumes: duplicate entries for key [name="v"]"#,
            ]
        );
        let nameless = json!({"spec": {"containers": [{"image": "i"}]}});
        let wrong = check(&nameless, &[], &schema::POD);
        assert!(wrong[0].starts_with(".spec.containers: element 0: associative list with keys"), "{wrong:?}");
    }
}
