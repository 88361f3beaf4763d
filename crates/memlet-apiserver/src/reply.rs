//! What a verb answers: a document, or a stream of events.

use std::convert::Infallible;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

use crate::error::ApiError;
use crate::nodes::{Caller, NodeRequest};
use crate::verbs::WatchEvents;
use crate::warning;

/// The body of every response of this server.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// The media type of almost every answer.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer that is not a refusal.
pub(crate) struct Reply {
    code: StatusCode,
    warnings: Vec<String>,
    /// `None` where there is no content.
    media_type: Option<HeaderValue>,
    headers: Vec<(HeaderName, HeaderValue)>,
    content: Content,
}

enum Content {
    /// An object of the kind that the request is about.
    Object(Bytes),
    Bytes(Bytes),
    Events(WatchEvents),
    /// Not known here.
    OfNode(Box<NodeRequest>),
}

impl Reply {
    fn new(code: StatusCode, media_type: HeaderValue, content: Content) -> Self {
        let uncached = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Self { code, warnings: Vec::new(), media_type: Some(media_type), headers: vec![uncached], content }
    }

    /// What the client has is still the present. It says nothing of the content's type: a client would take that for
    /// the type of what it has.
    pub(crate) fn not_modified() -> Self {
        let unused = HeaderValue::from_static("");
        Self { media_type: None, ..Self::new(StatusCode::NOT_MODIFIED, unused, Content::Bytes(Bytes::new())) }
    }

    pub(crate) fn document(code: StatusCode, json: Bytes) -> Self {
        Self::new(code, JSON, Content::Bytes(json))
    }

    /// An object of the kind that the request is about, as it is stored.
    pub(crate) fn object(code: StatusCode, encoded: Bytes) -> Self {
        Self::new(code, JSON, Content::Object(encoded))
    }

    /// Brings the object that this answers with, if it does, into another form.
    pub(crate) fn map_object(
        mut self,
        form: impl FnOnce(Bytes) -> Result<Bytes, ApiError>,
    ) -> Result<Self, ApiError> {
        self.content = match self.content {
            Content::Object(encoded) => Content::Bytes(form(encoded)?),
            other => other,
        };
        Ok(self)
    }

    pub(crate) fn status(status: &Status) -> Result<Self, ApiError> {
        let json = serde_json::to_vec(status).map_err(|_| ApiError::internal("cannot encode a Status"))?;
        let code = status.code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        Ok(Self::document(code.unwrap_or(StatusCode::OK), json.into()))
    }

    pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Self {
        let media_type = HeaderValue::from_static("text/plain; charset=utf-8");
        Self::new(code, media_type, Content::Bytes(text.into()))
    }

    pub(crate) fn events(events: WatchEvents) -> Self {
        Self::new(StatusCode::OK, JSON, Content::Events(events))
    }

    /// What a node answers in this server's place.
    pub(crate) fn of_node(request: NodeRequest) -> Self {
        Self::new(StatusCode::OK, JSON, Content::OfNode(Box::new(request)))
    }

    pub(crate) fn with_media_type(mut self, media_type: &'static str) -> Self {
        self.media_type = Some(HeaderValue::from_static(media_type));
        self
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.code
    }

    /// Sets a header, in place of what it was.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(present, _)| *present != name);
        self.headers.push((name, value));
        self
    }

    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }

    /// The answer to this caller, for which a node may have to be asked first.
    pub(crate) async fn respond(self, caller: Caller) -> Response<ResponseBody> {
        match self.content {
            Content::OfNode(request) => request.send(caller).await,
            _ => self.into_response(),
        }
    }

    /// The answer, where no node is to be asked.
    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        let body = match self.content {
            // Only `respond` can.
            Content::OfNode(_) => return ApiError::internal("a node was not asked").into_response(),
            Content::Object(bytes) | Content::Bytes(bytes) => Full::new(bytes).boxed_unsync(),
            Content::Events(events) => {
                let frames = events.stream().map(|bytes| Ok(http_body::Frame::data(bytes)));
                BodyExt::boxed_unsync(StreamBody::new(frames))
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.extend(self.media_type.map(|media_type| (header::CONTENT_TYPE, media_type)));
        headers.extend(self.headers);
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
