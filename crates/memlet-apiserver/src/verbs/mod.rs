//! The verbs of the API, written once for every kind.

mod apply;
mod create;
mod delete;
mod list;
mod metadata;
mod owners;
mod patch;
mod update;
mod watch;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;

use crate::accounts::Accounts;
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::nodes::Nodes;
use crate::quota::Ledger;
use crate::reply::Reply;
use crate::request::ResourceRequest;
use crate::storage::{Key, Revision, Storage, StoredObject, Ties, Unmet};

pub(crate) use delete::Deletion;
pub(crate) use metadata::generate_name;
pub(crate) use update::{Part, check_identity};
pub(crate) use watch::WatchEvents;

/// The server without its transport: verbs over storage.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) storage: Arc<Storage>,
    pub(crate) nodes: Nodes,
    /// Set once, where service accounts are kept.
    pub(crate) accounts: Arc<OnceLock<Accounts>>,
    /// What is used of quotas.
    pub(crate) ledger: Arc<Ledger>,
}

impl Core {
    /// The same server, for as long as somebody else holds it too.
    pub(crate) fn downgrade(&self) -> impl Fn() -> Option<Self> + Send + use<> {
        let (storage, nodes) = (Arc::downgrade(&self.storage), self.nodes.clone());
        let (accounts, ledger) = (Arc::clone(&self.accounts), Arc::clone(&self.ledger));
        move || {
            Some(Self {
                storage: storage.upgrade()?,
                nodes: nodes.clone(),
                accounts: Arc::clone(&accounts),
                ledger: Arc::clone(&ledger),
            })
        }
    }

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
    serde_json::from_slice(&K::from_stored(&object.encoded)?)
        .map_err(|_| ApiError::internal("a stored object cannot be read"))
}

/// The stored form of an object at a revision.
fn stored_form<K: ServedKind>(object: &mut K, revision: Revision) -> Option<StoredObject> {
    object.metadata_mut().resource_version = Some(revision.to_string());
    let encoded = object.to_stored().ok()?;
    let written = K::EXPIRES.then(|| Timestamp::now().as_second());
    Some(described(object, revision, encoded, written))
}

/// An object that was stored earlier, from its bytes.
pub(crate) fn restored<K: ServedKind>(encoded: &[u8]) -> Result<StoredObject, String> {
    let object: K = serde_json::from_slice(encoded).map_err(|error| error.to_string())?;
    let revision = object.metadata().resource_version.as_deref().and_then(|revision| revision.parse().ok());
    let revision = revision.ok_or_else(|| "it has no resourceVersion".to_owned())?;
    // A clock that was wrong when it was written does not keep it for ever.
    let now = Timestamp::now();
    let written = K::EXPIRES.then(|| object.last_seen().map_or(now, |seen| seen.min(now)).as_second());
    Ok(described(&object, revision, encoded.to_vec(), written))
}

fn described<K: ServedKind>(
    object: &K,
    revision: Revision,
    encoded: Vec<u8>,
    written: Option<i64>,
) -> StoredObject {
    let metadata = object.metadata();
    StoredObject {
        key: Key::new(
            metadata.namespace.clone().unwrap_or_default(),
            metadata.name.clone().unwrap_or_default(),
        ),
        revision,
        // Kept for long, so without the room that writing it took.
        encoded: Bytes::from(encoded.into_boxed_slice()),
        labels: metadata.labels.clone().into_iter().flatten().collect(),
        fields: object.fields(),
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        ties: Ties::of(metadata),
        written,
    }
}

/// What an unmet expectation means to the client.
fn refusal<K: ServedKind>(unmet: Unmet, name: &str) -> ApiError {
    match unmet {
        Unmet::Exists => ApiError::already_exists(K::URL_PATH_SEGMENT, name),
        Unmet::Missing => ApiError::not_found(K::URL_PATH_SEGMENT, name),
        Unmet::Changed => ApiError::modified(K::URL_PATH_SEGMENT, name),
        Unmet::Unencodable => ApiError::internal("an object cannot be encoded"),
        Unmet::ReadOnly(reason) => ApiError::not_stored(&reason),
    }
}
