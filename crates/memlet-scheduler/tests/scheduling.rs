//! The scheduler against the embedded API server: through the same client that a real cluster would give it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use memlet_apiserver::ApiServer;
use memlet_scheduler::Scheduler;
use serde_json::json;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);

/// A server and a scheduler that runs until the test ends.
fn start() -> Client {
    let client = ApiServer::in_memory().client();
    tokio::spawn(Scheduler::new(client.clone()).run(std::future::pending()));
    client
}

async fn add_node(client: &Client, name: &str, memory: &str) {
    let allocatable = json!({"memory": memory, "cpu": "2", "pods": "110"});
    let node =
        json!({"metadata": {"name": name}, "status": {"capacity": allocatable, "allocatable": allocatable}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
}

fn pod(name: &str, memory: &str) -> Pod {
    let resources = json!({"requests": {"memory": memory}});
    let containers = json!([{"name": "main", "image": "eater:1", "resources": resources}]);
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"containers": containers}})).unwrap()
}

fn pods(client: &Client) -> Api<Pod> {
    Api::default_namespaced(client.clone())
}

async fn until(client: &Client, name: &str, condition: impl Fn(&Pod) -> bool) -> Pod {
    let reached = await_condition(pods(client), name, |pod: Option<&Pod>| pod.is_some_and(&condition));
    timeout(SOON, reached).await.expect("it took too long").unwrap().unwrap()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn scheduled(pod: &Pod) -> Option<(String, String)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    Some((found.status.clone(), found.message.clone().unwrap_or_default()))
}

async fn event(client: &Client, pod: &str, reason: &str) -> Event {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let about = watcher::Config::default().fields(&format!("involvedObject.name={pod},reason={reason}"));
    let mut found = Box::pin(watcher(events, about).applied_objects());
    timeout(SOON, found.try_next()).await.expect("no event came").unwrap().unwrap()
}

#[tokio::test]
async fn a_pod_that_fits_is_bound_and_told_of() {
    let client = start();
    add_node(&client, "anchor", "1Gi").await;
    pods(&client).create(&PostParams::default(), &pod("a", "128Mi")).await.unwrap();
    let bound = until(&client, "a", |pod| node_of(pod).is_some()).await;
    assert_eq!(node_of(&bound), Some("anchor"));
    assert_eq!(scheduled(&bound), Some(("True".to_owned(), String::new())));
    let event = event(&client, "a", "Scheduled").await;
    assert_eq!(event.message.as_deref(), Some("Successfully assigned default/a to anchor"));
    assert_eq!(event.type_.as_deref(), Some("Normal"));
    assert_eq!(event.reporting_component.as_deref(), Some("default-scheduler"));
    assert_eq!(event.involved_object.uid, bound.uid());
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_so_until_room_comes() {
    let client = start();
    add_node(&client, "anchor", "924Mi").await;
    let pods = pods(&client);
    pods.create(&PostParams::default(), &pod("first", "600Mi")).await.unwrap();
    until(&client, "first", |pod| node_of(pod).is_some()).await;
    pods.create(&PostParams::default(), &pod("second", "600Mi")).await.unwrap();
    let waiting = until(&client, "second", |pod| scheduled(pod).is_some()).await;
    let expected = "0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert_eq!(scheduled(&waiting), Some(("False".to_owned(), expected.to_owned())));
    let condition = &waiting.status.as_ref().unwrap().conditions.as_ref().unwrap()[0];
    assert_eq!(condition.reason.as_deref(), Some("Unschedulable"));
    assert_eq!(event(&client, "second", "FailedScheduling").await.message.as_deref(), Some(expected));

    // A Pod that has ended holds no room, though it is still there.
    let done = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("first", &PatchParams::default(), &Patch::Merge(&done)).await.unwrap();
    let bound = until(&client, "second", |pod| node_of(pod).is_some()).await;
    assert_eq!(scheduled(&bound).unwrap().0, "True");

    pods.create(&PostParams::default(), &pod("third", "600Mi")).await.unwrap();
    until(&client, "third", |pod| scheduled(pod).is_some()).await;
    pods.delete("second", &DeleteParams::default().grace_period(0)).await.unwrap();
    until(&client, "third", |pod| node_of(pod).is_some()).await;
}

#[tokio::test]
async fn pods_wait_for_their_first_node() {
    let client = start();
    pods(&client).create(&PostParams::default(), &pod("a", "1Mi")).await.unwrap();
    let waiting = until(&client, "a", |pod| scheduled(pod).is_some()).await;
    assert_eq!(scheduled(&waiting).unwrap().1, "no nodes available to schedule pods");
    add_node(&client, "late", "1Gi").await;
    assert_eq!(node_of(&until(&client, "a", |pod| node_of(pod).is_some()).await), Some("late"));
}

#[tokio::test]
async fn a_node_is_never_promised_twice() {
    let client = start();
    add_node(&client, "anchor", "1000Mi").await;
    let create = (0..30).map(|index| {
        let pods = pods(&client);
        async move { pods.create(&PostParams::default(), &pod(&format!("p{index}"), "100Mi")).await.unwrap() }
    });
    futures::future::join_all(create).await;
    for index in 0..30 {
        until(&client, &format!("p{index}"), |pod| scheduled(pod).is_some()).await;
    }
    let all = pods(&client).list(&ListParams::default()).await.unwrap().items;
    assert_eq!(all.iter().filter(|pod| node_of(pod).is_some()).count(), 10);
}

#[tokio::test]
async fn other_schedulers_and_named_nodes_are_left_alone() {
    let client = start();
    add_node(&client, "anchor", "1Gi").await;
    let mut theirs = pod("theirs", "1Mi");
    theirs.spec.as_mut().unwrap().scheduler_name = Some("other".to_owned());
    let mut named = pod("named", "4Gi");
    named.spec.as_mut().unwrap().node_name = Some("elsewhere".to_owned());
    for pod in [theirs, named, pod("ours", "1Mi")] {
        pods(&client).create(&PostParams::default(), &pod).await.unwrap();
    }
    until(&client, "ours", |pod| node_of(pod).is_some()).await;
    assert_eq!(node_of(&pods(&client).get("theirs").await.unwrap()), None);
    assert_eq!(node_of(&pods(&client).get("named").await.unwrap()), Some("elsewhere"));
}

#[tokio::test]
async fn from_creation_to_binding_takes_no_polling() {
    let client = start();
    add_node(&client, "anchor", "64Gi").await;
    let mut took = Vec::new();
    for index in 0..20 {
        let name = format!("p{index}");
        let start = Instant::now();
        pods(&client).create(&PostParams::default(), &pod(&name, "1Mi")).await.unwrap();
        until(&client, &name, |pod| node_of(pod).is_some()).await;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    // Generous for a busy machine and a debug build; a poll would take far longer.
    assert!(took[10] < Duration::from_millis(100), "median {:?}", took[10]);
    println!("create to bound: median {:?}, worst {:?}", took[10], took[19]);
}

#[tokio::test]
async fn shutdown_ends_the_run() {
    let client = ApiServer::in_memory().client();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let run = tokio::spawn(Scheduler::new(client).run(async { drop(stopped.await) }));
    stop.send(()).unwrap();
    timeout(SOON, run).await.unwrap().unwrap();
}
