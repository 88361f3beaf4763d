//! The part of an object that all kinds share: who sets it, and what form it must have.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use uuid::Uuid;

use crate::field::{FieldErrors, FieldPath};
use crate::kind::ServedKind;
use crate::names;

/// The letters of a generated name: no vowels, so no words.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest base kept before the five random letters.
const BASE_LENGTH: usize = 58;
/// Upstream's bound on all annotations of an object together.
const ANNOTATIONS_LENGTH: usize = 256 << 10;

/// The present, in whole seconds as the API's times are.
pub(super) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// `generateName` completed with five random letters.
pub(crate) fn generate_name(base: &str) -> String {
    let mut end = base.len().min(BASE_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = base[..end].to_owned();
    let random = Uuid::new_v4().as_u128();
    let letter = |place: u32| LETTERS[usize::try_from((random >> (place * 16)) % 27).unwrap_or_default()];
    // The first 16 bits hold no version or variant bits of the identifier; the rest of the places used do not either.
    name.extend([0, 1, 2, 5, 6].map(|place| char::from(letter(place))));
    name
}

/// Sets what only the server sets, on a new object.
pub(super) fn begin(metadata: &mut ObjectMeta) {
    metadata.uid = Some(Uuid::new_v4().to_string());
    metadata.creation_timestamp = Some(now());
    metadata.deletion_timestamp = None;
    metadata.deletion_grace_period_seconds = None;
    metadata.generation = None;
    metadata.self_link = None;
}

/// Keeps what only the server sets, on a changed object.
pub(super) fn carry_over(metadata: &mut ObjectMeta, old: &ObjectMeta) {
    metadata.name.clone_from(&old.name);
    metadata.generate_name.clone_from(&old.generate_name);
    metadata.namespace.clone_from(&old.namespace);
    metadata.uid.clone_from(&old.uid);
    metadata.resource_version.clone_from(&old.resource_version);
    metadata.generation = old.generation;
    metadata.creation_timestamp.clone_from(&old.creation_timestamp);
    metadata.deletion_timestamp.clone_from(&old.deletion_timestamp);
    metadata.deletion_grace_period_seconds = old.deletion_grace_period_seconds;
    metadata.self_link = None;
}

/// The rules for metadata (apimachinery's `pkg/api/validation/objectmeta.go`).
pub(super) fn validate<K: ServedKind>(metadata: &ObjectMeta, errors: &mut FieldErrors) {
    let root = FieldPath::new("metadata");
    if let Some(base) = metadata.generate_name.as_deref().filter(|base| !base.is_empty()) {
        // A base may end in a dash, which the random letters follow.
        let filled = if base.ends_with('-') { format!("{base}a") } else { base.to_owned() };
        errors.each_invalid(&root.child("generateName"), base, K::check_name(&filled));
    }
    match metadata.name.as_deref().filter(|name| !name.is_empty()) {
        None => errors.required(&root.child("name"), "name or generateName is required"),
        Some(name) => errors.each_invalid(&root.child("name"), name, K::check_name(name)),
    }
    if let Some(namespace) = metadata.namespace.as_deref().filter(|_| K::NAMESPACED) {
        errors.each_invalid(&root.child("namespace"), namespace, names::label(namespace));
    }
    let labels = root.child("labels");
    for (key, value) in metadata.labels.iter().flatten() {
        errors.each_invalid(&labels, key, names::qualified(key));
        errors.each_invalid(&labels, value, names::label_value(value));
    }
    let annotations = root.child("annotations");
    let mut length = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        errors.each_invalid(&annotations, key, names::qualified(&key.to_lowercase()));
        length += key.len() + value.len();
    }
    if length > ANNOTATIONS_LENGTH {
        errors.too_long(&annotations, ANNOTATIONS_LENGTH);
    }
    let finalizers = root.child("finalizers");
    for finalizer in metadata.finalizers.iter().flatten() {
        errors.each_invalid(&finalizers, finalizer, names::qualified(finalizer));
    }
}

/// The rules for a change of metadata: a deleting object gains no finalizer.
pub(super) fn validate_change(metadata: &ObjectMeta, old: &ObjectMeta, errors: &mut FieldErrors) {
    if old.deletion_timestamp.is_none() {
        return;
    }
    let had = |finalizer: &&String| old.finalizers.as_ref().is_some_and(|all| all.contains(finalizer));
    let added: Vec<_> = metadata.finalizers.iter().flatten().filter(|finalizer| !had(finalizer)).collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
        );
        errors.forbidden(&FieldPath::new("metadata.finalizers"), detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_are_short_and_differ() {
        let long = generate_name(&"x".repeat(80));
        assert_eq!(long.len(), 63);
        let names: std::collections::BTreeSet<_> = (0..200).map(|_| generate_name("eater-")).collect();
        assert!(names.len() > 195, "{} different names of 200", names.len());
        for name in names {
            assert!(names::subdomain(&name).is_empty() && name.len() == 11, "{name}");
        }
    }
}
