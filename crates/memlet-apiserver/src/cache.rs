//! Answers that clients keep: an `ETag` by which they ask whether theirs is still the present one.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use sha2::{Digest as _, Sha512};

use crate::reply::Reply;

/// The name of a document's content, as upstream forms it.
pub(crate) fn content_hash(content: &[u8]) -> String {
    Sha512::digest(content).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The answer with its tag, or "not modified" for a client that has it.
pub(crate) fn tagged(content: &Bytes, headers: &HeaderMap, answer: impl FnOnce() -> Reply) -> Reply {
    tagged_by(&content_hash(content), headers, answer)
}

/// As [`tagged`], for content whose hash is known.
pub(crate) fn tagged_by(hash: &str, headers: &HeaderMap, answer: impl FnOnce() -> Reply) -> Reply {
    let tag = format!("\"{hash}\"");
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|text| {
            matches!(text.trim().trim_start_matches("W/"), "*") || text.trim().trim_start_matches("W/") == tag
        });
    let reply = if known { Reply::not_modified() } else { answer() };
    // A hash is hexadecimal digits: it always fits a header.
    let tag = HeaderValue::from_str(&tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    reply
        .with_header(header::ETAG, tag)
        .with_header(header::CACHE_CONTROL, HeaderValue::from_static("public"))
}
