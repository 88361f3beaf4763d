//! Answers as kubelet gives them: text, and refusals as text.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

/// The body of every answer of the node's server.
pub type ServerBody = UnsyncBoxBody<Bytes, Infallible>;

/// Why a request is not answered, as plain text: the API server makes a `Status` of it.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: StatusCode,
    message: String,
}

impl Refusal {
    pub(crate) fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_response(self) -> Response<ServerBody> {
        let mut response = text(self.message);
        *response.status_mut() = self.code;
        response
    }
}

/// Plain text.
pub(crate) fn text(text: impl Into<Bytes>) -> Response<ServerBody> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// One JSON document.
pub(crate) fn json(document: &impl serde::Serialize) -> Result<Response<ServerBody>, Refusal> {
    let written = serde_json::to_string(document);
    let mut response = text(written.map_err(|error| Refusal::internal(error.to_string()))?);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
