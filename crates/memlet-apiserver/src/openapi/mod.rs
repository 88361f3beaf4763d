//! `/openapi`: the form of everything that is served, for clients that check manifests and explain fields.
//!
//! The documents are made from the types themselves when somebody asks for the first time, and kept compressed: they are
//! large, and most of the time nobody reads them.

mod definitions;
mod operations;
mod protobuf;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::cache;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::request::{Query, accepted};

const JSON: &str = "application/json";
/// What kubectl asks for at `/openapi/v2`, as it asks, and as it is answered.
const PROTOBUF_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// A document that is kept compressed.
struct Document {
    compressed: Bytes,
    /// Of the content.
    hash: String,
}

impl Document {
    fn new(content: &[u8]) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory cannot fail.
        let _ = encoder.write_all(content);
        Self { compressed: encoder.finish().unwrap_or_default().into(), hash: cache::content_hash(content) }
    }

    /// The answer with this document, compressed if the client can read that.
    fn answer(&self, media_type: &'static str, headers: &HeaderMap) -> Reply {
        cache::tagged_by(&self.hash, headers, || {
            let reads_gzip = headers
                .get_all(header::ACCEPT_ENCODING)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|text| text.contains("gzip"));
            if reads_gzip {
                let gzip = HeaderValue::from_static("gzip");
                return Reply::document(StatusCode::OK, self.compressed.clone())
                    .with_media_type(media_type)
                    .with_header(header::CONTENT_ENCODING, gzip);
            }
            let mut content = Vec::new();
            // What was compressed here is whole.
            let _ = GzDecoder::new(&self.compressed[..]).read_to_end(&mut content);
            Reply::document(StatusCode::OK, content.into()).with_media_type(media_type)
        })
        .with_header(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"))
    }
}

/// The documents of version 3, by the path of the resources that they describe (`api/v1`).
fn documents() -> &'static BTreeMap<String, Document> {
    static DOCUMENTS: OnceLock<BTreeMap<String, Document>> = OnceLock::new();
    DOCUMENTS.get_or_init(|| {
        let documents = v3::documents().into_iter();
        documents.map(|(path, document)| (path, Document::new(document.to_string().as_bytes()))).collect()
    })
}

/// `/openapi/v3`: the documents that there are, each with its hash, so that clients keep them.
pub(crate) fn index() -> Reply {
    let paths: BTreeMap<&String, _> = documents()
        .iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash);
            (path, json!({ "serverRelativeURL": url }))
        })
        .collect();
    Reply::document(StatusCode::OK, json!({ "paths": paths }).to_string().into())
}

/// `/openapi/v3/{path}`.
pub(crate) fn document(path: &str, query: &Query, headers: &HeaderMap) -> Result<Reply, ApiError> {
    let document = documents().get(path).ok_or_else(ApiError::no_such_path)?;
    let reads_json = accepted(headers).iter().any(|range| range.is_json() && range.parameter("as").is_none());
    if !reads_json {
        return Err(ApiError::not_acceptable(JSON));
    }
    let reply = document.answer(JSON, headers);
    // The URL that the index gives names the content: what it gives never changes.
    Ok(if query.get("hash") == Some(document.hash.as_str()) {
        reply.with_header(
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, immutable, max-age=31536000"),
        )
    } else {
        reply
    })
}

/// `/openapi/v2`: everything in one document. kubectl reads it as protobuf only.
pub(crate) fn version_2(headers: &HeaderMap) -> Result<Reply, ApiError> {
    static AS_JSON: OnceLock<Document> = OnceLock::new();
    static AS_PROTOBUF: OnceLock<Document> = OnceLock::new();
    for range in accepted(headers) {
        if PROTOBUF_ASKED.contains(&range.media_type()) {
            let document = AS_PROTOBUF.get_or_init(|| Document::new(&protobuf::encode(&v2::document())));
            return Ok(document.answer(PROTOBUF_ASKED[1], headers));
        }
        if range.is_json() && range.parameter("as").is_none() {
            let document = AS_JSON.get_or_init(|| Document::new(v2::document().to_string().as_bytes()));
            return Ok(document.answer(JSON, headers));
        }
    }
    Err(ApiError::not_acceptable(&format!("{JSON}, {}", PROTOBUF_ASKED[0])))
}

#[cfg(test)]
mod tests;
