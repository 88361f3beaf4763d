//! How a Pod goes: with all of its grace, with less, with none; for page cache not at all; and across a restart of the
//! program.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Hierarchy, Pid};
use serde_json::{Value, json};

use super::{Eater, is_running, names, pressure, time};
use crate::house::patience;
use crate::machine::{FREEZER, Machine};
use crate::node::{Node, SOON, ended};
use crate::{Test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("pressure: a soft threshold has its time, and its Pod a grace", &["kubectl"], soft),
        test_with("pressure: a soft threshold that is not met for long", &["kubectl"], soft_and_short),
        test_with(
            "pressure: SIGTERM unheeded, all of the grace, then SIGKILL",
            &["kubectl"],
            all_of_the_grace,
        ),
        test_with("pressure: a burst ends the grace", &["kubectl"], cut),
        test_with("pressure: slow growth does not outlast a grace", &["kubectl"], slow_to_the_end),
        test_with("pressure: a hard threshold hurries a soft grace", &["kubectl"], hurried),
        test_with("pressure: who ends on SIGTERM needs no SIGKILL", &["kubectl"], heeds),
        test_with("pressure: page cache is dropped, and nobody goes for it", &["kubectl"], page_cache),
        test_with("pressure: page cache that a Pod left behind is dropped too", &["kubectl"], left_behind),
        test_with("pressure: a Pod that cannot be killed", &["kubectl"], unkillable)
            .only_in(Machine::Freezing),
        test_with("pressure: killed while memory runs out, started again", &["kubectl"], killed_before),
        test_with("pressure: killed while a Pod leaves, started again", &["kubectl"], killed_meanwhile),
        test_with(
            "pressure: killed while a Pod leaves for what is no longer short",
            &["kubectl"],
            killed_meanwhile_for_no_more,
        ),
        test_with(
            "pressure: what is left of a Pod that is no more goes before any Pod",
            &["kubectl"],
            orphan_first,
        ),
        test_with(
            "pressure: killed at any moment of an eviction, started again",
            &["kubectl"],
            killed_at_any_moment,
        ),
    ]
}

const SECOND: Duration = Duration::from_secs(1);

fn grace<'a>(eviction: &'a Value, story: &str) -> &'a Value {
    let told = &eviction["grace"][story];
    assert!(told.is_object(), "no grace that was {story}: {eviction:#}");
    told
}

fn after(eviction: &Value, step: &str) -> Duration {
    time(&eviction["course"][step]).unwrap_or_else(|| panic!("no {step}: {eviction:#}"))
}

fn soft() -> Result<(), Failed> {
    let node = Node::start_with(&[
        "--node-memory=512Mi",
        "--eviction-hard=memory.available<50Mi",
        "--eviction-soft=memory.available<150Mi",
        "--eviction-soft-grace-period=memory.available=3s",
        "--eviction-max-pod-grace-period=4",
    ])?;
    // 112Mi are left: below one threshold, above the other.
    let hog = Eater::new("hog", "400 0 --spike --hold --ignore-term");
    node.run_all(&[Eater::holding("idle", 1), hog.spec("terminationGracePeriodSeconds", json!(30))])?;
    let condition = node.pressure_is("memlet", "True")?;
    assert!(node.evictions()?.is_empty(), "the node says so before anybody goes");
    let pod = node.evicted("hog")?;
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("Threshold quantity: 150Mi, available: 1"), "{message}");
    let eviction = node.eviction_of("hog")?;
    assert_eq!(time(&eviction["rule"]["kind"]["soft"]["after"]), Some(3 * SECOND), "{eviction:#}");
    let at = |text: &Value| text.as_str().expect("it has a time").parse::<jiff::Timestamp>();
    let waited = at(&eviction["at"])?.duration_since(at(&condition["lastTransitionTime"])?);
    // The condition's time is in whole seconds, and written after the threshold was met.
    assert!(waited.unsigned_abs() >= SECOND, "it was heeded after {waited}");
    // The node's maximum, since the Pod's own is longer; and SIGTERM is not heeded.
    assert_eq!(time(&grace(&eviction, "given")["grace"]), Some(4 * SECOND));
    assert!(after(&eviction, "killed") >= 4 * SECOND, "{eviction:#}");
    let idle = node.get("pod/idle")?;
    assert!(is_running(&idle) && ended(&idle).is_none(), "{idle:#}");
    node.kernel_killed_nobody();
    node.end()
}

/// It grows past the soft threshold and gives all back in time.
fn soft_and_short() -> Result<(), Failed> {
    let node = Node::start_with(&[
        "--node-memory=512Mi",
        "--eviction-hard=memory.available<50Mi",
        "--eviction-soft=memory.available<150Mi",
        "--eviction-soft-grace-period=memory.available=60s",
        "--eviction-pressure-transition-period=1s",
    ])?;
    node.create(&Eater::new("passing", "400 0 --rate 800").spec("restartPolicy", json!("Never")).manifest())?;
    node.pressure_is("memlet", "True")?;
    let pod = node.wait_for("pod/passing", |pod| ended(pod).is_some())?;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{pod:#}");
    node.pressure_is("memlet", "False")?;
    assert!(node.evictions()?.is_empty());
    node.kernel_killed_nobody();
    node.end()
}

/// On a node of 256Mi: 100 MiB that stay, and room for 56 more before the threshold, and for 156 before the kernel kills.
fn slow_hog(hog: &str) -> Result<(Node, Value), Failed> {
    let node = Node::start_with(&["--node-memory", "256Mi"])?;
    node.run_all(&[Eater::holding("ballast", 100).requesting("120Mi")])?;
    node.usage_reaches(100)?;
    node.create(&Eater::new("hog", hog).manifest())?;
    node.evicted("hog")?;
    let eviction = node.eviction_of("hog")?;
    let ballast = node.get("pod/ballast")?;
    assert!(is_running(&ballast) && ended(&ballast).is_none(), "{ballast:#}");
    node.kernel_killed_nobody();
    Ok((node, eviction))
}

fn all_of_the_grace() -> Result<(), Failed> {
    let (node, eviction) = slow_hog("400 0 --rate 15 --ignore-term")?;
    assert_eq!(time(&grace(&eviction, "given")["grace"]), Some(2 * SECOND));
    assert!(after(&eviction, "signalled") < SECOND, "{eviction:#}");
    assert!(after(&eviction, "killed") >= 2 * SECOND, "{eviction:#}");
    assert!(after(&eviction, "ended") >= after(&eviction, "killed"), "{eviction:#}");
    let end = &node.get("pod/hog")?["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&"Error".into(), &137.into()), "{end:#}");
    node.end()
}

/// So little is left, and so slowly used up, that the whole grace is too long though no burst shows.
fn slow_to_the_end() -> Result<(), Failed> {
    for rate in [12, 20] {
        let node = Node::start_with(&["--node-memory", "256Mi", "--eviction-hard", "memory.available<20Mi"])?;
        let hog = format!("900 0 --first 170 --rate {rate} --hold --ignore-term");
        node.create(&Eater::new("hog", &hog).manifest())?;
        node.evicted("hog")?;
        let eviction = node.eviction_of("hog")?;
        assert!(after(&eviction, "killed") < 2 * SECOND, "{eviction:#}");
        node.kernel_killed_nobody();
        node.end()?;
    }
    Ok(())
}

/// A soft grace that began when there was time for it, until another Pod crosses the hard threshold.
fn hurried() -> Result<(), Failed> {
    let node = Node::start_with(&[
        "--node-memory",
        "512Mi",
        "--eviction-soft",
        "memory.available<350Mi",
        "--eviction-soft-grace-period",
        "memory.available=300ms",
        "--eviction-max-pod-grace-period",
        "60",
    ])?;
    let stays = Eater::new("stays", "180 0 --spike --hold --ignore-term")
        .spec("terminationGracePeriodSeconds", json!(60));
    node.create(&stays.manifest())?;
    node.event("Pod", "stays", "Evicted")?;
    node.create(&Eater::new("grows", "900 0 --rate 22 --hold").tolerating().requesting("1Mi").manifest())?;
    node.evicted("stays")?;
    let eviction = node.eviction_of("stays")?;
    assert!(after(&eviction, "killed") < 55 * SECOND, "{eviction:#}");
    node.kernel_killed_nobody();
    node.end()
}

fn heeds() -> Result<(), Failed> {
    let (node, eviction) = slow_hog("400 0 --rate 15")?;
    grace(&eviction, "given");
    assert_eq!(eviction["course"]["killed"], Value::Null, "{eviction:#}");
    let end = &node.get("pod/hog")?["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&end["reason"], &end["exitCode"]), (&"Error".into(), &143.into()), "{end:#}");
    node.end()
}

/// It crosses the threshold slowly with 56 MiB, so it is given its grace, and has 70 about a second later.
fn cut() -> Result<(), Failed> {
    let (node, eviction) = slow_hog("400 0 --rate 15 --burst-at 70 --ignore-term")?;
    let cut = grace(&eviction, "cut");
    assert_eq!(time(&cut["grace"]), Some(2 * SECOND));
    let had = time(&cut["after"]).expect("it had some");
    assert!(had < 2 * SECOND, "{eviction:#}");
    assert!(time(&cut["left"]).expect("it is told") < 2 * SECOND, "{eviction:#}");
    assert!(after(&eviction, "killed") >= had, "{eviction:#}");
    node.end()
}

/// 430 MiB of a file that was read again and again count as used on a node of 512Mi (kubernetes issue 43916). The kernel can
/// drop all of it.
fn page_cache() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "512Mi"])?;
    let reader = Eater::new("reader", "430 0 --page-cache --spike --read-again --hold")
        .spec("volumes", json!([{"name": "disk", "emptyDir": {}}]))
        .container("volumeMounts", json!([{"name": "disk", "mountPath": "/disk"}]))
        .container("workingDir", json!("/disk"));
    node.run_all(&[Eater::holding("idle", 1), reader])?;
    let told = node.event("Node", "memlet", "ReclaimedPageCache")?;
    assert!(told.contains(" of page cache were taken back from default/reader in "), "{told}");
    assert!(told.ends_with(" are available: no Pod is evicted"), "{told}");
    // Later than anything that the threshold would have led to.
    std::thread::sleep(2 * SECOND);
    for name in ["pod/idle", "pod/reader"] {
        let pod = node.get(name)?;
        assert!(is_running(&pod) && ended(&pod).is_none(), "{pod:#}");
    }
    assert_eq!(pressure(&node.get("node/memlet")?).expect("it is told")["status"], "False");
    let events = node.events("Node", "memlet")?;
    let told = |reason: &str| events.iter().any(|(of, _)| of == reason);
    assert!(!told("EvictionThresholdMet") && !told("NodeHasInsufficientMemory"), "{events:#?}");
    assert!(node.evictions()?.is_empty());
    node.kernel_killed_nobody();
    node.end()
}

/// The file that a Pod read is still in memory when the Pod has gone, and counts as used.
fn left_behind() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory", "512Mi"])?;
    let files = node.house.folder.path().join("files");
    std::fs::create_dir(&files)?;
    let reader = Eater::new("reader", "350 0 --page-cache --spike --read-again --hold")
        .spec("volumes", json!([{"name": "files", "hostPath": {"path": files}}]))
        .container("volumeMounts", json!([{"name": "files", "mountPath": "/files"}]))
        .container("workingDir", json!("/files"));
    node.run_all(&[Eater::holding("idle", 1), reader])?;
    let deadline = Instant::now() + patience(SOON);
    while !node.kubectl(&["logs", "reader"])?.stdout.contains("read 350.0 MB again") {
        assert!(Instant::now() < deadline, "it never read all of its file");
        std::thread::sleep(SECOND / 10);
    }
    node.kubectl(&["delete", "pod", "reader", "--grace-period=1"])?.exits(0);
    node.usage_reaches(340)?;
    // Slow enough for page cache to be asked back.
    node.run_all(&[Eater::new("grower", "200 0 --rate 50 --hold")])?;
    // What the grower has itself may be enough for a moment, and is asked back first.
    let whose = " of page cache were taken back from all Pods, those that are gone included, in ";
    let deadline = Instant::now() + patience(SOON);
    loop {
        let told = node.events("Node", "memlet")?;
        if told.iter().any(|(reason, message)| reason == "ReclaimedPageCache" && message.contains(whose)) {
            break;
        }
        assert!(Instant::now() < deadline, "what nobody here holds is not asked back: {told:#?}");
        std::thread::sleep(SECOND / 10);
    }
    std::thread::sleep(3 * SECOND);
    for name in ["pod/idle", "pod/grower"] {
        let pod = node.get(name)?;
        assert!(is_running(&pod) && ended(&pod).is_none(), "{pod:#}");
    }
    assert!(node.evictions()?.is_empty());
    node.kernel_killed_nobody();
    node.end()
}

/// A Pod that cannot be killed, as one in the hands of a dead disk: another goes, and it goes when it can.
fn unkillable() -> Result<(), Failed> {
    let node = Node::start_with(&["--node-memory=512Mi", "--eviction-hard=memory.available<50Mi"])?;
    node.run_all(&[Eater::holding("hog", 300), Eater::holding("idle", 1)])?;
    let frozen = Frozen::new(holder(&node, Bytes::from_mib(300))?)?;
    // With it the threshold is crossed, and the limit is not.
    let second =
        Eater::new("second", "190 0 --rate 30 --hold").spec("terminationGracePeriodSeconds", json!(1));
    node.create(&second.manifest())?;
    let began = Instant::now();
    node.evicted("second")?;
    assert!(began.elapsed() >= 10 * SECOND, "the largest was waited for: {:?}", began.elapsed());
    let hog = node.get("pod/hog")?;
    assert!(is_running(&hog) && ended(&hog).is_none(), "nothing can end it: {hog:#}");
    assert_eq!(names(&node.records("eviction")?).first(), Some(&"hog"), "it was the first to go");
    let told = node.event("Pod", "hog", "FailedKillPod")?;
    let beginning =
        "error killing pod: failed to \"KillContainer\" for \"main\" with KillContainerError: \"rpc error: ";
    assert!(told.starts_with(beginning), "{told}");
    drop(frozen);
    node.failed("hog")?;
    let idle = node.get("pod/idle")?;
    assert!(is_running(&idle) && ended(&idle).is_none(), "{idle:#}");
    node.kernel_killed_nobody();
    node.end()
}

/// The process that holds so much: it may run a while before it does.
fn holder(node: &Node, anonymous: Bytes) -> Result<Pid, Failed> {
    let kubepods = Cgroup::open(&Hierarchy::detect()?, &node.house.group())?;
    let deadline = Instant::now() + patience(SOON);
    while Instant::now() < deadline {
        let found = kubepods.processes_recursive()?.into_iter().find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            Bytes::of_proc(&status, "RssAnon") >= Some(anonymous)
        });
        if let Some(pid) = found {
            return Ok(pid);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("no process holds {anonymous}").into())
}

/// A process that cgroup v1's freezer holds: no signal reaches it until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(process: Pid) -> Result<Self, Failed> {
        let group = Path::new(FREEZER).join(format!("memlet-test-{}", std::process::id()));
        std::fs::create_dir(&group)?;
        let frozen = Self(group);
        std::fs::write(frozen.0.join("cgroup.procs"), process.to_string())?;
        std::fs::write(frozen.0.join("freezer.state"), "FROZEN")?;
        Ok(frozen)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("freezer.state"), "THAWED");
        // Its last process may take a moment to end.
        for _ in 0..500 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(SECOND / 100);
        }
    }
}

/// The threshold is crossed while nobody looks.
fn killed_before() -> Result<(), Failed> {
    const NODE: [&str; 2] = ["--node-memory", "512Mi"];
    let mut node = Node::start_with(&NODE)?;
    node.run_all(&[Eater::holding("idle", 1), Eater::new("hog", "450 0 --rate 60 --hold --ignore-term")])?;
    let before = node.get("pod/idle")?;
    node.kill()?;
    assert!(node.evictions()?.is_empty(), "the node was killed too late for this test");
    node.usage_reaches(440)?;
    node.start_again(&NODE)?;
    node.evicted("hog")?;
    node.pressure_is("memlet", "True")?;
    let after = node.get("pod/idle")?;
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"], "it ran on");
    assert_eq!(names(&node.evictions()?), ["hog"]);
    node.kernel_killed_nobody();
    node.end()
}

const SOFT: [&str; 5] = [
    "--node-memory=512Mi",
    "--eviction-hard=memory.available<50Mi",
    "--eviction-soft=memory.available<150Mi",
    "--eviction-soft-grace-period=memory.available=3s",
    "--eviction-max-pod-grace-period=15",
];

/// The program dies between SIGTERM and SIGKILL, which the next one has to send.
fn killed_meanwhile() -> Result<(), Failed> {
    let (node, _) = killed_in_the_grace(&SOFT)?;
    assert_eq!(names(&node.evictions()?), ["hog"]);
    node.kernel_killed_nobody();
    node.end()
}

/// The same, and by then nothing is short any more: what was told of the Pod holds.
fn killed_meanwhile_for_no_more() -> Result<(), Failed> {
    let (node, hog) = killed_in_the_grace(&["--node-memory=512Mi", "--eviction-hard=memory.available<50Mi"])?;
    let told = hog["status"]["message"].as_str().unwrap_or_default();
    assert!(told.contains("Threshold quantity: 150Mi, available: 1"), "{told}");
    assert_eq!(node.event("Pod", "hog", "Evicted")?, told);
    let evictions = node.evictions()?;
    assert_eq!(names(&evictions), ["hog"]);
    assert_eq!(evictions[0]["message"], told);
    let explained = node.memlet(&["explain", "pod/hog"])?;
    assert!(explained.exits(0).stdout.contains("Evicted"), "{}", explained.stdout);
    assert_eq!(pressure(&node.get("node/memlet")?).expect("it is told")["status"], "False");
    node.kernel_killed_nobody();
    node.end()
}

/// A node that is killed after it has told a hog to go, and is started again with these arguments; and the evicted hog.
fn killed_in_the_grace(again: &[&str]) -> Result<(Node, Value), Failed> {
    let mut node = Node::start_with(&SOFT)?;
    let hog = Eater::new("hog", "400 0 --spike --hold --ignore-term");
    node.run_all(&[Eater::holding("idle", 1), hog.spec("terminationGracePeriodSeconds", json!(30))])?;
    let before = node.get("pod/idle")?;
    node.event("Pod", "hog", "Evicted")?;
    node.kill()?;
    assert!(node.evictions()?.is_empty(), "it had not gone yet");
    std::thread::sleep(patience(SECOND));
    node.start_again(again)?;
    let pod = node.evicted("hog")?;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0, "{pod:#}");
    let after = node.get("pod/idle")?;
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"], "it ran on");
    let told = node.events("Pod", "hog")?.into_iter().filter(|(reason, _)| reason == "Evicted");
    assert_eq!(told.count(), 1, "it is told once");
    Ok((node, pod))
}

/// Whatever was done and not written when the program died: the hog goes at last, and nobody else does.
fn killed_at_any_moment() -> Result<(), Failed> {
    const NODE: [&str; 4] = ["--node-memory", "256Mi", "--eviction-pressure-transition-period", "0s"];
    let mut node = Node::start_with(&NODE)?;
    node.run_all(&[Eater::holding("idle", 1)])?;
    let before = node.get("pod/idle")?;
    for (round, milliseconds) in [0, 3, 10, 30, 100, 300].into_iter().enumerate() {
        let name = format!("hog-{round}");
        // It stays below what the kernel would kill for, since nobody looks for a while.
        let hog = Eater::new(&name, "200 0 --rate 150 --hold").tolerating();
        node.create(&hog.manifest())?;
        // The threshold is where 156 MiB are used. On a busy machine it may have gone before it is seen.
        let deadline = Instant::now() + patience(SOON);
        while node.usage()? < Bytes::from_mib(145)
            && !names(&node.records("eviction")?).contains(&name.as_str())
        {
            assert!(Instant::now() < deadline, "{name} does not grow");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        node.kill()?;
        node.start_again(&NODE)?;
        node.evicted(&name)?;
        node.kubectl(&["delete", "pod", &name, "--grace-period=1"])?.exits(0);
    }
    let after = node.get("pod/idle")?;
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"], "it ran on");
    let evictions = node.records("eviction")?;
    assert!(names(&evictions).iter().all(|name| name.starts_with("hog-")), "{:?}", names(&evictions));
    node.kernel_killed_nobody();
    node.end()
}

/// After a restart without the Pods' objects, one that was left is what a node is short of memory for: it has no time, and
/// nobody goes for it.
fn orphan_first() -> Result<(), Failed> {
    const NODE: [&str; 2] = ["--node-memory", "256Mi"];
    let mut node = Node::start_with(&NODE)?;
    // With all of its grace it would be here for half a minute. It stays below what the kernel would kill for.
    let hog = Eater::new("hog", "200 0 --rate 50 --hold --ignore-term")
        .spec("terminationGracePeriodSeconds", json!(30));
    node.run_all(&[hog])?;
    node.kill()?;
    node.usage_reaches(190)?;
    std::fs::remove_file(node.house.folder.path().join("data/node/objects/objects.redb"))?;
    node.start_again(&NODE)?;
    let restarted = Instant::now();
    // Of those that request memory one is admitted under pressure.
    node.run_all(&[Eater::holding("bystander", 1).requesting("16Mi").tolerating()])?;
    while node.usage()? > Bytes::from_mib(60) {
        assert!(restarted.elapsed() < 20 * SECOND, "the hog had its grace");
        std::thread::sleep(SECOND / 20);
    }
    // Whoever was to go for it would have been told by now.
    std::thread::sleep(SECOND);
    let bystander = node.get("pod/bystander")?;
    assert!(is_running(&bystander) && ended(&bystander).is_none(), "{bystander:#}");
    node.kernel_killed_nobody();
    node.end()
}
