//! Tolerations of taints.

use k8s_openapi::api::core::v1::{PodSpec, Toleration};

use crate::field::{FieldErrors, FieldPath};
use crate::names;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn validate(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, toleration) in spec.tolerations.iter().flatten().enumerate() {
        validate_one(toleration, &path.index(index), errors);
    }
}

fn validate_one(toleration: &Toleration, path: &FieldPath, errors: &mut FieldErrors) {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, value) = (text(&toleration.key), text(&toleration.value));
    let (operator, effect) = (text(&toleration.operator), text(&toleration.effect));
    if !key.is_empty() {
        errors.each_invalid(&path.child("key"), &key, names::qualified(&key));
    }
    if key.is_empty() && operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid(&path.child("operator"), &operator, detail);
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        errors.invalid(
            &path.child("effect"),
            &effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        );
    }
    match operator.as_str() {
        "" | "Equal" => errors.each_invalid(&path.child("operator"), &value, names::label_value(&value)),
        "Exists" if value.is_empty() => {}
        "Exists" => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.invalid(&path.child("operator"), &value, detail);
        }
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect.as_str()) {
        errors.not_supported(&path.child("effect"), &effect, &EFFECTS);
    }
}
