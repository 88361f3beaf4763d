//! What a verb answers: a document, or a stream of events.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::error::ApiError;
use crate::verbs::WatchEvents;
use crate::warning;

/// The body of every response of this server.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// An answer that is not a refusal.
pub(crate) struct Reply {
    code: StatusCode,
    warnings: Vec<String>,
    content: Content,
}

enum Content {
    Document(Bytes),
    Text(&'static str),
    Events(WatchEvents),
}

impl Reply {
    pub(crate) fn document(code: StatusCode, json: Bytes) -> Self {
        Self { code, warnings: Vec::new(), content: Content::Document(json) }
    }

    pub(crate) fn status(status: &Status) -> Result<Self, ApiError> {
        let json = serde_json::to_vec(status).map_err(|_| ApiError::internal("cannot encode a Status"))?;
        let code = status.code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        Ok(Self::document(code.unwrap_or(StatusCode::OK), json.into()))
    }

    pub(crate) fn text(text: &'static str) -> Self {
        Self { code: StatusCode::OK, warnings: Vec::new(), content: Content::Text(text) }
    }

    pub(crate) fn events(events: WatchEvents) -> Self {
        Self { code: StatusCode::OK, warnings: Vec::new(), content: Content::Events(events) }
    }

    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        let (kind, body) = match self.content {
            Content::Document(json) => ("application/json", Full::new(json).boxed_unsync()),
            Content::Text(text) => ("text/plain; charset=utf-8", Full::from(text).boxed_unsync()),
            Content::Events(events) => {
                let frames = events.stream().map(|bytes| Ok(http_body::Frame::data(bytes)));
                ("application/json", BodyExt::boxed_unsync(StreamBody::new(frames)))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        for warning in &self.warnings {
            if let Some(value) = warning::to_header(warning) {
                headers.append(header::WARNING, value);
            }
        }
        response
    }
}

impl ApiError {
    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        // A Status is strings and numbers: it always has a JSON form.
        let json = serde_json::to_vec(self.status()).unwrap_or_default();
        Reply::document(self.code(), json.into()).into_response()
    }
}
