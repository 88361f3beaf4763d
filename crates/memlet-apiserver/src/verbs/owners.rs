//! The rules for `metadata.ownerReferences` (apimachinery's `ValidateOwnerReferences`). An incomplete reference would name
//! an owner that is gone, and so have its object deleted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::field::{FieldErrors, FieldPath};

/// Events go by themselves, so they own nothing.
const NO_OWNERS: [(&str, &str); 2] = [("v1", "Event"), ("events.k8s.io/v1", "Event")];

pub(super) fn validate(metadata: &ObjectMeta, path: &FieldPath, errors: &mut FieldErrors) {
    let mut controller: Option<&str> = None;
    for (index, owner) in metadata.owner_references.iter().flatten().enumerate() {
        let own = path.index(index);
        for (field, value, detail) in [
            ("apiVersion", &owner.api_version, "version must not be empty"),
            ("kind", &owner.kind, "must not be empty"),
            ("name", &owner.name, "must not be empty"),
            ("uid", &owner.uid, "must not be empty"),
        ] {
            if value.is_empty() {
                errors.invalid(&own.child(field), value, detail);
            }
        }
        if NO_OWNERS.contains(&(owner.api_version.as_str(), owner.kind.as_str())) {
            let named = format!("{}, Kind={}", owner.api_version, owner.kind);
            errors.invalid(&own, named, "is disallowed from being an owner");
        }
        if owner.controller == Some(true) {
            if let Some(other) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {other} and {}",
                    owner.name
                );
                errors.invalid(path, &metadata.owner_references, detail);
            }
            controller.get_or_insert(&owner.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_with_owners() {
        let owner = |kind: &str, name: &str, uid: &str, controller: bool| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid, "controller": controller});
        let wrong = |owners: serde_json::Value| {
            let metadata = serde_json::from_value(json!({"ownerReferences": owners})).unwrap();
            let mut errors = FieldErrors::default();
            validate(&metadata, &FieldPath::new("o"), &mut errors);
            errors.into_unique().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(wrong(json!([owner("Pod", "a", "1", true), owner("Pod", "b", "2", false)])), "");
        insta::assert_snapshot!(wrong(json!([owner("Pod", "a", "", false), {}, owner("Event", "e", "1", false)])), @r#"
        o[0].uid: Invalid value: "": must not be empty
        o[1].apiVersion: Invalid value: "": version must not be empty
        o[1].kind: Invalid value: "": must not be empty
        o[1].name: Invalid value: "": must not be empty
        o[1].uid: Invalid value: "": must not be empty
        o[2]: Invalid value: "v1, Kind=Event": is disallowed from being an owner
        "#);
        let two = wrong(json!([owner("Pod", "a", "1", true), owner("Pod", "b", "2", true)]));
        assert!(two.ends_with(r#"Found "true" in references for a and b"#), "{two}");
    }
}
