//! Discovery: what is served, told in the two ways in which clients ask.
//!
//! Everything is derived from the one table of served kinds ([`crate::resources::described`]); a kind that is added there
//! appears here by itself.

mod aggregated;
mod paths;
mod resource;
mod separate;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::cache;
use crate::error::ApiError;
use crate::reply::Reply;
use crate::resources;

pub(crate) use paths::index;
pub(crate) use resource::{GroupVersionKind, ServedResource, ServedSubresource, groups};

use aggregated::AggregatedVersion;

/// `/api`: the core group, whole where the client can read that.
pub(crate) fn core_versions(headers: &HeaderMap) -> Result<Reply, ApiError> {
    let served = resources::described();
    match AggregatedVersion::accepted(headers)? {
        None => Ok(json(&separate::core_versions(headers))),
        Some(version) => {
            let core = groups(&served).into_iter().filter(|group| group.name.is_empty());
            Ok(aggregated_reply(version, &version.document(core), headers))
        }
    }
}

/// `/apis`: every named group, whole where the client can read that.
pub(crate) fn named_groups(headers: &HeaderMap) -> Result<Reply, ApiError> {
    let served = resources::described();
    let named = groups(&served).into_iter().filter(|group| !group.name.is_empty());
    match AggregatedVersion::accepted(headers)? {
        None => Ok(json(&separate::group_list(named))),
        Some(version) => Ok(aggregated_reply(version, &version.document(named), headers)),
    }
}

/// `/apis/{group}`.
pub(crate) fn group(name: &str) -> Result<Reply, ApiError> {
    let served = resources::described();
    let group = groups(&served).into_iter().find(|group| group.name == name && !name.is_empty());
    Ok(json(&separate::group(&group.ok_or_else(ApiError::no_such_path)?)))
}

/// `/api/v1` and `/apis/{group}/{version}`.
pub(crate) fn resource_list(group: &str, version: &str) -> Result<Reply, ApiError> {
    let mut served = resources::described();
    served.retain(|resource| resource.kind.group == group && resource.kind.version == version);
    if served.is_empty() {
        return Err(ApiError::no_such_path());
    }
    Ok(json(&separate::resource_list(group, version, &served)))
}

fn json(value: &Value) -> Reply {
    Reply::document(StatusCode::OK, value.to_string().into())
}

/// Clients keep the aggregated documents and ask whether they are still the same.
fn aggregated_reply(version: AggregatedVersion, document: &Value, headers: &HeaderMap) -> Reply {
    let json: Bytes = document.to_string().into();
    cache::tagged(&json, headers, || {
        Reply::document(StatusCode::OK, json.clone()).with_media_type(version.media_type())
    })
    .with_header(header::VARY, HeaderValue::from_static("Accept"))
}

#[cfg(test)]
mod tests;
