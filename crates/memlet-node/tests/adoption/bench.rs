//! An API server in this process, and a daemon in another that is started and killed.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use memlet_apiserver::ApiServer;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};
use memlet_diagnosis::evidence::KillRecord;
use memlet_node::{Record, Records, sweep_leftovers};
use memlet_runtime::service::sweep;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::daemon::{COMMAND, Place};

pub(crate) struct Bench {
    pub(crate) client: kube::Client,
    pub(crate) place: Place,
    pub(crate) hierarchy: Hierarchy,
    daemon: Option<Child>,
    _folder: tempfile::TempDir,
}

/// Runs a test with a daemon that has just started.
pub(crate) fn run(test: impl AsyncFnOnce(&mut Bench)) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        let mut bench = Bench::new().await;
        bench.start().await;
        test(&mut bench).await;
        bench.finish().await;
    });
}

impl Bench {
    async fn new() -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        let server = ApiServer::in_memory();
        let place = Place {
            folder: folder.path().to_owned(),
            cgroup_root: format!("/memlet-test-{}-adoption-{number}", std::process::id()),
            api: serve(&server).await,
        };
        let hierarchy = Hierarchy::detect().unwrap();
        Self { client: server.client(), place, hierarchy, daemon: None, _folder: folder }
    }

    /// Starts a daemon, and does not wait for it.
    pub(crate) fn spawn(&mut self) {
        let _ = fs::remove_file(self.place.ready());
        let Place { folder, cgroup_root, api } = &self.place;
        let complaints = fs::OpenOptions::new().append(true).create(true).open(folder.join("daemon.log"));
        let mut daemon = Command::new("/proc/self/exe");
        daemon.arg(COMMAND).arg(folder).arg(cgroup_root).arg(api).stderr(complaints.unwrap());
        self.daemon = Some(daemon.spawn().unwrap());
    }

    /// Starts a daemon, and waits until its agent has started.
    pub(crate) async fn start(&mut self) {
        self.spawn();
        self.wait_until_ready().await;
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.place.ready().exists() {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", self.complaints());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn complaints(&self) -> String {
        fs::read_to_string(self.place.folder.join("daemon.log")).unwrap_or_default()
    }

    /// kill -9
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// Asks the daemon to end, and waits until it has.
    pub(crate) async fn end(&mut self, signal: Signal) {
        let mut daemon = self.daemon.take().unwrap();
        kill_process(Pid::from_child(&daemon), signal).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.complaints());
                return;
            }
            assert!(Instant::now() < deadline, "the daemon does not end: {}", self.complaints());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the daemon with its Pods, and looks for anything left.
    async fn finish(&mut self) {
        self.end(Signal::INT).await;
        let sandboxes = fs::read_dir(self.place.folder.join("runtime/sandboxes")).unwrap().count();
        assert_eq!(sandboxes, 0, "sandboxes are left");
        for mount in self.hierarchy.mount_points() {
            let place = mount.join(self.place.cgroup_root.trim_start_matches('/'));
            assert!(!place.exists(), "{} is left", place.display());
        }
        let folder = self.place.folder.display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&folder), "left mounts: {mounts}");
        assert_eq!(self.processes(), [], "processes are left");
        let logs: Vec<_> = fs::read_dir(self.place.folder.join("logs")).unwrap().flatten().collect();
        assert!(logs.is_empty(), "{logs:?}");
    }

    /// The processes whose command line names this test's folder.
    pub(crate) fn processes(&self) -> Vec<(i32, String)> {
        let folder = self.place.folder.display().to_string();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        })
        .map(|pid: i32| {
            (pid, fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned())
        })
        .collect()
    }

    /// The only process that is called so, once there is but one: a process that is about to become another is still called
    /// as the one that made it.
    pub(crate) fn process(&self, name: &str) -> Pid {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found: Vec<_> = self.processes().into_iter().filter(|(_, comm)| comm == name).collect();
            if let [(pid, _)] = found[..] {
                return Pid::from_raw(pid).unwrap();
            }
            assert!(Instant::now() < deadline, "{found:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    pub(crate) async fn create(&self, name: &str, policy: &str, limit: &str, arguments: &str) {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        let container = json!({
            "name": "c", "image": "memlet.dev/memory-eater", "args": arguments,
            "resources": {"limits": {"memory": limit}, "requests": {"memory": "2Mi"}},
        });
        self.create_with(name, json!({"restartPolicy": policy, "containers": [container]})).await;
    }

    pub(crate) async fn create_with(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("node");
        let pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
    }

    pub(crate) async fn change_image(&self, name: &str, image: &str) {
        let change = json!({"spec": {"containers": [{"name": "c", "image": image}]}});
        self.pods().patch(name, &PatchParams::default(), &Patch::Strategic(change)).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str, grace: u32) {
        self.pods().delete(name, &DeleteParams::default().grace_period(grace)).await.unwrap();
    }

    /// Waits until the Pod is so, 20 seconds at most.
    pub(crate) async fn until(&self, name: &str, what: impl Fn(&Pod) -> bool) -> Pod {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let pod = self.pods().get(name).await.unwrap();
            if what(&pod) {
                return pod;
            }
            assert!(Instant::now() < deadline, "still {:#?}\n{}", pod.status, self.complaints());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until each attempt to run the container began so often, by its log.
    pub(crate) async fn until_begun(&self, name: &str, times: &[usize]) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let pod = self.pods().get(name).await.unwrap();
            let begun: Vec<_> = self.logs(&pod).iter().map(|log| starts(log)).collect();
            if begun == times {
                return;
            }
            assert!(Instant::now() < deadline, "Pod {name} began {begun:?} times, not {times:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn until_gone(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.pods().get_opt(name).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "Pod {name} stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The Events about a Pod: reason, message, count.
    pub(crate) async fn events(&self, pod: &str) -> Vec<(String, String, i32)> {
        let events: Api<Event> = Api::default_namespaced(self.client.clone());
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.retain(|event| event.involved_object.name.as_deref() == Some(pod));
        events.sort_by_key(|event| event.metadata.name.clone());
        let part = |event: Event| (event.reason.unwrap(), event.message.unwrap(), event.count.unwrap());
        events.into_iter().map(part).collect()
    }

    /// How often this Event was told.
    pub(crate) async fn told(&self, pod: &str, reason: &str) -> i32 {
        let events = self.events(pod).await;
        events.iter().filter(|(told, ..)| told == reason).map(|(.., count)| count).sum()
    }

    /// Waits until this Event was told so often: Events are written beside the work.
    pub(crate) async fn until_told(&self, pod: &str, reason: &str, times: i32) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let told = self.told(pod, reason).await;
            if told == times {
                return;
            }
            assert!(told < times && Instant::now() < deadline, "{reason} was told {told} times, not {times}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The logs of a Pod's container, by attempt.
    pub(crate) fn logs(&self, pod: &Pod) -> Vec<String> {
        let uid = pod.metadata.uid.clone().unwrap();
        let name = pod.metadata.name.clone().unwrap();
        let folder = self.place.folder.join(format!("logs/default_{name}_{uid}/c"));
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect();
        files.sort_by_key(|path| path.file_stem().unwrap().to_str().unwrap().parse::<u32>().unwrap());
        files.into_iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        Records::read(&self.place.records()).unwrap()
    }

    pub(crate) fn kills(&self, pod: &str) -> Vec<KillRecord> {
        let kill = |record| match record {
            Record::Kill(kill) if kill.subject.pod == pod => Some(*kill),
            _ => None,
        };
        self.records().into_iter().filter_map(kill).collect()
    }

    pub(crate) fn deaths(&self, pod: &str) -> usize {
        let is_death = |record: &&Record| matches!(record, Record::Death(death) if death.subject.pod == pod);
        self.records().iter().filter(is_death).count()
    }

    /// The cgroup of a Pod that has limits and lower requests.
    pub(crate) fn cgroup(&self, pod: &Pod) -> Option<Cgroup> {
        let uid = pod.metadata.uid.clone().unwrap();
        let path = format!("{}/kubepods/burstable/pod{uid}", self.place.cgroup_root);
        Cgroup::open(&self.hierarchy, &path.parse::<CgroupPath>().unwrap()).ok()
    }
}

/// How often memory-eater began in this log.
pub(crate) fn starts(log: &str) -> usize {
    log.lines().filter(|line| line.ends_with("  1000    7.8 MB")).count()
}

pub(crate) fn status(pod: &Pod) -> ContainerStatus {
    pod.status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref()?.first().cloned())
        .unwrap_or_default()
}

pub(crate) fn is_running(pod: &Pod) -> bool {
    status(pod).state.unwrap_or_default().running.is_some()
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Exit code, reason and message of the present state, else of the last.
pub(crate) fn last_end(pod: &Pod) -> Option<(i32, String, String)> {
    let status = status(pod);
    let ended =
        status.state.unwrap_or_default().terminated.or(status.last_state.unwrap_or_default().terminated)?;
    Some((ended.exit_code, ended.reason.unwrap_or_default(), ended.message.unwrap_or_default()))
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.kill();
        let failed = std::thread::panicking();
        if failed {
            let _ = writeln!(std::io::stderr(), "{}", self.complaints());
        }
        let swept = sweep::sweep(&self.place.runtime(&self.hierarchy));
        let leftovers = sweep_leftovers(&self.place.agent(&self.hierarchy));
        let root = self.place.cgroup_root.parse().unwrap();
        let removed = self.hierarchy.remove_everywhere(&root);
        if !failed {
            swept.unwrap();
            leftovers.unwrap();
            removed.unwrap();
        }
    }
}

/// Serves the API on loopback, plainly.
async fn serve(server: &ApiServer) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(server.service());
            tokio::spawn(async move {
                // The other end is killed at any time.
                let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    format!("http://{address}")
}
