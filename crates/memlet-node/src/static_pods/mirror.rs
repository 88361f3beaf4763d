//! The object by which a static Pod is seen in the API.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use super::manifest::HASH;

/// The annotation by which a mirror is known; it has the static Pod's uid.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// A static Pod has no mirror.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MirrorError {
    #[error("the API server refuses it: {0}")]
    Refused(String),
    #[error("the API has a Pod {0} that is none of a file's; delete it, or give the static Pod another name")]
    Taken(String),
    #[error(transparent)]
    Client(kube::Error),
}

impl From<kube::Error> for MirrorError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status.message.clone()),
            other => Self::Client(other),
        }
    }
}

/// Whether this is a mirror.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    mirrored(pod).is_some()
}

/// The uid of the static Pod that it mirrors.
pub(crate) fn mirrored(pod: &Pod) -> Option<&String> {
    pod.metadata.annotations.as_ref()?.get(MIRROR)
}

/// The mirror of this Pod as it now is: the one there, or a new one, in the place of one that is another's or is to go.
pub(super) async fn ensure(client: &kube::Client, pod: &Pod, owner: &str) -> Result<Pod, MirrorError> {
    let pods = api(client, pod);
    let name = pod.metadata.name.clone().unwrap_or_default();
    if let Some(there) = pods.get_opt(&name).await? {
        if !is_mirror(&there) {
            return Err(MirrorError::Taken(name));
        }
        if mirrored(&there) == pod.metadata.uid.as_ref() && there.metadata.deletion_timestamp.is_none() {
            return Ok(there);
        }
        delete(client, pod, &there.metadata.uid.unwrap_or_default()).await?;
    }
    Ok(pods.create(&PostParams::default(), &mirror(pod, owner)).await?)
}

/// Deletes at once the mirror that has this uid; fine where it is gone.
pub(super) async fn delete(client: &kube::Client, pod: &Pod, uid: &str) -> Result<(), MirrorError> {
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    match api(client, pod).delete(name, &params).await {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        answer => Ok(answer.map(drop)?),
    }
}

fn api(client: &kube::Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or("default"))
}

/// The object as it is created. The uid is the API server's to give.
fn mirror(pod: &Pod, owner: &str) -> Pod {
    let mut mirror = pod.clone();
    let metadata = &mut mirror.metadata;
    metadata.uid = None;
    let annotations = metadata.annotations.get_or_insert_default();
    let hash = annotations.get(HASH).cloned().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), hash);
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.unwrap_or_default(),
        uid: owner.to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}
