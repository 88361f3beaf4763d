use serde_json::{Value, json};

use super::*;

fn spec(spec: Value) -> PodSpec {
    serde_json::from_value(spec).unwrap()
}

/// A container with this memory request and limit; an empty text leaves it out.
fn container(name: &str, request: &str, limit: &str) -> Value {
    let side = |text: &str| if text.is_empty() { json!({}) } else { json!({"memory": text}) };
    json!({"name": name, "resources": {"requests": side(request), "limits": side(limit)}})
}

fn sidecar(name: &str, request: &str, limit: &str) -> Value {
    let mut container = container(name, request, limit);
    container["restartPolicy"] = json!("Always");
    container
}

fn memory_of(amounts: &Amounts) -> String {
    amounts.get(MEMORY).map_or("-".to_owned(), ToString::to_string)
}

#[test]
fn the_larger_of_init_and_steady_counts() {
    let regular = [container("a", "100Mi", ""), container("b", "50Mi", "")];
    for (init, request) in [
        (vec![], "150Mi"),
        (vec![container("i", "120Mi", "")], "150Mi"),
        (vec![container("i", "200Mi", "")], "200Mi"),
        // Init containers run one after the other.
        (vec![container("i", "140Mi", ""), container("j", "140Mi", "")], "150Mi"),
        // A sidecar goes on beside everything after it.
        (vec![sidecar("s", "30Mi", "")], "180Mi"),
        (vec![sidecar("s", "30Mi", ""), container("i", "200Mi", "")], "230Mi"),
        (vec![container("i", "200Mi", ""), sidecar("s", "30Mi", "")], "200Mi"),
        (vec![sidecar("s", "30Mi", ""), sidecar("t", "20Mi", "")], "200Mi"),
    ] {
        let spec = spec(json!({"containers": regular, "initContainers": init}));
        assert_eq!(memory_of(&pod_requests(&spec)), request, "{init:?}");
    }
}

#[test]
fn ephemeral_containers_never_count() {
    let spec = spec(json!({
        "containers": [container("a", "1Mi", "")],
        "ephemeralContainers": [container("e", "1Gi", "1Gi")],
    }));
    assert_eq!(pod_memory_request(&spec), Bytes::from_mib(1));
}

#[test]
fn pod_level_replaces_and_overhead_adds() {
    let mut pod = json!({
        "containers": [container("a", "100Mi", "200Mi")],
        "overhead": {"memory": "10Mi"},
    });
    let plain = spec(pod.clone());
    assert_eq!(pod_memory_request(&plain), Bytes::from_mib(110));
    assert_eq!(pod_memory_limit_sum(&plain), Some(Bytes::from_mib(210)));
    assert_eq!(memory_of(&pod_totals_without_overhead(&plain, Side::Requests)), "100Mi");

    pod["resources"] =
        json!({"requests": {"memory": "64Mi", "example.com/gpu": "1"}, "limits": {"memory": "1Gi"}});
    let replaced = spec(pod.clone());
    assert_eq!(pod_memory_request(&replaced), Bytes::from_mib(74));
    assert_eq!(pod_memory_limit_sum(&replaced), Some(Bytes::from_mib(1034)));
    assert!(!pod_requests(&replaced).contains_key("example.com/gpu"));

    // Overhead makes no limit where there is none.
    for limit in ["", "0"] {
        pod = json!({"containers": [container("a", "100Mi", limit)], "overhead": {"memory": "10Mi"}});
        assert_eq!(pod_memory_limit_sum(&spec(pod)), None, "{limit:?}");
    }
}

#[test]
fn containers_say_what_they_set() {
    let read = |value: Value| -> Container { serde_json::from_value(value).unwrap() };
    let plain = read(json!({"name": "a"}));
    assert_eq!((memory_request(&plain), memory_limit(&plain)), (None, None));
    let zero = read(container("a", "0", "0"));
    assert_eq!((memory_request(&zero), memory_limit(&zero)), (Some(Bytes::ZERO), None));
    let half_a_byte = read(container("a", "", "500m"));
    assert_eq!(memory_limit(&half_a_byte), Some(Bytes::new(1)));
}

#[test]
fn defaulting_copies_limits_and_rounds() {
    let mut pod = spec(json!({
        "containers": [
            {"name": "a", "resources": {"limits": {"memory": "128Mi", "cpu": "1n"}}},
            container("b", "64Mi", "128Mi"),
            {"name": "c", "resources": {"requests": {"memory": "64Mi"}}},
            {"name": "d"},
        ],
        "initContainers": [{"name": "i", "resources": {"limits": {"memory": "1Gi"}}}],
        "overhead": {"memory": "1n"},
    }));
    default_resources(&mut pod);
    let resources = |container: &Container| serde_json::to_value(&container.resources).unwrap();
    assert_eq!(
        resources(&pod.containers[0]),
        json!({"limits": {"cpu": "1m", "memory": "128Mi"}, "requests": {"cpu": "1m", "memory": "128Mi"}})
    );
    assert_eq!(memory_request(&pod.containers[1]), Some(Bytes::from_mib(64)));
    assert_eq!(resources(&pod.containers[2]), json!({"requests": {"memory": "64Mi"}}));
    assert_eq!(resources(&pod.containers[3]), Value::Null);
    assert_eq!(memory_request(&init_containers(&pod)[0]), Some(Bytes::from_gib(1)));
    assert_eq!(pod.overhead.unwrap()[MEMORY].0, "1m");
}

#[test]
fn defaulting_fills_pod_level_requests() {
    let defaulted = |containers: Value, resources: Value| {
        let mut pod = spec(json!({"containers": containers, "resources": resources}));
        default_resources(&mut pod);
        serde_json::to_value(pod.resources).unwrap()
    };
    let with_request = json!([container("a", "64Mi", "")]);
    assert_eq!(
        defaulted(with_request.clone(), json!({"limits": {"memory": "1Gi"}})),
        json!({"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}})
    );
    assert_eq!(
        defaulted(json!([{"name": "a"}]), json!({"limits": {"memory": "1Gi"}})),
        json!({"limits": {"memory": "1Gi"}, "requests": {"memory": "1Gi"}})
    );
    // Without Pod-level limits nothing is filled in.
    assert_eq!(defaulted(with_request, json!({"requests": {"cpu": "1"}})), json!({"requests": {"cpu": "1"}}));
}

#[test]
fn bad_amounts_are_named() {
    let bad = spec(json!({
        "containers": [container("a", "1Mi", ""), container("b", "", "128Mb")],
    }));
    let error = check_quantities(&bad).unwrap_err();
    insta::assert_snapshot!(error, @r#"spec.containers[1].resources.limits[memory]: "128Mb" is not a quantity"#);
    assert_eq!(error.source, ParseQuantityError::Format);
    assert_eq!(pod_memory_limit_sum(&bad), None);
    assert_eq!(check_quantities(&spec(json!({"containers": [container("a", "1Mi", "2Mi")]}))), Ok(()));
    let volume = spec(json!({
        "containers": [], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Qi"}}],
    }));
    assert_eq!(check_quantities(&volume).unwrap_err().field, "spec.volumes[0].emptyDir.sizeLimit");
}

#[test]
fn fractions_of_a_byte_are_warned_of() {
    let pod = spec(json!({"containers": [container("a", "128m", "1Mi")]}));
    let warnings: Vec<_> = fractional_memory_warnings(&pod).iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            r#"spec.containers[0].resources.requests[memory]: fractional byte value "128m" is invalid, must be an integer"#
        ]
    );
}
