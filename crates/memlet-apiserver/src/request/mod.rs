//! What a request asks for: its path and its options, read and refused here, before any object is touched.

mod accept;
mod delete_options;
mod list_options;
mod options;
mod path;

pub(crate) use accept::{MediaRange, accepted};
pub(crate) use delete_options::{DeleteOptions, Propagation};
pub(crate) use list_options::{ListOptions, RevisionMatch};
pub(crate) use options::{Query, WriteOptions};
pub(crate) use path::{ResourcePath, Target};

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use k8s_openapi::Resource;
use serde_json::Value;

use crate::access::Identity;
use crate::error::ApiError;

/// A request about a resource, its body read.
pub(crate) struct ResourceRequest {
    pub(crate) method: Method,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Who asks.
    pub(crate) identity: Arc<Identity>,
}

const JSON: &str = "application/json";

impl ResourceRequest {
    /// The server's own request to create an object.
    pub(crate) fn own<K: Resource>(namespace: Option<&str>, object: &Value) -> Self {
        let path = ResourcePath {
            group: K::GROUP.to_owned(),
            version: K::VERSION.to_owned(),
            namespace: namespace.map(str::to_owned),
            resource: K::URL_PATH_SEGMENT.to_owned(),
            ..ResourcePath::default()
        };
        Self {
            method: Method::POST,
            path,
            query: Query::default(),
            headers: HeaderMap::new(),
            body: object.to_string().into(),
            identity: Arc::new(Identity::own()),
        }
    }

    /// The media type of the body, without parameters; JSON where none is given.
    pub(crate) fn content_type(&self) -> &str {
        let stated = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        stated
            .and_then(|text| text.split(';').next())
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .unwrap_or(JSON)
    }

    /// Refuses a body that is not JSON.
    pub(crate) fn expect_json(&self) -> Result<(), ApiError> {
        if self.content_type() == JSON { Ok(()) } else { Err(ApiError::unsupported_media_type(JSON)) }
    }

    /// Refuses a client that would not understand plain JSON, the only form in which objects are sent.
    pub(crate) fn check_accept(&self) -> Result<(), ApiError> {
        let plain = |range: &MediaRange<'_>| range.is_json() && range.parameter("as").is_none();
        if accepted(&self.headers).iter().any(plain) { Ok(()) } else { Err(ApiError::not_acceptable(JSON)) }
    }
}
