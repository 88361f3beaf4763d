//! `metrics.k8s.io/v1beta1`: what Pods and nodes use at the moment, for `kubectl top` and its like.
//!
//! Nothing is stored: the figures are those of the nodes' own statistics (`/stats/summary`), asked for when a client asks.

mod document;
mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::discovery::{GroupVersionKind, ServedResource};
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::reply::Reply;
use crate::request::{ListOptions, ResourcePath, ResourceRequest};
use crate::selector::Selection;
use crate::storage::StoredObject;
use crate::verbs::{Core, typed};

use document::Metrics;
use summary::Summary;

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
const NODE_METRICS: GroupVersionKind =
    GroupVersionKind { group: GROUP, version: VERSION, kind: "NodeMetrics" };
const POD_METRICS: GroupVersionKind = GroupVersionKind { group: GROUP, version: VERSION, kind: "PodMetrics" };

/// A node that does not answer in this time is left out.
const PATIENCE: Duration = Duration::from_secs(5);

/// What discovery tells of this group.
pub(crate) fn described() -> [ServedResource; 2] {
    [(NODE_METRICS, "nodes", false), (POD_METRICS, "pods", true)].map(|(kind, plural, namespaced)| {
        ServedResource {
            kind,
            plural,
            namespaced,
            verbs: &["get", "list"],
            short_names: &[],
            categories: &[],
            subresources: Vec::new(),
            stored: false,
        }
    })
}

/// Whether a path is in this group.
pub(crate) fn serves(path: &ResourcePath) -> bool {
    path.group == GROUP
}

/// Answers a request in this group.
pub(crate) async fn answer(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    let path = &request.path;
    if path.version != VERSION || path.subresource.is_some() {
        return Err(ApiError::no_such_path());
    }
    let form = request.form()?;
    let options = ListOptions::parse(&request.query)?;
    if request.method != Method::GET || options.watch {
        return Err(ApiError::method_not_allowed("this method", &path.resource));
    }
    let (kind, found) = match path.resource.as_str() {
        "nodes" if path.namespace.is_none() => (NODE_METRICS, of_nodes(core, request, &options).await?),
        "pods" => (POD_METRICS, of_pods(core, request, &options).await?),
        _ => return Err(ApiError::no_such_path()),
    };
    let json = match &path.name {
        None => document::list(form, kind, &found, core.storage.revision())?,
        Some(name) => {
            let name =
                path.namespace.as_ref().map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
            let resource = format!("{}.{GROUP}", kind.kind.to_lowercase());
            let one = found.first().ok_or_else(|| ApiError::not_found(&resource, &name))?;
            document::single(form, kind, one)?
        }
    };
    Ok(Reply::document(StatusCode::OK, json))
}

/// The stored objects that the request is about.
fn selected<K: ServedKind>(
    core: &Core,
    request: &ResourceRequest,
    options: &ListOptions,
) -> Result<Vec<Arc<StoredObject>>, ApiError> {
    let namespace = request.path.namespace.as_deref();
    let selection = Selection::parse(
        namespace,
        request.path.name.as_deref(),
        options.labels.as_deref(),
        options.fields.as_deref(),
        K::SELECTABLE,
    )?;
    let mut objects = core.storage.list(K::URL_PATH_SEGMENT, namespace, None).objects;
    objects.retain(|object| selection.matches(object));
    Ok(objects)
}

async fn of_nodes(
    core: &Core,
    request: &ResourceRequest,
    options: &ListOptions,
) -> Result<Vec<Metrics>, ApiError> {
    let stored = selected::<Node>(core, request, options)?;
    let summaries = ask(core, stored.iter().map(|node| node.key.name.clone())).await;
    let mut found = Vec::new();
    for stored in stored {
        let Some(summary) = summaries.get(&stored.key.name) else { continue };
        let node: Node = typed(&stored)?;
        found.extend(Metrics::of_node(&node.metadata, &summary.node));
    }
    Ok(found)
}

async fn of_pods(
    core: &Core,
    request: &ResourceRequest,
    options: &ListOptions,
) -> Result<Vec<Metrics>, ApiError> {
    let mut pods: Vec<Pod> = Vec::new();
    for stored in selected::<Pod>(core, request, options)? {
        let pod: Pod = typed(&stored)?;
        let runs = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
        if runs {
            pods.push(pod);
        }
    }
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let summaries = ask(core, pods.iter().filter_map(node_of)).await;
    let metrics = pods.iter().filter_map(|pod| {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let summary = summaries.get(&node_of(pod)?)?;
        let used = summary.pods.iter().find(|used| used.pod_ref.uid == uid)?;
        Metrics::of_pod(&pod.metadata, used)
    });
    Ok(metrics.collect())
}

/// The statistics of these nodes, of those that answer.
async fn ask(core: &Core, names: impl Iterator<Item = String>) -> BTreeMap<String, Summary> {
    let names: std::collections::BTreeSet<String> = names.collect();
    let asked = names.into_iter().filter_map(|name| {
        let service = core.nodes.find(&name)?;
        Some(async move {
            let answer = tokio::time::timeout(PATIENCE, summary::ask(service)).await;
            match answer.unwrap_or_else(|_| Err("it does not answer in time".to_owned())) {
                Ok(summary) => Some((name, summary)),
                Err(why) => {
                    tracing::warn!(node = name, why, "cannot have a node's statistics");
                    None
                }
            }
        })
    });
    join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
