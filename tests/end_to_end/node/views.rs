//! `memlet ps`, `top`, `inspect`, `explain pod/NAME` and `explain node/NAME`, with what they refuse.

use std::process::Stdio;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use super::{Node, ended, holder, is_running, memlet};
use crate::house::{House, MEMLET, finish};
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
        test_with("node: top shows what is used, and what is left below which limit", &["kubectl"], top),
        test_with("node: top of a pool has every node, again and again until Ctrl-C", &["kubectl"], watched),
        test_with("node: who would be killed and who evicted are two orders", &["kubectl"], two_orders),
        test_with(
            "node: an eviction is explained, of the Pod and of the node, also when both are gone",
            &["kubectl"],
            evicted,
        ),
    ]
}

fn without_a_node() -> Result<(), Failed> {
    let house = House::new()?;
    for command in [&["ps"][..], &["inspect", "p"], &["top"], &["top", "--oom-order"]] {
        memlet(&house, command)?.exits(2).complains("start one with `memlet node`");
    }
    memlet(&house, &["kubeconfig"])?.exits(2).complains("memlet node");
    memlet(&house, &["kubectl", "get", "pods"])?.exits(2);
    memlet(&house, &["explain", "pod/p"])?.exits(2).complains("nothing is recorded of a Pod \"p\"");
    memlet(&house, &["explain", "node/n"])?.exits(2).complains("no node \"n\" is known here");
    memlet(&house, &["top", "--watch", "0"])?.exits(2).complains("from 0.1 to 86400 seconds");
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

/// A Pod of one memory eater that holds so many megabytes, with these resources.
fn eater(name: &str, megabytes: u64, resources: &str) -> String {
    holder(name, "1Gi")
        .replace("'8'", &format!("'{megabytes}'"))
        .replace("{limits: {memory: 1Gi}}", resources)
}

/// Waits until the node's Pods together hold at least so many mebibytes.
fn wait_until_held(node: &Node, mebibytes: u64) -> Result<Value, Failed> {
    for _ in 0..200 {
        let usage = node.memlet(&["top", "-o", "json"])?;
        let document = usage.exits(0).json()?;
        let node = &document["nodes"][0];
        // A program may run a moment before the Pod's status says so.
        let pods = node["pods"].as_array().into_iter().flatten();
        let mut containers = pods.flat_map(|pod| pod["containers"].as_array().into_iter().flatten());
        let all_told = containers.all(|container| container["left"]["bytes"].is_u64());
        if node["rss"].as_u64() >= Some(mebibytes << 20) && all_told {
            return Ok(document);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("the Pods never held what they were to".into())
}

fn top() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "400Mi"])?;
    node.create(&eater("large", 60, "{requests: {memory: 20Mi}}"))?;
    node.create(&eater("small", 20, "{limits: {memory: 64Mi}}"))?;
    let document = wait_until_held(&node, 75)?;
    let of = |value: &Value| value.as_u64().unwrap_or_default() >> 20;
    let whole = &document["nodes"][0];
    assert_eq!(
        [&whole["limit"], &whole["allocatable"], &whole["evictionThreshold"]].map(of),
        [400, 300, 100]
    );
    assert_eq!(whole["evictionThresholds"].as_array().map(Vec::len), Some(2), "{whole:#}");
    assert_eq!(whole["available"]["memory.available"], whole["left"]["bytes"], "{whole:#}");
    assert_eq!(of(&whole["requests"]), 84);
    assert!(whole["limits"].is_null(), "one has none: {whole:#}");
    let [large, small] = [&whole["pods"][0], &whole["pods"][1]];
    assert_eq!((&large["name"], &small["name"]), (&Value::from("large"), &Value::from("small")), "{whole:#}");
    assert!(
        (55..80).contains(&of(&large["workingSet"])) && (55..80).contains(&of(&large["rss"])),
        "{large:#}"
    );
    // The one without a limit is bounded by what the node has left, the other by its own.
    assert_eq!(large["containers"][0]["left"]["of"], "node");
    assert!((250..330).contains(&of(&large["left"]["bytes"])), "{large:#}");
    let left = &small["containers"][0]["left"];
    assert!(left["of"] == "container" || left["of"] == "pod", "{left:#}");
    assert!((30..45).contains(&of(&left["bytes"])), "{left:#}");
    let table = node.memlet(&["top"])?;
    table.exits(0).says("EVICTS BELOW").says("WORKING SET").says("large").says("small").says("(Pod)");
    node.memlet(&["top", "-n", "kube-system"])?
        .exits(0)
        .says("no Pod of the namespace kube-system")
        .says_not("large");
    node.memlet(&["top", "-o", "yaml"])?.exits(0).says("qosClass: Burstable");
    node.end()
}

fn watched() -> Result<(), Failed> {
    let node = Node::start_with(&["--nodes", "2", "--node-memory", "200Mi"])?;
    node.create(&holder("a", "32Mi"))?;
    node.wait_for("pod/a", is_running)?;
    node.memlet(&["top"])?.exits(0).says("memlet-1").says("memlet-2").says("   NODE\n");
    let child = std::process::Command::new(MEMLET)
        .args(["top", "--watch", "0.1", "--data"])
        .arg(node.house.folder.path().join("data"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    std::thread::sleep(Duration::from_millis(1500));
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("it has a number");
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let ran = finish(child)?;
    ran.exits(0);
    assert!(ran.stdout.matches("EVICTS BELOW").count() >= 3, "again and again:\n{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "it goes to no terminal");
    node.end()
}

/// The node evicts the smaller one first, since that uses more than it requested; the kernel goes by scores.
fn two_orders() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "400Mi"])?;
    node.create(&eater("steady", 80, "{requests: {memory: 100Mi}}"))?;
    node.create(&eater("greedy", 40, "{requests: {memory: 10Mi}}"))?;
    wait_until_held(&node, 115)?;
    let orders = node.memlet(&["top", "--oom-order", "-o", "json"])?.exits(0).json()?;
    let order = &orders["nodes"][0];
    assert_eq!(
        (&order["killOrder"]["of"], &order["killOrder"]["total"]),
        (&"node".into(), &(400_u64 << 20).into())
    );
    let evicted: Vec<&str> = order["evictionOrder"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pod| pod["pod"].as_str())
        .collect();
    assert_eq!(evicted, ["greedy", "steady"], "{order:#}");
    // The kernel's formula, where the node's limit is what runs out.
    for candidate in order["killOrder"]["processes"].as_array().into_iter().flatten() {
        let process = &candidate["process"];
        let held: i64 = ["rss", "swap", "pageTables"].iter().filter_map(|part| process[part].as_i64()).sum();
        let adjusted =
            process["oomScoreAdj"].as_i64().unwrap_or_default() * ((400 << 20) / 4096 / 1000) * 4096;
        let points = candidate["points"].as_i64().unwrap_or_default();
        assert!((points - held - adjusted).abs() < 16 << 10, "{candidate:#}");
    }
    node.memlet(&["top", "--oom-order"])?.exits(0).says("THE KERNEL KILLS").says("1. default/greedy");
    node.end()
}

fn evicted() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "400Mi"])?;
    // The hog may be seen tens of MiB late on a busy machine, and a request is still to be found that would have saved it.
    node.create(&eater("steady", 100, "{requests: {memory: 110Mi}}"))?;
    wait_until_held(&node, 98)?;
    node.create(&eater("hog", 600, "{}"))?;
    node.wait_for("pod/hog", |pod| pod["status"]["reason"] == "Evicted")?;
    let explained = || -> Result<_, Failed> {
        // The record is written when its containers have ended.
        for _ in 0..100 {
            let ran = node.memlet(&["explain", "pod/hog"])?;
            if ran.stdout.contains("low on memory") {
                return Ok(ran);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        node.memlet(&["explain", "pod/hog"])
    };
    let told = explained()?;
    told.exits(0)
        .says("Evicted: node memlet was low on memory")
        .says("less than 100Mi")
        .says("default/hog")
        .says("default/steady")
        .says("requests: {memory:")
        .says_not("SIGKILL");
    node.memlet(&["explain", "pod/hog", "--all"])?.exits(0).says("SIGKILL");
    let whole = node.memlet(&["explain", "node/memlet"])?;
    whole
        .exits(0)
        .says("under memory pressure since")
        .says("nothing any more: ")
        .says("in the last hour 1 eviction")
        .says("evicts above")
        .says("THE NODE EVICTS");
    let document = node.memlet(&["explain", "node", "memlet", "-o", "json"])?.exits(0).json()?;
    assert_eq!(document["past"]["evictionsInWeek"], 1, "{document:#}");
    assert_eq!(document["advice"][0]["pod"], "default/hog", "{document:#}");
    node.kubectl(&["delete", "pod", "hog", "--wait"])?.exits(0);
    node.memlet(&["explain", "pod/hog"])?.exits(0).says("is gone").says("Evicted: node memlet");
    // Made again it waits, since the node has the taint: that one was not evicted.
    node.create(&eater("hog", 600, "{}"))?;
    let again = node.memlet(&["explain", "pod/hog"])?;
    again.exits(0).says("is Pending").says("an earlier Pod of this name:\nEvicted: node memlet");
    node.memlet(&["stop", "--pods"])?.exits(0);
    let stopped = node.memlet(&["explain", "node/memlet"])?;
    stopped.exits(0).says("does not run").says("1 eviction").says("default/hog");
    node.memlet(&["explain", "pod/hog"])?.exits(0).says("Evicted: node memlet");
    node.house.nothing_is_left()
}
