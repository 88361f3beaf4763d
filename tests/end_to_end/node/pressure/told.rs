//! What is told of an eviction: in the Pod, the Node and the Events, in kubelet's words; and by `memlet run`.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::{Eater, is_running, names, pressure};
use crate::house::{House, finish};
use crate::node::{Node, ended};
use crate::{Test, test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("pressure: the hog goes, and it is told as a cluster tells it", &["kubectl"], hog),
        test_with("pressure: the condition ends in its time", &["kubectl"], condition_ends),
        test_with("pressure: who is placed and who is taken meanwhile", &["kubectl"], meanwhile),
        test_with("pressure: one node of a pool, and no other", &["kubectl"], pool),
        test("pressure: wrong settings", wrong_settings),
        test("pressure: memlet run tells that its Pod was evicted", run_evicted),
        test("pressure: memlet run with a threshold of its own", run_threshold),
    ]
}

/// `kubectl describe` of a cluster, recorded.
const DESCRIBED_POD: &str = include_str!("recorded/describe-hog-evict5.txt");
const DESCRIBED_NODE: &str = include_str!("recorded/describe-node.txt");

fn hog() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "512Mi"])?;
    let others = ["besteffort", "burstable", "guaranteed"];
    node.run_all(&[
        Eater::holding(others[0], 1),
        Eater::holding(others[1], 40).within("20Mi", "100Mi"),
        Eater::holding(others[2], 40).guaranteed("60Mi"),
    ])?;
    let before = others.map(|name| node.get(&format!("pod/{name}")));
    let hog = Eater::new("hog-evict5", "600 0 --rate 150");
    node.create(&hog.container("imagePullPolicy", json!("IfNotPresent")).manifest())?;
    let pod = node.evicted("hog-evict5")?;
    for (name, before) in others.iter().zip(before) {
        let after = node.get(&format!("pod/{name}"))?;
        assert_eq!(
            before?["status"]["containerStatuses"], after["status"]["containerStatuses"],
            "{name} ran on"
        );
    }
    assert_eq!(names(&node.evictions()?), ["hog-evict5"]);
    node.kernel_killed_nobody();

    let status = &pod["status"];
    let message = status["message"].as_str().expect("it has one");
    let (available, usage) = amounts(message);
    assert!(available < 100 << 10, "{message}");
    // 512Mi are what there is; the others and the pause processes have the rest.
    let all = available + usage;
    assert!((400 << 10..512 << 10).contains(&all), "{message}");
    let disruption = status["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|condition| condition["type"] == "DisruptionTarget"));
    let disruption = disruption.expect("there is one");
    assert_eq!(
        (&disruption["status"], &disruption["reason"], &disruption["message"]),
        (&"True".into(), &"TerminationByKubelet".into(), &message.into())
    );
    let end = ended(&pod).expect("it has ended");
    assert_eq!((&end["reason"], &end["exitCode"]), (&"Error".into(), &137.into()), "{end:#}");
    node.kubectl(&["get", "pod", "hog-evict5"])?.exits(0).says("hog-evict5   0/1     Error    0          ");

    assert_eq!(node.event("Pod", "hog-evict5", "Evicted")?, message);
    let events = node.kubectl(&["get", "events", "-o", "json", "--field-selector", "reason=Evicted"])?;
    let events = events.exits(0).json()?;
    let event = &events["items"][0];
    assert_eq!(event["type"], "Warning");
    let annotations = &event["metadata"]["annotations"];
    assert_eq!(annotations["starved_resource"], "memory");
    assert_eq!(annotations["offending_containers"], "main");
    let told = annotations["offending_containers_usage"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("Container main was using {told}, request is 0")), "{told} {message}");

    let condition = node.pressure_is("memlet", "True")?;
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&"KubeletHasInsufficientMemory".into(), &"kubelet has insufficient memory available".into())
    );
    assert_eq!(node.event("Node", "memlet", "EvictionThresholdMet")?, "Attempting to reclaim memory");
    assert_eq!(
        node.event("Node", "memlet", "NodeHasInsufficientMemory")?,
        "Node memlet status is now: NodeHasInsufficientMemory"
    );

    // Its last Event is written when it has ended.
    node.event("Pod", "hog-evict5", "Killing")?;
    let described = node.kubectl(&["describe", "pod", "hog-evict5"])?;
    assert_eq!(pod_in_general(&described.exits(0).stdout), pod_in_general(DESCRIBED_POD));
    node.wait_for("node/memlet", is_tainted)?;
    let described = node.kubectl(&["describe", "node", "memlet"])?;
    assert_eq!(node_in_general(&described.exits(0).stdout), node_in_general(DESCRIBED_NODE));
    node.end()
}

/// What was available and what was used, in KiB.
fn amounts(message: &str) -> (u64, u64) {
    let parts = message
        .strip_prefix("The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
        .and_then(|rest| rest.strip_suffix(", request is 0, has larger consumption of memory. "))
        .and_then(|rest| rest.split_once(". Container main was using "));
    let kibibytes = |text: &str| match (text.strip_suffix("Ki"), text.strip_suffix("Mi")) {
        (Some(kibibytes), _) => kibibytes.parse().ok(),
        (_, Some(mebibytes)) => mebibytes.parse::<u64>().ok().map(|mebibytes| mebibytes << 10),
        _ => None,
    };
    parts
        .and_then(|(available, usage)| Some((kibibytes(available)?, kibibytes(usage)?)))
        .unwrap_or_else(|| panic!("{message:?} is not kubelet's"))
}

fn condition_ends() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "256Mi", "--eviction-pressure-transition-period", "2s"])?;
    node.create(&Eater::new("hog", "400 0 --rate 200").manifest())?;
    node.evicted("hog")?;
    node.pressure_is("memlet", "True")?;
    let condition = node.pressure_is("memlet", "False")?;
    assert_eq!(
        (&condition["reason"], &condition["message"]),
        (&"KubeletHasSufficientMemory".into(), &"kubelet has sufficient memory available".into())
    );
    // The first of these was told when the node came up.
    let is_over = |events: &[(String, String)]| {
        let told = events.iter().map(|(reason, _)| reason.as_str());
        let mut told = told.skip_while(|reason| *reason != "NodeHasInsufficientMemory");
        told.any(|reason| reason == "NodeHasSufficientMemory")
    };
    let events = node.events("Node", "memlet")?;
    let series = node.kubectl(&["get", "events", "-A", "--sort-by=.lastTimestamp"])?;
    assert!(is_over(&events) || series.stdout.contains("NodeHasSufficientMemory"), "{events:#?}");
    node.end()
}

const TAINT: &str = "node.kubernetes.io/memory-pressure";

fn is_tainted(node: &Value) -> bool {
    node["spec"]["taints"].as_array().is_some_and(|taints| taints.iter().any(|taint| taint["key"] == TAINT))
}

/// The scheduler places nobody there who does not tolerate the taint, and the node itself takes those that request memory.
fn meanwhile() -> Result<(), Failed> {
    // As recorded of a cluster.
    const NOWHERE: &str = "0/1 nodes are available: 1 node(s) had untolerated taint(s). no new claims to deallocate, \
                           preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let node = Node::start_with(&["--node-memory", "256Mi", "--eviction-pressure-transition-period", "15s"])?;
    node.create(&Eater::new("hog", "400 0 --rate 200").manifest())?;
    node.evicted("hog")?;
    node.wait_for("node/memlet", is_tainted)?;
    let here = |pod: Eater| pod.spec("nodeName", json!("memlet"));
    let idle = |name: &str| Eater::holding(name, 1);
    for pod in [
        idle("placed"),
        idle("placed-burstable").requesting("1Mi"),
        idle("placed-tolerating").tolerating(),
        here(idle("named")),
        here(idle("named-burstable").requesting("1Mi")),
        here(idle("named-critical")).spec("priorityClassName", json!("system-node-critical")),
    ] {
        node.create(&pod.manifest())?;
    }
    for name in ["pod/placed", "pod/placed-burstable"] {
        let pod = node.wait_for(name, |pod| pod["status"]["conditions"][0]["reason"] == "Unschedulable")?;
        assert_eq!(pod["status"]["conditions"][0]["message"], NOWHERE, "{name}");
    }
    for name in ["pod/placed-tolerating", "pod/named-burstable", "pod/named-critical"] {
        node.wait_for(name, is_running)?;
    }
    let rejected = node.failed("named")?;
    let status = &rejected["status"];
    assert_eq!(status["message"], "Pod was rejected: The node had condition: [MemoryPressure]. ");
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    assert!(conditions.iter().all(|it| it["type"] != "DisruptionTarget"), "it never ran: {status:#}");
    // With the condition the taint goes, and the others come.
    for name in ["pod/placed", "pod/placed-burstable"] {
        node.wait_for(name, is_running)?;
    }
    assert!(!is_tainted(&node.get("node/memlet")?));
    assert_eq!(names(&node.evictions()?), ["hog"]);
    node.end()
}

/// Each node has its own memory, thresholds and condition.
fn pool() -> Result<(), Failed> {
    let node = Node::start_with(&["--nodes=2", "--node-memory=256Mi"])?;
    let on = |number: u32, pod: Eater| pod.spec("nodeName", json!(format!("memlet-{number}")));
    node.run_all(&[
        on(1, Eater::holding("idle-1", 1)),
        on(2, Eater::holding("idle-2", 1)),
        // Within its memory, and the largest Pod of all.
        on(2, Eater::holding("large-2", 140)),
    ])?;
    node.create(&on(1, Eater::new("hog-1", "400 0 --rate 200")).manifest())?;
    node.evicted("hog-1")?;
    node.pressure_is("memlet-1", "True")?;
    let other = node.get("node/memlet-2")?;
    assert_eq!(pressure(&other).expect("it is told")["status"], "False");
    for name in ["idle-1", "idle-2", "large-2"] {
        let pod = node.get(&format!("pod/{name}"))?;
        assert!(is_running(&pod) && ended(&pod).is_none(), "{pod:#}");
    }
    assert!(node.events("Node", "memlet-2")?.iter().all(|(reason, _)| reason != "EvictionThresholdMet"));
    let evictions = node.evictions()?;
    assert_eq!(names(&evictions), ["hog-1"]);
    assert_eq!(evictions[0]["node"], "memlet-1");
    node.kernel_killed_nobody();
    node.end()
}

fn wrong_settings() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("node.yaml", "evictionHard: {nodefs.available: 10%}\n")?;
    let file = file.to_str().expect("temporary paths are text");
    for (arguments, complaint) in [
        (&["--eviction-hard", "100Mi"][..], "say memory.available<100Mi, or memory.available<5%"),
        (&["--eviction-hard", "memory.available<much"], "\"much\" is no amount of memory"),
        (&["--eviction-hard", "memory.available<110%"], "say a percentage between 0% and 100%"),
        (&["--eviction-hard", "memory.free<1Mi"], "unsupported eviction signal memory.free"),
        (&["--eviction-hard", "nodefs.available<10%"], "nodefs.available is not about memory"),
        (&["--eviction-hard", "memory.available<1Gi", "--node-memory", "1Gi"], "leaves nothing for Pods"),
        (
            &["--eviction-soft", "memory.available<200Mi"],
            "grace period must be specified for the soft eviction threshold memory.available",
        ),
        (&["--eviction-soft-grace-period", "memory.available=30s"], "no soft threshold"),
        (
            &[
                "--eviction-soft",
                "memory.available<1Gi",
                "--eviction-soft-grace-period",
                "memory.available=soon",
            ],
            "\"soon\" is no time; say 30s, 1m30s or 5m",
        ),
        (&["--eviction-minimum-reclaim", "50Mi"], "say memory.available=50Mi"),
        (&["--eviction-max-pod-grace-period=-1"], "invalid value '-1'"),
        (&["--eviction-pressure-transition-period=-5s"], "\"-5s\" is no time"),
        (&["--config", file], "nodefs.available is not about memory"),
    ] {
        finish(Node::command(&house, arguments).spawn()?)?.exits(2).complains(complaint);
    }
    house.nothing_is_left()
}

/// A run is over when its Pod has been evicted, whatever would have restarted it.
fn run_evicted() -> Result<(), Failed> {
    let house = House::new()?;
    let hog = Eater::new("hog", "400 0 --rate 200");
    let ran = house.run(&hog.manifest(), &["--node-memory", "256Mi"])?;
    ran.exits(137)
        .says("-- pod hog was evicted: The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
        .says("main ended: Error, exit code 137");
    ran.says("Evicted: node memlet was low on memory").says("  change   ").says_not("SIGKILL");
    assert_eq!(ran.stderr, "", "it did run");
    let ran = house.run(&hog.manifest(), &["--node-memory", "256Mi", "-o", "json"])?;
    let document = ran.exits(137).json()?;
    assert_eq!(document["pods"][0]["status"]["reason"], "Evicted");
    assert_eq!(document["killRecords"], json!([]));
    assert_eq!(document["evictions"][0]["pod"]["name"], "hog");
    assert_eq!(document["evictionRecords"][0]["grace"]["skipped"]["grace"]["secs"], 2);
    assert_eq!(super::kernel_kills(&house)?, Vec::<String>::new());
    house.nothing_is_left()
}

/// Switched off, the kernel kills; and a threshold that leaves nothing is refused.
fn run_threshold() -> Result<(), Failed> {
    let house = House::new()?;
    let hog = Eater::new("hog", "400 0 --spike").spec("restartPolicy", json!("Never"));
    let ran =
        house.run(&hog.manifest(), &["--node-memory", "128Mi", "--eviction-hard", "memory.available<0%"])?;
    ran.exits(137).says("main: OOMKilled").says_not("evicted");
    let tight = ["--node-memory", "128Mi", "--eviction-hard", "memory.available<128Mi"];
    house.run(&hog.manifest(), &tight)?.exits(2).complains("leaves nothing for Pods");
    house.run(&hog.manifest(), &["--eviction-hard", "1Gi"])?.exits(2).complains("say memory.available<100Mi");
    // Eight are enough for this one, where the usual threshold would leave it nothing.
    let small = Eater::new("small", "20 0").spec("restartPolicy", json!("Never"));
    let ran = house
        .run(&small.manifest(), &["--node-memory", "64Mi", "--eviction-hard", "memory.available<8Mi"])?;
    ran.exits(0).says_not("evicted");
    house.nothing_is_left()
}

/// A description without what differs between two machines and two Pods: names, times, addresses, ids, images and what they
/// are told to do; and without what only the fork of Kubernetes has that was recorded.
fn pod_in_general(text: &str) -> String {
    const OF_ONE_POD: [&str; 7] =
        ["Start Time:", "Container ID:", "Image:", "Image ID:", "Started:", "Finished:", "Node:"];
    let mut general = String::new();
    let mut lines = text.lines().filter(|line| !line.starts_with("$ ")).peekable();
    while let Some(line) = lines.next() {
        if line.contains("openshift-service-ca.crt") {
            lines.next();
            continue;
        }
        if line == "    Command:" || line == "    Args:" {
            while lines.next_if(|line| line.starts_with("      ")).is_some() {}
            continue;
        }
        // Pods have the node's network here, and kubectl has told of optional objects in two ways.
        let key = line.trim_start();
        if ["IP", "ConfigMapOptional:", "Optional:"].iter().any(|left_out| key.starts_with(left_out)) {
            continue;
        }
        let words: Vec<_> = line.split_whitespace().map(word_in_general).collect();
        // Newer kubectls say of an Event which container it is about.
        let line = words.join(" ").replace("spec.containers{main}: ", "");
        let line = OF_ONE_POD
            .iter()
            .find(|key| line.starts_with(**key))
            .map_or(line.clone(), |key| (*key).to_owned());
        general.push_str(&line);
        general.push('\n');
    }
    general
}

fn word_in_general(word: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bare = word.trim_end_matches([',', '.']);
    let is_amount = |unit| bare.strip_suffix(unit).is_some_and(is_number) && bare != "100Mi";
    match word {
        "anchor-node" | "memlet" => "NODE".to_owned(),
        _ if word.starts_with("kube-api-access-") => "kube-api-access-…".to_owned(),
        // An amount, or how long ago something was.
        _ if ["Ki", "Mi", "s", "m"].into_iter().any(is_amount) && word != "300s" => "…".to_owned(),
        "\"anchor/memhog:1\"" | "\"memlet.dev/memory-eater\"" => "\"IMAGE\"".to_owned(),
        _ => word.to_owned(),
    }
}

/// The conditions of a described node in whole, without their times, and of all else what there is, without its amounts.
fn node_in_general(text: &str) -> String {
    let mut general = String::new();
    let mut in_conditions = false;
    let lines = text.lines().filter(|line| !line.starts_with("$ "));
    // What is told in Events depends on when the node was started.
    for line in lines.take_while(|line| *line != "Events:") {
        if !line.starts_with(' ') {
            in_conditions = line.starts_with("Conditions:");
        }
        let words: Vec<_> = line.split_whitespace().filter(|word| !is_of_a_time(word)).collect();
        let first = words.first().copied().unwrap_or_default();
        let key = first.split('=').next().unwrap_or_default();
        match key {
            // Of a controller that no lone node has, it makes another line the first.
            // Newer kubectls leave the other out.
            "volumes.kubernetes.io/controller-managed-attach-detach:" | "Kube-Proxy" => continue,
            "Taints:" => general.push_str(&words.join(" ")),
            _ if in_conditions => general.push_str(&words.join(" ")),
            _ => general.push_str(key),
        }
        general.push('\n');
    }
    general
}

/// `Sun, 22 Nov 2026 02:18:58 +0000`
fn is_of_a_time(word: &str) -> bool {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let is_day = ["Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat,", "Sun,"].contains(&word);
    let starts_so = |letter: char| letter.is_ascii_digit() || letter == '+';
    is_day || MONTHS.contains(&word) || word.starts_with(starts_so)
}
