//! What a waiting Pod is told, over clusters of a few lines.

use super::*;
use memlet_policy::taints;
use serde_json::{from_value, json};

fn node(name: &str, memory: &str, spec: &Value) -> Node {
    from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {
            "capacity": {"memory": memory, "cpu": "2", "pods": "110"},
            "allocatable": {"memory": memory, "cpu": "2", "pods": "110"},
        },
    }))
    .unwrap()
}

fn pod(name: &str, memory: &str, on: Option<&str>, priority: i32) -> Pod {
    from_value(json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {
            "nodeName": on, "priority": priority,
            "containers": [{"name": "main", "resources": {"requests": {"memory": memory}}}],
        },
        "status": {"phase": if on.is_some() { "Running" } else { "Pending" }},
    }))
    .unwrap()
}

fn cluster(nodes: Vec<Node>, pods: Vec<Pod>, used: &[(&str, u64)]) -> Cluster {
    let used =
        used.iter().map(|(pod, mib)| (("default".to_owned(), (*pod).to_owned()), Bytes::from_mib(*mib)));
    Cluster { nodes, pods, namespaces: Vec::new(), used: used.collect() }
}

#[test]
fn the_arithmetic_and_the_smallest_change() {
    let nodes = vec![node("a", "924Mi", &json!({})), node("b", "924Mi", &json!({}))];
    let pods = vec![pod("one", "600Mi", Some("a"), 0), pod("two", "700Mi", Some("b"), 0)];
    let cluster = cluster(nodes, pods, &[("one", 12), ("two", 690)]);
    insta::assert_snapshot!(text(&judge(&pod("new", "600Mi", None, 0), &cluster)), @r"

  NODE   RESOURCE   WANTED   ALLOCATABLE   REQUESTED   FREE    MISSING   USED NOW
  a      memory     600Mi    924Mi         600Mi       324Mi   276Mi     12Mi
  b      memory     600Mi    924Mi         700Mi       224Mi   376Mi     690Mi

  Requests decide, not use: what Pods use now does not count here.

  NODE   HELD BY       REQUESTS   USES NOW   PRIORITY
  a      default/one   600Mi      12Mi       0
  b      default/two   700Mi      690Mi      0

  change     lower requests.memory of main from 600Mi to 324Mi: so much is free on a
  or         lower the request of default/one on a from 600Mi to 324Mi: it uses 12Mi now (a Pod's request is changed by making it anew)
  or         add a node of at least 600Mi: memlet node add NAME --memory 600Mi
");
}

#[test]
fn less_important_pods_may_go() {
    let nodes = vec![node("a", "924Mi", &json!({}))];
    let cluster = cluster(nodes, vec![pod("one", "600Mi", Some("a"), 5)], &[]);
    let changes = judge(&pod("new", "600Mi", None, 10), &cluster).changes;
    assert_eq!(
        changes,
        [
            "lower requests.memory of main from 600Mi to 324Mi: so much is free on a",
            "send less important Pods away from a: default/one (priority 5)",
            "add a node of at least 600Mi: memlet node add NAME --memory 600Mi",
        ]
    );
}

#[test]
fn other_reasons_are_told_with_what_upstream_leaves_out() {
    let nodes = vec![
        // With the taint that a cordon brings along, which says nothing new.
        node(
            "a",
            "924Mi",
            &json!({"unschedulable": true, "taints": [{"key": taints::UNSCHEDULABLE, "effect": "NoSchedule"}]}),
        ),
        node("b", "924Mi", &json!({"taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]})),
        node("c", "924Mi", &json!({"taints": [{"key": taints::MEMORY_PRESSURE, "effect": "NoSchedule"}]})),
    ];
    let pending = judge(&pod("new", "600Mi", None, 0), &cluster(nodes, Vec::new(), &[]));
    assert_eq!(pending.nodes[1].reasons, ["untolerated taint gpu=yes:NoSchedule"]);
    assert_eq!(
        pending.changes[1..],
        [
            "let Pods on a again: kubectl uncordon a",
            "tolerate the taint gpu:NoSchedule in the Pod, or take it from b: kubectl taint node b gpu:NoSchedule-",
            "c takes the taint node.kubernetes.io/memory-pressure:NoSchedule away by itself when that is over; see kubectl \
             describe node c, or tolerate the taint in the Pod",
        ]
    );
}

#[test]
fn nothing_is_large_enough() {
    let nodes = vec![node("a", "924Mi", &json!({}))];
    let pending = judge(&pod("new", "1000Gi", None, 0), &cluster(nodes, Vec::new(), &[]));
    assert_eq!(pending.changes.len(), 2, "{:?}", pending.changes);
    assert_eq!(
        pending.nodes[0].resources.iter().find(|row| row.resource == "memory").unwrap().missing,
        (1000 << 30) - (924 << 20)
    );
    assert_eq!(pending.nodes[0].victims, None);
}

#[test]
fn memory_in_use_is_read_from_the_metrics() {
    let metrics = json!({"items": [
        {"metadata": {"namespace": "default", "name": "a"}, "containers": [
            {"usage": {"memory": "1Mi", "cpu": "1m"}}, {"usage": {"memory": "512Ki"}},
        ]},
        {"metadata": {"name": "without"}},
    ]});
    let used = used(&metrics);
    assert_eq!(used[&("default".to_owned(), "a".to_owned())], Bytes::from_kib(1536));
    assert_eq!(used.len(), 1);
}
