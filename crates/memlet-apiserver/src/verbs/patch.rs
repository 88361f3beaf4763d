//! PATCH: a change described rather than sent whole.

use http::StatusCode;
use serde_json::Value;

use super::update::{check_identity, settle};
use super::{Core, Part, key};
use crate::decode;
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::patch::Patch;
use crate::reply::Reply;
use crate::request::{ResourceRequest, WriteOptions};

impl Core {
    pub(crate) fn patch<K: ServedKind>(
        &self,
        request: &ResourceRequest,
        part: Part,
    ) -> Result<Reply, ApiError> {
        let options = WriteOptions::parse(&request.query)?;
        let patch = Patch::parse(request.content_type(), &request.body)?;
        let key = key::<K>(request)?;
        let mut warnings = Vec::new();
        let stored = self.change::<K>(&key, options.dry_run, |current, old| {
            let mut value: Value = serde_json::from_slice(&current.encoded)
                .map_err(|_| ApiError::internal("a stored object cannot be read"))?;
            patch.apply(&mut value).map_err(ApiError::unprocessable)?;
            let decoded = decode::value::<K>(&mut value)?;
            warnings = decode::judge::<K>(decoded.oddities, options.validation)?;
            let mut new = decoded.object;
            new.apply_defaults();
            check_identity(&new, old, &key)?;
            settle(&mut new, old, part)?;
            Ok(new)
        })?;
        Ok(Reply::object(StatusCode::OK, stored.encoded.clone()).with_warnings(warnings))
    }
}
