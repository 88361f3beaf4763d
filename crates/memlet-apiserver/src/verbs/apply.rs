//! PATCH with `application/apply-patch+yaml`: server-side apply, which creates what is not there.

use http::StatusCode;
use serde_json::Value;

use super::update::{check_identity, settle};
use super::{Core, Part, key};
use crate::decode;
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::ownership::{self, Before, Configuration, Writer};
use crate::reply::Reply;
use crate::request::{ResourceRequest, WriteOptions};
use crate::storage::Key;

/// How often it is tried anew when the object comes or goes meanwhile.
const ATTEMPTS: usize = 8;

impl Core {
    pub(crate) fn apply<K: ServedKind>(
        &self,
        request: &ResourceRequest,
        part: Part,
    ) -> Result<Reply, ApiError> {
        let options = WriteOptions::of_patch(&request.query, true)?;
        let key = key::<K>(request)?;
        let (json, warnings) = decode::configuration::<K>(&request.body, &key, options.validation)?;
        let config = Configuration { json: &json, force: options.force == Some(true) };
        let writer = request.writer(&options, part);
        let mut error = ApiError::modified(K::URL_PATH_SEGMENT, &key.name);
        for _ in 0..ATTEMPTS {
            match self.apply_to_object::<K>(&key, &config, &writer, options.dry_run) {
                Err(missing) if missing.code() == StatusCode::NOT_FOUND && part == Part::Main => {}
                result => {
                    let encoded = result?.encoded.clone();
                    return Ok(Reply::object(StatusCode::OK, encoded).with_warnings(warnings));
                }
            }
            let namespace = request.path.namespace.as_deref();
            match self.apply_to_nothing::<K>(&key, namespace, &config, &writer, options.dry_run) {
                Err(exists) if exists.is_already_exists() => error = exists,
                result => {
                    let (encoded, more) = result?;
                    let warnings = warnings.into_iter().chain(more).collect();
                    return Ok(Reply::object(StatusCode::CREATED, encoded).with_warnings(warnings));
                }
            }
        }
        Err(error)
    }

    fn apply_to_object<K: ServedKind>(
        &self,
        key: &Key,
        config: &Configuration<'_>,
        writer: &Writer,
        dry_run: bool,
    ) -> Result<std::sync::Arc<crate::storage::StoredObject>, ApiError> {
        self.change::<K>(key, dry_run, |current, old| {
            let before = Before::stored(&K::from_stored(&current.encoded)?, old)?;
            let applied = ownership::apply::<K>(&before, true, config, writer)?;
            let mut new = object_of::<K>(applied)?;
            check_identity(&new, old, key)?;
            settle(&mut new, old, writer.part)?;
            Ok(new)
        })
    }

    fn apply_to_nothing<K: ServedKind>(
        &self,
        key: &Key,
        namespace: Option<&str>,
        config: &Configuration<'_>,
        writer: &Writer,
        dry_run: bool,
    ) -> Result<(bytes::Bytes, Vec<String>), ApiError> {
        let stated = |field: &str| {
            config.json.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str)
        };
        if let Some(uid) = stated("uid").filter(|uid| !uid.is_empty()) {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(ApiError::conflict(K::URL_PATH_SEGMENT, &key.name, &why));
        }
        if stated("resourceVersion").is_some_and(|revision| !revision.is_empty()) {
            return Err(ApiError::modified(K::URL_PATH_SEGMENT, &key.name));
        }
        let applied = ownership::apply::<K>(&Before::nothing::<K>(), false, config, writer)?;
        let mut object = object_of::<K>(applied)?;
        object.metadata_mut().name = Some(key.name.clone());
        self.create_object(object, namespace, dry_run)
    }
}

fn object_of<K: ServedKind>(applied: ownership::Applied) -> Result<K, ApiError> {
    let mut json = applied.json;
    let mut object = decode::value::<K>(&mut json)?.object;
    object.apply_defaults();
    object.metadata_mut().managed_fields = applied.owners;
    Ok(object)
}
