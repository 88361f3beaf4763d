//! Changing a stored object: PUT, and the steps that PUT, PATCH and the subresources share.

use std::sync::Arc;

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Core, key, metadata, refusal, stored_form, typed};
use crate::decode::{self, Decoded};
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::kind::ServedKind;
use crate::ownership::{self, Before};
use crate::reply::Reply;
use crate::request::{ResourceRequest, WriteOptions};
use crate::storage::{Expect, Key, StoredObject, Unmet};

/// Which part of an object a change may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status.
    Main,
    Status,
}

/// How often an unconditional change is tried anew when others change the object meanwhile.
const ATTEMPTS: usize = 32;

impl Core {
    /// PUT of an object or of its status.
    pub(crate) fn update<K: ServedKind>(
        &self,
        request: &ResourceRequest,
        part: Part,
    ) -> Result<Reply, ApiError> {
        let options = WriteOptions::parse(&request.query, "UpdateOptions")?;
        let Decoded { mut object, oddities } = decode::object::<K>(&request.body, request.notation()?)?;
        let warnings = decode::judge::<K>(oddities, options.validation)?;
        object.apply_defaults();
        let key = key::<K>(request)?;
        let writer = request.writer(&options, part);
        let stored = self.change::<K>(&key, options.dry_run, |current, old| {
            let mut new = object.clone();
            check_identity(&new, old, &key)?;
            check_revision::<K>(&new)?;
            let before = Before::stored(&K::from_stored(&current.encoded)?, old)?;
            ownership::follow_update(&mut new, &before, &writer)?;
            settle(&mut new, old, part)?;
            Ok(new)
        });
        match stored {
            Err(missing)
                if K::CREATED_BY_UPDATE && part == Part::Main && missing.code() == StatusCode::NOT_FOUND =>
            {
                object.metadata_mut().name.get_or_insert_with(|| key.name.clone());
                ownership::follow_update(&mut object, &Before::nothing::<K>(), &writer)?;
                let namespace = request.path.namespace.as_deref();
                let (encoded, more) = self.create_object(object, namespace, options.dry_run)?;
                let warnings = warnings.into_iter().chain(more).collect();
                Ok(Reply::object(StatusCode::CREATED, encoded).with_warnings(warnings))
            }
            stored => Ok(Reply::object(StatusCode::OK, stored?.encoded.clone()).with_warnings(warnings)),
        }
    }

    /// Replaces an object by what `make` makes of it, once, whoever else writes. `make` runs again if somebody was
    /// faster. A `resourceVersion` in the result that is not the stored one is a conflict.
    pub(crate) fn change<K: ServedKind>(
        &self,
        key: &Key,
        dry_run: bool,
        mut make: impl FnMut(&StoredObject, &K) -> Result<K, ApiError>,
    ) -> Result<Arc<StoredObject>, ApiError> {
        for _ in 0..ATTEMPTS {
            let current = self.stored::<K>(key)?;
            let old = typed::<K>(&current)?;
            let mut new = make(&current, &old)?;
            if new == old {
                return Ok(current);
            }
            if dry_run {
                let form = stored_form(&mut new, current.revision);
                return form.map(Arc::new).ok_or_else(|| refusal::<K>(Unmet::Unencodable, &key.name));
            }
            if is_gone(&new) {
                return self
                    .remove(&mut new, key, current.revision)
                    .map_err(|unmet| refusal::<K>(unmet, &key.name));
            }
            let expect = Expect::At(current.revision);
            let put = self
                .storage
                .put(K::URL_PATH_SEGMENT, key, expect, |revision| stored_form(&mut new, revision));
            match put {
                Ok(stored) => return Ok(stored),
                Err(Unmet::Changed) => {}
                Err(unmet) => return Err(refusal::<K>(unmet, &key.name)),
            }
        }
        Err(ApiError::modified(K::URL_PATH_SEGMENT, &key.name))
    }
}

/// Whether the last thing that kept a deleted object has been taken from it.
fn is_gone<K: ServedKind>(object: &K) -> bool {
    let metadata = object.metadata();
    metadata.deletion_timestamp.is_some()
        && metadata.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !object.is_held()
}

/// The object sent must be the one addressed, at the version stored.
pub(crate) fn check_identity<K: ServedKind>(new: &K, old: &K, key: &Key) -> Result<(), ApiError> {
    fn stated(text: Option<&String>) -> Option<&String> {
        text.filter(|text| !text.is_empty())
    }
    let (new, old) = (new.metadata(), old.metadata());
    if let Some(name) = stated(new.name.as_ref()).filter(|name| **name != key.name) {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        )));
    }
    if stated(new.namespace.as_ref()).is_some_and(|namespace| *namespace != key.namespace) {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    check_uid::<K>(stated(new.uid.as_ref()), old, &key.name)?;
    match stated(new.resource_version.as_ref()) {
        Some(asked) if Some(asked) != old.resource_version.as_ref() => {
            Err(ApiError::modified(K::URL_PATH_SEGMENT, &key.name))
        }
        _ => Ok(()),
    }
}

/// Some kinds are replaced only by who knows what is replaced.
fn check_revision<K: ServedKind>(new: &K) -> Result<(), ApiError> {
    let metadata = new.metadata();
    if K::UNCONDITIONAL_UPDATE || metadata.resource_version.as_ref().is_some_and(|text| !text.is_empty()) {
        return Ok(());
    }
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("metadata.resourceVersion");
    errors.invalid(&path, "", "must be specified for an update");
    Err(ApiError::invalid(K::KIND, metadata.name.as_deref().unwrap_or_default(), errors))
}

/// A client that names the UID means that one object, not another of the same name.
pub(super) fn check_uid<K: ServedKind>(
    asked: Option<&String>,
    old: &ObjectMeta,
    name: &str,
) -> Result<(), ApiError> {
    match asked {
        Some(asked) if Some(asked) != old.uid.as_ref() => {
            let real = old.uid.as_deref().unwrap_or_default();
            let why =
                format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {real}");
            Err(ApiError::conflict(K::URL_PATH_SEGMENT, name, &why))
        }
        _ => Ok(()),
    }
}

/// Brings what a client sent into what may be stored after `old`, or refuses it.
pub(super) fn settle<K: ServedKind>(new: &mut K, old: &K, part: Part) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    metadata::carry_over(new.metadata_mut(), old.metadata());
    match part {
        Part::Main => {
            new.prepare_for_update(old);
            if new.changes_generation(old) {
                let generation = &mut new.metadata_mut().generation;
                *generation = Some(generation.unwrap_or(0) + 1);
            }
            metadata::validate::<K>(new.metadata(), &mut errors);
            metadata::validate_change(new.metadata(), old.metadata(), &mut errors);
            new.validate(&mut errors);
            new.validate_update(old, &mut errors);
        }
        Part::Status => {
            new.prepare_for_status_update(old);
            metadata::validate::<K>(new.metadata(), &mut errors);
            metadata::validate_change(new.metadata(), old.metadata(), &mut errors);
            new.validate_status_update(old, &mut errors);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = new.metadata().name.clone().unwrap_or_default();
    Err(ApiError::invalid(K::KIND, &name, errors))
}
