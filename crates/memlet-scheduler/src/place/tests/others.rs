//! Rules about other Pods: affinity, anti-affinity, spreading.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::fixture::{app, cluster, node, pod, with, zone};

/// Two zones: `a1` and `a2` in one, `b1` in the other, and `c1` in none.
fn zones() -> Cluster {
    cluster(&[node("a1", &zone("a")), node("a2", &zone("a")), node("b1", &zone("b")), node("c1", &json!({}))])
}

fn term(selector: &Value, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": selector}, "topologyKey": key})
}

fn required(kind: &str, term: &Value) -> Value {
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}})
}

fn preferred(kind: &str, term: &Value) -> Value {
    let weighted = json!([{"weight": 10, "podAffinityTerm": term}]);
    json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": weighted}}}})
}

/// What the filters say, without the part about preemption.
fn told(cluster: &mut Cluster, more: &Value) -> String {
    match cluster.ask(&pod("p", "100Mi", more)) {
        Ok(node) => node,
        Err(message) => message.split(" no new claims").next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn near_and_far_by_zone() {
    let mut cluster = zones();
    let near = required("podAffinity", &term(&json!({"app": "db"}), "zone"));
    insta::assert_snapshot!(told(&mut cluster, &near), @"0/4 nodes are available: 4 node(s) didn't match pod affinity rules.");
    cluster.on("b1", &pod("db", "900Mi", &app("db")));
    assert_eq!(told(&mut cluster, &near), "b1");
    let far = required("podAntiAffinity", &term(&json!({"app": "db"}), "zone"));
    assert_eq!(told(&mut cluster, &far), "a1");
    // Those without the label are near to nobody, and so far enough.
    for full in ["a1", "a2", "c1"] {
        cluster.on(full, &pod(full, "1000Mi", &json!({})));
    }
    insta::assert_snapshot!(told(&mut cluster, &far), @"0/4 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 3 Insufficient memory.");
}

#[test]
fn the_first_of_its_kind_may_be_alone() {
    let mut cluster = zones();
    let own = with(app("web"), &required("podAffinity", &term(&json!({"app": "web"}), "zone")));
    // Not on `c1`, which lacks the label.
    assert_eq!(told(&mut cluster, &own), "a1");
    cluster.on("b1", &pod("first", "100Mi", &own));
    assert_eq!(told(&mut cluster, &own), "b1");
    let elsewhere = with(own, &json!({"metadata": {"namespace": "other"}}));
    assert_eq!(told(&mut cluster, &elsewhere), "a1");
}

#[test]
fn those_that_are_there_keep_others_away() {
    let mut cluster = zones();
    let hermit = required("podAntiAffinity", &term(&json!({"app": "web"}), "zone"));
    cluster.on("a1", &pod("hermit", "100Mi", &hermit));
    cluster.on("b1", &pod("full", "1000Mi", &json!({})));
    cluster.on("c1", &pod("full2", "1000Mi", &json!({})));
    insta::assert_snapshot!(told(&mut cluster, &app("web")), @"0/4 nodes are available: 2 Insufficient memory, 2 node(s) didn't satisfy existing pods anti-affinity rules.");
    assert_eq!(told(&mut cluster, &app("other")), "a2");
    cluster.take(&crate::PodKey { namespace: "default".into(), name: "hermit".into() });
    assert_eq!(told(&mut cluster, &app("web")), "a1");
}

#[test]
fn namespaces_are_meant_by_name_or_label() {
    let mut cluster = zones();
    cluster.set_namespace("shop", [("team".to_owned(), "blue".to_owned())].into());
    let db = with(app("db"), &json!({"metadata": {"namespace": "shop"}}));
    cluster.on("b1", &pod("db", "100Mi", &db));
    let near = |more: &Value| required("podAffinity", &with(term(&json!({"app": "db"}), "zone"), more));
    let nowhere = "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.";
    assert_eq!(told(&mut cluster, &near(&json!({}))), nowhere);
    assert_eq!(told(&mut cluster, &near(&json!({"namespaces": ["shop"]}))), "b1");
    let by_team = |team: &str| near(&json!({"namespaceSelector": {"matchLabels": {"team": team}}}));
    assert_eq!(told(&mut cluster, &by_team("blue")), "b1");
    assert_eq!(told(&mut cluster, &by_team("red")), nowhere);
    assert_eq!(told(&mut cluster, &near(&json!({"namespaceSelector": {}}))), "b1");
}

#[test]
fn own_label_values_narrow_a_term() {
    let mut cluster = zones();
    let labels = |hash: &str| json!({"metadata": {"labels": {"app": "web", "hash": hash}}});
    cluster.on("b1", &pod("old", "100Mi", &labels("1")));
    let near = |key: &str| {
        required("podAffinity", &with(term(&json!({"app": "web"}), "zone"), &json!({key: ["hash"]})))
    };
    assert_eq!(told(&mut cluster, &with(labels("1"), &near("matchLabelKeys"))), "b1");
    assert_eq!(told(&mut cluster, &with(labels("2"), &near("mismatchLabelKeys"))), "b1");
    let nowhere = "0/4 nodes are available: 4 node(s) didn't match pod affinity rules.";
    assert_eq!(told(&mut cluster, &with(labels("1"), &near("mismatchLabelKeys"))), nowhere);
}

#[test]
fn preferences_about_other_pods_decide_among_equals() {
    let mut cluster = zones();
    cluster.on("b1", &pod("db", "100Mi", &app("db")));
    let db = term(&json!({"app": "db"}), "zone");
    assert_eq!(told(&mut cluster, &preferred("podAffinity", &db)), "b1");
    assert_eq!(told(&mut cluster, &preferred("podAntiAffinity", &db)), "a1");
    // Those that are there have their wishes too.
    cluster.on("a2", &pod("fan", "100Mi", &preferred("podAffinity", &term(&json!({"app": "star"}), "zone"))));
    assert_eq!(told(&mut cluster, &app("star")), "a1");
    cluster.on(
        "a1",
        &pod(
            "foe",
            "100Mi",
            &preferred("podAntiAffinity", &term(&json!({"app": "star"}), "kubernetes.io/hostname")),
        ),
    );
    assert_eq!(told(&mut cluster, &app("star")), "a2");
}

fn spread(more: &Value) -> Value {
    let plain = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    with(app("web"), &json!({"spec": {"topologySpreadConstraints": [with(plain, more)]}}))
}

#[test]
fn no_zone_gets_ahead() {
    let mut cluster = zones();
    let plain = spread(&json!({}));
    cluster.on("a1", &pod("w1", "100Mi", &app("web")));
    assert_eq!(told(&mut cluster, &plain), "b1");
    cluster.on("b1", &pod("full", "1000Mi", &json!({})));
    insta::assert_snapshot!(told(&mut cluster, &plain), @"0/4 nodes are available: 1 Insufficient memory, 1 node(s) didn't match pod topology spread constraints (missing required label), 2 node(s) didn't match pod topology spread constraints.");
    assert_eq!(told(&mut cluster, &spread(&json!({"maxSkew": 2}))), "a2");
    // Of other namespaces and labels nobody counts, and those that are going do not either.
    let elsewhere = with(app("web"), &json!({"metadata": {"namespace": "other"}}));
    cluster.on("a1", &pod("w1", "100Mi", &elsewhere));
    let going = with(app("web"), &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
    cluster.on("a1", &pod("w1", "100Mi", &going));
    assert_eq!(told(&mut cluster, &plain), "a2");
}

#[test]
fn fewer_zones_than_asked_for_count_as_empty_ones() {
    let mut cluster = zones();
    for (name, node) in [("w1", "a1"), ("w2", "b1")] {
        cluster.on(node, &pod(name, "100Mi", &app("web")));
    }
    assert_eq!(told(&mut cluster, &spread(&json!({}))), "a2");
    insta::assert_snapshot!(told(&mut cluster, &spread(&json!({"minDomains": 3}))), @"0/4 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 3 node(s) didn't match pod topology spread constraints.");
}

#[test]
fn which_nodes_are_counted_is_the_pods_to_say() {
    let taint = json!({"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}});
    let nodes =
        [node("a1", &zone("a")), node("b1", &with(zone("b"), &taint)), node("b2", &with(zone("b"), &taint))];
    let mut cluster = cluster(&nodes);
    cluster.on("a1", &pod("w1", "100Mi", &app("web")));
    // An empty zone that the Pod cannot use holds it back, unless it says otherwise.
    insta::assert_snapshot!(told(&mut cluster, &spread(&json!({}))), @"0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, 2 node(s) had untolerated taint(s).");
    assert_eq!(told(&mut cluster, &spread(&json!({"nodeTaintsPolicy": "Honor"}))), "a1");
    let only_a = json!({"spec": {"nodeSelector": {"zone": "a"}}});
    assert_eq!(told(&mut cluster, &with(spread(&json!({})), &only_a)), "a1");
    let ignoring = with(spread(&json!({"nodeAffinityPolicy": "Ignore"})), &only_a);
    insta::assert_snapshot!(told(&mut cluster, &ignoring), @"0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, 2 node(s) had untolerated taint(s).");
}

#[test]
fn spreading_that_may_fail_only_prefers() {
    let mut cluster = zones();
    let soft = spread(&json!({"whenUnsatisfiable": "ScheduleAnyway"}));
    cluster.on("a1", &pod("w1", "100Mi", &app("web")));
    cluster.on("b1", &pod("other", "100Mi", &json!({})));
    assert_eq!(told(&mut cluster, &soft), "b1");
    for full in ["a2", "b1", "c1"] {
        cluster.on(full, &pod(full, "1000Mi", &json!({})));
    }
    assert_eq!(told(&mut cluster, &soft), "a1");
}
