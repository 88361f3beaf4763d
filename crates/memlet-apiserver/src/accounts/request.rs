//! POST `serviceaccounts/{name}/token`: a token of an account, for an hour or as long as is asked, and no longer than
//! the Pod lives that it is bound to.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::Resource as _;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestStatus};
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use uuid::Uuid;

use crate::access::{Bound, Claims, ISSUER, Reference, created, read};
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::reply::Reply;
use crate::request::ResourceRequest;
use crate::storage::Key;
use crate::verbs::{Core, key, typed};

const DEFAULT_SECONDS: i64 = 3600;
const SHORTEST_SECONDS: i64 = 600;
const LONGEST_SECONDS: i64 = 1 << 32;
/// The group and kind of refusals.
const QUALIFIED_KIND: &str = "TokenRequest.authentication.k8s.io";

pub(crate) fn request_token(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    if request.method != Method::POST {
        return Err(ApiError::method_not_allowed("this method", "serviceaccounts/token"));
    }
    let accounts = core.accounts.get().ok_or_else(ApiError::no_such_path)?;
    let mut asked: TokenRequest = read(request)?;
    let key = key::<ServiceAccount>(request)?;
    let stored = core.storage.get(ServiceAccount::URL_PATH_SEGMENT, &key);
    let stored = stored.ok_or_else(|| ApiError::not_found(ServiceAccount::URL_PATH_SEGMENT, &key.name))?;
    let account = typed::<ServiceAccount>(&stored)?;

    let spec = asked.spec.get_or_insert_default();
    let seconds = *spec.expiration_seconds.get_or_insert(DEFAULT_SECONDS);
    check_seconds(seconds)?;
    let audiences = spec.audiences.get_or_insert_default();
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    let audiences = audiences.clone();
    let (pod, node) = match &spec.bound_object_ref {
        Some(reference) => pod_and_node(core, &key, reference)?,
        None => (None, None),
    };

    let now = Timestamp::now();
    let end = now
        .checked_add(SignedDuration::from_secs(seconds))
        .map_err(|_| ApiError::bad_request("the token's end is beyond all time"))?;
    let claims = Claims {
        aud: audiences,
        exp: end.as_second(),
        iat: now.as_second(),
        iss: ISSUER.to_owned(),
        jti: Uuid::new_v4().to_string(),
        sub: format!("system:serviceaccount:{}:{}", key.namespace, key.name),
        bound: Bound {
            namespace: key.namespace.clone(),
            node,
            pod,
            serviceaccount: Reference {
                name: key.name.clone(),
                uid: account.metadata.uid.unwrap_or_default(),
            },
        },
        nbf: now.as_second(),
    };
    let token = accounts.key.sign(&claims).ok_or_else(|| ApiError::internal("cannot sign a token"))?;
    asked.metadata.name = Some(key.name);
    asked.metadata.namespace = Some(key.namespace);
    asked.metadata.creation_timestamp = Some(whole_second(now));
    asked.status =
        Some(TokenRequestStatus { token: Some(token), expiration_timestamp: Some(whole_second(end)) });
    created(&asked)
}

fn whole_second(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn check_seconds(seconds: i64) -> Result<(), ApiError> {
    let detail = match seconds {
        ..SHORTEST_SECONDS => "may not specify a duration less than 10 minutes",
        SHORTEST_SECONDS..=LONGEST_SECONDS => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let mut errors = FieldErrors::default();
    errors.invalid(&FieldPath::new("spec.expirationSeconds"), seconds, detail);
    Err(ApiError::invalid(QUALIFIED_KIND, "", errors))
}

/// The Pod that a token is to be bound to, with its node, if the account is the Pod's.
fn pod_and_node(
    core: &Core,
    account: &Key,
    reference: &BoundObjectReference,
) -> Result<(Option<Reference>, Option<Reference>), ApiError> {
    let kind = reference.kind.as_deref().unwrap_or_default();
    let version = reference.api_version.as_deref().unwrap_or_default();
    if (version, kind) != (Pod::API_VERSION, Pod::KIND) {
        let group = if version == "v1" { "" } else { version };
        let bound = format!("cannot bind token for serviceaccount {:?} to type {group}/{kind}", account.name);
        return Err(ApiError::bad_request(bound));
    }
    let name = reference.name.clone().unwrap_or_default();
    let stored = core.storage.get(Pod::URL_PATH_SEGMENT, &Key::new(&account.namespace, &name));
    let stored = stored.ok_or_else(|| ApiError::not_found(Pod::URL_PATH_SEGMENT, &name))?;
    let pod = typed::<Pod>(&stored)?;
    let uid = pod.metadata.uid.unwrap_or_default();
    if let Some(stated) = reference.uid.as_ref().filter(|stated| !stated.is_empty() && **stated != uid) {
        let why = format!(
            "the UID in the bound object reference ({stated}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(ApiError::conflict(Pod::URL_PATH_SEGMENT, &name, &why));
    }
    let spec = pod.spec.unwrap_or_default();
    if spec.service_account_name.as_ref() != Some(&account.name) {
        let why = format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            account.name
        );
        return Err(ApiError::bad_request(why));
    }
    let node = spec.node_name.and_then(|node| {
        let stored = core.storage.get(Node::URL_PATH_SEGMENT, &Key::new("", &node))?;
        let uid = typed::<Node>(&stored).ok()?.metadata.uid.unwrap_or_default();
        Some(Reference { name: node, uid })
    });
    Ok((Some(Reference { name, uid }), node))
}
