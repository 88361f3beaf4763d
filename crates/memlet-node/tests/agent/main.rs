//! The node agent as a whole: the embedded API server above, a small runtime with real processes below, and
//! this machine's kernel, which really kills.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, in a harness of its own")]
#![allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]

mod api_objects; // configMaps and secrets in variables and files
mod node_object; // what the Node says
mod pressure; // who goes when memory is short
mod runtime;
mod static_pods; // Pods of a folder, and Pods whose time is over

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use libtest_mimic::{Arguments, Failed, Trial};
use memlet_apiserver::ApiServer;
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Version};
use memlet_diagnosis::evidence::{Level, Victim};
use memlet_node::{MemoryRules, NodeAgent, NodeConfig, Records, Registration, Reservations, sweep_leftovers};
use runtime::Runtime;
use serde_json::{Value, json};

fn main() {
    let arguments = Arguments::from_args();
    let cannot = why_not();
    let tests: [(&str, fn()); 18] = [
        ("a_pod_runs_to_its_end_and_leaves_nothing", a_pod_runs_to_its_end_and_leaves_nothing),
        ("the_limit_kills_the_main_process", the_limit_kills_the_main_process),
        ("the_limit_is_told_without_the_kernel_log", the_limit_is_told_without_the_kernel_log),
        ("a_killed_child_is_an_event", a_killed_child_is_an_event),
        ("a_killed_child_is_an_event_without_the_log", a_killed_child_is_an_event_without_the_log),
        (
            "a_runtime_without_statements_is_judged_by_the_log",
            a_runtime_without_statements_is_judged_by_the_log,
        ),
        ("a_bystander_is_not_blamed", a_bystander_is_not_blamed),
        ("kill_9_is_an_error", kill_9_is_an_error),
        ("a_killed_pause_is_told", a_killed_pause_is_told),
        ("a_killed_pause_is_told_without_the_log", a_killed_pause_is_told_without_the_log),
        ("a_pause_killed_while_made_is_told_once", a_pause_killed_while_made_is_told_once),
        ("a_missing_image_waits", a_missing_image_waits),
        ("a_failing_container_restarts_and_backs_off", a_failing_container_restarts_and_backs_off),
        ("init_containers_come_first", init_containers_come_first),
        ("what_does_not_fit_or_work_is_refused", what_does_not_fit_or_work_is_refused),
        ("volumes_live_as_long_as_the_pod", volumes_live_as_long_as_the_pod),
        ("what_a_killed_agent_left_is_swept", what_a_killed_agent_left_is_swept),
        (
            "a_grace_is_shortened_and_a_forced_delete_ends_too",
            a_grace_is_shortened_and_a_forced_delete_ends_too,
        ),
    ];
    let tests = tests
        .into_iter()
        .chain(api_objects::TESTS)
        .chain(node_object::TESTS)
        .chain(pressure::TESTS)
        .chain(static_pods::TESTS);
    let trials = tests.map(|(name, test)| {
        let trial =
            Trial::test(name, move || std::panic::catch_unwind(test).map_err(|_| Failed::without_message()));
        let is_v2 = Hierarchy::detect().is_ok_and(|it| it.version() == Version::V2);
        let needs_v1 = name == pressure::ASKED_BACK && is_v2;
        if needs_v1 {
            println!("ignored: {name}: on cgroup v2 nothing is asked back");
        }
        trial.with_ignored_flag(cannot.is_some() || needs_v1)
    });
    if let Some(reason) = &cannot {
        println!("ignored: {reason}");
    }
    let arguments = Arguments { test_threads: Some(1), ..arguments };
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn why_not() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    Hierarchy::detect().err().map(|error| error.to_string())
}

/// A node of 160Mi with nothing on it.
struct Bench {
    client: kube::Client,
    runtime: Runtime,
    agent: NodeAgent,
    config: NodeConfig,
    _folder: tempfile::TempDir,
}

fn run<F: Future<Output = ()>>(kernel_log: bool, test: impl FnOnce(Bench) -> F) {
    run_with(kernel_log, |_| {}, test);
}

/// The same with other settings.
fn run_with<F: Future<Output = ()>>(
    kernel_log: bool,
    change: impl FnOnce(&mut NodeConfig),
    test: impl FnOnce(Bench) -> F,
) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let bench = Bench::start(kernel_log, change).await;
        // Whatever happens, nothing may stay behind.
        let cleaner = Cleaner(bench.config.clone());
        test(bench).await;
        drop(cleaner);
    });
}

struct Cleaner(NodeConfig);

impl Drop for Cleaner {
    fn drop(&mut self) {
        let swept = sweep_leftovers(&self.0);
        let removed = self.0.hierarchy.remove_everywhere(&self.0.cgroup_root);
        if !std::thread::panicking() {
            swept.unwrap();
            removed.unwrap();
        }
    }
}

impl Bench {
    async fn start(kernel_log: bool, change: impl FnOnce(&mut NodeConfig)) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy::detect().unwrap();
        let mut config = NodeConfig {
            name: "node".into(),
            memory: Some(Bytes::from_mib(200)),
            // The runtime of these tests has no group kill.
            memory_rules: MemoryRules { single_process_oom_kill: Some(true), ..MemoryRules::default() },
            cgroup_root: format!("/memlet-test-{}-node-{number}", std::process::id()).parse().unwrap(),
            cgroup_driver: memlet_policy::cgroup_names::Driver::Cgroupfs,
            pod_logs: folder.path().join("logs"),
            state: folder.path().join("state"),
            hierarchy: hierarchy.clone(),
            records: Records::in_memory(),
            kernel_log,
            most_restarts: None,
            reservations: Reservations::default(),
            registration: Registration::default(),
            static_pods: None,
            api_server: None,
        };
        change(&mut config);
        let client = ApiServer::in_memory().client();
        let runtime = Runtime::new(hierarchy);
        let agent = NodeAgent::start(config.clone(), client.clone(), runtime.serve().await).await.unwrap();
        Self { client, runtime, agent, config, _folder: folder }
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    async fn create(&self, name: &str, mut spec: Value) -> Pod {
        spec["nodeName"] = json!("node");
        spec["terminationGracePeriodSeconds"] = json!(2);
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap()
    }

    /// Waits until the Pod is so, a minute at most: what failed to start is tried again after ten seconds, and a guest is
    /// slow.
    async fn until(&self, name: &str, what: impl Fn(&Pod) -> bool) -> Pod {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let pod = self.pods().get(name).await.unwrap();
            if what(&pod) {
                return pod;
            }
            assert!(Instant::now() < deadline, "still {:#?}", pod.status);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What its status says from its deletion on: the generation it speaks of, phase, state.
    async fn delete_and_watch(&self, name: &str) -> Vec<String> {
        let pod = self.pods().delete(name, &DeleteParams::default()).await.unwrap().left().unwrap();
        let from = pod.metadata.resource_version.clone().unwrap();
        let params = WatchParams::default().fields(&format!("metadata.name={name}")).disable_bookmarks();
        let mut changes = self.pods().watch(&params, &from).await.unwrap().boxed();
        let mut seen = vec![stage(&pod)];
        loop {
            match changes.try_next().await.unwrap().unwrap() {
                WatchEvent::Modified(pod) => seen.push(stage(&pod)),
                WatchEvent::Deleted(pod) => {
                    seen.push(stage(&pod));
                    seen.dedup();
                    return seen;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn events(&self, pod: &str) -> Vec<String> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        // Events are written beside the work.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| event.involved_object.name.as_deref() == Some(pod));
        events.sort_by_key(|event| event.metadata.name.clone());
        let line = |event: Event| format!("{} {}", event.reason.unwrap(), event.message.unwrap());
        events.into_iter().map(line).collect()
    }

    /// Shuts down and looks for anything left.
    async fn finish(self) {
        self.agent.shutdown(Duration::ZERO).await;
        for mount in self.config.hierarchy.mount_points() {
            let place = mount.join(self.config.cgroup_root.as_str().trim_start_matches('/'));
            assert!(!place.exists(), "{} is left", place.display());
        }
        assert_eq!(self.runtime.leftovers(), 0);
        assert!(is_empty(&self.config.state), "{:?}", list(&self.config.state));
        assert!(is_empty(&self.config.pod_logs), "{:?}", list(&self.config.pod_logs));
    }
}

fn list(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn is_empty(folder: &Path) -> bool {
    list(folder).is_empty()
}

fn phase(wanted: &'static str) -> impl Fn(&Pod) -> bool {
    move |pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(wanted)
}

fn stage(pod: &Pod) -> String {
    let status = pod.status.as_ref().unwrap();
    let state = container(pod).state.clone().unwrap();
    let state = match (state.waiting, state.running) {
        (Some(_), _) => "waiting",
        (_, Some(_)) => "running",
        _ => "terminated",
    };
    let (generation, phase) = (status.observed_generation.unwrap(), status.phase.as_ref().unwrap());
    format!("{generation} {phase} {state} restarts={}", container(pod).restart_count)
}

fn container(pod: &Pod) -> &ContainerStatus {
    &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0]
}

/// Reason and exit code.
fn ending(pod: &Pod) -> (String, i32) {
    let ended = container(pod).state.as_ref().unwrap().terminated.as_ref().expect("it has not ended");
    (ended.reason.clone().unwrap(), ended.exit_code)
}

fn shell(script: &str, limit: Option<&str>) -> Value {
    let limits = limit.map(|limit| json!({"memory": limit}));
    json!({
        "restartPolicy": "Never",
        "containers": [{
            "name": "main", "image": "shell:1", "command": ["sh", "-c", script], "resources": {"limits": limits},
        }],
    })
}

fn a_pod_runs_to_its_end_and_leaves_nothing() {
    run(true, async |bench| {
        let nodes: Api<Node> = Api::all(bench.client.clone());
        let node = nodes.get("node").await.unwrap().status.unwrap();
        assert_eq!(node.capacity.unwrap()["memory"].0, "200Mi");
        assert_eq!(node.allocatable.unwrap()["memory"].0, "100Mi");
        let made = bench.create("short", shell("exit 0", Some("32Mi"))).await;
        let pod = bench.until("short", phase("Succeeded")).await;
        assert_eq!(ending(&pod), ("Completed".to_owned(), 0));
        assert_eq!(
            bench.events("short").await,
            [
                "Pulled Container image \"shell:1\" already present on machine and can be accessed by the pod",
                "Created Container created",
                "Started Container started",
            ]
        );
        let uid = made.metadata.uid.unwrap();
        let path: CgroupPath =
            bench.config.cgroup_root.join(&format!("kubepods/burstable/pod{uid}")).unwrap();
        let gone = Instant::now() + Duration::from_secs(2);
        while Cgroup::open(&bench.config.hierarchy, &path).is_ok() {
            assert!(Instant::now() < gone, "the Pod's cgroup stays though it has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.create("long", shell("trap 'exit 7' TERM; while :; do sleep 0.05; done", None)).await;
        bench.until("long", phase("Running")).await;
        bench.pods().delete("long", &DeleteParams::default()).await.unwrap();
        let gone = Instant::now() + Duration::from_secs(5);
        while bench.pods().get_opt("long").await.unwrap().is_some() {
            assert!(Instant::now() < gone, "it is not deleted");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(bench.events("long").await.contains(&"Killing Stopping container main".to_owned()));
        bench.finish().await;
    });
}

fn the_limit_kills_the_main_process() {
    run(true, async |bench| {
        let mut kills = bench.agent.kills();
        bench.create("eater", shell("exec tail /dev/zero", Some("32Mi"))).await;
        let pod = bench.until("eater", phase("Failed")).await;
        assert_eq!(ending(&pod), ("OOMKilled".to_owned(), 137));
        let kill = kills.recv().await.unwrap();
        let killed_at = kill.report.as_ref().unwrap().killed_since_boot.unwrap();
        let took = since_boot().saturating_sub(killed_at);
        println!("from the kernel's kill to the status that a client reads: {took:?}");
        assert!(took < Duration::from_millis(500), "{took:?}: nothing here may wait for a timer");
        assert_eq!((kill.victim, kill.subject.container.as_str()), (Victim::Main, "main"));
        // The container said nothing itself.
        let message = container(&pod).state.clone().unwrap().terminated.unwrap().message.unwrap();
        assert_eq!(message, memlet_diagnosis::summary(&kill));
        assert!(message.starts_with("main: kernel killed pid ") && message.contains(" 32Mi: "), "{message}");
        assert!(bench.events("eater").await.contains(&format!("OOMKilling {message}")));
        assert!(matches!(kill.level, Some(Level::Container | Level::Pod)), "{:?}", kill.level);
        assert_eq!(kill.report.unwrap().victims[0].comm, "tail");
        assert_eq!(kill.container_memory.unwrap().oom_kills, Some(1));
        assert!(kill.missing.is_empty(), "{:?}", kill.missing);
        assert_eq!(bench.agent.kill_records().len(), 1);
        bench.finish().await;
    });
}

/// The clock of the kernel's log, nearly.
fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap()
}

fn the_limit_is_told_without_the_kernel_log() {
    run(false, async |bench| {
        bench.create("eater", shell("exec tail /dev/zero", Some("32Mi"))).await;
        let pod = bench.until("eater", phase("Failed")).await;
        let kills = bench.agent.kill_records();
        assert_eq!(ending(&pod), ("OOMKilled".to_owned(), 137), "{kills:#?}");
        assert_eq!((kills.len(), kills[0].victim, kills[0].level), (1, Victim::Main, None));
        assert_eq!(kills[0].missing[0].source, "/dev/kmsg");
        bench.finish().await;
    });
}

/// A child eats, pid 1 lives on for a while and ends well.
const CHILD: &str = "tail /dev/zero & wait $!; sleep 0.3; exit 0";

fn a_killed_child_is_an_event() {
    child_killed(true);
}

fn a_killed_child_is_an_event_without_the_log() {
    child_killed(false);
}

fn child_killed(kernel_log: bool) {
    run(kernel_log, async |bench| {
        bench.create("parent", shell(CHILD, Some("32Mi"))).await;
        let pod = bench.until("parent", phase("Succeeded")).await;
        assert_eq!(ending(&pod), ("Completed".to_owned(), 0));
        let kills = bench.agent.kill_records();
        assert_eq!((kills.len(), kills[0].victim), (1, Victim::Child), "{kills:#?}");
        let events = bench.events("parent").await;
        let told =
            events.iter().find(|event| event.starts_with("OOMKilling")).expect("an Event about the child");
        assert!(told.ends_with("the container's main process goes on"), "{told}");
        assert_eq!(told.contains("(tail"), kernel_log, "{told}");
        bench.finish().await;
    });
}

fn a_runtime_without_statements_is_judged_by_the_log() {
    run(true, async |bench| {
        // The kernel writes ten reports in five seconds, and this test has nothing else to go by.
        tokio::time::sleep(Duration::from_millis(5100)).await;
        bench.runtime.be_silent();
        bench.create("eater", shell("exec tail /dev/zero", Some("32Mi"))).await;
        bench.create("parent", shell(CHILD, Some("32Mi"))).await;
        let eater = bench.until("eater", phase("Failed")).await;
        assert_eq!(ending(&eater), ("OOMKilled".to_owned(), 137));
        let parent = bench.until("parent", phase("Succeeded")).await;
        assert_eq!(ending(&parent), ("Completed".to_owned(), 0));
        let mut kills: Vec<_> =
            bench.agent.kill_records().into_iter().map(|kill| (kill.subject.pod, kill.victim)).collect();
        kills.sort_by_key(|(pod, _)| pod.clone());
        assert_eq!(kills, [("eater".to_owned(), Victim::Main), ("parent".to_owned(), Victim::Child)]);
        assert_eq!(bench.agent.kill_records()[0].missing[0].source, "memlet.dev/container");
        bench.finish().await;
    });
}

fn a_bystander_is_not_blamed() {
    // Nobody is evicted: the kernel is to choose.
    run_with(
        true,
        |config| config.reservations.eviction.hard = None,
        async |bench| {
            bench.create("bystander", shell("sleep 1; exit 0", None)).await;
            bench.until("bystander", phase("Running")).await;
            bench.create("hog", shell("exec tail /dev/zero", None)).await;
            let hog = bench.until("hog", phase("Failed")).await;
            assert_eq!(ending(&hog), ("OOMKilled".to_owned(), 137));
            let bystander = bench.until("bystander", phase("Succeeded")).await;
            assert_eq!(ending(&bystander), ("Completed".to_owned(), 0));
            let kills = bench.agent.kill_records();
            assert_eq!(kills.len(), 1);
            assert_eq!(
                (kills[0].subject.pod.as_str(), kills[0].level),
                ("hog", Some(Level::NodeAllocatable))
            );
            let on_node = bench.events("node").await.pop().unwrap();
            assert!(on_node.starts_with("OOMKilling Pod default/hog, main: kernel killed pid "), "{on_node}");
            bench.finish().await;
        },
    );
}

fn kill_9_is_an_error() {
    run(true, async |bench| {
        bench.create("victim", shell("exec sleep 100", Some("32Mi"))).await;
        bench.until("victim", phase("Running")).await;
        let pid = rustix::process::Pid::from_raw(bench.runtime.pid("main").unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        let pod = bench.until("victim", phase("Failed")).await;
        assert_eq!(ending(&pod), ("Error".to_owned(), 137));
        assert!(bench.agent.kill_records().is_empty());
        bench.finish().await;
    });
}

fn a_killed_pause_is_told() {
    pause_killed(true);
}

fn a_killed_pause_is_told_without_the_log() {
    pause_killed(false);
}

fn pause_killed(kernel_log: bool) {
    run(kernel_log, async |bench| {
        bench.create("paused", shell("exec sleep 100", Some("16Mi"))).await;
        bench.until("paused", phase("Running")).await;
        bench.runtime.lose_pause().await;
        let pod = bench.until("paused", phase("Failed")).await;
        assert_eq!(
            ending(&pod),
            ("Error".to_owned(), 137),
            "its main process was not killed by the OOM killer"
        );
        let kills = bench.agent.kill_records();
        let [kill] = &kills[..] else { panic!("one record, not {kills:#?}") };
        assert_eq!((kill.victim, kill.subject.container.as_str()), (Victim::Sandbox, "pause"));
        assert_eq!(kill.level, kernel_log.then_some(Level::Pod));
        assert_eq!((kill.report.is_some(), kill.missing.is_empty()), (kernel_log, kernel_log));
        assert!(kill.pod_memory.is_some());
        let events = bench.events("paused").await;
        let told: Vec<_> = events.iter().filter(|event| event.starts_with("OOMKilling")).collect();
        let at = if kernel_log { "the Pod's limit of 16Mi" } else { "a limit not known" };
        let expected = format!(
            "OOMKilling the kernel's OOM killer killed the Pod's pause process at {at}; its containers end with it"
        );
        assert_eq!(told, [&expected]);
        bench.finish().await;
    });
}

fn a_pause_killed_while_made_is_told_once() {
    run(true, async |bench| {
        // The kernel writes ten reports in five seconds.
        tokio::time::sleep(Duration::from_millis(5100)).await;
        bench.runtime.lose_sandboxes();
        bench.create("sandboxless", shell("exit 0", Some("8Mi"))).await;
        let deadline = Instant::now() + Duration::from_secs(5);
        while bench.events("sandboxless").await.len() < 2 {
            assert!(Instant::now() < deadline, "{:?}", bench.events("sandboxless").await);
        }
        assert_eq!(
            bench.events("sandboxless").await,
            [
                "OOMKilling the kernel's OOM killer killed the Pod's pause process at the Pod's limit of 8Mi; so its sandbox could not be made",
                "FailedCreatePodSandBox Failed to create pod sandbox: rpc error: code = Unknown desc = the pause process was OOM-killed (memory limit too low?)",
            ]
        );
        let kills = bench.agent.kill_records();
        assert_eq!((kills.len(), kills[0].victim, kills[0].level), (1, Victim::Sandbox, Some(Level::Pod)));
        bench.finish().await;
    });
}

fn a_missing_image_waits() {
    run(true, async |bench| {
        let mut spec = shell("exit 0", None);
        spec["containers"][0]["image"] = json!("missing:1");
        bench.create("imageless", spec).await;
        let waits = |pod: &Pod| {
            let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let state = status.and_then(|all| all[0].state.clone()).and_then(|state| state.waiting);
            state.and_then(|waiting| waiting.reason).as_deref() == Some("ImagePullBackOff")
        };
        let pod = bench.until("imageless", waits).await;
        let message = container(&pod).state.clone().unwrap().waiting.unwrap().message.unwrap();
        assert_eq!(
            message,
            "Back-off pulling image \"missing:1\": ErrImagePull: rpc error: code = NotFound desc = image missing:1 is not in the store"
        );
        let events = bench.events("imageless").await;
        assert!(events.contains(&"Failed Error: ErrImagePull".to_owned()), "{events:#?}");
        bench.finish().await;
    });
}

fn a_failing_container_restarts_and_backs_off() {
    run(true, async |bench| {
        let mut spec = shell("exit 3", None);
        spec["restartPolicy"] = json!("Always");
        bench.create("failing", spec).await;
        let backs_off = |pod: &Pod| {
            let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let waiting = status.and_then(|all| all[0].state.clone()).and_then(|state| state.waiting);
            waiting.and_then(|waiting| waiting.reason).as_deref() == Some("CrashLoopBackOff")
        };
        let pod = bench.until("failing", backs_off).await;
        assert_eq!(container(&pod).restart_count, 1, "the first restart is immediate");
        let message = container(&pod).state.clone().unwrap().waiting.unwrap().message.unwrap();
        assert!(
            message.starts_with("back-off 10s restarting failed container=main pod=failing_default("),
            "{message}"
        );
        let last = container(&pod).last_state.clone().unwrap().terminated.unwrap();
        assert_eq!((last.reason.as_deref(), last.exit_code), (Some("Error"), 3));
        assert!(phase("Running")(&pod));
        let seen = bench.delete_and_watch("failing").await;
        // As recorded: the wait is over, and how it ended last is how it ended.
        assert_eq!(
            seen,
            [
                "1 Running waiting restarts=1",
                "2 Running terminated restarts=1",
                "2 Failed terminated restarts=1"
            ]
        );
        bench.finish().await;
    });
}

fn init_containers_come_first() {
    run(true, async |bench| {
        let mut spec = shell("exit 0", None);
        let init = |name: &str, script: &str| json!({"name": name, "image": "shell:1", "command": ["sh", "-c", script]});
        spec["initContainers"] = json!([init("one", "sleep 0.1"), init("two", "exit 0")]);
        bench.create("steps", spec.clone()).await;
        let pod = bench.until("steps", phase("Succeeded")).await;
        let init_statuses = pod.status.clone().unwrap().init_container_statuses.unwrap();
        let finished =
            |status: &ContainerStatus| status.state.clone().unwrap().terminated.unwrap().finished_at;
        assert!(finished(&init_statuses[0]) <= finished(&init_statuses[1]));
        spec["initContainers"][0] = init("one", "exit 5");
        bench.create("stumbles", spec).await;
        let pod = bench.until("stumbles", phase("Failed")).await;
        assert!(container(&pod).state.clone().unwrap().waiting.is_some(), "the main container never ran");
        bench.finish().await;
    });
}

fn what_does_not_fit_or_work_is_refused() {
    run(true, async |bench| {
        bench.create("large", shell("exit 0", Some("1Gi"))).await;
        let status = bench.until("large", phase("Failed")).await.status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("OutOfmemory"));
        assert_eq!(
            status.message.as_deref(),
            Some(
                "Pod was rejected: Node didn't have enough resource: memory, requested: 1073741824, used: 0, capacity: 104857600"
            )
        );
        let mut spec = shell("exit 0", None);
        spec["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {"command": ["true"]}}});
        bench.create("hooked", spec).await;
        let status = bench.until("hooked", phase("Failed")).await.status.unwrap();
        assert!(status.message.unwrap().contains("spec.containers[0].lifecycle"));
        let mut spec = shell("exit 0", None);
        spec["nodeSelector"] = json!({"disk": "ssd"});
        bench.create("elsewhere", spec.clone()).await;
        let status = bench.until("elsewhere", phase("Failed")).await.status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("NodeAffinity"));
        assert_eq!(
            status.message.as_deref(),
            Some(
                "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            )
        );
        spec["nodeSelector"] = json!({"kubernetes.io/hostname": "node"});
        bench.create("here", spec).await;
        bench.until("here", phase("Succeeded")).await;
        bench.finish().await;
    });
}

fn volumes_live_as_long_as_the_pod() {
    run(true, async |bench| {
        let mut spec = shell("sleep 0.3", Some("32Mi"));
        spec["volumes"] = json!([
            {"name": "scratch", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        ]);
        let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
        spec["containers"][0]["volumeMounts"] = json!([mount("scratch"), mount("memory")]);
        let uid = bench.create("full", spec).await.metadata.uid.unwrap();
        bench.until("full", phase("Running")).await;
        let volumes = bench.config.state.join("pods").join(&uid).join("volumes/kubernetes.io~empty-dir");
        let memory = rustix::fs::statfs(volumes.join("memory")).unwrap();
        let size = u64::try_from(memory.f_bsize).unwrap() * memory.f_blocks;
        assert_eq!((size, memory.f_type), (4 << 20, 0x0102_1994), "a tmpfs of its size limit");
        bench.until("full", phase("Succeeded")).await;
        let gone = Instant::now() + Duration::from_secs(2);
        while volumes.exists() {
            assert!(Instant::now() < gone, "the volumes stay though the Pod has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.finish().await;
    });
}

fn what_a_killed_agent_left_is_swept() {
    run(true, async |bench| {
        let mut spec = shell("exec sleep 100", Some("32Mi"));
        spec["volumes"] = json!([{"name": "memory", "emptyDir": {"medium": "Memory"}}]);
        bench.create("orphan", spec).await;
        bench.until("orphan", phase("Running")).await;
        let pid = bench.runtime.pid("main").unwrap();
        let Bench { agent, config, runtime, .. } = bench;
        // As SIGKILL would: no word to anybody.
        drop(agent);
        let kubepods = config.cgroup_root.join("kubepods").unwrap();
        assert!(Cgroup::open(&config.hierarchy, &kubepods).is_ok() && !is_empty(&config.state));
        let sweeping = config.clone();
        tokio::task::spawn_blocking(move || sweep_leftovers(&sweeping)).await.unwrap().unwrap();
        assert!(Cgroup::open(&config.hierarchy, &config.cgroup_root).is_err());
        assert!(is_empty(&config.state), "{:?}", list(&config.state));
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(status.is_empty() || status.contains(") Z "), "it still runs: {status}");
        let _ = runtime;
        sweep_leftovers(&config).expect("nothing to sweep is fine");
    });
}

fn a_grace_is_shortened_and_a_forced_delete_ends_too() {
    run(true, async |bench| {
        let stubborn = || shell("trap '' TERM; while :; do sleep 0.05; done", None);
        bench.create("ends", stubborn()).await;
        bench.until("ends", phase("Running")).await;
        assert_eq!(
            bench.delete_and_watch("ends").await,
            [
                "1 Running running restarts=0",
                "2 Running running restarts=0",
                "2 Failed terminated restarts=0"
            ]
        );
        bench.create("patient", stubborn()).await;
        bench.until("patient", phase("Running")).await;
        let began = Instant::now();
        bench.pods().delete("patient", &DeleteParams::default().grace_period(60)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.pods().delete("patient", &DeleteParams::default().grace_period(1)).await.unwrap();
        while bench.pods().get_opt("patient").await.unwrap().is_some() {
            assert!(began.elapsed() < Duration::from_secs(8), "the shorter grace is not heard");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let uid = bench.create("forced", stubborn()).await.metadata.uid.unwrap();
        bench.until("forced", phase("Running")).await;
        bench.pods().delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
        let folder = bench.config.state.join("pods").join(uid);
        let began = Instant::now();
        while folder.exists() {
            assert!(began.elapsed() < Duration::from_secs(8), "a Pod without an object is not ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bench.finish().await;
    });
}
