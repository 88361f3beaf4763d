//! Who a request is from: the client certificate of its connection, or the token that it bears.

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde::Deserialize;

use super::token::{Claims, ISSUER, Reference};
use super::{Identity, impersonation};
use crate::error::ApiError;
use crate::server::ApiServer;
use crate::storage::Key;
use crate::verbs::Core;

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

const BEARER: &str = "bearer";
/// The user and the groups of a service account.
pub(crate) const ACCOUNT_USER: &str = "system:serviceaccount:";
pub(crate) const ACCOUNTS: &str = "system:serviceaccounts";
/// Where a token's own particulars stand in the identity.
const EXTRA: &str = "authentication.kubernetes.io/";
/// How long a token outlives the deletion that its Pod or account has been marked for.
const DELETION_LEEWAY: SignedDuration = SignedDuration::from_secs(60);

impl ApiServer {
    /// The identity behind a request. Without any credentials, only what everybody may ask is let through, as
    /// `system:anonymous`.
    pub(crate) fn authenticate(
        &self,
        presented: &Presented,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<Identity, ApiError> {
        let token = headers.get(header::AUTHORIZATION);
        let identity = match (presented, token) {
            (Presented::Known(identity), _) => identity.clone(),
            (_, Some(value)) => {
                let token = value.to_str().ok().and_then(bearer);
                token.and_then(|token| identify(self.core(), token)).ok_or_else(ApiError::unauthorized)?
            }
            (Presented::Nothing, None) if super::is_public(path) => Identity::anonymous(),
            _ => return Err(ApiError::unauthorized()),
        };
        impersonation::apply(identity, headers)
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
}

/// Whom a token for this server is of, as long as what it is bound to exists.
pub(crate) fn identify(core: &Core, token: &str) -> Option<Identity> {
    identify_for(core, token, &[ISSUER.to_owned()]).map(|(identity, _)| identity)
}

/// The same for any of these audiences; tells those that the token is for.
pub(crate) fn identify_for(
    core: &Core,
    token: &str,
    audiences: &[String],
) -> Option<(Identity, Vec<String>)> {
    let accounts = core.accounts.get()?;
    let claims = accounts.key.verify(token, Timestamp::now())?;
    let meant: Vec<String> = audiences.iter().filter(|one| claims.aud.contains(one)).cloned().collect();
    if meant.is_empty() {
        return None;
    }
    let bound = &claims.bound;
    let namespace = bound.namespace.as_str();
    if claims.sub != format!("{ACCOUNT_USER}{namespace}:{}", bound.serviceaccount.name) {
        return None;
    }
    exists(core, ServiceAccount::URL_PATH_SEGMENT, namespace, &bound.serviceaccount).then_some(())?;
    if let Some(pod) = &bound.pod {
        exists(core, Pod::URL_PATH_SEGMENT, namespace, pod).then_some(())?;
    }
    Some((identity(claims), meant))
}

/// The user that an account is, with its groups.
pub(crate) fn account_identity(namespace: &str, name: &str) -> Identity {
    Identity::of(
        format!("{ACCOUNT_USER}{namespace}:{name}"),
        [ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}")],
    )
}

fn identity(claims: Claims) -> Identity {
    let bound = claims.bound;
    let mut extra = BTreeMap::from([(format!("{EXTRA}credential-id"), vec![format!("JTI={}", claims.jti)])]);
    for (kind, reference) in [("node", bound.node), ("pod", bound.pod)] {
        if let Some(reference) = reference {
            extra.insert(format!("{EXTRA}{kind}-name"), vec![reference.name]);
            extra.insert(format!("{EXTRA}{kind}-uid"), vec![reference.uid]);
        }
    }
    Identity {
        uid: bound.serviceaccount.uid,
        extra,
        ..account_identity(&bound.namespace, &bound.serviceaccount.name)
    }
}

#[derive(Deserialize)]
struct Stored {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    uid: String,
    deletion_timestamp: Option<Timestamp>,
}

/// Whether it is still the same object, and not long overdue to go.
fn exists(core: &Core, resource: &'static str, namespace: &str, reference: &Reference) -> bool {
    let Some(stored) = core.storage.get(resource, &Key::new(namespace, &reference.name)) else {
        return false;
    };
    let Ok(Stored { metadata }) = serde_json::from_slice(&stored.encoded) else { return false };
    let overdue = metadata.deletion_timestamp.is_some_and(|end| end + DELETION_LEEWAY < Timestamp::now());
    metadata.uid == reference.uid && !overdue
}
