//! Who is told to be OOMKilled, and who is not: real kills at each level, and bystanders of each.

use libtest_mimic::Failed;
use memlet_cgroup::Version;
use serde_json::Value;

use crate::house::{House, MEMLET, eater, finish};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("kill: at the container's own limit", at_the_containers_limit),
        test("kill: at the Pod's limit, by a sibling's growth", at_the_pods_limit),
        test("kill: at the node's limit, bystanders are not labelled", at_the_nodes_limit),
        // On v2 the kernel is asked to kill a container as a whole (memory.oom.group), as kubelet does by default.
        test("kill: of a child, whose container later fails by itself", child_then_failure)
            .only_on(Version::V1),
        test("kill: of a child takes the whole container along", child_and_all).only_on(Version::V2),
        test("kill: from outside is Error 137, not OOMKilled", from_outside),
        test("kill: without the kernel's log it is still told, and what is missing", without_the_kernels_log),
        test("kill: of an init container", of_an_init_container),
        test("kill: a memory-backed volume counts against the limit", memory_volume),
        test("kill: the score is that of the pretended node", pretended_node),
    ]
}

pub(crate) fn container_status<'a>(document: &'a Value, name: &str) -> &'a Value {
    let statuses = document["pods"].as_array().into_iter().flatten().flat_map(|pod| {
        let of = |key: &str| pod["status"][key].as_array().cloned().unwrap_or_default();
        [of("initContainerStatuses"), of("containerStatuses")].concat()
    });
    let found = statuses.into_iter().find(|status| status["name"] == name);
    Box::leak(Box::new(found.unwrap_or_else(|| panic!("no status of {name} in {document:#}"))))
}

fn terminated(document: &Value, name: &str) -> (String, i64) {
    let status = container_status(document, name);
    let ended = &status["state"]["terminated"];
    (ended["reason"].as_str().unwrap_or_default().to_owned(), ended["exitCode"].as_i64().unwrap_or(-1))
}

/// Two containers: one eats within its limit, the other has none, so that the Pod has none either.
fn at_the_containers_limit() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers:\n  \
               - {name: eater, image: memlet.dev/memory-eater, args: ['300', '0'], resources: {limits: {memory: 48Mi}}}\n  \
               - {name: free, image: memlet.dev/memory-eater, args: ['16', '0.1']}\n";
    // A small machine would have to evict it first.
    let arguments = ["-o", "json", "--eviction-hard", "memory.available<0%"];
    let document = house.run(pod, &arguments)?.exits(137).json()?;
    assert_eq!(terminated(&document, "eater"), ("OOMKilled".into(), 137));
    assert_eq!(terminated(&document, "free"), ("Completed".into(), 0));
    let record = &document["killRecords"][0];
    assert_eq!(record["level"], "container", "{record:#}");
    assert_eq!(record["victim"], "main");
    assert_eq!(record["subject"]["container"], "eater");
    assert_eq!(record["report"]["complete"], true);
    in_the_kernels_own_log(&document["pods"][0]["metadata"]["uid"])?;
    house.nothing_is_left()
}

/// `memlet explain --kernel` finds the same kill, without knowing of any Pod.
fn in_the_kernels_own_log(pod_uid: &Value) -> Result<(), Failed> {
    let mut command = std::process::Command::new(MEMLET);
    command.args(["explain", "--kernel", "-o", "json"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let document = finish(command.spawn()?)?.exits(0).json()?;
    let reports = document["reports"].as_array().ok_or("no reports")?;
    let ours =
        reports.iter().find(|report| report["kubernetes"]["podUid"] == *pod_uid).ok_or("no report of it")?;
    assert_eq!(
        (&ours["level"], &ours["complete"]),
        (&Value::from("container"), &Value::from(true)),
        "{ours:#}"
    );
    assert_eq!(
        (&ours["limitBytes"], &ours["choiceAgrees"]),
        (&Value::from(48 << 20), &Value::from(true)),
        "{ours:#}"
    );
    Ok(())
}

/// The small one holds still for 3 s after its first 1000 blocks, which are there before the large one has grown
/// until the sum of both is full: one that grows at that very moment may be killed too, before the kernel has the
/// first victim's memory back.
fn at_the_pods_limit() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  resources: {limits: {memory: 96Mi}}\n  containers:\n  \
               - {name: small, image: memlet.dev/memory-eater, args: ['8', '3']}\n  \
               - {name: large, image: memlet.dev/memory-eater, args: ['300', '0.05']}\n";
    let document = house.run(pod, &["-o", "json"])?.exits(137).json()?;
    assert_eq!(terminated(&document, "large"), ("OOMKilled".into(), 137));
    assert_eq!(terminated(&document, "small"), ("Completed".into(), 0));
    assert_eq!(document["killRecords"].as_array().map(Vec::len), Some(1));
    assert_eq!(document["killRecords"][0]["level"], "pod");
    house.nothing_is_left()
}

/// A hog without a limit fills the node, which does not evict; a Guaranteed-like small Pod and a Burstable one live on.
fn at_the_nodes_limit() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = |name: &str, arguments: &str, resources: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  containers:\n  \
             - {{name: {name}, image: memlet.dev/memory-eater, args: [{arguments}], resources: {resources}}}\n---\n"
        )
    };
    let pods = pod("hog", "'2000', '0'", "{}")
        + &pod("burstable", "'8', '0.7'", "{requests: {memory: 32Mi}}")
        + &pod("limited", "'8', '0.7'", "{limits: {memory: 64Mi, cpu: 100m}}");
    // It would be evicted first.
    let node = ["-o", "json", "--node-memory", "256Mi", "--eviction-hard", "memory.available<0%"];
    let document = house.run(&pods, &node)?.exits(137).json()?;
    assert_eq!(terminated(&document, "hog"), ("OOMKilled".into(), 137));
    assert_eq!(terminated(&document, "burstable"), ("Completed".into(), 0));
    assert_eq!(terminated(&document, "limited"), ("Completed".into(), 0));
    assert_eq!(document["killRecords"].as_array().map(Vec::len), Some(1), "{:#}", document["killRecords"]);
    assert_eq!(document["killRecords"][0]["level"], "nodeAllocatable");
    let classes: Vec<_> = document["pods"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pod| pod["status"]["qosClass"].clone())
        .collect();
    assert_eq!(classes, ["BestEffort", "Burstable", "Guaranteed"]);
    house.nothing_is_left()
}

fn child_then_failure() -> Result<(), Failed> {
    let house = House::new()?;
    // The main process's own second argument is wrong only for itself: it fails after its child was killed.
    let pod = eater("300 0 --children 1 --exit 3", "64Mi");
    let ran = house.run(&pod, &["-o", "json"])?;
    let document = ran.exits(3).json()?;
    assert_eq!(terminated(&document, "c"), ("Error".into(), 3));
    assert_eq!(document["killRecords"][0]["victim"], "child");
    // The kernel reports ten kills in five seconds, and other tests kill beside this one.
    let reported = !document["killRecords"][0]["report"].is_null();
    ran.complains(if reported { "OOM kill: c: kernel killed pid" } else { "OOM kill: c: " });
    house.nothing_is_left()
}

fn child_and_all() -> Result<(), Failed> {
    let house = House::new()?;
    let document = house.run(&eater("300 0 --children 1 --exit 3", "64Mi"), &["-o", "json"])?;
    let document = document.exits(137).json()?;
    assert_eq!(terminated(&document, "c"), ("OOMKilled".into(), 137));
    assert_eq!(document["killRecords"].as_array().map(Vec::len), Some(1), "{:#}", document["killRecords"]);
    assert_eq!(document["killRecords"][0]["report"]["complete"], true);
    house.nothing_is_left()
}

fn from_outside() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("pod.yaml", eater("16 0 --hold", "64Mi"))?;
    let child = house.command(&["-o", "json", file.to_str().expect("text")]).spawn()?;
    let victim = crate::endings::wait_for_container(&house, "memory-eater")?;
    rustix::process::kill_process(victim, rustix::process::Signal::KILL)?;
    let document = finish(child)?.exits(137).json()?;
    assert_eq!(terminated(&document, "c"), ("Error".into(), 137));
    assert_eq!(document["killRecords"], serde_json::json!([]));
    assert_eq!(document["verdicts"][0]["outcome"]["kind"], "killedByOther", "{:#}", document["verdicts"]);
    house.nothing_is_left()
}

fn without_the_kernels_log() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&eater("300 0", "48Mi"), &["--no-kernel-log"])?;
    ran.exits(137).says("c: OOMKilled").says("/dev/kmsg");
    house.nothing_is_left()
}

fn of_an_init_container() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  initContainers:\n  \
               - {name: first, image: memlet.dev/memory-eater, args: ['300', '0'], resources: {limits: {memory: 32Mi}}}\n  containers:\n  \
               - {name: second, image: memlet.dev/memory-eater, args: ['1', '0']}\n";
    let document = house.run(pod, &["-o", "json"])?.exits(137).json()?;
    assert_eq!(terminated(&document, "first"), ("OOMKilled".into(), 137));
    assert_eq!(document["pods"][0]["status"]["phase"], "Failed");
    let second = container_status(&document, "second");
    assert_eq!(second["state"]["waiting"]["reason"], "PodInitializing", "{second:#}");
    house.nothing_is_left()
}

/// Page cache of a tmpfs cannot be dropped: writing 64 MB into one within 48Mi ends in a kill.
fn memory_volume() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 128Mi}}]\n  containers:\n  \
               - {name: c, image: memlet.dev/memory-eater, workingDir: /v, args: ['64', '0', '--page-cache'], volumeMounts: [{name: v, mountPath: /v}], resources: {limits: {memory: 48Mi}}}\n";
    let ran = house.run(pod, &[])?;
    ran.exits(137).says("c: OOMKilled").says("tmpfs");
    let on_disk = pod.replace("{medium: Memory, sizeLimit: 128Mi}", "{}");
    house.run(&on_disk, &[])?.exits(0).says("c: Completed");
    house.nothing_is_left()
}

fn pretended_node() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = eater("300 0", "123Mi");
    house.run(&pod, &["--node-memory", "2041888Ki"])?.exits(137).says("oom_score_adj 939");
    house.nothing_is_left()
}
