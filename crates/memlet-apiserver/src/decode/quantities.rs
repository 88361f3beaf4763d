//! Quantities may be bare numbers in a manifest (`cpu: 1`); the API's types hold their text.

use serde_json::Value;

/// Turns numbers at a place into text. In a place, `*` stands for every element of a list or map.
pub(crate) fn numbers_to_text(value: &mut Value, place: &[&str]) {
    match (place, value) {
        ([], value @ Value::Number(_)) => *value = Value::String(value.to_string()),
        (["*", rest @ ..], Value::Array(items)) => {
            for item in items {
                numbers_to_text(item, rest);
            }
        }
        (["*", rest @ ..], Value::Object(map)) => {
            for item in map.values_mut() {
                numbers_to_text(item, rest);
            }
        }
        ([key, rest @ ..], Value::Object(map)) => {
            if let Some(inner) = map.get_mut(*key) {
                numbers_to_text(inner, rest);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_named_places_change() {
        let mut value = json!({"l": [{"r": {"cpu": 1, "memory": 1.5e3, "x": "1Gi"}, "n": 2}]});
        numbers_to_text(&mut value, &["l", "*", "r", "*"]);
        assert_eq!(value, json!({"l": [{"r": {"cpu": "1", "memory": "1500.0", "x": "1Gi"}, "n": 2}]}));
    }
}
