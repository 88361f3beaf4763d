//! What is kept as Pods come and go is what would be counted anew; what preemption promises holds.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cluster::{Cluster, PodFacts, PodKey};
use crate::fixture::{cluster, node, pod, with};
use crate::place::verdict::reasons;
use crate::place::{Placement, Preemption, Question, Reason, place, preempt};

const NODES: usize = 4;

/// A Pod with any mix of rules.
#[derive(Clone, Debug)]
struct Any {
    memory: u64,
    priority: i32,
    app: u8,
    rule: u8,
    port: bool,
    node: usize,
    ending: bool,
}

fn anyone() -> impl Strategy<Value = Any> {
    (0u64..7, 0i32..4, 0u8..3, 0u8..6, any::<bool>(), 0..NODES, any::<bool>()).prop_map(
        |(memory, priority, app, rule, port, node, ending)| Any {
            memory: memory * 200,
            priority,
            app,
            rule,
            port: port && rule == 0,
            node,
            ending,
        },
    )
}

fn object(name: &str, of: &Any) -> k8s_openapi::api::core::v1::Pod {
    let app = of.app.to_string();
    let other = ((of.app + 1) % 3).to_string();
    let term = |app: &str| json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"});
    let required = |kind: &str, app: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}});
    let preferred = json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "podAffinityTerm": term(&other)}]}}});
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": app}},
    }]});
    let rule: Value = match of.rule {
        1 => required("podAffinity", &app),
        2 => required("podAntiAffinity", &other),
        3 => preferred,
        4 => spread,
        _ => json!({}),
    };
    let mut metadata = json!({"labels": {"app": app}});
    if of.ending {
        metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    let mut more =
        with(json!({"metadata": metadata, "spec": {"priority": of.priority}}), &json!({"spec": rule}));
    if of.port {
        let requests = json!({"memory": format!("{}Mi", of.memory)});
        more["spec"]["containers"] = json!([{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}], "resources": {"requests": requests}}]);
    }
    pod(name, &format!("{}Mi", of.memory), &more)
}

fn empty() -> Cluster {
    let zoned = |index: usize| {
        node(&format!("n{index}"), &json!({"metadata": {"labels": {"zone": (index / 2).to_string()}}}))
    };
    cluster(&(0..NODES).map(zoned).collect::<Vec<_>>())
}

fn answers(cluster: &Cluster, pod: &PodFacts) -> Vec<String> {
    let mut question = Question::new(cluster, pod);
    let mut ids = cluster.order().to_vec();
    ids.sort_by_key(|id| Arc::clone(&cluster.nodes.get(*id).name));
    ids.iter().map(|id| format!("{:?}", question.obstacle(*id, &cluster.nodes.get(*id).load))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_kept_is_what_would_be_counted_anew(
        steps in prop::collection::vec((0usize..12, anyone(), any::<bool>()), 0..40),
        asks in anyone(),
    ) {
        let mut kept = empty();
        let mut there: Vec<Option<Any>> = vec![None; 12];
        for (slot, of, goes) in steps {
            let name = format!("p{slot}");
            if goes {
                kept.take(&PodKey { namespace: "default".into(), name: name.as_str().into() });
                there[slot] = None;
            } else {
                kept.on(&format!("n{}", of.node), &object(&name, &of));
                there[slot] = Some(of);
            }
        }
        let mut anew = empty();
        for (slot, of) in there.iter().enumerate().filter_map(|(slot, of)| Some((slot, of.as_ref()?))) {
            anew.on(&format!("n{}", of.node), &object(&format!("p{slot}"), of));
        }
        let asking = object("asks", &Any { ending: false, ..asks });
        let (in_kept, in_anew) = (kept.read(&asking), anew.read(&asking));
        prop_assert_eq!(answers(&kept, &in_kept), answers(&anew, &in_anew));
        prop_assert_eq!(kept.ask(&asking), anew.ask(&asking));
        prop_assert_eq!(kept.preempt_for(&asking), anew.preempt_for(&asking));
    }

    /// When the victims are gone the Pod fits, and none of them could have stayed.
    #[test]
    fn victims_suffice_and_all_are_needed(there in prop::collection::vec(anyone(), 0..16), asks in anyone()) {
        let mut cluster = empty();
        for (index, of) in there.iter().enumerate() {
            cluster.on(&format!("n{}", of.node), &object(&format!("p{index}"), &Any { ending: false, ..of.clone() }));
        }
        let facts = cluster.read(&object("asks", &Any { priority: 9, ending: false, ..asks }));
        let Placement::Nowhere(nowhere) = place(&cluster, &facts, &mut 0) else { return Ok(()) };
        let before = answers(&cluster, &facts);
        let Preemption::Node { node, victims } = preempt(&cluster, &facts, &nowhere, 0) else { return Ok(()) };
        prop_assert_eq!(before, answers(&cluster, &facts));
        for victim in &victims {
            cluster.take(&victim.key);
        }
        let fits = |cluster: &Cluster| {
            let id = cluster.nodes.id(&node).unwrap();
            Question::new(cluster, &facts).obstacle(id, &cluster.nodes.get(id).load).is_none()
        };
        prop_assert!(fits(&cluster));
        for victim in &victims {
            let index: usize = victim.key.name[1..].parse().unwrap();
            cluster.on(&node, &object(&victim.key.name, &Any { ending: false, ..there[index].clone() }));
            prop_assert!(!fits(&cluster), "{} could have stayed", victim.key);
            cluster.take(&victim.key);
        }
    }
}

/// The filters as their definitions read, by walking over all Pods.
fn by_definition(there: &[Any], asks: &Any, node: usize) -> Option<&'static str> {
    let zone = |node: usize| node / 2;
    let on_node = || there.iter().filter(|of| of.node == node);
    let in_zone = |wanted: usize| there.iter().filter(move |of| zone(of.node) == wanted);
    if asks.port && on_node().any(|of| of.port) {
        return Some("HostPorts");
    }
    let requested: u64 = on_node().map(|of| of.memory).sum();
    if asks.memory > 0 && requested + asks.memory > 1000 {
        return Some("Resources");
    }
    let same = |of: &&Any| of.app == asks.app;
    if asks.rule == 4 {
        let matching = |zone: usize| in_zone(zone).filter(same).filter(|of| !of.ending).count();
        if matching(zone(node)) + 1 > matching(0).min(matching(1)) + 1 {
            return Some("Spread");
        }
    }
    if asks.rule == 1 && !in_zone(zone(node)).any(|of| same(&of)) && there.iter().any(|of| same(&of)) {
        return Some("Affinity");
    }
    let repels = |one: &Any, other: &Any| one.rule == 2 && other.app == (one.app + 1) % 3;
    if in_zone(zone(node)).any(|of| repels(asks, of)) {
        return Some("AntiAffinity");
    }
    in_zone(zone(node)).any(|of| repels(of, asks)).then_some("ExistingAntiAffinity")
}

proptest! {
    #[test]
    fn filters_say_what_their_definitions_say(there in prop::collection::vec(anyone(), 0..12), asks in anyone()) {
        let mut cluster = empty();
        for (index, of) in there.iter().enumerate() {
            cluster.on(&format!("n{}", of.node), &object(&format!("p{index}"), of));
        }
        let asks = Any { ending: false, ..asks };
        let facts = cluster.read(&object("asks", &asks));
        let mut question = Question::new(&cluster, &facts);
        for id in cluster.order() {
            if let Some(obstacle) = question.obstacle(*id, &cluster.nodes.get(*id).load) {
                let told = reasons(&cluster, &facts, *id, obstacle);
                let resolvable = !told.iter().any(Reason::is_unresolvable);
                prop_assert_eq!(obstacle.is_resolvable(&facts, cluster.nodes.get(*id)), resolvable, "{:?}", told);
            }
        }
        for (node, answer) in answers(&cluster, &facts).into_iter().enumerate() {
            match by_definition(&there, &asks, node) {
                None => prop_assert_eq!(answer, "None"),
                Some(obstacle) => prop_assert!(answer.starts_with(&format!("Some({obstacle}")), "n{}: {} by definition, found {}", node, obstacle, answer),
            }
        }
    }
}
