//! The verbs of the API, written once for every kind.

mod apply;
mod create;
mod delete;
mod list;
mod metadata;
mod patch;
mod update;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::nodes::Nodes;
use crate::reply::Reply;
use crate::request::ResourceRequest;
use crate::storage::{Key, Revision, Storage, StoredObject, Unmet};

pub(crate) use delete::Deletion;
pub(crate) use update::{Part, check_identity};
pub(crate) use watch::WatchEvents;

/// The server without its transport: verbs over storage.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) storage: Arc<Storage>,
    pub(crate) nodes: Nodes,
}

impl Core {
    pub(crate) fn get<K: ServedKind>(&self, request: &ResourceRequest) -> Result<Reply, ApiError> {
        let object = self.stored::<K>(&key::<K>(request)?)?;
        Ok(Reply::object(StatusCode::OK, object.encoded.clone()))
    }

    fn stored<K: ServedKind>(&self, key: &Key) -> Result<Arc<StoredObject>, ApiError> {
        self.storage
            .get(K::URL_PATH_SEGMENT, key)
            .ok_or_else(|| ApiError::not_found(K::URL_PATH_SEGMENT, &key.name))
    }
}

/// The key that a path with a name stands for.
pub(crate) fn key<K: ServedKind>(request: &ResourceRequest) -> Result<Key, ApiError> {
    let name = request.path.name.as_deref().ok_or_else(ApiError::no_such_path)?;
    match (&request.path.namespace, K::NAMESPACED) {
        (Some(namespace), true) => Ok(Key::new(namespace, name)),
        (None, false) => Ok(Key::new("", name)),
        _ => Err(ApiError::no_such_path()),
    }
}

/// The typed form of what is stored.
pub(crate) fn typed<K: ServedKind>(object: &StoredObject) -> Result<K, ApiError> {
    serde_json::from_slice(&object.encoded).map_err(|_| ApiError::internal("a stored object cannot be read"))
}

/// The stored form of an object at a revision.
fn stored_form<K: ServedKind>(object: &mut K, revision: Revision) -> Option<StoredObject> {
    object.metadata_mut().resource_version = Some(revision.to_string());
    let encoded = Bytes::from(serde_json::to_vec(&*object).ok()?);
    let metadata = object.metadata();
    Some(StoredObject {
        key: Key::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        ),
        revision,
        encoded,
        labels: metadata.labels.clone().unwrap_or_default(),
        fields: object.fields(),
    })
}

/// What an unmet expectation means to the client.
fn refusal<K: ServedKind>(unmet: Unmet, name: &str) -> ApiError {
    match unmet {
        Unmet::Exists => ApiError::already_exists(K::URL_PATH_SEGMENT, name),
        Unmet::Missing => ApiError::not_found(K::URL_PATH_SEGMENT, name),
        Unmet::Changed => ApiError::modified(K::URL_PATH_SEGMENT, name),
        Unmet::Unencodable => ApiError::internal("an object cannot be encoded"),
    }
}
