//! How long the server takes to start, to give a client, and to create a Pod: `cargo run --release --example start_cost`.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PostParams};
use memlet_apiserver::ApiServer;
use serde_json::json;

const ROUNDS: usize = 200;
const OBJECTS: usize = 1000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut starts = Vec::new();
    let mut creations = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let pods: Api<Pod> = Api::default_namespaced(ApiServer::in_memory().client());
        starts.push(begin.elapsed());
        let eater = pod("eater")?;
        let before = Instant::now();
        pods.create(&PostParams::default(), &eater).await?;
        creations.push(before.elapsed());
    }
    println!("in_memory() + client(): first {:?}, median {:?}", starts[0], median(&mut starts.clone()));
    println!("create one Pod:         first {:?}, median {:?}", creations[0], median(&mut creations.clone()));

    let pods: Api<Pod> = Api::default_namespaced(ApiServer::in_memory().client());
    let before = Instant::now();
    for index in 0..OBJECTS {
        pods.create(&PostParams::default(), &pod(&format!("p{index}"))?).await?;
    }
    println!("create {OBJECTS} Pods:       {:?}", before.elapsed());
    let before = Instant::now();
    let listed = pods.list(&ListParams::default()).await?.items.len();
    println!("list {listed} Pods, typed:  {:?}", before.elapsed());
    Ok(())
}

fn pod(name: &str) -> Result<Pod, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"containers": [{
            "name": "main", "image": "memlet.dev/memory-eater", "resources": {"limits": {"memory": "128Mi"}},
        }]},
    }))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
