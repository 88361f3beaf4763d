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

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use crate::error::ApiError;
use crate::form::Form;

/// A request about a resource, its body read.
pub(crate) struct ResourceRequest {
    pub(crate) method: Method,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

const JSON: &str = "application/json";

impl ResourceRequest {
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

    /// The form in which the client wants the answer; refuses a client that reads none of those known here.
    pub(crate) fn form(&self) -> Result<Form, ApiError> {
        Form::accepted(&self.headers, &self.query)
    }
}
