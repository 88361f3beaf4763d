//! Config maps and secrets: data by key.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use crate::field::{FieldErrors, FieldPath};
use crate::kind::ServedKind;
use crate::names;
use crate::schema::{self, Type};
use crate::storage::Fields;

/// Upstream's bound on all values of one object together.
const LONGEST_DATA: usize = 1 << 20;

/// Of which account a token is.
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

const IMMUTABLE: &str = "field is immutable when `immutable` is set";

fn check_keys<'a>(path: &FieldPath, keys: impl Iterator<Item = &'a String>, errors: &mut FieldErrors) {
    for key in keys {
        errors.each_invalid(&path.key(key), key, names::config_key(key));
    }
}

fn length(binary: Option<&BTreeMap<String, ByteString>>) -> usize {
    binary.into_iter().flat_map(BTreeMap::values).map(|value| value.0.len()).sum()
}

impl ServedKind for ConfigMap {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::CONFIG_MAP;
    const SHORT_NAMES: &'static [&'static str] = &["cm"];

    fn validate(&self, errors: &mut FieldErrors) {
        let (data, binary) = (FieldPath::new("data"), FieldPath::new("binaryData"));
        check_keys(&data, self.data.iter().flat_map(BTreeMap::keys), errors);
        check_keys(&binary, self.binary_data.iter().flat_map(BTreeMap::keys), errors);
        for key in self.data.iter().flat_map(BTreeMap::keys) {
            if self.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&data.key(key), key, format!("duplicate of key present in binaryData: {key}"));
            }
        }
        let text: usize = self.data.iter().flat_map(BTreeMap::values).map(String::len).sum();
        if text + length(self.binary_data.as_ref()) > LONGEST_DATA {
            errors.too_long(&FieldPath::default(), LONGEST_DATA);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        if old.immutable != Some(true) {
            return;
        }
        if self.immutable != Some(true) {
            errors.forbidden(&FieldPath::new("immutable"), IMMUTABLE);
        }
        if self.data != old.data {
            errors.forbidden(&FieldPath::new("data"), IMMUTABLE);
        }
        if self.binary_data != old.binary_data {
            errors.forbidden(&FieldPath::new("binaryData"), IMMUTABLE);
        }
    }
}

/// The keys that a secret of a known type must have.
trait TypedSecret {
    fn check_type(&self, data: &FieldPath, errors: &mut FieldErrors);
}

impl TypedSecret for Secret {
    fn check_type(&self, data: &FieldPath, errors: &mut FieldErrors) {
        let value = |key: &str| self.data.as_ref().and_then(|data| data.get(key));
        let mut require = |key: &str| {
            if value(key).is_none() {
                errors.required(&data.key(key), "");
            }
        };
        match self.type_.as_deref().unwrap_or_default() {
            "kubernetes.io/service-account-token" => {
                let named = self.metadata.annotations.as_ref().and_then(|all| all.get(ACCOUNT_NAME));
                if named.is_none_or(String::is_empty) {
                    let path = FieldPath::new("metadata.annotations").key(ACCOUNT_NAME);
                    errors.required(&path, "");
                }
            }
            "kubernetes.io/dockercfg" => check_docker(".dockercfg", value(".dockercfg"), data, errors),
            "kubernetes.io/dockerconfigjson" => {
                check_docker(".dockerconfigjson", value(".dockerconfigjson"), data, errors);
            }
            "kubernetes.io/basic-auth" if value("username").is_none() && value("password").is_none() => {
                require("username");
                require("password");
            }
            "kubernetes.io/ssh-auth" if value("ssh-privatekey").is_none_or(|key| key.0.is_empty()) => {
                errors.required(&data.key("ssh-privatekey"), "");
            }
            "kubernetes.io/tls" => {
                require("tls.crt");
                require("tls.key");
            }
            _ => {}
        }
    }
}

/// Credentials of registries are JSON.
fn check_docker(key: &str, value: Option<&ByteString>, data: &FieldPath, errors: &mut FieldErrors) {
    match value {
        None => errors.required(&data.key(key), ""),
        Some(ByteString(json)) if serde_json::from_slice::<serde_json::Value>(json).is_err() => {
            let detail = "the secret's data is not JSON";
            errors.invalid(&data.key(key), "<secret contents redacted>", detail);
        }
        Some(_) => {}
    }
}

impl ServedKind for Secret {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::SECRET;
    const SELECTABLE: &'static [&'static str] = &["type"];

    fn apply_defaults(&mut self) {
        self.type_.get_or_insert_with(|| "Opaque".to_owned());
        // `stringData` is only ever written: it goes into `data`.
        for (key, text) in self.string_data.take().into_iter().flatten() {
            self.data.get_or_insert_default().insert(key, ByteString(text.into_bytes()));
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let data = FieldPath::new("data");
        check_keys(&data, self.data.iter().flat_map(BTreeMap::keys), errors);
        if length(self.data.as_ref()) > LONGEST_DATA {
            errors.too_long(&data, LONGEST_DATA);
        }
        self.check_type(&data, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        if self.type_ != old.type_ {
            errors.invalid(&FieldPath::new("type"), &self.type_, "field is immutable");
        }
        if old.immutable != Some(true) {
            return;
        }
        if self.immutable != Some(true) {
            errors.forbidden(&FieldPath::new("immutable"), IMMUTABLE);
        }
        if self.data != old.data {
            errors.forbidden(&FieldPath::new("data"), IMMUTABLE);
        }
    }

    fn fields(&self) -> Fields {
        vec![("type", self.type_.clone().unwrap_or_default())]
    }
}
