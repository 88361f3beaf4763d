//! Who has to go.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::PodKey;
use crate::cluster::Cluster;
use crate::fixture::{app, cluster, node, pod, priority, with, zone};

fn full() -> Cluster {
    let mut cluster = cluster(&[node("a", &json!({})), node("b", &json!({}))]);
    for (name, on, memory, importance) in [
        ("low", "a", "600Mi", 1),
        ("lower", "a", "300Mi", 0),
        ("mid", "b", "600Mi", 5),
        ("small", "b", "300Mi", 0),
    ] {
        cluster.on(on, &pod(name, memory, &priority(importance)));
    }
    cluster
}

#[test]
fn the_least_important_that_suffice_go() {
    let mut cluster = full();
    assert_eq!(cluster.preempt_for(&pod("p", "100Mi", &priority(9))), "it fits");
    // `lower` on a and `small` on b cost the same; the first node is taken.
    assert_eq!(cluster.preempt_for(&pod("p", "400Mi", &priority(9))), "a: lower");
    // Where it must be a larger one, the less important is put first, and the others are spared.
    assert_eq!(cluster.preempt_for(&pod("p", "700Mi", &priority(9))), "a: low");
    assert_eq!(cluster.preempt_for(&pod("p", "1000Mi", &priority(9))), "a: low lower");
    assert_eq!(cluster.preempt_for(&pod("p", "1000Mi", &priority(5))), "a: low lower");
}

#[test]
fn where_nobody_can_be_sent_away_it_says_why() {
    let mut cluster = full();
    insta::assert_snapshot!(cluster.preempt_for(&pod("p", "400Mi", &priority(0))), @"0/2 nodes are available: 2 No preemption victims found for incoming pod.");
    insta::assert_snapshot!(cluster.preempt_for(&pod("p", "700Mi", &priority(1))), @"0/2 nodes are available: 2 Insufficient memory.");
    insta::assert_snapshot!(cluster.preempt_for(&pod("p", "2Gi", &priority(9))), @"0/2 nodes are available: 2 Preemption is not helpful for scheduling.");
    let never = with(priority(9), &json!({"spec": {"preemptionPolicy": "Never"}}));
    insta::assert_snapshot!(cluster.ask(&pod("p", "700Mi", &never)).unwrap_err(), @"0/2 nodes are available: 2 Insufficient memory. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.");
    // Where room is made, preemption has nothing to add.
    insta::assert_snapshot!(cluster.ask(&pod("p", "700Mi", &priority(9))).unwrap_err(), @"0/2 nodes are available: 2 Insufficient memory.");
}

#[test]
fn nodes_are_compared_by_what_they_cost() {
    let started = |time: &str| json!({"status": {"startTime": format!("2026-01-01T00:00:{time}Z")}});
    let row = |a: Vec<(i32, &str)>, b: Vec<(i32, &str)>| {
        let mut cluster = cluster(&[node("a", &json!({})), node("b", &json!({}))]);
        for (on, pods) in [("a", a), ("b", b)] {
            let memory = format!("{}Mi", 1000 / pods.len());
            for (index, (importance, time)) in pods.into_iter().enumerate() {
                let more = with(priority(importance), &started(time));
                cluster.on(on, &pod(&format!("{on}{index}"), &memory, &more));
            }
        }
        cluster.preempt_for(&pod("p", "1000Mi", &priority(100)))
    };
    // The lowest highest priority, the smallest sum, the fewest, the youngest, the first.
    assert_eq!(row(vec![(5, "01")], vec![(4, "01"), (4, "01")]), "b: b0 b1");
    assert_eq!(row(vec![(5, "01"), (5, "01")], vec![(5, "01"), (1, "01")]), "b: b0 b1");
    assert_eq!(row(vec![(5, "01"), (-5, "01")], vec![(5, "01")]), "b: b0");
    assert_eq!(row(vec![(5, "01")], vec![(5, "02")]), "b: b0");
    assert_eq!(row(vec![(5, "01")], vec![(5, "01")]), "a: a0");
}

#[test]
fn while_victims_are_going_nobody_else_is_sent_away() {
    let mut cluster = full();
    let waiting = pod("p", "400Mi", &priority(9));
    let facts = Arc::new(cluster.read(&waiting));
    cluster.nominate(&facts, "a");
    let victim = PodKey { namespace: "default".into(), name: "lower".into() };
    cluster.set_preempted(&victim, true, false);
    insta::assert_snapshot!(cluster.ask(&waiting).unwrap_err(), @"0/2 nodes are available: 2 Insufficient memory. no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node.");
    cluster.take(&victim);
    assert_eq!(cluster.ask(&waiting), Ok("a".to_owned()));
}

#[test]
fn room_that_is_kept_is_not_for_the_less_important() {
    let mut cluster = cluster(&[node("a", &json!({}))]);
    let facts = Arc::new(cluster.read(&pod("vip", "800Mi", &priority(9))));
    cluster.nominate(&facts, "a");
    insta::assert_snapshot!(cluster.ask(&pod("p", "300Mi", &priority(1))).unwrap_err(), @"0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.");
    assert_eq!(cluster.ask(&pod("p", "200Mi", &priority(1))), Ok("a".to_owned()));
    assert_eq!(cluster.ask(&pod("p", "300Mi", &priority(10))), Ok("a".to_owned()));
    assert_eq!(cluster.ask(&pod("vip", "800Mi", &priority(9))), Ok("a".to_owned()));
    cluster.withdraw(&facts.key);
    assert_eq!(cluster.ask(&pod("p", "300Mi", &priority(1))), Ok("a".to_owned()));
}

#[test]
fn those_in_the_way_of_affinity_and_spreading_go_too() {
    let mut cluster = cluster(&[node("a", &zone("a")), node("b", &zone("b"))]);
    cluster.on("b", &pod("full", "1000Mi", &priority(50)));
    cluster.on("a", &pod("db", "100Mi", &with(app("db"), &priority(1))));
    cluster.on("a", &pod("web", "100Mi", &with(app("web"), &priority(1))));
    let db: Value = json!([{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}]);
    let far = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": db}}}});
    assert_eq!(cluster.preempt_for(&pod("p", "100Mi", &with(priority(9), &far))), "a: db");
    let spread = json!({"spec": {"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]}});
    let more = with(with(priority(9), &app("web")), &spread);
    assert_eq!(cluster.preempt_for(&pod("p", "100Mi", &more)), "a: web");
    // A Pod that it must be near to cannot go for it.
    let near = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": db}}}});
    insta::assert_snapshot!(cluster.preempt_for(&pod("p", "950Mi", &with(priority(9), &near))), @"0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 node(s) didn't match pod affinity rules.");
}
