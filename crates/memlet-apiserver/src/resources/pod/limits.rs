//! The limit ranges of a new Pod's namespace: what they give it, and whether they permit it (upstream's `LimitRanger`).

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{LimitRange, Pod};
use memlet_policy::limit_range;

use super::set_qos_class;
use crate::error::ApiError;
use crate::verbs::{Core, typed};

/// Gives containers the requests and limits that they leave out, and says so in an annotation.
pub(super) fn give_defaults(pod: &mut Pod, core: &Core) -> Result<(), ApiError> {
    for range in ranges(pod, core)? {
        let Some(given) = limit_range::give_defaults(&range, pod.spec.get_or_insert_default()) else {
            continue;
        };
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(limit_range::ANNOTATION.to_owned(), given);
        set_qos_class(pod);
    }
    Ok(())
}

/// Refuses what a range does not permit.
pub(super) fn check(pod: &Pod, core: &Core) -> Result<(), ApiError> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let refusal = ranges(pod, core)?.iter().find_map(|range| limit_range::refusal(range, spec));
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    refusal.map_or(Ok(()), |why| Err(ApiError::forbidden(Pod::URL_PATH_SEGMENT, name, &why)))
}

fn ranges(pod: &Pod, core: &Core) -> Result<Vec<LimitRange>, ApiError> {
    let namespace = pod.metadata.namespace.as_deref();
    let stored = core.storage.list(LimitRange::URL_PATH_SEGMENT, namespace, None).objects;
    stored.iter().map(|stored| typed::<LimitRange>(stored)).collect()
}
