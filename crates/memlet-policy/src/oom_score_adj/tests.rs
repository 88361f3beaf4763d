use serde_json::{Value, json};

use super::*;

/// The node that the recorded values come from.
const RECORDED_NODE: Bytes = Bytes::from_kib(24_684_092);

#[expect(clippy::needless_pass_by_value, reason = "tables of json! values read better by value")]
fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
}

fn requesting(name: &str, request: &str) -> Value {
    json!({"name": name, "resources": {"requests": {"memory": request}}})
}

/// The value of a named container, init ones included.
fn explain(pod: &Pod, name: &str, capacity: Bytes) -> Explanation {
    let spec = pod.spec.as_ref().unwrap();
    let container = resources::counted_containers(spec).find(|container| container.name == name).unwrap();
    for_container(pod, container, capacity)
}

fn one(request: &str, capacity: Bytes) -> i32 {
    explain(&pod(json!({"containers": [requesting("c", request)]})), "c", capacity).value
}

#[test]
fn burstable_by_request() {
    for (request, capacity, value) in [
        ("123Mi", Bytes::from_kib(2_041_888), 939),
        // Recorded on a real node.
        ("50Mi", RECORDED_NODE, 998),
        ("100Mi", RECORDED_NODE, 996),
        ("128Mi", RECORDED_NODE, 995),
        ("200Mi", RECORDED_NODE, 992),
        ("30Mi", RECORDED_NODE, 999),
        ("20Mi", RECORDED_NODE, 999),
        // Kept between Guaranteed and BestEffort.
        ("64Mi", Bytes::from_gib(64), 999),
        ("1Ki", Bytes::from_gib(1), 999),
        ("1Gi", Bytes::from_gib(1), 3),
        ("998Mi", Bytes::from_mib(1000), 3),
        ("997Mi", Bytes::from_mib(1000), 3),
        ("996Mi", Bytes::from_mib(1000), 4),
        ("1000Gi", Bytes::from_gib(1), 3),
        ("8Ei", Bytes::ZERO, 3),
    ] {
        assert_eq!(one(request, capacity), value, "{request} of {capacity}");
    }
}

#[test]
fn constants_by_class() {
    let all = json!({"cpu": "1", "memory": "1Gi"});
    let guaranteed =
        pod(json!({"containers": [{"name": "c", "resources": {"requests": all, "limits": all}}]}));
    assert_eq!(explain(&guaranteed, "c", RECORDED_NODE), Explanation { value: -997, rule: Rule::Guaranteed });
    let best_effort = pod(json!({"containers": [{"name": "c"}]}));
    assert_eq!(
        explain(&best_effort, "c", RECORDED_NODE),
        Explanation { value: 1000, rule: Rule::BestEffort }
    );
    const { assert!(NODE_AGENT < PAUSE && PAUSE < GUARANTEED) };
}

#[test]
fn node_critical_pods_are_protected() {
    let critical = |class: &str, priority: i32| {
        pod(json!({"containers": [{"name": "c"}], "priorityClassName": class, "priority": priority}))
    };
    assert_eq!(explain(&critical("system-node-critical", 2_000_001_000), "c", RECORDED_NODE).value, -997);
    assert_eq!(explain(&critical("system-cluster-critical", 2_000_000_000), "c", RECORDED_NODE).value, 1000);
    let mut by_name = critical("system-node-critical", 0);
    assert_eq!(explain(&by_name, "c", RECORDED_NODE).value, 1000);
    for (key, value, expected) in [
        ("kubernetes.io/config.source", "api", 1000),
        ("kubernetes.io/config.source", "file", -997),
        ("kubernetes.io/config.mirror", "x", -997),
    ] {
        by_name.metadata.annotations = Some([(key.to_owned(), value.to_owned())].into());
        assert_eq!(explain(&by_name, "c", RECORDED_NODE).value, expected, "{key}={value}");
    }
}

#[test]
fn a_container_without_request_in_a_burstable_pod() {
    let pod = pod(
        json!({"containers": [requesting("a", "100Mi"), {"name": "b"}], "initContainers": [{"name": "i"}]}),
    );
    assert_eq!(explain(&pod, "b", RECORDED_NODE).value, 999);
    assert_eq!(explain(&pod, "i", RECORDED_NODE).value, 999);
}

#[test]
fn a_sidecar_is_no_easier_a_victim_than_those_it_serves() {
    let mut sidecar = requesting("s", "10Mi");
    sidecar["restartPolicy"] = json!("Always");
    let pod = pod(json!({
        "containers": [requesting("a", "300Mi"), requesting("b", "200Mi")],
        "initContainers": [sidecar, requesting("i", "10Mi")],
    }));
    let capacity = Bytes::from_mib(1000);
    assert_eq!(explain(&pod, "a", capacity).value, 700);
    assert_eq!(explain(&pod, "i", capacity).value, 990);
    let explained = explain(&pod, "s", capacity);
    assert_eq!(explained.value, 800);
    insta::assert_snapshot!(
        explained,
        @"800: Burstable, 1000 − 1000 × 200Mi (a sidecar, judged as the smallest regular container) / 1000Mi"
    );
}

#[test]
fn pod_level_requests_are_shared_out() {
    let pod = pod(json!({
        "containers": [requesting("a", "100Mi"), {"name": "b"}],
        "initContainers": [requesting("i", "150Mi")],
        "resources": {"requests": {"memory": "450Mi"}},
    }));
    // (450 − max(100, 150)) / 3 containers = 100Mi each.
    let capacity = Bytes::from_mib(1000);
    assert_eq!(["a", "b", "i"].map(|name| explain(&pod, name, capacity).value), [800, 900, 750]);
    insta::assert_snapshot!(
        explain(&pod, "a", capacity),
        @"800: Burstable, 1000 − 1000 × (100Mi + 100Mi of the Pod's own request) / 1000Mi"
    );
}

#[test]
fn explanations_read_as_sentences() {
    let said = |request: &str, capacity| {
        explain(&pod(json!({"containers": [requesting("c", request)]})), "c", capacity).to_string()
    };
    insta::assert_snapshot!(said("123Mi", Bytes::from_kib(2_041_888)), @"939: Burstable, 1000 − 1000 × 123Mi / 2041888Ki");
    insta::assert_snapshot!(said("64Mi", Bytes::from_gib(64)), @"999: Burstable, 1000 − 1000 × 64Mi / 64Gi = 1000, but a Burstable container gets at most 999");
    insta::assert_snapshot!(said("2Gi", Bytes::from_gib(1)), @"3: Burstable, 1000 − 1000 × 2Gi / 1Gi = -1000, but a Burstable container gets at least 3");
}
