//! The scheduler against the embedded API server: through the same client that a real cluster would give it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Event, Node, Pod, PodCondition};
use k8s_openapi::api::scheduling::v1::PriorityClass;
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

async fn create(client: &Client, pod: &Pod) -> Pod {
    pods(client).create(&PostParams::default(), pod).await.unwrap()
}

/// The Pod, with these fields of its spec.
fn with(mut pod: Pod, spec: &serde_json::Value) -> Pod {
    let mut object = serde_json::to_value(&pod).unwrap();
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    pod.spec = serde_json::from_value(object["spec"].take()).unwrap();
    pod
}

async fn add_class(client: &Client, name: &str, value: i32) {
    let class: PriorityClass =
        serde_json::from_value(json!({"metadata": {"name": name}, "value": value})).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &class).await.unwrap();
}

fn condition(pod: &Pod, kind: &str) -> Option<PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind).cloned()
}

#[tokio::test]
async fn a_gated_pod_waits_for_its_gates() {
    let client = start();
    add_node(&client, "anchor", "1Gi").await;
    create(&client, &with(pod("gated", "1Mi"), &json!({"schedulingGates": [{"name": "example.com/gate"}]})))
        .await;
    let gated = until(&client, "gated", |pod| scheduled(pod).is_some()).await;
    let condition = condition(&gated, "PodScheduled").unwrap();
    assert_eq!(condition.reason.as_deref(), Some("SchedulingGated"));
    assert_eq!(condition.message.as_deref(), Some("Scheduling is blocked due to non-empty scheduling gates"));
    let open = json!({"spec": {"schedulingGates": null}});
    pods(&client).patch("gated", &PatchParams::default(), &Patch::Merge(&open)).await.unwrap();
    until(&client, "gated", |pod| node_of(pod).is_some()).await;
}

#[tokio::test]
async fn the_less_important_go_and_their_room_is_kept() {
    let client = start();
    add_node(&client, "anchor", "1000Mi").await;
    add_class(&client, "vip", 1000).await;
    for name in ["first", "second"] {
        create(&client, &pod(name, "450Mi")).await;
        until(&client, name, |pod| node_of(pod).is_some()).await;
    }
    let vip = create(&client, &with(pod("vip", "500Mi"), &json!({"priorityClassName": "vip"}))).await;
    let nominated = |pod: &Pod| pod.status.as_ref().and_then(|status| status.nominated_node_name.clone());
    let waiting = until(&client, "vip", |pod| nominated(pod).is_some()).await;
    assert_eq!(nominated(&waiting).as_deref(), Some("anchor"));
    let message = scheduled(&waiting).unwrap().1;
    assert_eq!(message, "0/1 nodes are available: 1 Insufficient memory.");

    // One of the two is enough, and it goes with its own grace.
    let victim = event_of_any(&client, "Preempted").await;
    let name = victim.involved_object.name.clone().unwrap();
    let note = format!("Preempted by pod {} on node anchor", vip.uid().unwrap());
    assert_eq!(victim.message.as_deref(), Some(note.as_str()));
    assert_eq!(victim.related.as_ref().and_then(|pod| pod.name.as_deref()), Some("vip"));
    let going = until(&client, &name, |pod| pod.metadata.deletion_timestamp.is_some()).await;
    assert_eq!(going.metadata.deletion_grace_period_seconds, Some(30));
    let target = condition(&going, "DisruptionTarget").unwrap();
    assert_eq!((target.status.as_str(), target.reason.as_deref()), ("True", Some("PreemptionByScheduler")));
    assert_eq!(
        target.message.as_deref(),
        Some("default-scheduler: preempting to accommodate a higher priority pod")
    );
    let other = if name == "first" { "second" } else { "first" };
    assert!(pods(&client).get(other).await.unwrap().metadata.deletion_timestamp.is_none());

    // Whoever comes meanwhile does not get the room that is being made.
    create(&client, &pod("late", "100Mi")).await;
    until(&client, "late", |pod| scheduled(pod).is_some_and(|(status, _)| status == "False")).await;
    pods(&client).delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    until(&client, "vip", |pod| node_of(pod).is_some()).await;
    assert_eq!(node_of(&pods(&client).get("late").await.unwrap()), None);
}

/// The first event with this reason.
async fn event_of_any(client: &Client, reason: &str) -> Event {
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let about = watcher::Config::default().fields(&format!("reason={reason}"));
    let mut found = Box::pin(watcher(events, about).applied_objects());
    timeout(SOON, found.try_next()).await.expect("no event came").unwrap().unwrap()
}

#[tokio::test]
async fn a_freed_place_is_taken_at_once() {
    let client = start();
    add_node(&client, "anchor", "1000Mi").await;
    create(&client, &pod("p0", "900Mi")).await;
    until(&client, "p0", |pod| node_of(pod).is_some()).await;
    let mut took = Vec::new();
    for index in 1..=10 {
        let (old, new) = (format!("p{}", index - 1), format!("p{index}"));
        create(&client, &pod(&new, "900Mi")).await;
        until(&client, &new, |pod| scheduled(pod).is_some()).await;
        let begun = Instant::now();
        pods(&client).delete(&old, &DeleteParams::default().grace_period(0)).await.unwrap();
        until(&client, &new, |pod| node_of(pod).is_some()).await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    println!("freed to bound: median {:?}, worst {:?}", took[5], took[9]);
    // Generous for a busy machine and a debug build; the shortest back-off is a second.
    assert!(took[5] < Duration::from_millis(100), "median {:?}", took[5]);
}

#[tokio::test]
async fn a_node_that_comes_into_question_is_used() {
    let client = start();
    add_node(&client, "anchor", "1Gi").await;
    let wants_ssd = json!({"nodeSelector": {"disk": "ssd"}});
    create(&client, &with(pod("picky", "1Mi"), &wants_ssd)).await;
    let waiting = until(&client, "picky", |pod| scheduled(pod).is_some()).await;
    let expected = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    assert_eq!(scheduled(&waiting).unwrap().1, expected);
    let labels = json!({"metadata": {"labels": {"disk": "ssd"}}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch("anchor", &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    until(&client, "picky", |pod| node_of(pod).is_some()).await;
}

#[tokio::test]
async fn a_pod_waits_for_the_one_it_must_be_near() {
    let client = start();
    add_node(&client, "anchor", "1Gi").await;
    let labels = json!({"metadata": {"labels": {"kubernetes.io/hostname": "anchor"}}});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.patch("anchor", &PatchParams::default(), &Patch::Merge(&labels)).await.unwrap();
    let term =
        json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"});
    let near =
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    create(&client, &with(pod("web", "1Mi"), &near)).await;
    until(&client, "web", |pod| scheduled(pod).is_some()).await;
    let mut db = pod("db", "1Mi");
    db.metadata.labels = Some([("app".to_owned(), "db".to_owned())].into());
    create(&client, &db).await;
    until(&client, "web", |pod| node_of(pod).is_some()).await;
}

#[tokio::test]
async fn a_restarted_scheduler_keeps_the_room_it_promised() {
    let client = ApiServer::in_memory().client();
    add_node(&client, "anchor", "1000Mi").await;
    let there = with(pod("there", "600Mi"), &json!({"nodeName": "anchor"}));
    create(&client, &there).await;
    let vip = with(pod("vip", "800Mi"), &json!({"priorityClassName": "system-node-critical"}));
    create(&client, &vip).await;
    let nominated = json!({"status": {"nominatedNodeName": "anchor"}});
    pods(&client).patch_status("vip", &PatchParams::default(), &Patch::Merge(&nominated)).await.unwrap();
    pods(&client).delete("there", &DeleteParams::default()).await.unwrap();
    create(&client, &pod("small", "300Mi")).await;
    tokio::spawn(Scheduler::new(client.clone()).run(std::future::pending()));
    until(&client, "small", |pod| scheduled(pod).is_some()).await;
    assert_eq!(node_of(&pods(&client).get("small").await.unwrap()), None);
    pods(&client).delete("there", &DeleteParams::default().grace_period(0)).await.unwrap();
    until(&client, "vip", |pod| node_of(pod).is_some()).await;
    assert_eq!(node_of(&pods(&client).get("small").await.unwrap()), None);
}
