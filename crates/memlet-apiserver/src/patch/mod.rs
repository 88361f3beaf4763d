//! The patch formats: what a body describes, applied to an object's JSON. Server-side apply is another thing (see
//! `ownership`).

mod json;
#[cfg(test)]
mod properties;
mod strategic;

use serde_json::Value;

use crate::decode;
use crate::error::ApiError;
use crate::schema::Type;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_MERGE_PATCH: &str = "application/strategic-merge-patch+json";
/// Server-side apply.
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// A patch, read and ready to be applied.
#[derive(Debug)]
pub(crate) struct Patch {
    format: Format,
    /// Fields that the patch states twice.
    pub(crate) oddities: Vec<String>,
}

#[derive(Debug)]
enum Format {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own: lists that have a merge key are merged by it.
    Strategic(Value),
}

/// Why a patch was not applied.
#[derive(Debug)]
enum Refused {
    /// It is not a patch of its format.
    Malformed(String),
    /// It does not fit the object.
    Unfit(String),
}

impl Refused {
    fn told(self) -> ApiError {
        match self {
            Self::Malformed(why) => ApiError::bad_request(why),
            Self::Unfit(why) => ApiError::unprocessable(why),
        }
    }
}

impl Patch {
    pub(crate) fn parse(media_type: &str, body: &[u8]) -> Result<Self, ApiError> {
        if ![JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH].contains(&media_type) {
            let accepted = [JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH].join(", ");
            return Err(ApiError::unsupported_media_type(&accepted));
        }
        let decode::Decoded { object: patch, oddities } = decode::patch(body)?;
        let format = match media_type {
            JSON_PATCH => Format::Json(json::read(patch)?),
            _ if !patch.is_object() => {
                return Err(ApiError::bad_request("error decoding patch: the patch is not an object"));
            }
            MERGE_PATCH => Format::Merge(patch),
            _ => Format::Strategic(patch),
        };
        Ok(Self { format, oddities })
    }

    /// Whether it may be about `metadata.managedFields`, which most patches are spared.
    pub(crate) fn touches_owners(&self) -> bool {
        match &self.format {
            Format::Json(patch) => json::touches(patch, "/metadata/managedFields"),
            Format::Merge(patch) | Format::Strategic(patch) => {
                patch.get("metadata").is_some_and(|metadata| metadata.get("managedFields").is_some())
            }
        }
    }

    /// Changes the value, or says why that cannot be; the value is then spoilt.
    pub(crate) fn apply(&self, value: &mut Value, of: &'static Type) -> Result<(), ApiError> {
        let applied = match &self.format {
            Format::Json(patch) => json::apply(value, patch),
            Format::Merge(patch) => {
                json_patch::merge(value, patch);
                Ok(())
            }
            Format::Strategic(patch) => strategic::merge(value, patch, of),
        };
        applied.map_err(Refused::told)
    }
}
