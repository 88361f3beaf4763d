//! Owners and dependents: who goes when, and who stays.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use memlet_apiserver::{ApiServer, Settings};
use serde_json::{Value, json};
use support::{bind, pod, pods, status_of, until};

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

/// A reference to a config map, as `metadata.ownerReferences` has it.
fn owned_by(owner: &ConfigMap, blocks: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name, "uid": owner.metadata.uid,
        "blockOwnerDeletion": blocks,
    })
}

async fn map(client: &Client, name: &str, owners: &[Value]) -> ConfigMap {
    let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
    maps(client).create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap()
}

async fn is_gone(client: &Client, name: &str) -> bool {
    maps(client).get_opt(name).await.unwrap().is_none()
}

/// Lets housekeeping come to rest: a dependent of nothing is made and waited for, which goes after all before it.
async fn rest(client: &Client) {
    let nobody = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "none"});
    for _ in 0..2 {
        map(client, "last", std::slice::from_ref(&nobody)).await;
        until(async || is_gone(client, "last").await).await;
    }
}

async fn delete(client: &Client, name: &str, policy: PropagationPolicy) -> Option<ObjectMeta> {
    let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
    maps(client).delete(name, &params).await.unwrap().left().map(|map| map.metadata)
}

#[tokio::test]
async fn dependents_go_after_their_last_owner() {
    let client = ApiServer::in_memory().client();
    let (first, second) = (map(&client, "first", &[]).await, map(&client, "second", &[]).await);
    map(&client, "both", &[owned_by(&first, false), owned_by(&second, false)]).await;
    let child = map(&client, "child", &[owned_by(&first, false)]).await;
    map(&client, "grandchild", &[owned_by(&child, false)]).await;

    assert!(delete(&client, "first", PropagationPolicy::Background).await.is_none());
    until(async || is_gone(&client, "child").await && is_gone(&client, "grandchild").await).await;
    rest(&client).await;
    let both = maps(&client).get("both").await.unwrap().metadata.owner_references.unwrap();
    assert_eq!(both.iter().map(|owner| owner.name.as_str()).collect::<Vec<_>>(), ["second"]);
    delete(&client, "second", PropagationPolicy::Background).await;
    until(async || is_gone(&client, "both").await).await;
}

#[tokio::test]
async fn another_of_the_same_name_is_not_the_owner() {
    let client = ApiServer::in_memory().client();
    let old = map(&client, "owner", &[]).await;
    delete(&client, "owner", PropagationPolicy::Background).await;
    let new = map(&client, "owner", &[]).await;
    map(&client, "of-old", &[owned_by(&old, false)]).await;
    map(&client, "of-new", &[owned_by(&new, false)]).await;
    until(async || is_gone(&client, "of-old").await).await;
    rest(&client).await;
    assert!(!is_gone(&client, "of-new").await);
}

#[tokio::test]
async fn an_owner_that_cannot_be_looked_up_counts_as_there() {
    let client = ApiServer::in_memory().client();
    let unknown = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1"});
    map(&client, "kept", &[unknown]).await;
    rest(&client).await;
    assert!(!is_gone(&client, "kept").await);
}

#[tokio::test]
async fn in_the_foreground_an_owner_waits_for_those_that_block_it() {
    let client = ApiServer::in_memory().client();
    let owner = map(&client, "owner", &[]).await;
    let mut held = pod("held");
    held.metadata.owner_references = serde_json::from_value(json!([owned_by(&owner, true)])).unwrap();
    pods(&client).create(&PostParams::default(), &held).await.unwrap();
    bind(&client, "default", "held", "node").await.unwrap();
    map(&client, "blocking", &[owned_by(&owner, true)]).await;
    map(&client, "other", &[owned_by(&owner, false)]).await;

    let going = delete(&client, "owner", PropagationPolicy::Foreground).await.unwrap();
    assert_eq!(going.finalizers, Some(vec!["foregroundDeletion".to_owned()]));
    assert!(going.deletion_timestamp.is_some());
    until(async || is_gone(&client, "blocking").await).await;
    rest(&client).await;
    // The Pod takes its time, so the owner does, and so does what does not block.
    assert!(pods(&client).get("held").await.unwrap().metadata.deletion_timestamp.is_some());
    assert!(!is_gone(&client, "owner").await && !is_gone(&client, "other").await);
    pods(&client).delete("held", &DeleteParams::default().grace_period(0)).await.unwrap();
    until(async || is_gone(&client, "owner").await && is_gone(&client, "other").await).await;
}

#[tokio::test]
async fn in_the_foreground_grandchildren_go_first() {
    let client = ApiServer::in_memory().client();
    let owner = map(&client, "owner", &[]).await;
    let child = map(&client, "child", &[owned_by(&owner, true)]).await;
    map(&client, "grandchild", &[owned_by(&child, true)]).await;
    let hold = json!({"metadata": {"finalizers": ["memlet.dev/test"]}});
    let free = json!({"metadata": {"finalizers": null}});
    let params = PatchParams::default();
    maps(&client).patch("grandchild", &params, &Patch::Merge(&hold)).await.unwrap();

    delete(&client, "owner", PropagationPolicy::Foreground).await.unwrap();
    until(async || maps(&client).get("grandchild").await.unwrap().metadata.deletion_timestamp.is_some())
        .await;
    rest(&client).await;
    let child = maps(&client).get("child").await.unwrap().metadata;
    assert_eq!(child.finalizers, Some(vec!["foregroundDeletion".to_owned()]));
    assert!(!is_gone(&client, "owner").await);
    maps(&client).patch("grandchild", &params, &Patch::Merge(&free)).await.unwrap();
    until(async || is_gone(&client, "owner").await).await;
    assert!(is_gone(&client, "child").await && is_gone(&client, "grandchild").await);
}

#[tokio::test]
async fn those_that_own_each_other_go_all_the_same() {
    let client = ApiServer::in_memory().client();
    let first = map(&client, "first", &[]).await;
    let second = map(&client, "second", &[owned_by(&first, true)]).await;
    let patch = json!({"metadata": {"ownerReferences": [owned_by(&second, true)]}});
    maps(&client).patch("first", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    rest(&client).await;
    assert!(!is_gone(&client, "first").await);
    delete(&client, "first", PropagationPolicy::Foreground).await.unwrap();
    until(async || is_gone(&client, "first").await && is_gone(&client, "second").await).await;
}

#[tokio::test]
async fn orphans_stay_and_forget() {
    let client = ApiServer::in_memory().client();
    let owner = map(&client, "owner", &[]).await;
    map(&client, "child", &[owned_by(&owner, true)]).await;
    delete(&client, "owner", PropagationPolicy::Orphan).await.unwrap();
    until(async || is_gone(&client, "owner").await).await;
    rest(&client).await;
    assert_eq!(maps(&client).get("child").await.unwrap().metadata.owner_references, None);
}

/// A later deletion may say otherwise.
#[tokio::test]
async fn who_waits_can_be_hurried() {
    let client = ApiServer::in_memory().client();
    let owner = map(&client, "owner", &[]).await;
    map(&client, "child", &[owned_by(&owner, true)]).await;
    let hold = json!({"metadata": {"finalizers": ["memlet.dev/test"]}});
    maps(&client).patch("child", &PatchParams::default(), &Patch::Merge(&hold)).await.unwrap();
    delete(&client, "owner", PropagationPolicy::Foreground).await.unwrap();
    rest(&client).await;
    assert!(!is_gone(&client, "owner").await);
    delete(&client, "owner", PropagationPolicy::Background).await;
    assert!(is_gone(&client, "owner").await);
}

/// A node's lease, and mirror Pods, are the node's.
#[tokio::test]
async fn owners_may_be_of_the_cluster() {
    let client = ApiServer::in_memory().client();
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    let node = nodes.create(&PostParams::default(), &node).await.unwrap();
    let lease = json!({"metadata": {"name": "n", "ownerReferences": [
        {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": node.metadata.uid},
    ]}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    rest(&client).await;
    assert!(leases.get("n").await.is_ok());
    nodes.delete("n", &DeleteParams::default()).await.unwrap();
    until(async || leases.get_opt("n").await.unwrap().is_none()).await;
}

/// What the server did not get to before it ended is done after its next start.
#[tokio::test]
async fn what_was_left_is_done_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let server = ApiServer::open(folder.path(), Settings::default()).unwrap();
    let client = server.client();
    let owner = map(&client, "owner", &[]).await;
    for index in 0..50 {
        map(&client, &format!("child-{index}"), &[owned_by(&owner, false)]).await;
    }
    delete(&client, "owner", PropagationPolicy::Background).await;
    server.close();
    let client = ApiServer::open(folder.path(), Settings::default()).unwrap().client();
    until(async || maps(&client).list(&ListParams::default()).await.unwrap().items.is_empty()).await;
}

/// The garbage collector's deletions may be the last that a going namespace waits for.
#[tokio::test]
async fn a_namespace_goes_with_its_garbage() {
    let client = ApiServer::in_memory().client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace = serde_json::from_value(json!({"metadata": {"name": "work"}})).unwrap();
    namespaces.create(&PostParams::default(), &space).await.unwrap();
    let inside: Api<ConfigMap> = Api::namespaced(client.clone(), "work");
    let create = async |name: &str, owners: Value| {
        let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
        inside.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap()
    };
    let owner = create("owner", json!([])).await;
    create("child", json!([owned_by(&owner, true)])).await;
    let params =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..Default::default() };
    inside.delete("owner", &params).await.unwrap();
    namespaces.delete("work", &DeleteParams::default()).await.unwrap();
    until(async || namespaces.get_opt("work").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_collection_is_deleted_each_by_its_own_rules() {
    let client = ApiServer::in_memory().client();
    let pods: Api<Pod> = pods(&client);
    for name in ["bound", "free", "held", "other"] {
        let mut pod = pod(name);
        let set = if name == "other" { "b" } else { "a" };
        pod.metadata.labels = Some([("set".to_owned(), set.to_owned())].into());
        if name == "held" {
            pod.metadata.finalizers = Some(vec!["memlet.dev/test".to_owned()]);
        }
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    bind(&client, "default", "bound", "node").await.unwrap();
    let selected = ListParams::default().labels("set=a");
    pods.delete_collection(&DeleteParams::default(), &selected).await.unwrap();
    assert_eq!(status_of(pods.get("free").await.unwrap_err()).code, 404);
    for name in ["bound", "held"] {
        assert!(pods.get(name).await.unwrap().metadata.deletion_timestamp.is_some(), "{name}");
    }
    assert!(pods.get("other").await.unwrap().metadata.deletion_timestamp.is_none());
    let free = json!({"metadata": {"finalizers": null}});
    pods.patch("held", &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();
    assert_eq!(status_of(pods.get("held").await.unwrap_err()).code, 404);
}
