//! PATCH: a change described rather than sent whole.

use http::StatusCode;

use super::update::{check_identity, settle};
use super::{Core, Part, key};
use crate::decode;
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::ownership::{self, Before};
use crate::patch::{APPLY_PATCH, Patch};
use crate::reply::Reply;
use crate::request::{ResourceRequest, WriteOptions};

impl Core {
    pub(crate) fn patch<K: ServedKind>(
        &self,
        request: &ResourceRequest,
        part: Part,
    ) -> Result<Reply, ApiError> {
        if request.content_type() == APPLY_PATCH {
            return self.apply::<K>(request, part);
        }
        let options = WriteOptions::of_patch(&request.query, false)?;
        let patch = Patch::parse(request.content_type(), &request.body)?;
        let key = key::<K>(request)?;
        let writer = request.writer(&options, part);
        let mut warnings = Vec::new();
        let stored = self.change::<K>(&key, options.dry_run, |current, old| {
            let before = Before::stored(&K::from_stored(&current.encoded)?, old)?;
            let mut value = before.json.clone();
            if patch.touches_owners() {
                before.put_owners(&mut value)?;
            }
            patch.apply(&mut value, K::SHAPE)?;
            let decoded = decode::value::<K>(&mut value)?;
            let oddities = patch.oddities.iter().cloned().chain(decoded.oddities).collect();
            warnings = decode::judge::<K>(oddities, options.validation)?;
            let mut new = decoded.object;
            new.apply_defaults();
            check_identity(&new, old, &key)?;
            ownership::follow_update(&mut new, &before, &writer)?;
            settle(&mut new, old, part)?;
            Ok(new)
        })?;
        Ok(Reply::object(StatusCode::OK, stored.encoded.clone()).with_warnings(warnings))
    }
}
