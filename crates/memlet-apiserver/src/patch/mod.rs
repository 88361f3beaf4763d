//! The patch formats: what a body describes, applied to an object's JSON.

mod json;
mod strategic;

pub(crate) use strategic::{ListMerge, list_merge};

use serde_json::Value;

use crate::decode;
use crate::error::ApiError;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";

/// A patch, read and ready to be applied. Server-side apply is not served yet and is refused as a media type.
#[derive(Debug)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own: lists that have a merge key are merged by it.
    Strategic(Value),
}

impl Patch {
    pub(crate) fn parse(media_type: &str, body: &[u8]) -> Result<Self, ApiError> {
        let parse = || decode::parse(body, "Patch").map(|decoded| decoded.object);
        match media_type {
            JSON_PATCH => {
                let patch: json_patch::Patch = serde_json::from_value(parse()?)
                    .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
                if patch.0.len() > json::MOST_OPERATIONS {
                    return Err(ApiError::too_large());
                }
                Ok(Self::Json(patch))
            }
            MERGE_PATCH => parse().map(Self::Merge),
            STRATEGIC_MERGE_PATCH => match parse()? {
                patch @ Value::Object(_) => Ok(Self::Strategic(patch)),
                _ => Err(ApiError::bad_request("error decoding patch: a strategic merge patch is an object")),
            },
            _ => {
                let accepted = [JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH].join(", ");
                Err(ApiError::unsupported_media_type(&accepted))
            }
        }
    }

    /// Changes the value, or says why that cannot be; the value is then spoilt.
    pub(crate) fn apply(&self, value: &mut Value) -> Result<(), String> {
        match self {
            Self::Json(patch) => json::apply(value, patch),
            Self::Merge(patch) => {
                json_patch::merge(value, patch);
                Ok(())
            }
            Self::Strategic(patch) => strategic::merge(value, patch),
        }
    }
}
