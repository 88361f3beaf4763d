//! The taints that nodes have of themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams, PostParams};
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};
use support::until;

async fn say(nodes: &Api<Node>, type_: &str, status: &str) {
    let patch = Patch::Strategic(json!({"status": {"conditions": [{"type": type_, "status": status}]}}));
    nodes.patch_status("n", &PatchParams::default(), &patch).await.unwrap();
}

/// The node's taints, as kubectl writes them.
async fn taints(nodes: &Api<Node>) -> Vec<String> {
    let spec = nodes.get("n").await.unwrap().spec.unwrap();
    let taints = spec.taints.unwrap_or_default().into_iter();
    taints.map(|taint| format!("{}:{}", taint.key, taint.effect)).collect()
}

async fn made() -> (ApiServer, Api<Node>) {
    let server = ApiServer::in_memory();
    let nodes: Api<Node> = Api::all(server.client());
    let node: Value =
        json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}});
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    (server, nodes)
}

#[tokio::test]
async fn conditions_come_and_go_with_their_taints() {
    let (_server, nodes) = made().await;
    say(&nodes, "Ready", "True").await;
    say(&nodes, "MemoryPressure", "True").await;
    let pressed = ["gpu:NoSchedule", "node.kubernetes.io/memory-pressure:NoSchedule"];
    until(async || taints(&nodes).await == pressed).await;
    let node = nodes.get("n").await.unwrap();
    let taints_now = node.spec.unwrap().taints.unwrap();
    assert!(taints_now[0].time_added.is_none() && taints_now[1].time_added.is_some());
    say(&nodes, "Ready", "False").await;
    until(async || taints(&nodes).await.contains(&"node.kubernetes.io/not-ready:NoSchedule".to_owned()))
        .await;
    // Whoever takes it away while the condition lasts finds it there again.
    let patch = Patch::Merge(json!({"spec": {"taints": [{"key": "gpu", "effect": "NoSchedule"}]}}));
    nodes.patch("n", &PatchParams::default(), &patch).await.unwrap();
    until(async || taints(&nodes).await.len() == 3).await;
    say(&nodes, "Ready", "True").await;
    say(&nodes, "MemoryPressure", "False").await;
    until(async || taints(&nodes).await == ["gpu:NoSchedule"]).await;
}

#[tokio::test]
async fn so_does_a_cordon() {
    let (_server, nodes) = made().await;
    nodes.cordon("n").await.unwrap();
    until(async || taints(&nodes).await == ["gpu:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"])
        .await;
    nodes.uncordon("n").await.unwrap();
    until(async || taints(&nodes).await == ["gpu:NoSchedule"]).await;
}

#[tokio::test]
async fn a_taint_is_there_within_milliseconds() {
    let (_server, nodes) = made().await;
    let mut took = Vec::new();
    for status in ["True", "False"].into_iter().cycle().take(50) {
        say(&nodes, "MemoryPressure", status).await;
        let begin = Instant::now();
        let wanted = if status == "True" { 2 } else { 1 };
        while taints(&nodes).await.len() != wanted {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        took.push(begin.elapsed());
    }
    took.sort();
    // Generous for a busy machine: it is a wake-up and a write.
    assert!(took[25] < Duration::from_millis(50), "{took:?}");
}
