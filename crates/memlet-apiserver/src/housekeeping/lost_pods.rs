//! Pods of nodes that do not exist: nobody runs them, and nobody will confirm that they ended. Upstream's Pod garbage
//! collector (`pkg/controller/podgc`): after a node has been missing for a while, its Pods have failed, and go.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use memlet_policy::phase;

use crate::error::ApiError;
use crate::request::DeleteOptions;
use crate::resources;
use crate::storage::StoredObject;
use crate::verbs::Core;

/// Nodes that are missing, and since when they have been seen to be.
#[derive(Debug, Default)]
pub(super) struct LostPods {
    missing: HashMap<String, Instant>,
}

impl LostPods {
    /// Removes the Pods of nodes that have been missing for `quarantine`: a node that is registered again keeps its own.
    pub(super) fn run(&mut self, core: &Core, quarantine: Duration, now: Instant) -> Result<(), ApiError> {
        let nodes = core.storage.list(Node::URL_PATH_SEGMENT, None, None).objects;
        let nodes: HashSet<&str> = nodes.iter().map(|node| node.key.name.as_str()).collect();
        let pods = core.storage.list(Pod::URL_PATH_SEGMENT, None, None).objects;
        let lost = || {
            let on_a_node = pods.iter().filter_map(|pod| Some((pod, node_of(pod)?)));
            on_a_node.filter(|(_, node)| !nodes.contains(node))
        };
        let names: HashSet<&str> = lost().map(|(_, node)| node).collect();
        self.missing.retain(|node, _| names.contains(node.as_str()));
        for node in names {
            self.missing.entry(node.to_owned()).or_insert(now);
        }
        for (pod, node) in lost() {
            if self.missing.get(node).is_some_and(|since| now.duration_since(*since) >= quarantine) {
                remove(core, pod)?;
            }
        }
        Ok(())
    }
}

fn node_of(pod: &StoredObject) -> Option<&str> {
    let (_, node) = pod.fields.iter().find(|(field, _)| *field == "spec.nodeName")?;
    (!node.is_empty()).then_some(node)
}

fn remove(core: &Core, pod: &StoredObject) -> Result<(), ApiError> {
    let is_gone = |error: &ApiError| matches!(error.code(), StatusCode::CONFLICT | StatusCode::NOT_FOUND);
    let failed = core.change::<Pod>(&pod.key, false, |_, old| {
        let mut new = old.clone();
        if phase::is_over(old) {
            return Ok(new);
        }
        let status = new.status.get_or_insert_default();
        status.phase = Some("Failed".to_owned());
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != "DisruptionTarget");
        conditions.push(PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByPodGC".to_owned()),
            message: Some("PodGC: node no longer exists".to_owned()),
            last_transition_time: Some(Time(Timestamp::now())),
            ..PodCondition::default()
        });
        Ok(new)
    });
    let mut options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    options.preconditions.uid = Some(pod.uid.to_string());
    match failed.and_then(|_| core.delete_object::<Pod>(&pod.key, &options)) {
        Ok(_) => resources::settle_namespace(core, &pod.key.namespace),
        Err(error) if is_gone(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiServer;
    use kube::api::{Api, PostParams};
    use serde_json::json;

    const QUARANTINE: Duration = Duration::from_secs(40);

    #[tokio::test]
    async fn pods_of_a_missing_node_go_after_a_while() {
        let server = ApiServer::in_memory();
        let client = server.client();
        let nodes: Api<Node> = Api::all(client.clone());
        let node = |name: &str| serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        nodes.create(&PostParams::default(), &node("here")).await.unwrap();
        let pods: Api<Pod> = Api::default_namespaced(client);
        for (name, on) in [("kept", json!("here")), ("lost", json!("gone")), ("waits", json!(null))] {
            let spec = json!({"nodeName": on, "containers": [{"name": "c", "image": "i"}]});
            let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
        let left = async || {
            let list = pods.list(&kube::api::ListParams::default()).await.unwrap();
            list.items.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>()
        };
        let (mut lost, begin) = (LostPods::default(), Instant::now());
        let mut run =
            |seconds| lost.run(&server.core, QUARANTINE, begin + Duration::from_secs(seconds)).unwrap();
        run(0);
        run(39);
        assert_eq!(left().await, ["kept", "lost", "waits"]);
        // The node was there for a moment: its time begins anew.
        nodes.create(&PostParams::default(), &node("gone")).await.unwrap();
        run(39);
        nodes.delete("gone", &kube::api::DeleteParams::default()).await.unwrap();
        run(40);
        run(79);
        assert_eq!(left().await, ["kept", "lost", "waits"]);
        run(80);
        assert_eq!(left().await, ["kept", "waits"]);
    }
}
