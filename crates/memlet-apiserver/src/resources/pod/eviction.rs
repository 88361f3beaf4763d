//! POST `pods/{name}/eviction`: a deletion by the Pod's own rules. There are no disruption budgets here to refuse it.

use http::{Method, StatusCode};
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;

use crate::decode;
use crate::error::{ApiError, success};
use crate::reply::Reply;
use crate::request::{DeleteOptions, ResourceRequest};
use crate::verbs::{Core, key};

pub(super) fn evict(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    if request.method != Method::POST {
        return Err(ApiError::method_not_allowed("this method", "pods/eviction"));
    }
    let value = decode::body(&request.body, request.notation()?, Eviction::KIND)?.object;
    let eviction: Eviction = decode::plain(&value)
        .map_err(|why| {
            ApiError::bad_request(format!(
                "Eviction in version \"v1\" cannot be handled as a Eviction: {why}"
            ))
        })?
        .object;
    let key = key::<Pod>(request)?;
    if eviction.metadata.name.as_ref().is_some_and(|name| !name.is_empty() && *name != key.name) {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let stated = eviction.delete_options.unwrap_or_default();
    let options = DeleteOptions::from_stated(stated, &request.query)?;
    core.delete_object::<Pod>(&key, &options)?;
    Reply::status(&success(StatusCode::CREATED, None))
}
