//! Events are deleted when nobody has written them for a while.
//!
//! The time of the last write is known in memory; after a start it is what the event says of itself.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use crate::error::ApiError;
use crate::request::DeleteOptions;
use crate::resources;
use crate::verbs::Core;

/// Deletes what was last written more than `lifetime` ago.
pub(super) fn run(core: &Core, lifetime: Duration) -> Result<(), ApiError> {
    let now = Timestamp::now();
    let limit = now.checked_sub(lifetime).unwrap_or(Timestamp::MIN).as_second();
    for handler in resources::served().filter(|handler| handler.expires()) {
        for object in core.storage.list(handler.resource(), None, None).objects {
            // Whole seconds are kept, so a last second may still be under way.
            if object.written.is_none_or(|written| written >= limit) {
                continue;
            }
            let mut options = DeleteOptions::default();
            options.preconditions.resource_version = Some(object.revision.to_string());
            match handler.delete(core, &object.key, &options) {
                Ok(()) => resources::settle_namespace(core, &object.key.namespace)?,
                // Written or deleted just now.
                Err(error) if matches!(error.code(), StatusCode::CONFLICT | StatusCode::NOT_FOUND) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}
