//! Who a request is from: the client certificate of its connection, or the token that it bears.

use http::{HeaderMap, header};

use super::Identity;
use crate::error::ApiError;
use crate::server::ApiServer;

/// What a connection's client certificate says.
#[derive(Clone, Debug)]
pub(crate) enum Presented {
    /// There is none.
    Nothing,
    /// It is not this server's authority's, or not valid now.
    Stranger,
    /// It is somebody's.
    Known(Identity),
}

const BEARER: &str = "Bearer ";

impl ApiServer {
    /// The identity behind a request. Without any credentials, only what everybody may ask is let through, as
    /// `system:anonymous`.
    pub(crate) fn authenticate(
        &self,
        presented: &Presented,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Identity, ApiError> {
        if let Presented::Known(identity) = presented {
            return Ok(identity.clone());
        }
        match headers.get(header::AUTHORIZATION) {
            Some(_) => Err(ApiError::unauthorized()),
            None if matches!(presented, Presented::Nothing) && super::is_public(path) => {
                Ok(Identity::anonymous())
            }
            None => Err(ApiError::unauthorized()),
        }
    }
}
