//! The OOM of a whole node: who is killed and in which order, who is told, and who is left in peace.
//!
//! Eviction is switched off: it would come first. Every node here is one of 256Mi in the cgroup root of its test.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Limit, Pid};
use memlet_diagnosis::evidence::{KillRecord, Level};
use memlet_oomlog::Choice;
use memlet_policy::cgroup_names::CgroupNames;
use serde_json::Value;

use super::{Node, SOON, ended};
use crate::house::{driver, patience};
use crate::machine::Machine;
use crate::{Test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("node: full, bystanders end as they would", &["kubectl"], bystanders),
        test_with("node: full, whoever filled it is named and not only who was killed", &["kubectl"], causer),
        test_with("node: full, article 4's order over 20 sizes", &["kubectl"], || killed_in_order(0..20)),
        test_with("node: full, a Guaranteed Pod is protected", &["kubectl"], || killed_in_order(0..2))
            .only_in(Machine::Guest),
        test_with(
            "node: under MemoryPressure it is tainted and takes no BestEffort Pods",
            &["kubectl"],
            pressed,
        ),
        test_with("node: a kill that nobody claims is told", &["kubectl", "tail"], nobodys),
    ]
}

const NODE_MIB: u64 = 256;

fn full_node() -> Result<Node, Failed> {
    Node::start_with(&["--node-memory", "256Mi", "--eviction-hard", "memory.available<0%"])
}

/// A Pod of one eater that runs once; `resources` in YAML's short form.
fn pod(name: &str, arguments: &str, resources: &str) -> String {
    let arguments: Vec<_> = arguments.split_whitespace().map(|it| format!("'{it}'")).collect();
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: main, image: memlet.dev/memory-eater, args: [{}], \
         resources: {resources}}}\n",
        arguments.join(", ")
    )
}

fn is_over(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
}

/// Those about the node itself.
fn events_of_nodes(node: &Node) -> Result<String, Failed> {
    let ran = node.kubectl(&["get", "events", "--field-selector", "involvedObject.kind=Node"])?;
    ran.exits(0);
    Ok(ran.stdout)
}

/// Where all Pods of the node are.
fn kubepods(node: &Node) -> Result<CgroupPath, Failed> {
    Ok(CgroupNames::new(driver()).below(node.house.root.as_str()).kubepods().parse()?)
}

/// What containerd calls `OOMKilled`, all four of them, is `Completed`: they end by themselves after the kill.
fn bystanders() -> Result<(), Failed> {
    let node = full_node()?;
    let names = ["be", "bu", "gu-1", "gu-2"];
    let guaranteed = "{limits: {memory: 24Mi, cpu: 50m}}";
    let resources = ["{}", "{requests: {memory: 16Mi}}", guaranteed, guaranteed];
    // Each holds its first 1000 blocks for so many seconds.
    let all = names.iter().zip(resources).map(|(name, resources)| pod(name, "8 3", resources));
    node.create(&all.collect::<String>())?;
    for name in names {
        node.wait_for(&format!("pod/{name}"), super::is_running)?;
    }
    node.create(&pod("hog", "400 0 --spike", "{}"))?;
    let hog = node.wait_for("pod/hog", is_over)?;
    let end = ended(&hog).expect("it has ended");
    assert_eq!((&end["reason"], &end["exitCode"]), (&"OOMKilled".into(), &137.into()), "{end:#}");
    for name in names {
        let pod = node.wait_for(&format!("pod/{name}"), is_over)?;
        let after = ended(&pod).expect("it has ended");
        assert_eq!((&after["reason"], &after["exitCode"]), (&"Completed".into(), &0.into()), "{name}");
        assert!(after["finishedAt"].as_str() >= end["finishedAt"].as_str(), "{name} ended before the kill");
    }
    let told = events_of_nodes(&node)?;
    let limit = format!("the limit of cgroup {}", kubepods(&node)?);
    for text in [
        "OOMKilling",
        "Pod default/hog, main: kernel killed pid",
        "the node's limit for all Pods 256Mi",
        &limit,
    ] {
        assert!(told.contains(text), "no {text:?} in:\n{told}");
    }
    node.memlet(&["explain", "pod/hog", "-o", "json"])?
        .exits(0)
        .says("the node's, for all Pods together")
        .says("the one killed")
        .says("No other Pod held more above its request");
    node.end()
}

/// Files in memory belong to no process: the Pod that fills the node with them is not the one that is killed.
fn causer() -> Result<(), Failed> {
    let node = full_node()?;
    node.create(&pod("victim", "40 0 --spike --hold", "{}"))?;
    node.wait_for("pod/victim", super::is_running)?;
    let files = pod("files", "225 0 --page-cache --hold", "{requests: {memory: 20Mi}}").replace(
        "  containers:\n  - {",
        "  volumes: [{name: memory, emptyDir: {medium: Memory}}]\n  containers:\n  - {workingDir: /memory, volumeMounts: \
         [{name: memory, mountPath: /memory}], ",
    );
    node.create(&files)?;
    let victim = node.wait_for("pod/victim", is_over)?;
    assert_eq!(ended(&victim).expect("it has ended")["reason"], "OOMKilled");
    node.memlet(&["explain", "pod/victim", "-o", "json"])?
        .exits(0)
        .says("most above its request by Pod default/files")
        .says("with 20Mi requested")
        .says("Pod default/files filled the node, and has no limit: give it one (limits.memory)");
    let told = node.memlet(&["explain", "pod/files"])?;
    told.exits(0).says("another Pod was killed for it: default/victim (main)").says("with 20Mi requested");
    let told = events_of_nodes(&node)?;
    assert!(told.contains("Pod default/files held most above its request"), "{told}");
    assert_eq!(node.get("pod/files")?["status"]["phase"], "Running");
    let record = kill_records(&node)?.into_iter().next().ok_or("no record")?;
    assert_eq!(record.neighbours[0].pod, "files");
    node.end()
}

/// Sizes in MiB, of a Guaranteed, a Burstable and a `BestEffort` Pod.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    best_effort: u64,
    burstable: u64,
    burstable_request: u64,
    guaranteed_limit: u64,
}

impl Sizes {
    /// The kernel's points are, with the node's memory N, all of it for Pods: N + usage of a `BestEffort` process,
    /// N − request + usage of a Burstable one, and the usage alone of a Guaranteed one even where root may not lower
    /// `oom_score_adj` and it has 0 (−997 takes nearly all of N from that). So the article's table holds as it stands
    /// where the Burstable one
    ///
    /// - is above its request by less than what the `BestEffort` one uses: that one is first;
    /// - is above its request at all: then what it leaves of N is more than the limit of the Guaranteed one, which
    ///   requests the rest of N, so that this one reaches the node's limit before its own, and still has fewer points.
    fn of(seed: u64) -> Self {
        let mut numbers = Numbers(seed);
        let best_effort = numbers.between(20, 56);
        let burstable_request = numbers.between(24, 64);
        let above = numbers.between(8, best_effort - 8);
        Self {
            best_effort,
            burstable: burstable_request + above,
            burstable_request,
            guaranteed_limit: NODE_MIB - burstable_request,
        }
    }
}

/// Numbers that look random and are the same each time (`SplitMix64`).
struct Numbers(u64);

impl Numbers {
    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        least + (mixed ^ (mixed >> 31)) % (most - least + 1)
    }
}

/// `BestEffort` first, then Burstable, Guaranteed last: a Guaranteed Pod grows until all three are dead.
fn killed_in_order(seeds: std::ops::Range<u64>) -> Result<(), Failed> {
    let node = full_node()?;
    for seed in seeds.clone() {
        fill(&node, seed, Sizes::of(seed))?;
    }
    let kills = kill_records(&node)?;
    let (mut reported, least) = (0, seeds.clone().count().div_ceil(2));
    for seed in seeds {
        let sizes = Sizes::of(seed);
        let names = ["besteffort", "burstable", "guaranteed"].map(|class| format!("{class}-{seed}"));
        let kill_of = |name: &String| kills.iter().find(|kill| kill.subject.pod == *name);
        let killed: Vec<_> = names.iter().filter_map(kill_of).collect();
        assert_eq!(killed.len(), 3, "{sizes:?}");
        let scores: Vec<_> = killed.iter().filter_map(|it| it.oom_score_adj.map(|adj| adj.wanted)).collect();
        let burstable = 1000 - i32::try_from(1000 * sizes.burstable_request / NODE_MIB)?;
        assert_eq!(scores, [1000, burstable, -997], "{sizes:?}");
        if Machine::Guest.is_not().is_none() {
            let had = killed[2].oom_score_adj.and_then(|adj| adj.actual);
            assert_eq!(had, Some(-997), "a guest's root may lower it");
        }
        // The kernel writes ten reports in five seconds, and no more. How soon a process is gone says little of when it
        // was chosen.
        let reports: Vec<_> = killed.iter().filter_map(|kill| kill.report.as_ref()).collect();
        if reports.len() < 3 {
            continue;
        }
        reported += 1;
        assert!(reports.is_sorted_by_key(|report| report.since_boot), "{sizes:?}: {killed:#?}");
        for (kill, report) in killed.iter().zip(&reports).take(2) {
            assert_eq!(kill.level, Some(Level::NodeAllocatable), "{sizes:?} {kill:#?}");
            assert_eq!(report.choice(), Choice::Agrees, "{sizes:?}");
        }
    }
    assert!(reported >= least, "the kernel reported all three kills {reported} times only");
    node.end()
}

/// One round: two Pods that hold what they have, and then one that grows.
fn fill(node: &Node, seed: u64, sizes: Sizes) -> Result<(), Failed> {
    let Sizes { best_effort, burstable, burstable_request, guaranteed_limit } = sizes;
    let holders = pod(&format!("besteffort-{seed}"), &format!("{best_effort} 0 --spike --hold"), "{}")
        + &pod(
            &format!("burstable-{seed}"),
            &format!("{burstable} 0 --spike --hold"),
            &format!("{{requests: {{memory: {burstable_request}Mi}}}}"),
        );
    node.create(&holders)?;
    let group = Cgroup::open(&Hierarchy::detect()?, &kubepods(node)?)?;
    let deadline = Instant::now() + patience(SOON);
    while group.usage()?.get() < (best_effort + burstable) << 20 {
        assert!(Instant::now() < deadline, "{sizes:?} are never in use: {}", group.usage()?);
        std::thread::sleep(Duration::from_millis(5));
    }
    let guaranteed = format!("{{limits: {{memory: {guaranteed_limit}Mi, cpu: 500m}}}}");
    node.create(&pod(&format!("guaranteed-{seed}"), "400 0 --rate 800", &guaranteed))?;
    let last = node.wait_for(&format!("pod/guaranteed-{seed}"), is_over)?;
    assert_eq!(ended(&last).expect("it has ended")["reason"], "OOMKilled", "{sizes:?}");
    Ok(())
}

/// What the node has written of kills, oldest first.
fn kill_records(node: &Node) -> Result<Vec<KillRecord>, Failed> {
    let folder = node.house.folder.path().join("data/node/kills");
    let mut files: Vec<_> = std::fs::read_dir(folder)?.flatten().map(|file| file.path()).collect();
    files.sort();
    let mut records = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(file)?.lines() {
            let mut line: Value = serde_json::from_str(line)?;
            if let Some(kill) = line.get_mut("kill") {
                records.push(serde_json::from_value(kill.take())?);
            }
        }
    }
    Ok(records)
}

/// By its condition, its taint and its admission, and no longer than the pressure lasts.
fn pressed() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "256Mi", "--eviction-pressure-transition-period", "10s"])?;
    node.create(&pod("hog", "190 0 --rate 200 --hold", "{}"))?;
    node.wait_for("pod/hog", |pod| pod["status"]["reason"] == "Evicted")?;
    let key = "node.kubernetes.io/memory-pressure";
    let taints = |node: &Value| node["spec"]["taints"][0]["key"].clone();
    node.wait_for("node/memlet", |node| taints(node) == key)?;
    let named = pod("named", "8 0", "{}").replace("spec:\n", "spec:\n  nodeName: memlet\n");
    node.create(&(named + &pod("placed", "8 0", "{}")))?;
    let named = node.wait_for("pod/named", is_over)?;
    assert_eq!(
        (&named["status"]["reason"], &named["status"]["message"]),
        (&"Evicted".into(), &"Pod was rejected: The node had condition: [MemoryPressure]. ".into()),
    );
    let waits = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    node.wait_for("pod/placed", waits)?;
    node.kubectl(&["describe", "node", "memlet"])?
        .exits(0)
        .says(&format!("Taints:             {key}:NoSchedule"));
    node.memlet(&["explain", "pod/placed", "-o", "json"])?.exits(0).says("takes the taint");
    let placed = node.wait_for("pod/placed", is_over)?;
    assert_eq!(placed["status"]["phase"], "Succeeded", "it is placed when the pressure is over");
    assert_eq!(node.get("node/memlet")?["spec"]["taints"], Value::Null);
    node.end()
}

/// A process in a cgroup of the node's that no Pod of its has made, killed at a limit there.
fn nobodys() -> Result<(), Failed> {
    let node = full_node()?;
    let uid = "11111111-2222-3333-4444-555555555555";
    let pod = CgroupNames::new(driver())
        .below(node.house.root.as_str())
        .pod(memlet_policy::qos::QosClass::BestEffort, uid);
    let group = Cgroup::create(&Hierarchy::detect()?, &pod.parse()?)?;
    group.set_limit(Limit::Bytes(memlet_bytes::Bytes::from_mib(16)))?;
    // The kernel writes ten reports in five seconds, and other tests may have had them: then another one is killed.
    let mut told = String::new();
    for _ in 0..4 {
        if told.contains("of no Pod that is known here") {
            break;
        }
        grow_to_the_limit(&group)?;
        let deadline = Instant::now() + patience(Duration::from_secs(10));
        while Instant::now() < deadline && !told.contains("of no Pod that is known here") {
            std::thread::sleep(Duration::from_millis(200));
            told = events_of_nodes(&node)?;
        }
    }
    for text in ["(tail), perhaps the main one", &format!("the limit of cgroup {}", group.path())] {
        assert!(told.contains(text), "no {text:?} in:\n{told}");
    }
    let records = kill_records(&node)?;
    assert_eq!(records[0].subject.pod_uid, uid);
    node.end()
}

/// A process that is killed in this group.
fn grow_to_the_limit(group: &Cgroup) -> Result<(), Failed> {
    // It grows when it is inside, and not before.
    let mut child =
        Command::new("sh").args(["-c", "read go; exec tail /dev/zero"]).stdin(Stdio::piped()).spawn()?;
    group.add(Pid::from(child.id()))?;
    child.stdin.take().expect("it is piped").write_all(b"go\n")?;
    assert!(!child.wait()?.success(), "it was to be killed");
    Ok(())
}
