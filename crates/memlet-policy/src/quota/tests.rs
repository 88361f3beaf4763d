use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

const NOON: &str = "2026-11-22T12:00:00Z";

fn terms(spec: &Value) -> Terms {
    let quota = json!({"metadata": {"name": "q"}, "spec": spec});
    Terms::of(&serde_json::from_value(quota).unwrap())
}

fn pod(spec: &Value, status: &Value, metadata: &Value) -> Pod {
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn plain(spec: &Value) -> Pod {
    pod(spec, &json!({}), &json!({}))
}

/// One container with these resources.
fn one(resources: &Value) -> Value {
    json!({"containers": [{"name": "c", "resources": resources}]})
}

fn usage(pod: &Pod) -> String {
    let charge = PodCharge::of(pod);
    let named: Vec<_> =
        charge.usage(NOON.parse().unwrap()).map(|(name, amount)| format!("{name}={amount}")).collect();
    named.join(" ")
}

#[test]
fn a_pod_counts_under_several_names() {
    let resources = json!({
        "requests": {
            "cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "2",
        },
        "limits": {"memory": "2Gi", "hugepages-2Mi": "4Mi", "example.com/gpu": "2"},
    });
    insta::assert_snapshot!(usage(&plain(&one(&resources))).replace(' ', "\n"), @r"
    count/pods=1
    cpu=1
    ephemeral-storage=1Gi
    hugepages-2Mi=4Mi
    limits.memory=2Gi
    memory=1Gi
    pods=1
    requests.cpu=1
    requests.ephemeral-storage=1Gi
    requests.example.com/gpu=2
    requests.hugepages-2Mi=4Mi
    requests.memory=1Gi
    ");
    let with_overhead = json!({
        "containers": [{"name": "c", "resources": {"requests": {"memory": "1Gi"}}}],
        "initContainers": [{"name": "i", "resources": {"requests": {"memory": "2Gi"}}}],
        "overhead": {"memory": "64Mi"},
    });
    assert_eq!(usage(&plain(&with_overhead)), "count/pods=1 memory=2112Mi pods=1 requests.memory=2112Mi");
}

#[test]
fn what_has_ended_or_should_have_takes_only_its_place() {
    let (ended, there) = ("count/pods=1", "count/pods=1 pods=1");
    let deleted =
        |at: &str, grace: i64| json!({"deletionTimestamp": at, "deletionGracePeriodSeconds": grace});
    for (phase, metadata, expected) in [
        ("Running", json!({}), there),
        ("Succeeded", json!({}), ended),
        ("Failed", json!({}), ended),
        ("Running", deleted(NOON, 30), there),
        ("Running", deleted("2026-11-22T11:59:30Z", 30), there),
        ("Running", deleted("2026-11-22T11:59:29Z", 30), ended),
        ("Running", json!({"deletionTimestamp": "2026-11-22T11:59:29Z"}), there),
    ] {
        let pod = pod(&one(&json!({})), &json!({"phase": phase}), &metadata);
        assert_eq!(usage(&pod), expected, "{phase} {metadata}");
    }
}

#[test]
fn which_names_are_about_pods() {
    for name in [
        "pods",
        "count/pods",
        "cpu",
        "requests.memory",
        "limits.ephemeral-storage",
        "hugepages-2Mi",
        "requests.hugepages-1Gi",
        "requests.example.com/gpu",
    ] {
        assert!(is_pod_resource(name), "{name}");
    }
    for name in
        ["configmaps", "count/configmaps", "requests.storage", "example.com/gpu", "services.nodeports"]
    {
        assert!(!is_pod_resource(name), "{name}");
    }
}

#[test]
fn scopes_choose_pods() {
    let bare = one(&json!({}));
    let mut deadline = bare.clone();
    deadline["activeDeadlineSeconds"] = json!(5);
    let burstable = one(&json!({"requests": {"memory": "1Mi"}}));
    let mut high = bare.clone();
    high["priorityClassName"] = json!("high");
    let mut near = bare.clone();
    near["affinity"] = json!({"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "podAffinityTerm": {"topologyKey": "t", "namespaces": ["other"]}},
    ]}});
    let pods = [&bare, &deadline, &burstable, &high, &near].map(|spec| PodCharge::of(&plain(spec)));
    let class = |operator: &str, values: &Value| {
        let requirement = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [requirement]}})
    };
    let scoped = |scopes: &Value| json!({"hard": {"pods": "1"}, "scopes": scopes});
    for (quota, covered) in [
        (json!({"hard": {"pods": "1"}}), "bdrhn"),
        (json!({"hard": {"configmaps": "1"}}), ""),
        (scoped(&json!(["Terminating"])), "d"),
        (scoped(&json!(["NotTerminating"])), "brhn"),
        (scoped(&json!(["BestEffort"])), "bdhn"),
        (scoped(&json!(["NotBestEffort"])), "r"),
        (scoped(&json!(["BestEffort", "Terminating"])), "d"),
        (scoped(&json!(["CrossNamespacePodAffinity"])), "n"),
        (scoped(&json!(["PriorityClass"])), "h"),
        (class("In", &json!(["high", "low"])), "h"),
        (class("In", &json!(["low"])), ""),
        (class("NotIn", &json!(["high"])), "bdrn"),
        (class("NotIn", &json!(["low"])), "bdrhn"),
        (class("Exists", &json!(null)), "h"),
        (class("DoesNotExist", &json!(null)), "bdrn"),
    ] {
        let terms = terms(&quota);
        let found: String = "bdrhn"
            .chars()
            .zip(&pods)
            .filter(|(_, pod)| terms.covers(pod))
            .map(|(letter, _)| letter)
            .collect();
        assert_eq!(found, covered, "{quota}");
    }
}

#[test]
fn what_must_be_stated() {
    let quota =
        terms(&json!({"hard": {"pods": "9", "memory": "9Gi", "limits.cpu": "9", "requests.storage": "1"}}));
    let pod = |spec: &Value| quota.unstated(plain(spec).spec.as_ref().unwrap());
    let two = json!({
        "containers": [{"name": "b"}, {"name": "a"}],
        "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "1"}}}],
    });
    insta::assert_snapshot!(
        pod(&two).unwrap(),
        @"failed quota: q: must specify limits.cpu for: a,b; memory for: a,b,i"
    );
    assert_eq!(pod(&one(&json!({"requests": {"memory": "0"}, "limits": {"cpu": "1"}}))), None);
    let mut whole = two;
    whole["resources"] = json!({"requests": {"memory": "1Gi"}});
    assert_eq!(pod(&whole), None);
}

#[test]
fn only_what_is_exceeded_is_told() {
    let quota =
        terms(&json!({"hard": {"memory": "3Gi", "requests.memory": "3Gi", "cpu": "4", "pods": "10"}}));
    let amounts = |list: &[(&str, &str)]| -> Amounts {
        list.iter().map(|(name, amount)| ((*name).to_owned(), amount.parse().unwrap())).collect()
    };
    let asked = amounts(&[("cpu", "1"), ("memory", "1Gi"), ("requests.memory", "1Gi"), ("pods", "1")]);
    let used = amounts(&[("cpu", "3"), ("memory", "3Gi"), ("requests.memory", "2560Mi"), ("pods", "5")]);
    insta::assert_snapshot!(
        quota.exceeded(&asked, &used).unwrap(),
        @"exceeded quota: q, requested: memory=1Gi,requests.memory=1Gi, used: memory=3Gi,requests.memory=2560Mi, limited: memory=3Gi,requests.memory=3Gi"
    );
    assert_eq!(quota.exceeded(&asked, &amounts(&[("memory", "2Gi"), ("cpu", "3"), ("pods", "9")])), None);
    // What is over already keeps only those who want more of it.
    let over = amounts(&[("memory", "9Gi")]);
    assert_eq!(quota.exceeded(&amounts(&[("cpu", "1"), ("memory", "0")]), &over), None);
}

#[test]
fn what_a_pod_takes_ends_with_the_second_after_its_grace() {
    let metadata = json!({"deletionTimestamp": NOON, "deletionGracePeriodSeconds": 0});
    let charge = PodCharge::of(&pod(&one(&json!({})), &json!({}), &metadata));
    let noon: Timestamp = NOON.parse().unwrap();
    assert_eq!(charge.usage(noon).count(), 2);
    assert_eq!(charge.usage(noon + jiff::SignedDuration::from_millis(1)).count(), 1);
}
