//! `kill -9` of the daemon: containers run on, what happens meanwhile is seen by the next one, nothing restarts that did
//! not die. With the embedded runtime, real containers and this kernel; the API server is in the test's own process,
//! where it outlives the daemon.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test, in a harness of its own"
)]

mod bench;
mod daemon;
mod storm;

use std::process::ExitCode;
use std::time::Duration;

use bench::{Bench, is_running, last_end, phase, starts, status};
use libtest_mimic::{Arguments, Failed, Trial};
use memlet_cgroup::Hierarchy;
use memlet_diagnosis::evidence::{Level, Victim};
use rustix::process::{Signal, kill_process};
use serde_json::json;

fn main() -> ExitCode {
    if let Some(code) = memlet_runtime::shim::main_if_asked(std::env::args_os()) {
        return code;
    }
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(daemon::COMMAND) {
        return daemon::main(arguments);
    }
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let cannot = why_not();
    if let Some(reason) = &cannot {
        println!("ignored: {reason}");
    }
    let tests: [(&str, fn()); 16] = [
        ("what_runs_goes_on_unnoticed", || bench::run(what_runs_goes_on_unnoticed)),
        ("what_ended_meanwhile_is_told", || bench::run(what_ended_meanwhile_is_told)),
        ("a_child_killed_meanwhile_is_told", || bench::run(a_child_killed_meanwhile_is_told)),
        ("a_back_off_goes_on", || bench::run(a_back_off_goes_on)),
        ("what_has_no_pod_ends", || bench::run(what_has_no_pod_ends)),
        ("a_deletion_goes_on", || bench::run(a_deletion_goes_on)),
        ("a_pod_that_ended_stays", || bench::run(a_pod_that_ended_stays)),
        ("detached_is_as_good_as_killed", || bench::run(detached_is_as_good_as_killed)),
        ("a_killed_supervisor_is_replaced", || bench::run(a_killed_supervisor_is_replaced)),
        ("a_killed_pause_is_replaced", || bench::run(a_killed_pause_is_replaced)),
        ("lost_state_is_said_and_started_anew", || bench::run(lost_state_is_said_and_started_anew)),
        ("a_cgroup_removed_by_hand_is_an_end", || bench::run(a_cgroup_removed_by_hand_is_an_end)),
        ("another_image_is_started_in_place", || bench::run(another_image_is_started_in_place)),
        ("a_full_disk_is_said_and_wedges_nothing", || bench::run(a_full_disk_is_said_and_wedges_nothing)),
        ("what_cannot_be_recorded_is_recorded_later", || {
            bench::run(what_cannot_be_recorded_is_recorded_later);
        }),
        ("a_storm_of_kills_loses_nothing", || bench::run(storm::a_storm_of_kills_loses_nothing)),
    ];
    let trials = tests.into_iter().map(|(name, test)| {
        let trial =
            Trial::test(name, move || std::panic::catch_unwind(test).map_err(|_| Failed::without_message()));
        trial.with_ignored_flag(cannot.is_some())
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn why_not() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    Hierarchy::detect().err().map(|error| error.to_string())
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

async fn what_runs_goes_on_unnoticed(bench: &mut Bench) {
    bench.create("web", "Always", "64Mi", "40 0.3 --hold").await;
    let before = bench.until("web", is_running).await;
    // Events are written beside the work.
    sleep(100).await;
    let told = bench.events("web").await;
    for _ in 0..2 {
        bench.kill();
        sleep(300).await;
        bench.start().await;
    }
    // Long enough for anything that would be written.
    sleep(500).await;
    let after = bench.until("web", is_running).await;
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version, "{:#?}", after.status);
    assert_eq!(bench.events("web").await, told);
    let logs = bench.logs(&after);
    assert_eq!((logs.len(), starts(&logs[0])), (1, 1));
    assert!(logs[0].contains("  5000   39.1 MB"), "its log went on: {}", logs[0]);
    bench.delete("web", 5).await;
    bench.until_gone("web").await;
}

async fn what_ended_meanwhile_is_told(bench: &mut Bench) {
    bench.create("oom", "Never", "24Mi", "100 0.4").await;
    bench.create("again", "OnFailure", "64Mi", "8 0.8 --exit 3").await;
    bench.create("done", "OnFailure", "64Mi", "8 0.8").await;
    for name in ["oom", "again", "done"] {
        bench.until(name, is_running).await;
    }
    bench.kill();
    sleep(2500).await;
    bench.start().await;
    let oom = bench.until("oom", |pod| phase(pod) == "Failed").await;
    assert_eq!(last_end(&oom).map(|(code, reason, _)| (code, reason)), Some((137, "OOMKilled".into())));
    let kills = bench.kills("oom");
    assert_eq!(kills.len(), 1);
    // With one container its limit is the Pod's, and the kernel says that either ran out.
    assert!(matches!(kills[0].level, Some(Level::Container | Level::Pod)), "{:?}", kills[0].level);
    assert_eq!(kills[0].victim, Victim::Main);
    assert!(kills[0].report.is_some(), "the kernel's log still tells it");
    assert_eq!(bench.deaths("oom"), 1);
    let again = bench.until("again", |pod| status(pod).restart_count == 1 && is_running(pod)).await;
    assert_eq!(last_end(&again).map(|(code, reason, _)| (code, reason)), Some((3, "Error".into())));
    bench.until_told("again", "Started", 2).await;
    bench.until("done", |pod| phase(pod) == "Succeeded").await;
    // Also after the Pod is gone and another daemon runs, a verdict can be given.
    bench.delete("oom", 0).await;
    bench.until_gone("oom").await;
    bench.kill();
    bench.start().await;
    assert_eq!((bench.kills("oom"), bench.deaths("oom")), (kills, 1));
}

async fn a_child_killed_meanwhile_is_told(bench: &mut Bench) {
    // The first child takes its memory after the daemon has been killed.
    bench.create("parent", "Never", "24Mi", "100 0.4 --children 1 --hold").await;
    bench.until("parent", is_running).await;
    bench.kill();
    sleep(2500).await;
    bench.start().await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while bench.kills("parent").is_empty() {
        assert!(std::time::Instant::now() < deadline, "{}", bench.complaints());
        sleep(10).await;
    }
    bench.kill();
    bench.start().await;
    sleep(500).await;
    let kills = bench.kills("parent");
    assert_eq!((kills.len(), kills[0].victim), (1, Victim::Child), "once, however often it is looked for");
}

async fn a_back_off_goes_on(bench: &mut Bench) {
    bench.create("loop", "Always", "64Mi", "8 0 --exit 3").await;
    let waits = |pod: &k8s_openapi::api::core::v1::Pod| {
        let waiting = status(pod).state.unwrap_or_default().waiting;
        waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    };
    let before = bench.until("loop", |pod| waits(pod) && status(pod).restart_count == 1).await;
    bench.kill();
    sleep(300).await;
    bench.start().await;
    sleep(500).await;
    let after = bench.until("loop", waits).await;
    assert_eq!(status(&after), status(&before));
    // Ten seconds from the exit, not from the start of the daemon.
    let third = bench.until("loop", |pod| status(pod).restart_count == 2 && waits(pod)).await;
    let message = status(&third).state.unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("back-off 20s "), "{message}");
    bench.until_begun("loop", &[1, 1, 1]).await;
}

async fn what_has_no_pod_ends(bench: &mut Bench) {
    bench.create("orphan", "Always", "64Mi", "8 0 --hold").await;
    bench.create("stays", "Always", "64Mi", "8 0 --hold").await;
    let orphan = bench.until("orphan", is_running).await;
    let stays = bench.until("stays", is_running).await;
    bench.kill();
    bench.delete("orphan", 0).await;
    // Another Pod of the same name is another Pod.
    bench.create("orphan", "Always", "64Mi", "8 0 --hold").await;
    bench.start().await;
    let new = bench.until("orphan", is_running).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while bench.cgroup(&orphan).is_some() || !bench.logs(&orphan).is_empty() {
        assert!(std::time::Instant::now() < deadline, "{}", bench.complaints());
        sleep(10).await;
    }
    assert!(bench.cgroup(&new).is_some());
    assert_eq!(status(&bench.until("stays", is_running).await), status(&stays));
}

async fn a_deletion_goes_on(bench: &mut Bench) {
    bench.create("a", "Always", "64Mi", "8 0 --hold").await;
    bench.create("b", "Always", "64Mi", "8 0 --hold").await;
    let a = bench.until("a", is_running).await;
    bench.until("b", is_running).await;
    bench.kill();
    // Before the next daemon, and so late that the one before is killed meanwhile.
    bench.delete("a", 10).await;
    bench.start().await;
    bench.until_gone("a").await;
    assert!(bench.cgroup(&a).is_none());
    bench.delete("b", 10).await;
    bench.kill();
    bench.start().await;
    bench.until_gone("b").await;
}

async fn a_pod_that_ended_stays(bench: &mut Bench) {
    bench.create("done", "Never", "64Mi", "8 0").await;
    bench.until("done", |pod| phase(pod) == "Succeeded").await;
    sleep(300).await;
    let before = bench.pods().get("done").await.unwrap();
    bench.kill();
    bench.start().await;
    sleep(300).await;
    let after = bench.pods().get("done").await.unwrap();
    assert_eq!(after, before);
    assert_eq!(bench.logs(&after).len(), 1, "its log can still be read");
    bench.delete("done", 0).await;
    bench.until_gone("done").await;
    // finish() finds whether its sandbox went too.
}

async fn detached_is_as_good_as_killed(bench: &mut Bench) {
    bench.create("web", "Always", "64Mi", "8 0 --hold").await;
    let before = bench.until("web", is_running).await;
    bench.end(Signal::TERM).await;
    sleep(200).await;
    let log = bench.logs(&before);
    bench.start().await;
    sleep(300).await;
    let after = bench.until("web", is_running).await;
    assert_eq!((after.metadata.resource_version, log.len()), (before.metadata.resource_version, 1));
    // In the middle of a deletion with a long grace, too: the container is not cut short.
    bench.create("slow", "Always", "64Mi", "8 0 --hold").await;
    bench.until("slow", is_running).await;
    bench.delete("slow", 20).await;
    bench.end(Signal::TERM).await;
    bench.start().await;
    bench.until_gone("slow").await;
}

async fn a_killed_supervisor_is_replaced(bench: &mut Bench) {
    for is_alive in [false, true] {
        let name = if is_alive { "alive" } else { "dead" };
        bench.create(name, "Always", "64Mi", "8 0 --hold").await;
        bench.until_begun(name, &[1]).await;
        if !is_alive {
            bench.kill();
        }
        kill_process(bench.process("memlet-shim"), Signal::KILL).unwrap();
        if !is_alive {
            bench.start().await;
        }
        let pod = bench.until(name, |pod| status(pod).restart_count == 1 && is_running(pod)).await;
        let (code, reason, message) = last_end(&pod).unwrap();
        assert_eq!((code, reason.as_str()), (137, "ContainerStatusUnknown"));
        assert!(message.contains("supervisor was killed"), "{message}");
        bench.until_begun(name, &[1, 1]).await;
        sleep(100).await;
        assert_eq!(bench.told(name, "SandboxChanged").await, 1);
        bench.delete(name, 0).await;
        bench.until_gone(name).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while bench.processes().iter().any(|(_, name)| name == "memlet-shim") {
            assert!(std::time::Instant::now() < deadline);
            sleep(10).await;
        }
    }
}

async fn a_killed_pause_is_replaced(bench: &mut Bench) {
    let eater = |name: &str, arguments: &str| {
        json!({"name": name, "image": "memlet.dev/memory-eater",
            "args": arguments.split(' ').collect::<Vec<_>>()})
    };
    let spec = json!({"initContainers": [eater("first", "8 0")], "containers": [eater("c", "8 0 --hold")]});
    bench.create_with("web", spec).await;
    bench.until("web", is_running).await;
    kill_process(bench.process("pause"), Signal::KILL).unwrap();
    let pod = bench.until("web", |pod| status(pod).restart_count == 1 && is_running(pod)).await;
    assert_eq!(last_end(&pod).map(|(code, reason, _)| (code, reason)), Some((137, "Error".into())));
    let first = pod.status.clone().unwrap().init_container_statuses.unwrap().remove(0);
    assert_eq!(first.restart_count, 1, "what it prepared went with the sandbox");
    // Nothing of that is said twice by a daemon that comes later.
    bench.kill();
    bench.start().await;
    sleep(300).await;
    assert_eq!(bench.pods().get("web").await.unwrap().status, pod.status);
}

async fn lost_state_is_said_and_started_anew(bench: &mut Bench) {
    bench.create("web", "Always", "64Mi", "8 0 --hold").await;
    bench.create("never", "Never", "64Mi", "8 0 --hold").await;
    for pod in ["web", "never"] {
        bench.until(pod, is_running).await;
    }
    bench.kill();
    for sandbox in std::fs::read_dir(bench.place.folder.join("runtime/sandboxes")).unwrap() {
        std::fs::write(sandbox.unwrap().path().join("record.json"), "{\"version\":1,").unwrap();
    }
    bench.start().await;
    let web = bench.until("web", |pod| status(pod).restart_count == 1 && is_running(pod)).await;
    assert_eq!(
        last_end(&web).map(|(code, reason, _)| (code, reason)),
        Some((137, "ContainerStatusUnknown".into()))
    );
    bench.until_begun("web", &[1, 1]).await;
    bench.until("never", |pod| phase(pod) == "Failed").await;
}

async fn a_cgroup_removed_by_hand_is_an_end(bench: &mut Bench) {
    bench.create("web", "Always", "64Mi", "8 0 --hold").await;
    bench.until_begun("web", &[1]).await;
    for is_alive in [true, false] {
        // What it does is seen before the status says that it runs.
        let pod = bench.until("web", is_running).await;
        let id = status(&pod).container_id.unwrap();
        if !is_alive {
            bench.kill();
        }
        // Only an empty one can be removed, so all in it is killed before.
        let path = bench.cgroup(&pod).unwrap().path().join(id.strip_prefix("memlet://").unwrap()).unwrap();
        memlet_cgroup::Cgroup::open(&bench.hierarchy, &path).unwrap().kill_all().unwrap();
        bench.hierarchy.remove_everywhere(&path).unwrap();
        if !is_alive {
            bench.start().await;
        }
        let end = |pod: &k8s_openapi::api::core::v1::Pod| {
            status(pod).container_id.is_some_and(|now| now != id) && is_running(pod)
        };
        let pod = bench.until("web", end).await;
        assert_eq!(last_end(&pod).map(|(code, reason, _)| (code, reason)), Some((137, "Error".into())));
    }
    assert_eq!(bench.kills("web").len(), 0, "it was not the kernel");
}

/// Whatever `restartPolicy` says, and whether the agent was there when the Pod was changed.
async fn another_image_is_started_in_place(bench: &mut Bench) {
    bench.create("web", "Never", "64Mi", "8 0 --hold").await;
    let missing = json!({
        "restartPolicy": "Always",
        "containers": [{"name": "c", "image": "memlet.dev/memory-eatre:1", "args": ["8", "0", "--hold"]}],
    });
    bench.create_with("typo", missing).await;
    let old = status(&bench.until("web", is_running).await);
    let waits = |pod: &k8s_openapi::api::core::v1::Pod| {
        let waiting = status(pod).state.unwrap_or_default().waiting;
        waiting.and_then(|waiting| waiting.reason).is_some_and(|reason| reason == "ImagePullBackOff")
    };
    bench.until("typo", waits).await;

    let tagged = "memlet.dev/memory-eater:latest";
    for name in ["web", "typo"] {
        bench.change_image(name, tagged).await;
    }
    let is_new = |pod: &k8s_openapi::api::core::v1::Pod| {
        status(pod).container_id != old.container_id && is_running(pod)
    };
    let web = bench.until("web", is_new).await;
    assert_eq!((status(&web).restart_count, phase(&web)), (1, "Running"));
    assert_eq!(web.status.as_ref().unwrap().observed_generation, Some(2));
    bench.until("typo", is_running).await;
    let told: Vec<_> =
        bench.events("web").await.into_iter().filter(|(reason, ..)| reason == "Killing").collect();
    let words = "Container c definition changed, will be restarted".to_owned();
    assert_eq!(told, [("Killing".to_owned(), words, 1)]);

    // The change is noticed by the next run, and made but once.
    let old = status(&web);
    bench.kill();
    bench.change_image("web", "memlet.dev/memory-eater").await;
    bench.start().await;
    let is_new = |pod: &k8s_openapi::api::core::v1::Pod| {
        status(pod).container_id != old.container_id && is_running(pod)
    };
    let web = bench.until("web", is_new).await;
    bench.kill();
    bench.start().await;
    sleep(500).await;
    let later = bench.until("web", is_running).await;
    assert_eq!((status(&later).restart_count, status(&later).container_id), (2, status(&web).container_id));
}

async fn a_full_disk_is_said_and_wedges_nothing(bench: &mut Bench) {
    bench.create("before", "Always", "64Mi", "8 0 --hold").await;
    let before = bench.until("before", is_running).await;
    bench.end(Signal::TERM).await;
    // The state of what runs is where it was; what is new has no room.
    let disk = Disk::mount(&bench.place.folder.join("logs"), c"size=64k,nr_inodes=30");
    let node = Disk::mount(&bench.place.folder.join("node/pods"), c"size=64k,nr_inodes=30");
    node.fill();
    disk.fill();
    bench.start().await;
    bench.create("after", "Never", "64Mi", "8 0").await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let said = loop {
        let events = bench.events("after").await;
        if let Some(said) = events.iter().find(|(_, message, _)| message.contains("No space left on device"))
        {
            break said.clone();
        }
        assert!(std::time::Instant::now() < deadline, "{events:?} {}", bench.complaints());
        sleep(20).await;
    };
    assert!(["Failed", "FailedMount"].contains(&said.0.as_str()), "{said:?}");
    node.empty();
    disk.empty();
    bench.until("after", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(status(&bench.pods().get("before").await.unwrap()), status(&before));
    // Unmounted only when nothing writes there any more.
    for name in ["before", "after"] {
        bench.delete(name, 0).await;
        bench.until_gone(name).await;
    }
    bench.end(Signal::TERM).await;
    drop((disk, node));
    bench.start().await;
}

async fn what_cannot_be_recorded_is_recorded_later(bench: &mut Bench) {
    bench.end(Signal::TERM).await;
    let disk = Disk::mount(&bench.place.records(), c"size=16k,nr_inodes=30");
    bench.start().await;
    disk.fill();
    bench.create("a", "Never", "16Mi", "60 0").await;
    bench.until("a", |pod| phase(pod) == "Failed").await;
    assert_eq!(bench.kills("a").len(), 0, "the disk is full");
    disk.empty();
    bench.create("b", "Never", "64Mi", "8 0 --exit 1").await;
    bench.until("b", |pod| phase(pod) == "Failed").await;
    assert_eq!((bench.kills("a").len(), bench.deaths("a"), bench.deaths("b")), (1, 1, 1));
    bench.end(Signal::TERM).await;
    drop(disk);
    bench.start().await;
}

/// A small disk of its own at some folder.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: &std::path::Path, size: &std::ffi::CStr) -> Self {
        std::fs::create_dir_all(at).unwrap();
        rustix::mount::mount("disk", at, "tmpfs", rustix::mount::MountFlags::empty(), Some(size)).unwrap();
        Self(at.to_owned())
    }

    /// As many bytes and files as there is room for.
    fn fill(&self) {
        let mut number = 0;
        while std::fs::write(self.0.join(format!("filler-{number}")), vec![1; 1 << 20]).is_ok()
            || self.0.join(format!("filler-{number}")).exists()
        {
            number += 1;
        }
    }

    fn empty(&self) {
        for entry in std::fs::read_dir(&self.0).unwrap().flatten() {
            if entry.file_name().to_str().unwrap().starts_with("filler-") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
