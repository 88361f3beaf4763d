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
use http::{HeaderMap, HeaderValue, Method, header};
use k8s_openapi::Resource;
use serde_json::Value;

use crate::access::Identity;
use crate::decode::Notation;
use crate::error::ApiError;
use crate::form::Form;
use crate::ownership::Writer;
use crate::verbs::Part;

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
const YAML: &str = "application/yaml";

/// A client that does not say who it is.
const UNKNOWN_CLIENT: &str = "unknown";
const LONGEST_NAME: usize = 128;

/// The writer of what the server makes itself.
const OWN_NAME: &str = "kube-apiserver";

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
            headers: std::iter::once((header::USER_AGENT, HeaderValue::from_static(OWN_NAME))).collect(),
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

    /// The notation of the body; one that is neither JSON nor YAML is refused.
    pub(crate) fn notation(&self) -> Result<Notation, ApiError> {
        match self.content_type() {
            JSON => Ok(Notation::Json),
            YAML => Ok(Notation::Yaml),
            _ => Err(ApiError::unsupported_media_type(&[JSON, YAML].join(", "))),
        }
    }

    /// Refuses a body that is not JSON.
    pub(crate) fn expect_json(&self) -> Result<(), ApiError> {
        if self.content_type() == JSON { Ok(()) } else { Err(ApiError::unsupported_media_type(JSON)) }
    }

    /// Who writes: as stated, or the first part of the client's own name.
    pub(crate) fn writer(&self, options: &WriteOptions, part: Part) -> Writer {
        let stated = options.manager.clone().filter(|manager| !manager.is_empty());
        Writer { name: stated.unwrap_or_else(|| self.client_name()), part }
    }

    fn client_name(&self) -> String {
        let agent = self.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let name = agent.and_then(|agent| agent.split('/').next()).unwrap_or_default();
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(LONGEST_NAME).collect();
        if name.is_empty() { UNKNOWN_CLIENT.to_owned() } else { name }
    }

    /// The form in which the client wants the answer; refuses a client that reads none of those known here.
    pub(crate) fn form(&self) -> Result<Form, ApiError> {
        Form::accepted(&self.headers, &self.query)
    }
}
