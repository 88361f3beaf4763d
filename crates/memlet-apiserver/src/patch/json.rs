//! JSON patch (RFC 6902), with bounds: its `copy` can double a document with every operation, and its paths can nest
//! one without end.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::Refused;
use crate::error::ApiError;

/// Upstream's bound on the operations of one patch.
const MOST_OPERATIONS: usize = 10_000;
/// Upstream's bound on what all `copy` operations of one patch may add, in bytes of JSON.
const LARGEST_COPIES: usize = 3 << 20;
/// The deepest nesting that the decoder accepts, and so the deepest that a patch may make.
const DEEPEST: usize = 120;

pub(super) fn read(patch: Value) -> Result<Patch, ApiError> {
    let operations = patch.as_array().map_or(0, Vec::len);
    if operations > MOST_OPERATIONS {
        let told = "The allowed maximum operations in a JSON patch is";
        return Err(ApiError::entity_too_large(&format!("{told} {MOST_OPERATIONS}, got {operations}")));
    }
    serde_json::from_value(patch)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

/// Whether an operation reads or writes something at, above or below a place.
pub(super) fn touches(patch: &Patch, place: &str) -> bool {
    let meets = |path: &str| place.starts_with(path) || path.starts_with(place);
    patch.0.iter().any(|operation| match operation {
        PatchOperation::Move(step) => meets(step.from.as_str()) || meets(step.path.as_str()),
        PatchOperation::Copy(step) => meets(step.from.as_str()) || meets(step.path.as_str()),
        other => meets(other.path().as_str()),
    })
}

/// Changes the value, or says why that cannot be; the value is then spoilt.
pub(super) fn apply(value: &mut Value, patch: &Patch) -> Result<(), Refused> {
    let mut copied = 0;
    for operation in &patch.0 {
        check_depth(value, operation)?;
        if let PatchOperation::Copy(copy) = operation {
            let source = value.pointer(copy.from.as_str());
            copied += source.map_or(0, |source| source.to_string().len());
            if copied > LARGEST_COPIES {
                return Err(Refused::Unfit(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the \
                     limit {LARGEST_COPIES}"
                )));
            }
        }
        // Without undoing: a spoilt value is thrown away.
        json_patch::patch_unsafe(value, std::slice::from_ref(operation)).map_err(|error| {
            let told = "the server rejected our request due to an error in our request";
            Refused::Unfit(format!("{told}: {error}"))
        })?;
    }
    Ok(())
}

/// What is put somewhere may not reach deeper than a document may.
fn check_depth(value: &Value, operation: &PatchOperation) -> Result<(), Refused> {
    let (path, put) = match operation {
        PatchOperation::Add(add) => (&add.path, Some(&add.value)),
        PatchOperation::Replace(replace) => (&replace.path, Some(&replace.value)),
        PatchOperation::Move(step) => (&step.path, value.pointer(step.from.as_str())),
        PatchOperation::Copy(copy) => (&copy.path, value.pointer(copy.from.as_str())),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
    };
    let above = path.as_str().matches('/').count();
    if above > DEEPEST || put.is_some_and(|put| is_deeper_than(DEEPEST - above, put)) {
        return Err(Refused::Unfit(format!("the patch nests the object deeper than {DEEPEST} levels")));
    }
    Ok(())
}

/// Looks no deeper than it must.
fn is_deeper_than(levels: usize, value: &Value) -> bool {
    let Some(below) = levels.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper_than(below, item)),
        Value::Object(map) => map.values().any(|item| is_deeper_than(below, item)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn applied(mut value: Value, steps: Vec<Value>) -> Result<Value, String> {
        let done = apply(&mut value, &serde_json::from_value(Value::from(steps)).unwrap());
        done.map(|()| value).map_err(|(Refused::Unfit(why) | Refused::Malformed(why))| why)
    }

    #[test]
    fn steps_are_taken_in_order() {
        let steps = vec![
            json!({"op": "add", "path": "/b", "value": [1]}),
            json!({"op": "copy", "from": "/b", "path": "/c"}),
            json!({"op": "add", "path": "/b/-", "value": 2}),
            json!({"op": "remove", "path": "/a"}),
        ];
        assert_eq!(applied(json!({"a": 0}), steps), Ok(json!({"b": [1, 2], "c": [1]})));
        let failing = vec![json!({"op": "test", "path": "/a", "value": 1})];
        assert!(applied(json!({"a": 0}), failing).unwrap_err().contains("the server rejected our request"));
    }

    #[test]
    fn copies_may_not_multiply() {
        let double = |step| json!({"op": "copy", "from": "/list", "path": format!("/copy{step}")});
        let grow = (0..100).map(double).collect();
        let error = applied(json!({"list": ["x".repeat(100 << 10)]}), grow).unwrap_err();
        assert!(error.starts_with("Unable to complete the copy, the accumulated size increase"), "{error}");
    }

    #[test]
    fn nesting_has_an_end() {
        let deepen = (0..200).map(|_| json!({"op": "copy", "from": "", "path": "/a"})).collect();
        let error = applied(json!({"a": {"b": {}}}), deepen).unwrap_err();
        assert!(error.contains("deeper than"), "{error}");
        let path = "/a".repeat(1000);
        assert!(applied(json!({}), vec![json!({"op": "add", "path": path, "value": 1})]).is_err());
    }
}
