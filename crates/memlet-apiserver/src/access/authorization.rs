//! What each user may do.

use super::rules::rules_of;
use super::{Attributes, Identity};
use crate::error::ApiError;

/// Paths that tell nothing but that the server is there and which it is: upstream's `system:public-info-viewer`.
const PUBLIC: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

/// Whether everybody may ask for it.
pub(crate) fn is_public(path: &str) -> bool {
    PUBLIC.contains(&path)
}

/// Refuses what the user may not do, in upstream's words.
pub(crate) fn authorize(identity: &Identity, asked: &Attributes) -> Result<(), ApiError> {
    if is_permitted(identity, asked) { Ok(()) } else { Err(ApiError::not_permitted(&identity.user, asked)) }
}

pub(crate) fn is_permitted(identity: &Identity, asked: &Attributes) -> bool {
    // First what almost every request is.
    identity.is_administrator()
        || asked.path.as_deref().is_some_and(is_public)
        || rules_of(identity).iter().any(|rule| rule.permits(asked))
}
