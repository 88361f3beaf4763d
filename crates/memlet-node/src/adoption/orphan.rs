//! What an earlier run left of a Pod that the API does not have any more: ended with the grace that it wanted, and
//! removed.

use std::sync::Arc;

use futures::future;
use k8s_cri::v1::ContainerState;
use memlet_policy::logs;

use super::{Found, FoundContainer};
use crate::node::Node;
use crate::termination::LEAST_GRACE;
use crate::volumes;

/// Ends and removes whatever there is.
pub(crate) async fn end(node: Arc<Node>, uid: String, found: Found) {
    let Found { namespace, name, sandboxes, containers, .. } = found;
    let must_end_now = node.pressure.pods.orphan(&uid);
    tracing::info!(uid, namespace, name, "a Pod that an earlier run left and the API does not have is ended");
    tokio::select! {
        () = stop(&node, &containers, |container| container.grace.max(LEAST_GRACE)) => {}
        () = must_end_now.notified() => {
            tracing::info!(uid, "the node is short of memory, so it has no more time");
            stop(&node, &containers, |_| 0).await;
        }
    }
    if !name.is_empty() {
        remove_folder(node.config.pod_logs.join(logs::pod_folder_name(&namespace, &name, &uid))).await;
    }
    for sandbox in &sandboxes {
        if let Err(error) = node.cri.remove_sandbox(&sandbox.id).await {
            tracing::warn!("cannot remove a sandbox: {error}");
        }
        node.witness.forget(&sandbox.id);
    }
    for container in &containers {
        node.witness.forget(&container.id);
    }
    for path in node.cgroups.places_of(&uid).unwrap_or_default() {
        if node.cgroups.hierarchy().dir(&path).exists() {
            node.kill_all_in(&path).await;
            if let Err(error) = node.cgroups.remove(&path).await {
                tracing::warn!("{error}");
            }
        }
    }
    let folder = node.config.pod_folder(&uid);
    let removed = tokio::task::spawn_blocking(move || volumes::remove_pod_folder(&folder)).await;
    if let Ok(Err(error)) = removed {
        tracing::warn!("cannot remove a Pod's volumes: {error}");
    }
    node.pressure.pods.met(&uid);
}

async fn stop(node: &Node, containers: &[FoundContainer], grace: impl Fn(&FoundContainer) -> i64) {
    let running = containers.iter().filter(|container| container.state != ContainerState::ContainerExited);
    let stops = running.map(|container| node.cri.stop_container(&container.id, grace(container)));
    for error in future::join_all(stops).await.into_iter().filter_map(Result::err) {
        tracing::warn!("cannot stop a container: {error}");
    }
}

async fn remove_folder(folder: std::path::PathBuf) {
    match tokio::fs::remove_dir_all(&folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove {}: {error}", folder.display());
        }
        _ => {}
    }
}
