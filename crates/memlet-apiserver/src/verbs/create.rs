//! POST of a new object: decode, default, admit, validate, store.

use bytes::Bytes;
use http::StatusCode;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::{Metadata as _, Resource as _};

use super::{Core, Part, metadata, refusal, stored_form, typed};
use crate::decode::{self, Decoded};
use crate::error::ApiError;
use crate::field::FieldErrors;
use crate::kind::ServedKind;
use crate::ownership::{self, Before};
use crate::quota;
use crate::reply::Reply;
use crate::request::{ResourceRequest, WriteOptions};
use crate::storage::{Expect, Key, Unmet};

/// How often a generated name is tried before its clash is told.
const NAME_ATTEMPTS: usize = 8;

impl Core {
    pub(crate) fn create<K: ServedKind>(&self, request: &ResourceRequest) -> Result<Reply, ApiError> {
        let options = WriteOptions::parse(&request.query, "CreateOptions")?;
        let Decoded { mut object, oddities } = decode::object::<K>(&request.body, request.notation()?)?;
        let warnings = decode::judge::<K>(oddities, options.validation)?;
        object.apply_defaults();
        let writer = request.writer(&options, Part::Main);
        ownership::follow_update(&mut object, &Before::nothing::<K>(), &writer)?;
        let (stored, more) =
            self.create_object(object, request.path.namespace.as_deref(), options.dry_run)?;
        let warnings = warnings.into_iter().chain(more).collect();
        Ok(Reply::object(StatusCode::CREATED, stored).with_warnings(warnings))
    }

    /// Stores a new object, its defaults filled in and its owners known. Gives its JSON, and what is odd about it.
    pub(super) fn create_object<K: ServedKind>(
        &self,
        mut object: K,
        namespace: Option<&str>,
        dry_run: bool,
    ) -> Result<(Bytes, Vec<String>), ApiError> {
        place(&mut object, namespace)?;
        if object.metadata().resource_version.as_ref().is_some_and(|revision| !revision.is_empty()) {
            return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
        }
        metadata::begin(object.metadata_mut());
        object.prepare_for_create();

        let base = object.metadata().generate_name.clone().unwrap_or_default();
        let generate = object.metadata().name.as_ref().is_none_or(String::is_empty) && !base.is_empty();
        let (mut warnings, mut room) = (Vec::new(), None);
        for attempt in 1.. {
            if generate {
                object.metadata_mut().name = Some(metadata::generate_name(&base));
            }
            if attempt == 1 {
                self.check_namespace(&object)?;
                object.admit(self)?;
                validate(&object)?;
                object.check_admission(self)?;
                // Last, for nobody else is let in before this object is stored.
                room = quota::find_room(self, &object)?;
                warnings = object.warnings();
            }
            match self.insert(&mut object, dry_run) {
                Err(Unmet::Exists) if generate && attempt < NAME_ATTEMPTS => {}
                Err(unmet) => {
                    let name = object.metadata().name.as_deref().unwrap_or_default();
                    return Err(refusal::<K>(unmet, name));
                }
                Ok(encoded) => {
                    if let Some(room) = room.filter(|_| !dry_run) {
                        room.take();
                    }
                    return Ok((encoded, warnings));
                }
            }
        }
        Err(ApiError::internal("no free name was found"))
    }

    fn insert<K: ServedKind>(&self, object: &mut K, dry_run: bool) -> Result<Bytes, Unmet> {
        let metadata = object.metadata();
        let key = Key::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        );
        if dry_run {
            if self.storage.get(K::URL_PATH_SEGMENT, &key).is_some() {
                return Err(Unmet::Exists);
            }
            return object.to_stored().map(Into::into).map_err(|_| Unmet::Unencodable);
        }
        let stored = self
            .storage
            .put(K::URL_PATH_SEGMENT, &key, Expect::Absent, |revision| stored_form(object, revision))?;
        Ok(stored.encoded.clone())
    }

    /// Upstream's `NamespaceLifecycle`: nothing new in a namespace that is missing or going.
    fn check_namespace<K: ServedKind>(&self, object: &K) -> Result<(), ApiError> {
        let Some(name) = object.metadata().namespace.as_deref().filter(|_| K::NAMESPACED) else {
            return Ok(());
        };
        let key = Key::new("", name);
        let stored = self.storage.get(Namespace::URL_PATH_SEGMENT, &key);
        let stored = stored.ok_or_else(|| ApiError::not_found(Namespace::URL_PATH_SEGMENT, name))?;
        if typed::<Namespace>(&stored)?.metadata().deletion_timestamp.is_some() {
            let object = object.metadata().name.as_deref().unwrap_or_default();
            return Err(ApiError::namespace_terminating(K::URL_PATH_SEGMENT, object, name));
        }
        Ok(())
    }
}

/// The namespace of the path is the object's, stated or not.
fn place<K: ServedKind>(object: &mut K, namespace: Option<&str>) -> Result<(), ApiError> {
    let stated = object.metadata().namespace.as_deref().filter(|namespace| !namespace.is_empty());
    if K::NAMESPACED && stated.is_some() && stated != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object.metadata_mut().namespace = namespace.filter(|_| K::NAMESPACED).map(str::to_owned);
    Ok(())
}

fn validate<K: ServedKind>(object: &K) -> Result<(), ApiError> {
    let mut errors = FieldErrors::default();
    metadata::validate::<K>(object.metadata(), &mut errors);
    object.validate(&mut errors);
    if errors.is_empty() {
        return Ok(());
    }
    let name = object.metadata().name.as_deref().unwrap_or_default();
    Err(ApiError::invalid(K::KIND, name, errors))
}
