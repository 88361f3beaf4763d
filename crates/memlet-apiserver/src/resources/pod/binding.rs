//! POST `pods/{name}/binding`: the scheduler's decision. It puts the Pod on a node and marks it scheduled.

use http::{Method, StatusCode};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Binding, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::decode;
use crate::error::{ApiError, success};
use crate::field::{FieldErrors, FieldPath};
use crate::reply::Reply;
use crate::request::{ResourceRequest, WriteOptions};
use crate::verbs::{Core, key};

/// The name under which refusals tell of this subresource.
const RESOURCE: &str = "pods/binding";

pub(super) fn bind(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    if request.method != Method::POST {
        return Err(ApiError::method_not_allowed("this method", RESOURCE));
    }
    let options = WriteOptions::parse(&request.query, "CreateOptions")?;
    let value = decode::body(&request.body, request.notation()?, Binding::KIND)?.object;
    let binding: Binding = decode::plain(&value)
        .map_err(|why| {
            ApiError::bad_request(format!("Binding in version \"v1\" cannot be handled as a Binding: {why}"))
        })?
        .object;
    let key = key::<Pod>(request)?;
    let node = target(&binding, &key.name)?;
    core.change::<Pod>(&key, options.dry_run, |_, old| {
        let conflict = |why: &str| Err(ApiError::conflict(RESOURCE, &key.name, why));
        if binding.metadata.uid.is_some() && binding.metadata.uid != old.metadata.uid {
            return conflict("the UID in the binding is not that of the pod");
        }
        if old.metadata.deletion_timestamp.is_some() {
            return conflict(&format!("pod {} is being deleted, cannot be assigned to a host", key.name));
        }
        let mut new = old.clone();
        let spec = new.spec.get_or_insert_default();
        if let Some(taken) = spec.node_name.as_deref().filter(|node| !node.is_empty()) {
            return conflict(&format!("pod {} is already assigned to node {taken:?}", key.name));
        }
        spec.node_name = Some(node.clone());
        for (key, value) in binding.metadata.annotations.iter().flatten() {
            new.metadata.annotations.get_or_insert_default().insert(key.clone(), value.clone());
        }
        // It has the place that was kept for it.
        new.status.get_or_insert_default().nominated_node_name = None;
        mark_scheduled(&mut new);
        Ok(new)
    })?;
    Reply::status(&success(StatusCode::CREATED, None))
}

fn target(binding: &Binding, pod: &str) -> Result<String, ApiError> {
    let mut errors = FieldErrors::default();
    let path = FieldPath::new("target");
    if let Some(kind) = binding.target.kind.as_deref().filter(|kind| !matches!(*kind, "" | "Node")) {
        errors.not_supported(&path.child("kind"), kind, &["Node", "<empty>"]);
    }
    let node = binding.target.name.clone().unwrap_or_default();
    if node.is_empty() {
        errors.required(&path.child("name"), "");
    }
    if errors.is_empty() { Ok(node) } else { Err(ApiError::invalid(Binding::KIND, pod, errors)) }
}

/// `PodScheduled=True`, as upstream's `assignPod` sets it: which generation it speaks of is for the node to say.
fn mark_scheduled(pod: &mut Pod) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(Time(Timestamp::now())),
        ..PodCondition::default()
    };
    match conditions.iter_mut().find(|present| present.type_ == condition.type_) {
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
}
