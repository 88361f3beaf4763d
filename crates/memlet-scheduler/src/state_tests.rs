use serde_json::{Value, json};

use super::*;
use crate::fixture::{app, node, pod, priority, with, zone};
use crate::place::{Placement, place};

/// A scheduler's state without an API: what it would write is only assumed.
struct Bench {
    state: State,
    now: Instant,
}

impl Bench {
    fn new(nodes: &[Node]) -> Self {
        let mut state = State::new("default-scheduler");
        for event in [Event::Init, Event::InitDone] {
            state.see_pod(event);
        }
        state.see_node(Event::Init);
        for node in nodes {
            state.see_node(Event::InitApply(node.clone()));
        }
        state.see_node(Event::InitDone);
        Self { state, now: Instant::now() }
    }

    fn see(&mut self, pod: &Pod) {
        self.state.see_pod(Event::Apply(pod.clone()));
    }

    fn gone(&mut self, pod: &Pod) {
        self.state.see_pod(Event::Delete(pod.clone()));
    }

    /// Decides about everybody whose turn it is, and says what was decided.
    fn run(&mut self) -> Vec<String> {
        let mut decided = Vec::new();
        while let Some(key) = self.state.queue.pop(self.now) {
            let facts = Arc::clone(&self.state.queue.get(&key).unwrap().facts);
            match place(&self.state.cluster, &facts, &mut 0) {
                Placement::On(node) => {
                    self.state.assume(&facts, &node);
                    self.state.queue.remove(&key);
                    decided.push(format!("{} on {node}", key.name));
                }
                Placement::Nowhere(_) => {
                    let no_nodes = self.state.cluster.node_count() == 0;
                    self.state.queue.park(&key, self.now, false, no_nodes);
                    decided.push(format!("{} nowhere", key.name));
                }
            }
        }
        decided
    }

    /// Three Pods of which one fits.
    fn crowded() -> (Self, Pod) {
        let mut bench = Self::new(&[node("a", &json!({}))]);
        let there = on("a", &pod("there", "900Mi", &json!({})));
        bench.see(&there);
        for name in ["p1", "p2", "p3"] {
            bench.see(&pod(name, "400Mi", &json!({})));
        }
        assert_eq!(bench.run(), ["p1 nowhere", "p2 nowhere", "p3 nowhere"]);
        (bench, there)
    }
}

fn on(node: &str, pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    pod
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn as_many_are_woken_as_fit() {
    let (mut bench, there) = Bench::crowded();
    bench.gone(&there);
    assert_eq!(bench.run(), ["p1 on a", "p2 on a"]);
    // A Pod that ends frees its place as one that is deleted does.
    let mut done = on("a", &pod("p1", "400Mi", &json!({})));
    done.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
    bench.see(&done);
    assert_eq!(bench.run(), ["p3 on a"]);
}

#[test]
fn what_helps_nobody_wakes_nobody() {
    let (mut bench, there) = Bench::crowded();
    let mut heartbeat = node("a", &json!({}));
    heartbeat.metadata.resource_version = Some("7".to_owned());
    bench.state.see_node(Event::Apply(heartbeat));
    bench
        .state
        .see_node(Event::Apply(node("small", &json!({"status": {"allocatable": {"memory": "300Mi"}}}))));
    let mut running = there.clone();
    running.status.get_or_insert_default().phase = Some("Running".to_owned());
    bench.see(&running);
    bench.see(&on("small", &pod("other", "100Mi", &json!({}))));
    bench.gone(&on("small", &pod("other", "100Mi", &json!({}))));
    assert_eq!(bench.run(), none());
    bench.state.see_node(Event::Apply(node("b", &json!({}))));
    assert_eq!(bench.run(), ["p1 on b", "p2 on b"]);
}

#[test]
fn a_smaller_request_frees_what_it_gives_up() {
    let (mut bench, _) = Bench::crowded();
    bench.see(&on("a", &pod("there", "600Mi", &json!({}))));
    assert_eq!(bench.run(), ["p1 on a"]);
}

#[test]
fn the_first_node_is_shown_to_all() {
    let mut bench = Bench::new(&[]);
    bench.see(&pod("large", "4Gi", &json!({})));
    assert_eq!(bench.run(), ["large nowhere"]);
    bench.state.see_node(Event::Apply(node("a", &json!({}))));
    // It does not fit, but "no nodes" is no longer true.
    assert_eq!(bench.run(), ["large nowhere"]);
    bench.state.see_node(Event::Apply(node("b", &json!({}))));
    assert_eq!(bench.run(), none());
}

#[test]
fn older_news_does_not_undo_a_promise() {
    let mut bench = Bench::new(&[node("a", &json!({}))]);
    let first = pod("first", "600Mi", &json!({}));
    bench.see(&first);
    assert_eq!(bench.run(), ["first on a"]);
    bench.see(&first);
    bench.see(&pod("second", "600Mi", &json!({})));
    assert_eq!(bench.run(), ["second nowhere"]);
    bench.see(&on("a", &first));
    assert_eq!((bench.run(), bench.state.cluster.pod_count()), (none(), 1));
    // Another Pod of the same name is another matter.
    bench.see(&pod("first", "10Mi", &json!({"metadata": {"uid": "other"}})));
    assert_eq!(bench.run(), ["first on a"]);
}

#[test]
fn a_promise_that_fails_is_taken_back() {
    let mut bench = Bench::new(&[node("a", &json!({}))]);
    bench.see(&pod("first", "600Mi", &json!({})));
    let key = bench.state.queue.pop(bench.now).unwrap();
    let facts = Arc::clone(&bench.state.queue.get(&key).unwrap().facts);
    bench.state.assume(&facts, "a");
    bench.see(&pod("second", "600Mi", &json!({})));
    assert_eq!(bench.run(), ["second nowhere"]);
    bench.state.unassume(&key, bench.now);
    assert_eq!(bench.run(), ["second on a"]);
    // The first is tried again after its back-off.
    bench.now += std::time::Duration::from_secs(1);
    assert_eq!(bench.run(), ["first nowhere"]);
}

#[test]
fn a_list_that_is_read_again_forgets_what_is_gone() {
    let (mut bench, _) = Bench::crowded();
    bench.state.see_pod(Event::Init);
    bench.state.see_pod(Event::InitApply(pod("p2", "400Mi", &json!({}))));
    bench.state.see_pod(Event::InitDone);
    assert_eq!(bench.run(), ["p2 on a"]);
    bench.state.see_node(Event::Init);
    bench.state.see_node(Event::InitDone);
    assert_eq!(bench.state.cluster.node_count(), 0);
}

#[test]
fn rules_about_others_reach_beyond_the_node() {
    let mut bench = Bench::new(&[node("a", &zone("a")), node("b", &zone("b"))]);
    let spread = json!({"spec": {"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]}});
    let web = |name: &str| pod(name, "400Mi", &with(app("web"), &spread));
    bench.see(&on("a", &web("w1")));
    bench.see(&on("b", &pod("full", "1000Mi", &json!({}))));
    bench.see(&web("w2"));
    assert_eq!(bench.run(), ["w2 nowhere"]);
    // One of another kind ends in the other zone, too small to matter; then the one in the way goes.
    bench.see(&on("a", &pod("x", "10Mi", &json!({}))));
    bench.gone(&on("a", &pod("x", "10Mi", &json!({}))));
    assert_eq!(bench.run(), none());
    bench.gone(&on("a", &web("w1")));
    assert_eq!(bench.run(), ["w2 on a"]);
}

#[test]
fn namespaces_and_those_nearby_are_waited_for() {
    let mut bench = Bench::new(&[node("a", &zone("a"))]);
    let term = json!({"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone", "namespaceSelector": {"matchLabels": {"team": "blue"}}});
    let near: Value = json!({"spec": {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}});
    bench.see(&pod("web", "1Mi", &near));
    bench.see(&on("a", &pod("db", "1Mi", &app("db"))));
    assert_eq!(bench.run(), ["web nowhere"]);
    let namespace = json!({"metadata": {"name": "default", "labels": {"team": "blue"}}});
    bench.state.see_namespace(Event::Apply(serde_json::from_value(namespace).unwrap()));
    assert_eq!(bench.run(), ["web on a"]);
}

#[test]
fn a_chance_to_send_others_away_waits_for_the_back_off() {
    let mut bench = Bench::new(&[node("a", &json!({}))]);
    bench.see(&on("a", &pod("equal", "500Mi", &priority(5))));
    bench.see(&on("a", &pod("lesser", "500Mi", &priority(1))));
    bench.see(&pod("p", "900Mi", &priority(5)));
    assert_eq!(bench.run(), ["p nowhere"]);
    bench.gone(&on("a", &pod("equal", "500Mi", &priority(5))));
    assert_eq!(bench.run(), none());
    bench.now += std::time::Duration::from_secs(1);
    assert_eq!(bench.run(), ["p nowhere"]);
}

#[test]
fn other_schedulers_gates_and_deletion_keep_a_pod_out() {
    let mut bench = Bench::new(&[node("a", &json!({}))]);
    bench.see(&pod("theirs", "1Mi", &json!({"spec": {"schedulerName": "other"}})));
    bench.see(&pod("gated", "1Mi", &json!({"spec": {"schedulingGates": [{"name": "x/y"}]}})));
    bench.see(&pod("going", "1Mi", &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})));
    assert_eq!(bench.run(), none());
    assert_eq!(bench.state.gated.len(), 1);
    bench.see(&pod("gated", "1Mi", &json!({})));
    assert_eq!(bench.run(), ["gated on a"]);
}

#[test]
fn a_pod_that_moves_in_where_room_was_kept_wakes_nobody() {
    let mut bench = Bench::new(&[node("a", &json!({}))]);
    let vip = pod("vip", "800Mi", &with(priority(9), &json!({"status": {"nominatedNodeName": "a"}})));
    bench.see(&vip);
    bench.see(&pod("p", "500Mi", &json!({})));
    assert_eq!(bench.run(), ["vip on a", "p nowhere"]);
    bench.see(&on("a", &vip));
    assert_eq!(bench.run(), none());
    let moved =
        on("a", &pod("late", "100Mi", &with(priority(9), &json!({"status": {"nominatedNodeName": "a"}}))));
    bench.see(&moved);
    assert_eq!(bench.run(), none());
}
