//! `memlet ps`, `inspect` and `explain pod/NAME`, with what they refuse.

use libtest_mimic::Failed;

use super::{Node, ended, holder, is_running, memlet};
use crate::house::House;
use crate::{Test, test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("node: without one, its commands say how to have one", without_a_node),
        test_with(
            "node: inspect finds by name and by id, and says what it does not find",
            &["kubectl"],
            inspect,
        ),
        test_with(
            "node: a killed child is an Event and a verdict, while its container lives",
            &["kubectl"],
            killed_child,
        ),
    ]
}

fn without_a_node() -> Result<(), Failed> {
    let house = House::new()?;
    for command in [&["ps"][..], &["inspect", "p"]] {
        memlet(&house, command)?.exits(2).complains("start one with `memlet node`");
    }
    memlet(&house, &["kubeconfig"])?.exits(2).complains("memlet node");
    memlet(&house, &["kubectl", "get", "pods"])?.exits(2);
    memlet(&house, &["explain", "pod/p"])?.exits(2).complains("nothing is recorded of a Pod \"p\"");
    house.nothing_is_left()
}

fn inspect() -> Result<(), Failed> {
    let node = Node::start()?;
    node.create(&holder("a", "64Mi"))?;
    let pod = node.wait_for("pod/a", is_running)?;
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().expect("it has one");
    let id = id.strip_prefix("memlet://").expect("it is ours");
    for name in ["a", "pod/a", id, &id[..6]] {
        node.memlet(&["inspect", name])?
            .exits(0)
            .says("Pod default/a")
            .says("Container main")
            .says("Sandbox");
    }
    let document = node.memlet(&["inspect", "a", "-o", "yaml"])?;
    document.exits(0).says("qosClass: Burstable");
    node.memlet(&["inspect", "b"])?.exits(2).complains("no Pod \"b\"");
    node.memlet(&["inspect", "a", "-n", "kube-system"])?.exits(2).complains("kube-system");
    node.memlet(&["ps", "-a"])?.exits(0).says("(sandbox)");
    node.memlet(&["ps", "-n", "kube-system"])?.exits(0).says_not("main");
    node.end()
}

/// The kernel kills a child; process 1 goes on. Upstream shows nothing of it.
fn killed_child() -> Result<(), Failed> {
    let node = Node::start()?;
    let pod =
        holder("parent", "64Mi").replace("['8', '0', '--hold']", "['300', '0', '--children', '1', '--hold']");
    node.create(&pod)?;
    let event = node.wait_for("events", |list| {
        list["items"]
            .as_array()
            .is_some_and(|events| events.iter().any(|event| event["reason"] == "OOMKilling"))
    })?;
    let events = event["items"].as_array().expect("it is a list");
    let event = events.iter().find(|event| event["reason"] == "OOMKilling").expect("it was there");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["involvedObject"]["name"], "parent");
    assert_eq!(event["involvedObject"]["fieldPath"], "spec.containers{main}");
    let pod = node.wait_for("pod/parent", is_running)?;
    assert!(ended(&pod).is_none(), "the container lives: {:#}", pod["status"]);
    node.memlet(&["explain", "pod/parent"])?.exits(0).says("killed");
    node.end()
}
