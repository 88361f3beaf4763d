//! The Node object: what the agent says of its machine, again and again, and what it leaves alone.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Taint};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use memlet_apiserver::ApiServer;
use memlet_bytes::Bytes;
use memlet_cgroup::Cgroup;
use memlet_node::{NodeAgent, NodeConfig, Registration, Reservations};
use serde_json::json;

use crate::runtime::Runtime;
use crate::{Bench, run};

pub(crate) const TESTS: [(&str, fn()); 3] = [
    ("the_node_tells_what_it_is", the_node_tells_what_it_is),
    ("reservations_shape_the_node", reservations_shape_the_node),
    ("a_node_that_is_known_keeps_what_it_was_given", a_node_that_is_known_keeps_what_it_was_given),
];

async fn node_events(client: &kube::Client) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), "default");
    // Events are written beside the work.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut events = events.list(&ListParams::default()).await.unwrap().items;
    events.retain(|event| event.involved_object.kind.as_deref() == Some("Node"));
    events.sort_by_key(|event| event.first_timestamp.clone());
    events.into_iter().map(|event| format!("{} {}", event.type_.unwrap(), event.reason.unwrap())).collect()
}

fn the_node_tells_what_it_is() {
    run(true, async |bench| {
        let nodes: Api<Node> = Api::all(bench.client.clone());
        let node = nodes.get("node").await.unwrap();
        let annotations = node.metadata.annotations.clone().unwrap();
        assert_eq!(annotations["volumes.kubernetes.io/controller-managed-attach-detach"], "true");
        let status = node.status.unwrap();
        let (capacity, allocatable) = (status.capacity.unwrap(), status.allocatable.unwrap());
        assert_eq!((capacity["memory"].0.as_str(), allocatable["memory"].0.as_str()), ("200Mi", "100Mi"));
        assert!(capacity["ephemeral-storage"].0.ends_with("i"), "{capacity:?}");
        assert!(allocatable.contains_key("ephemeral-storage") && allocatable["pods"].0 == "110");
        let ready = status.conditions.unwrap().pop().unwrap();
        assert_eq!((ready.type_.as_str(), ready.status.as_str()), ("Ready", "True"));
        let leases: Api<Lease> = Api::namespaced(bench.client.clone(), "kube-node-lease");
        let deadline = std::time::Instant::now() + Duration::from_secs(2);
        let lease = loop {
            match leases.get_opt("node").await.unwrap() {
                Some(lease) => break lease,
                None => assert!(std::time::Instant::now() < deadline, "no lease"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let owner = &lease.metadata.owner_references.unwrap()[0];
        assert_eq!((owner.kind.as_str(), Some(&owner.uid)), ("Node", node.metadata.uid.as_ref()));
        let spec = lease.spec.unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_duration_seconds), (Some("node"), Some(40)));
        let mut expected = vec!["Normal Starting", "Warning CgroupV1"];
        if bench.config.hierarchy.version() == memlet_cgroup::Version::V2 {
            expected.pop();
        }
        expected.extend([
            "Normal NodeHasSufficientMemory",
            "Normal NodeHasNoDiskPressure",
            "Normal NodeHasSufficientPID",
            "Normal NodeAllocatableEnforced",
            "Normal NodeReady",
        ]);
        assert_eq!(node_events(&bench.client).await, expected);
        let client = bench.client.clone();
        bench.finish().await;
        let nodes: Api<Node> = Api::all(client.clone());
        let conditions = nodes.get("node").await.unwrap().status.unwrap().conditions.unwrap();
        let ready = conditions.last().unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.message.as_deref()),
            ("False", Some("node is shutting down"))
        );
        assert_eq!(node_events(&client).await.last().unwrap(), "Normal NodeNotReady");
    });
}

/// An agent of its own settings, beside the bench's.
async fn other_agent(
    bench: &Bench,
    client: &kube::Client,
    change: impl FnOnce(&mut NodeConfig),
) -> NodeAgent {
    let mut config = bench.config.clone();
    config.cgroup_root = config.cgroup_root.join("other").unwrap();
    config.state = config.state.join("other");
    change(&mut config);
    let runtime = Runtime::new(config.hierarchy.clone());
    NodeAgent::start(config, client.clone(), runtime.serve().await).await.unwrap()
}

fn reservations_shape_the_node() {
    run(true, async |bench| {
        let client = ApiServer::in_memory().client();
        let amounts = |of: &[(&str, &str)]| {
            of.iter().map(|(name, amount)| ((*name).to_owned(), amount.parse().unwrap())).collect()
        };
        let agent = other_agent(&bench, &client, |config| {
            config.memory = Some(Bytes::from_mib(400));
            config.reservations = Reservations {
                kube: amounts(&[("memory", "50Mi"), ("cpu", "100m")]),
                system: amounts(&[("memory", "50Mi")]),
                ..Reservations::default()
            };
        })
        .await;
        let kubepods = bench.config.cgroup_root.join("other").unwrap().join("kubepods").unwrap();
        let group = Cgroup::open(&bench.config.hierarchy, &kubepods).unwrap();
        assert_eq!(group.snapshot().limit.and_then(|limit| limit.bytes()), Some(Bytes::from_mib(300)));
        let nodes: Api<Node> = Api::all(client);
        let status = nodes.get("node").await.unwrap().status.unwrap();
        assert_eq!(status.capacity.unwrap()["memory"].0, "400Mi");
        let allocatable = status.allocatable.unwrap();
        assert_eq!(allocatable["memory"].0, "200Mi");
        assert!(allocatable["cpu"].0.ends_with("900m"), "{allocatable:?}");
        agent.shutdown(Duration::ZERO).await;
        let _ = std::fs::remove_dir(bench.config.state.join("other"));
        bench.finish().await;
    });
}

fn a_node_that_is_known_keeps_what_it_was_given() {
    run(true, async |bench| {
        let client = ApiServer::in_memory().client();
        let taint = Taint { key: "first".into(), effect: "NoSchedule".into(), ..Taint::default() };
        let with = |label: &str| Registration {
            labels: [("disk".to_owned(), label.to_owned())].into(),
            taints: vec![taint.clone()],
        };
        let nodes: Api<Node> = Api::all(client.clone());
        other_agent(&bench, &client, |config| config.registration = with("fast"))
            .await
            .shutdown(Duration::ZERO)
            .await;
        let node = nodes.get("node").await.unwrap();
        assert_eq!(node.metadata.labels.unwrap()["disk"], "fast");
        assert_eq!(node.spec.unwrap().taints.unwrap()[0].key, "first");
        let change = Patch::Merge(json!({
            "metadata": {"labels": {"disk": "slow", "kubernetes.io/os": "plan9"}},
            "spec": {"unschedulable": true, "taints": [{"key": "second", "effect": "NoSchedule"}]},
        }));
        nodes.patch("node", &PatchParams::default(), &change).await.unwrap();
        let agent = other_agent(&bench, &client, |config| config.registration = with("fast")).await;
        let node = nodes.get("node").await.unwrap();
        let labels = node.metadata.labels.unwrap();
        assert_eq!((labels["disk"].as_str(), labels["kubernetes.io/os"].as_str()), ("slow", "linux"));
        let spec = node.spec.unwrap();
        assert_eq!((spec.unschedulable, spec.taints.unwrap()[0].key.as_str()), (Some(true), "second"));
        nodes.delete("node", &DeleteParams::default()).await.unwrap();
        agent.shutdown(Duration::ZERO).await;
        assert!(nodes.get_opt("node").await.unwrap().is_none(), "its last word does not bring it back");
        let _ = std::fs::remove_dir(bench.config.state.join("other"));
        bench.finish().await;
    });
}
