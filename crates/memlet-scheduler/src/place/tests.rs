//! Filters, scores and messages on small clusters.

mod others;
mod preemption;
mod properties;

use serde_json::{Value, json};

use super::*;
use crate::fixture::{cluster, node, pod};

fn memory(memory: &str) -> Value {
    json!({"status": {"allocatable": {"memory": memory}}})
}

#[test]
fn the_last_byte_fits_and_one_more_does_not() {
    let mut cluster = cluster(&[node("n", &json!({}))]);
    cluster.on("n", &pod("there", "900Mi", &json!({})));
    assert_eq!(cluster.ask(&pod("p", "100Mi", &json!({}))), Ok("n".to_owned()));
    insta::assert_snapshot!(
        cluster.ask(&pod("p", "104857601", &json!({}))).unwrap_err(),
        @"0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
    );
}

#[test]
fn too_large_for_the_node_is_told_as_a_real_cluster_told_it() {
    let mut cluster = cluster(&[node("anchor-node", &memory("1939488Ki"))]);
    insta::assert_snapshot!(
        cluster.ask(&pod("pending-1000gi", "1000Gi", &json!({}))).unwrap_err(),
        @"0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
}

#[test]
fn without_nodes_there_is_nothing_to_count() {
    let message = cluster(&[]).ask(&pod("p", "1Mi", &json!({}))).unwrap_err();
    assert_eq!(message, "no nodes available to schedule pods");
}

#[test]
fn every_reason_is_counted() {
    let taint = json!({"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"});
    let mut cluster = cluster(&[
        node("a", &json!({"spec": {"unschedulable": true}})),
        node("b", &json!({"spec": {"taints": [taint]}, "status": {"allocatable": {"memory": "4Gi"}}})),
        node("c", &json!({"status": {"allocatable": {"memory": "4Gi", "pods": "1", "cpu": "1"}}})),
        node("d", &json!({})),
    ]);
    cluster.on("c", &pod("there", "3Gi", &json!({})));
    let containers = json!([{"name": "c", "resources": {"requests": {"memory": "2Gi", "cpu": "1500m"}}}]);
    let wanting = pod("p", "", &json!({"spec": {"containers": containers}}));
    insta::assert_snapshot!(
        cluster.ask(&wanting).unwrap_err(),
        @"0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient memory. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    );
    let tolerations = json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}]);
    let tolerant = pod("p", "2Gi", &json!({"spec": {"tolerations": tolerations}}));
    assert_eq!(cluster.ask(&tolerant), Ok("b".to_owned()));
}

#[test]
fn nodes_are_asked_for_by_name_label_and_affinity() {
    let ssd = json!({"metadata": {"labels": {"disk": "ssd"}}});
    let mut cluster = cluster(&[node("a", &json!({})), node("b", &ssd), node("c", &json!({}))]);
    let named = |names: Value| {
        let fields = json!([{"key": "metadata.name", "operator": "In", "values": names}]);
        json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}})
    };
    let affinity = |affinity: Value| json!({"spec": {"affinity": {"nodeAffinity": affinity}}});
    let selecting = |value: &str| json!({"spec": {"nodeSelector": {"disk": value}}});
    assert_eq!(cluster.ask(&pod("p", "", &selecting("ssd"))), Ok("b".to_owned()));
    assert_eq!(cluster.ask(&pod("p", "", &affinity(named(json!(["c"]))))), Ok("c".to_owned()));
    let mut told = |more: &Value| cluster.ask(&pod("p", "2Gi", more)).unwrap_err();
    insta::assert_snapshot!(
        told(&selecting("tape")),
        @"0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    insta::assert_snapshot!(
        told(&affinity(named(json!(["c", "gone"])))),
        @"0/3 nodes are available: 1 Insufficient memory, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    let both = json!([
        {"key": "metadata.name", "operator": "In", "values": ["a"]},
        {"key": "metadata.name", "operator": "In", "values": ["b"]},
    ]);
    let contradiction = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": both}]}});
    insta::assert_snapshot!(
        told(&affinity(contradiction)),
        @"0/3 nodes are available: pod affinity terms conflict. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
}

#[test]
fn a_host_port_is_given_once() {
    let mut cluster = cluster(&[node("a", &json!({})), node("b", &json!({}))]);
    let ports = json!([{"containerPort": 80, "hostPort": 80}]);
    let web = |name: &str| pod(name, "", &json!({"spec": {"containers": [{"name": "c", "ports": ports}]}}));
    cluster.on("a", &web("first"));
    assert_eq!(cluster.ask(&web("second")), Ok("b".to_owned()));
    cluster.on("b", &web("second"));
    insta::assert_snapshot!(
        cluster.ask(&web("third")).unwrap_err(),
        @"0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
    );
}

#[test]
fn the_emptiest_node_is_chosen_and_the_first_of_equals() {
    let mut cluster =
        cluster(&[node("a", &json!({})), node("b", &memory("2000Mi")), node("c", &memory("4000Mi"))]);
    cluster.on("a", &pod("x", "500Mi", &json!({})));
    cluster.on("b", &pod("y", "500Mi", &json!({})));
    cluster.on("c", &pod("z", "3000Mi", &json!({})));
    assert_eq!(cluster.ask(&pod("p", "100Mi", &json!({}))), Ok("b".to_owned()));
    let mut equal = crate::fixture::cluster(&[node("b", &json!({})), node("a", &json!({}))]);
    assert_eq!(equal.ask(&pod("p", "100Mi", &json!({}))), Ok("a".to_owned()));
}

#[test]
fn preferences_outweigh_emptiness() {
    let disliked = json!({"spec": {"taints": [{"key": "spot", "effect": "PreferNoSchedule"}]}});
    let ssd = json!({"metadata": {"labels": {"disk": "ssd"}}});
    let mut cluster = cluster(&[node("a", &disliked), node("b", &ssd)]);
    cluster.on("b", &pod("x", "500Mi", &json!({})));
    assert_eq!(cluster.ask(&pod("p", "100Mi", &json!({}))), Ok("b".to_owned()));
    let tolerant = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    assert_eq!(cluster.ask(&pod("p", "100Mi", &tolerant)), Ok("a".to_owned()));
    let wants_ssd =
        json!([{"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]);
    let wants_ssd = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wants_ssd}}}});
    assert_eq!(
        cluster.ask(&pod("p", "100Mi", &crate::fixture::with(tolerant, &wants_ssd))),
        Ok("b".to_owned())
    );
}

#[test]
fn so_many_nodes_are_enough() {
    for (nodes, enough) in
        [(0, 0), (99, 99), (100, 100), (250, 120), (1000, 420), (5000, 500), (6000, 300), (10_000, 500)]
    {
        assert_eq!(feasible_nodes_to_find(nodes), enough, "of {nodes}");
    }
}

#[test]
fn the_next_search_begins_where_the_last_ended() {
    let nodes: Vec<_> = (0..250).map(|index| node(&format!("n{index:03}"), &json!({}))).collect();
    let mut cluster = cluster(&nodes);
    let facts = cluster.read(&pod("p", "100Mi", &json!({})));
    let mut start = 0;
    let mut chosen = || match place(&cluster, &facts, &mut start) {
        Placement::On(node) => node.to_string(),
        Placement::Nowhere(_) => panic!("it fits"),
    };
    assert_eq!([chosen(), chosen(), chosen()], ["n000", "n120", "n240"]);
}

#[test]
fn zones_take_turns() {
    let zoned = |name: &str, zone: &str| {
        node(name, &json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}))
    };
    let cluster = cluster(&[zoned("a", "1"), zoned("b", "1"), zoned("c", "2"), node("d", &json!({}))]);
    let order: Vec<&str> = cluster.order().iter().map(|id| &*cluster.nodes.get(*id).name).collect();
    assert_eq!(order, ["d", "a", "c", "b"]);
}

#[test]
fn the_verdict_of_each_node_has_the_arithmetic() {
    let nodes = [node("a", &json!({})), node("b", &json!({"spec": {"unschedulable": true}}))];
    let pods = [
        pod("there", "800Mi", &json!({"spec": {"nodeName": "a"}})),
        pod("p", "300Mi", &crate::fixture::priority(5)),
    ];
    let verdicts = explain_placement(&pods[1], &nodes, &pods, &[]);
    let text: String = verdicts
        .iter()
        .map(|verdict| {
            let reasons: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
            let rows = verdict.resources.iter().map(|row| {
                format!(
                    "  {}: {} of {} requested, {} free, {} wanted, {} missing\n",
                    row.resource,
                    row.requested,
                    row.allocatable,
                    row.free(),
                    row.wanted,
                    row.missing()
                )
            });
            let victims = verdict
                .victims
                .as_ref()
                .map(|victims| victims.iter().map(|victim| victim.key.to_string()).collect::<Vec<_>>());
            format!("{}: {reasons:?}, victims {victims:?}\n{}", verdict.node, rows.collect::<String>())
        })
        .collect();
    insta::assert_snapshot!(text, @r#"
    a: ["Insufficient memory"], victims Some(["default/there"])
      pods: 1 of 110 requested, 109 free, 1 wanted, 0 missing
      memory: 838860800 of 1048576000 requested, 209715200 free, 314572800 wanted, 104857600 missing
    b: ["node(s) were unschedulable"], victims None
      pods: 0 of 110 requested, 110 free, 1 wanted, 0 missing
      memory: 0 of 1048576000 requested, 1048576000 free, 314572800 wanted, 0 missing
    "#);
}

#[test]
fn a_verdict_looks_beyond_the_first_obstacle() {
    let cordoned =
        node("a", &json!({"spec": {"unschedulable": true}, "status": {"allocatable": {"memory": "100Mi"}}}));
    let picky = pod("p", "300Mi", &json!({"spec": {"nodeSelector": {"disk": "ssd"}}}));
    let verdict = explain_placement(&picky, &[cordoned], &[], &[]).remove(0);
    let text = |reasons: &[Reason]| reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join("; ");
    assert_eq!(text(&verdict.reasons), "node(s) were unschedulable");
    assert_eq!(
        text(&verdict.besides),
        "node(s) didn't match Pod's node affinity/selector; Insufficient memory"
    );
    let plain = explain_placement(&pod("p", "", &json!({})), &[node("b", &json!({}))], &[], &[]).remove(0);
    assert!(plain.fits() && plain.besides.is_empty() && plain.victims == Some(Vec::new()));
}

#[test]
fn labels_with_many_values_are_asked_of_the_node_itself() {
    let nodes: Vec<_> = (0..100).map(|index| node(&format!("n{index:03}"), &json!({}))).collect();
    let mut cluster = cluster(&nodes);
    let host = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "n077"}}});
    assert_eq!(cluster.ask(&pod("p", "100Mi", &host)), Ok("n077".to_owned()));
    let absent = json!([{"matchExpressions": [{"key": "disk", "operator": "NotIn", "values": ["hdd"]}]}]);
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": absent}});
    let pod_without = pod("p", "100Mi", &json!({"spec": {"affinity": {"nodeAffinity": affinity}}}));
    assert_eq!(cluster.ask(&pod_without), Ok("n000".to_owned()));
    cluster.set_node(&node("n000", &json!({"metadata": {"labels": {"disk": "hdd"}}})));
    assert_eq!(cluster.ask(&pod_without), Ok("n001".to_owned()));
}
