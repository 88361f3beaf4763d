use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-03-01T10:10:00Z";

fn row(pod: Value, now: &str) -> Row {
    let pod: Pod = serde_json::from_value(pod).unwrap();
    pod.row(now.parse().unwrap())
}

/// READY, STATUS and RESTARTS.
fn told(pod: Value) -> [String; 3] {
    let row = row(pod, NOW);
    assert_eq!(row.cells.len(), Pod::columns().len());
    [1, 2, 3].map(|index| row.cells[index].as_str().unwrap().to_owned())
}

/// A Pod with these containers; those whose name ends in `sidecar` are init containers that go on running.
#[expect(clippy::needless_pass_by_value, reason = "it is made for the call")]
fn pod(inits: &[&str], containers: &[&str], status: Value) -> Value {
    let init = |name: &&str| {
        if name.ends_with("sidecar") {
            json!({"name": name, "restartPolicy": "Always"})
        } else {
            json!({"name": name})
        }
    };
    json!({
        "metadata": {"name": "a"},
        "spec": {
            "initContainers": inits.iter().map(init).collect::<Vec<_>>(),
            "containers": containers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        },
        "status": status,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is made for the call")]
fn status(name: &str, state: Value) -> Value {
    json!({"name": name, "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0})
}

fn running(name: &str) -> Value {
    let mut status = status(name, json!({"running": {}}));
    (status["ready"], status["started"]) = (true.into(), true.into());
    status
}

fn ended(name: &str, code: i32, reason: Option<&str>) -> Value {
    status(name, json!({"terminated": {"exitCode": code, "reason": reason}}))
}

fn waiting(name: &str, reason: &str) -> Value {
    status(name, json!({"waiting": {"reason": reason}}))
}

#[test]
fn rows_of_a_real_cluster() {
    let recorded = include_str!("../../tests/recorded/pod-rows.jsonl");
    for line in recorded.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        // The age tells when the row was made.
        let created: Timestamp =
            recorded["object"]["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
        let age: jiff::SignedDuration = recorded["cells"][4].as_str().unwrap().parse().unwrap();
        let row = row(recorded["object"].clone(), &(created + age).to_string());
        assert_eq!(json!(row.cells), recorded["cells"], "{line}");
        assert_eq!(json!(row.conditions), recorded["conditions"], "{line}");
    }
    assert_eq!(recorded.lines().count(), 43);
}

#[test]
fn the_columns_of_a_real_cluster() {
    let pods: Value = serde_json::from_str(include_str!("../../tests/recorded/table-pods.json")).unwrap();
    assert_eq!(json!(Pod::columns()), pods["columnDefinitions"]);
    let nodes: Value = serde_json::from_str(include_str!("../../tests/recorded/table-nodes.json")).unwrap();
    assert_eq!(json!(k8s_openapi::api::core::v1::Node::columns()), nodes["columnDefinitions"]);
}

#[test]
fn the_status_before_any_container() {
    for (status, expected) in [
        (json!({"phase": "Pending"}), "Pending"),
        (json!({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
        (
            json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
            ]}),
            "SchedulingGated",
        ),
    ] {
        assert_eq!(told(pod(&[], &["one"], status.clone())), ["0/1", expected, "0"], "{status}");
    }
}

#[test]
fn the_status_while_init_containers_run() {
    let initialized = json!([{"type": "Initialized", "status": "True"}]);
    for (inits, expected) in [
        (json!([]), ["0/1", "PodInitializing", "0"]),
        (json!([waiting("one", "PodInitializing")]), ["0/1", "Init:0/2", "0"]),
        (json!([waiting("one", "ImagePullBackOff")]), ["0/1", "Init:ImagePullBackOff", "0"]),
        (json!([ended("one", 0, None), waiting("two", "")]), ["0/1", "Init:1/2", "0"]),
        (json!([ended("one", 1, Some("Error"))]), ["0/1", "Init:Error", "0"]),
        (json!([ended("one", 3, None)]), ["0/1", "Init:ExitCode:3", "0"]),
        (
            json!([status("one", json!({"terminated": {"exitCode": 137, "signal": 9}}))]),
            ["0/1", "Init:Signal:9", "0"],
        ),
        (json!([ended("one", 0, None), ended("two", 0, None)]), ["0/1", "PodInitializing", "0"]),
    ] {
        let containers = json!([waiting("main", "PodInitializing")]);
        let status =
            json!({"phase": "Pending", "initContainerStatuses": inits, "containerStatuses": containers});
        assert_eq!(told(pod(&["one", "two"], &["main"], status)), expected, "{inits}");
        // Once initialized, what the init containers do no longer matters (a sandbox that is made anew).
        let status = json!({
            "phase": "Running", "conditions": initialized,
            "initContainerStatuses": inits, "containerStatuses": [running("main")],
        });
        let [ready, _, _] = told(pod(&["one", "two"], &["main"], status));
        assert_eq!(ready, "1/1");
    }
}

#[test]
fn sidecars_count_as_containers() {
    let mut sidecar = running("sidecar");
    sidecar["restartCount"] = 2.into();
    let mut init = ended("one", 0, None);
    init["restartCount"] = 5.into();
    let mut main = running("main");
    main["restartCount"] = 1.into();
    let started = |main: &Value| {
        json!({
            "phase": "Running", "initContainerStatuses": [init, sidecar], "containerStatuses": [main],
        })
    };
    assert_eq!(told(pod(&["one", "sidecar"], &["main"], started(&main))), ["2/2", "Running", "3"]);
    // While initializing, all restarts of init containers count.
    sidecar["started"] = false.into();
    let status = json!({"phase": "Pending", "initContainerStatuses": [init, sidecar]});
    assert_eq!(told(pod(&["one", "sidecar"], &["main"], status)), ["0/2", "Init:1/2", "7"]);
}

#[test]
fn the_status_from_the_containers() {
    let ready = json!([{"type": "Ready", "status": "True"}]);
    for (containers, conditions, expected) in [
        (json!([running("one"), running("two")]), json!([]), ["2/2", "Running", "0"]),
        (
            json!([waiting("one", "ContainerCreating"), running("two")]),
            json!([]),
            ["1/2", "ContainerCreating", "0"],
        ),
        // The first in order counts most.
        (
            json!([waiting("one", "CrashLoopBackOff"), ended("two", 1, Some("Error"))]),
            json!([]),
            ["0/2", "CrashLoopBackOff", "0"],
        ),
        (
            json!([ended("one", 137, Some("OOMKilled")), waiting("two", "ErrImagePull")]),
            json!([]),
            ["0/2", "OOMKilled", "0"],
        ),
        (json!([ended("one", 2, None), running("two")]), json!([]), ["1/2", "ExitCode:2", "0"]),
        (
            json!([status("one", json!({"terminated": {"exitCode": 139, "signal": 11}}))]),
            json!([]),
            ["0/2", "Signal:11", "0"],
        ),
        // One is done, another runs.
        (json!([ended("one", 0, Some("Completed")), running("two")]), ready, ["1/2", "Running", "0"]),
        (json!([ended("one", 0, Some("Completed")), running("two")]), json!([]), ["1/2", "NotReady", "0"]),
        (
            json!([ended("one", 0, Some("Completed")), ended("two", 1, Some("Error"))]),
            json!([]),
            ["0/2", "Error", "0"],
        ),
        (
            json!([ended("one", 0, Some("Completed")), ended("two", 0, Some("Completed"))]),
            json!([]),
            ["0/2", "Completed", "0"],
        ),
    ] {
        let status = json!({"phase": "Running", "containerStatuses": containers, "conditions": conditions});
        assert_eq!(told(pod(&[], &["one", "two"], status)), expected, "{containers}");
    }
}

#[test]
fn the_status_of_a_pod_that_is_deleted() {
    for (phase, reason, expected) in [
        ("Running", "", "Terminating"),
        ("Pending", "", "Terminating"),
        ("Running", "NodeLost", "Unknown"),
        ("Succeeded", "", "Succeeded"),
        ("Failed", "", "Failed"),
    ] {
        let mut pod = pod(&[], &["one"], json!({"phase": phase, "reason": reason}));
        pod["metadata"]["deletionTimestamp"] = "2026-03-01T10:10:30Z".into();
        assert_eq!(told(pod), ["0/1", expected, "0"], "{phase} {reason}");
    }
}

#[test]
fn restarts_tell_when_the_newest_was() {
    let restarted = |name: &str, count: i32, finished: &str| {
        let mut status = running(name);
        status["restartCount"] = count.into();
        status["lastState"] = json!({"terminated": {"exitCode": 137, "finishedAt": finished}});
        status
    };
    let containers =
        json!([restarted("one", 3, "2026-03-01T10:00:00Z"), restarted("two", 1, "2026-03-01T10:08:30Z"),]);
    let status = json!({"phase": "Running", "containerStatuses": containers});
    assert_eq!(told(pod(&[], &["one", "two"], status)), ["2/2", "Running", "4 (90s ago)"]);
    let containers = json!([restarted("one", 0, "2026-03-01T10:00:00Z")]);
    let status = json!({"phase": "Running", "containerStatuses": containers});
    assert_eq!(told(pod(&[], &["one"], status)), ["1/1", "Running", "0"]);
}

#[test]
fn addresses_nodes_and_gates() {
    let mut pod = pod(
        &[],
        &["one"],
        json!({
            "phase": "Running", "podIP": "10.0.0.9", "nominatedNodeName": "n2",
            "conditions": [{"type": "a/b", "status": "True"}, {"type": "c/d", "status": "False"}],
        }),
    );
    pod["spec"]["nodeName"] = "n1".into();
    pod["spec"]["readinessGates"] = json!([{"conditionType": "a/b"}, {"conditionType": "c/d"}]);
    let row = row(pod, NOW);
    assert_eq!(row.cells[5..], ["10.0.0.9", "n1", "n2", "1/2"]);
    assert_eq!(row.cells[4], "<unknown>");
}
