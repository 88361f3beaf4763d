//! A runtime dies and another takes over: what runs goes on, what ended meanwhile has ended, what is broken is cleared
//! away and takes nothing along.
//!
//! A daemon is here a tokio runtime of its own: when it is dropped, its connections to the supervisors close as those of
//! a process that was killed. Needs root and a writable memory cgroup, as the tests of containers do.

#![allow(clippy::large_futures, clippy::print_stderr, reason = "a test harness")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use k8s_cri::v1 as cri;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use libtest_mimic::{Arguments, Failed, Trial};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};
use memlet_diagnosis::evidence::{ContainerStatement, Exit};
use memlet_runtime::service::adopt::{AdoptError, Adopted};
use memlet_runtime::service::{Runtime, Settings, sweep};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::Channel;

fn main() -> ExitCode {
    if let Some(code) = memlet_runtime::shim::main_if_asked(std::env::args_os()) {
        return code;
    }
    let arguments = Arguments::from_args();
    let missing = what_is_missing();
    let required = std::env::var_os("REQUIRE_KERNEL").is_some();
    let trials = TESTS.iter().map(|(name, test)| {
        let missing = missing.clone();
        let ignored = missing.is_some() && !required;
        Trial::test(*name, move || match missing {
            Some(missing) => Err(Failed::from(format!("this machine lacks {missing}"))),
            None => test(),
        })
        .with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn what_is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    Hierarchy::detect().err().map(|error| format!("a memory cgroup: {error}"))
}

type Test = fn() -> Result<(), Failed>;

const TESTS: &[(&str, Test)] = &[
    ("what runs goes on and its end is seen", what_runs_goes_on),
    ("what ended meanwhile has ended of what it ended of", what_ended_meanwhile),
    ("a start that failed meanwhile has failed", a_start_that_failed),
    ("a killed supervisor takes its Pod along, and no other", a_killed_supervisor),
    ("a supervisor that is killed under a living daemon is told", killed_under_a_daemon),
    ("a killed pause ends its Pod", a_killed_pause),
    ("garbage costs what it was about", garbage),
    ("what was half made is removed", half_made),
    ("a supervisor without its folder is ended", without_its_folder),
    ("what a later version made is refused and left", a_later_version),
    ("a full disk stops neither a container nor its end", a_full_disk),
    ("a cgroup removed by hand is an end like others", a_cgroup_removed),
];

/// What all daemons of one test share, removed at the end.
struct Bench {
    settings: Settings,
    root: CgroupPath,
    pod: Cgroup,
    folder: tempfile::TempDir,
}

/// One daemon.
struct Daemon<'a> {
    bench: &'a Bench,
    _runtime: Runtime,
    client: RuntimeServiceClient<Channel>,
}

impl Bench {
    fn new(name: &str) -> Result<Self, Failed> {
        let hierarchy = Hierarchy::detect()?;
        let root: CgroupPath = format!("/memlet-test-{}-{name}", std::process::id()).parse()?;
        let pod = Cgroup::create(&hierarchy, &root.join("pod")?)?;
        pod.set_limit(memlet_cgroup::Limit::Bytes(Bytes::from_mib(256)))?;
        let folder = tempfile::tempdir()?;
        let settings = Settings {
            state: folder.path().join("state"),
            images: folder.path().join("images"),
            hierarchy,
            cgroup_driver: memlet_policy::cgroup_names::Driver::Cgroupfs,
            log_rotation: memlet_runtime::service::Rotation::default(),
        };
        Ok(Self { settings, root, pod, folder })
    }

    /// Runs a daemon that takes over what is there, does something, and dies.
    fn daemon<T>(
        &self,
        work: impl AsyncFnOnce(&mut Daemon<'_>, Adopted) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio.block_on(async {
            let runtime = Runtime::new(self.settings.clone())?;
            let adopted = runtime.adopt().await?;
            let client = RuntimeServiceClient::new(runtime.channel().await?);
            work(&mut Daemon { bench: self, _runtime: runtime, client }, adopted).await
        })
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("logs/{name}/0.log"))).unwrap_or_default()
    }

    fn sandboxes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.settings.state.join("sandboxes")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Where a container is.
    fn container(&self, id: &str) -> Result<PathBuf, Failed> {
        let found = self.sandboxes().into_iter().map(|sandbox| sandbox.join(id)).find(|path| path.exists());
        Ok(found.ok_or_else(|| format!("no folder of container {id}"))?)
    }

    /// The processes that were started for the sandbox: its supervisor, its pause, its containers.
    fn processes(&self) -> Vec<i32> {
        let ours = self.settings.state.join("sandboxes").display().to_string();
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&ours)
        })
        .collect()
    }

    fn supervisor(&self, sandbox: &str) -> Result<Pid, Failed> {
        let is_supervisor = |pid: &i32| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            line.contains(sandbox) && name.trim_end() == "memlet-shim"
        };
        let pid = self.processes().into_iter().find(is_supervisor).ok_or("no supervisor")?;
        Ok(Pid::from_raw(pid).ok_or("no pid")?)
    }

    /// Removes what a last daemon finds, and makes sure that nothing is left.
    fn finish(self) -> Result<(), Failed> {
        self.daemon(async |daemon, _| {
            for sandbox in daemon.sandboxes().await? {
                daemon.remove(&sandbox.id).await?;
            }
            Ok(())
        })?;
        assert_eq!(self.sandboxes(), Vec::<PathBuf>::new());
        assert_eq!(self.processes(), Vec::<i32>::new());
        let inside = self.pod.processes_recursive();
        assert!(inside.as_ref().is_ok_and(Vec::is_empty), "left: {inside:?}");
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        assert!(!mounts.contains(&self.settings.state.display().to_string()), "left mounts: {mounts}");
        let below = fs::read_dir(self.settings.hierarchy.dir(self.pod.path()))?.flatten();
        let below: Vec<_> = below.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        assert!(below.is_empty(), "left cgroups: {below:?}");
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = sweep::sweep(&self.settings) {
            eprintln!("cannot sweep: {error}");
        }
        if let Err(error) = self.settings.hierarchy.remove_everywhere(&self.root) {
            eprintln!("cannot remove {}: {error}", self.root);
        }
    }
}

impl Daemon<'_> {
    async fn sandbox(&mut self) -> Result<String, Failed> {
        let config = cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata { name: "pod".into(), attempt: 2, ..Default::default() }),
            hostname: "test-pod".into(),
            log_directory: self.bench.folder.path().join("logs").display().to_string(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: self.bench.pod.path().to_string(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = cri::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        Ok(self.client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    async fn create(
        &mut self,
        sandbox: &str,
        name: &str,
        limit: Bytes,
        arguments: &str,
    ) -> Result<String, Failed> {
        let config = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(cri::ImageSpec { image: "memlet.dev/memory-eater".into(), ..Default::default() }),
            args: arguments.split_whitespace().map(str::to_owned).collect(),
            log_path: format!("{name}/0.log"),
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(cri::LinuxContainerResources {
                    memory_limit_in_bytes: limit.get().cast_signed(),
                    oom_score_adj: 900,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            ..Default::default()
        };
        Ok(self.client.create_container(request).await?.into_inner().container_id)
    }

    async fn start(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.client.start_container(request).await.map(drop)
    }

    async fn eat(
        &mut self,
        sandbox: &str,
        name: &str,
        limit: Bytes,
        arguments: &str,
    ) -> Result<String, Failed> {
        let id = self.create(sandbox, name, limit, arguments).await?;
        self.start(&id).await?;
        Ok(id)
    }

    async fn status(&mut self, id: &str) -> Result<(cri::ContainerStatus, ContainerStatement), Failed> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.client.container_status(request).await?.into_inner();
        let statement = serde_json::from_str(&answer.info[ContainerStatement::INFO_KEY])?;
        Ok((answer.status.ok_or("no status")?, statement))
    }

    async fn end(&mut self, id: &str) -> Result<(cri::ContainerStatus, ContainerStatement), Failed> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.status(id).await?;
            if found.0.state() == cri::ContainerState::ContainerExited {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(format!("container {id} does not end").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn sandboxes(&mut self) -> Result<Vec<cri::PodSandbox>, Failed> {
        let request = cri::ListPodSandboxRequest { filter: None };
        Ok(self.client.list_pod_sandbox(request).await?.into_inner().items)
    }

    async fn is_ready(&mut self, sandbox: &str) -> Result<bool, Failed> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: sandbox.to_owned(), verbose: false };
        let status = self.client.pod_sandbox_status(request).await?.into_inner().status;
        Ok(status.is_some_and(|status| status.state() == cri::PodSandboxState::SandboxReady))
    }

    async fn stop(&mut self, id: &str, grace: i64) -> Result<(), Failed> {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        self.client.stop_container(request).await?;
        Ok(())
    }

    async fn remove(&mut self, sandbox: &str) -> Result<(), Failed> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: sandbox.to_owned() };
        self.client.remove_pod_sandbox(request).await?;
        Ok(())
    }
}

const MIB_64: Bytes = Bytes::from_mib(64);

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Failed> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("never: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// One that has ended and that nobody has reaped does not.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn what_runs_goes_on() -> Result<(), Failed> {
    let bench = Bench::new("runs")?;
    let (sandbox, id, before, created) = bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted::default());
        let sandbox = daemon.sandbox().await?;
        let id = daemon.eat(&sandbox, "eater", MIB_64, "40 0.3 --hold").await?;
        let created = daemon.create(&sandbox, "later", MIB_64, "8 0").await?;
        let before = daemon.status(&id).await?;
        Ok((sandbox, id, before, created))
    })?;
    // It takes its 40 MiB in five steps, most of them now, when there is no daemon.
    until("the log goes on without a daemon", || bench.log("eater").contains("  5000   39.1 MB"))?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted { sandboxes: 1, running: 1, ..Adopted::default() });
        let found = daemon.sandboxes().await?;
        assert_eq!(
            (found[0].id.as_str(), found[0].state()),
            (sandbox.as_str(), cri::PodSandboxState::SandboxReady)
        );
        assert_eq!(
            (found[0].metadata.as_ref().map(|it| it.attempt), found[0].labels["a"].as_str()),
            (Some(2), "b")
        );
        let after = daemon.status(&id).await?;
        assert_eq!(after, before, "the same process, since the same moment");
        // What was made and not started can be.
        daemon.start(&created).await?;
        assert_eq!(daemon.end(&created).await?.0.exit_code, 0);
        daemon.stop(&id, 10).await?;
        assert_eq!(daemon.status(&id).await?.0.exit_code, 143);
        Ok(())
    })?;
    bench.finish()
}

fn what_ended_meanwhile() -> Result<(), Failed> {
    let bench = Bench::new("ended")?;
    let (killed, code, pids) = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        let killed = daemon.eat(&sandbox, "killed", Bytes::from_mib(24), "300 0.2").await?;
        let code = daemon.eat(&sandbox, "code", MIB_64, "8 0.3 --exit 3").await?;
        let pids = [daemon.status(&killed).await?.1.pid, daemon.status(&code).await?.1.pid];
        Ok((killed, code, pids))
    })?;
    let folders = [bench.container(&killed)?, bench.container(&code)?];
    until("both ends are on disk", || folders.iter().all(|folder| folder.join("end.json").exists()))?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted { sandboxes: 1, ..Adopted::default() });
        let (status, statement) = daemon.status(&killed).await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        assert!(status.started_at > 0 && status.finished_at > status.started_at);
        assert_eq!(statement.pid, pids[0]);
        assert_eq!(statement.oom_score_adj.map(|score| score.wanted), Some(900));
        let end = statement.end.ok_or("no end")?;
        assert_eq!((end.exit, end.container.ok_or("no reading")?.oom_kills), (Exit::Signal(9), Some(1)));
        let (status, statement) = daemon.status(&code).await?;
        assert_eq!((status.exit_code, status.reason.as_str(), statement.pid), (3, "Error", pids[1]));
        Ok(())
    })?;
    // And again by the folder alone, with no supervisor to say it.
    let supervisor = bench.supervisor("")?;
    kill_process(supervisor, Signal::KILL)?;
    until("the supervisor is gone", || bench.processes().is_empty())?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted { dead: 1, ..Adopted::default() });
        let (status, statement) = daemon.status(&killed).await?;
        assert_eq!((status.exit_code, status.reason.as_str(), statement.pid), (137, "OOMKilled", pids[0]));
        Ok(())
    })?;
    bench.finish()
}

fn a_start_that_failed() -> Result<(), Failed> {
    let bench = Bench::new("failed")?;
    let id = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        let id = daemon.create(&sandbox, "eater", Bytes::from_kib(64), "8 0").await?;
        assert!(daemon.start(&id).await.is_err());
        Ok(id)
    })?;
    for _ in 0..2 {
        bench.daemon(async |daemon, _| {
            let status = daemon.status(&id).await?.0;
            assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
            assert!(status.message.contains("OOM-killed (memory limit too low?)"), "{}", status.message);
            Ok(())
        })?;
        // The second time without a supervisor.
        if let Ok(supervisor) = bench.supervisor("") {
            kill_process(supervisor, Signal::KILL)?;
            until("the supervisor is gone", || bench.processes().is_empty())?;
        }
    }
    bench.finish()
}

fn a_killed_supervisor() -> Result<(), Failed> {
    let bench = Bench::new("lost")?;
    let (dead, lost, lost_pid, kept, kept_pid) = bench.daemon(async |daemon, _| {
        let (dead, other) = (daemon.sandbox().await?, daemon.sandbox().await?);
        let lost = daemon.eat(&dead, "lost", MIB_64, "8 0 --hold").await?;
        let kept = daemon.eat(&other, "kept", MIB_64, "8 0 --hold").await?;
        let pids = (daemon.status(&lost).await?.1.pid, daemon.status(&kept).await?.1.pid);
        Ok((dead, lost, pids.0.ok_or("no pid")?, kept, pids.1.ok_or("no pid")?))
    })?;
    kill_process(bench.supervisor(&dead)?, Signal::KILL)?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted { sandboxes: 1, running: 1, dead: 1, removed: 0 });
        assert!(!runs(lost_pid), "nobody would see its end");
        let (status, statement) = daemon.status(&lost).await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "ContainerStatusUnknown"));
        assert!(status.message.contains("supervisor was killed"), "{}", status.message);
        assert!(status.started_at > 0);
        assert_eq!((statement.pid, statement.end), (Some(lost_pid), None));
        assert!(!daemon.is_ready(&dead).await?);
        assert!(runs(kept_pid));
        assert_eq!(daemon.status(&kept).await?.0.state(), cri::ContainerState::ContainerRunning);
        // It can be cleared away, and is no place for new containers.
        assert!(daemon.create(&dead, "new", MIB_64, "8 0").await.is_err());
        daemon.remove(&dead).await
    })?;
    bench.finish()
}

fn killed_under_a_daemon() -> Result<(), Failed> {
    let bench = Bench::new("under")?;
    for adopted_before in [false, true] {
        let made = async |daemon: &mut Daemon<'_>| -> Result<(String, String), Failed> {
            let sandbox = daemon.sandbox().await?;
            let id = daemon.eat(&sandbox, "eater", MIB_64, "8 0 --hold").await?;
            Ok((sandbox, id))
        };
        let before =
            if adopted_before { Some(bench.daemon(async |daemon, _| made(daemon).await)?) } else { None };
        bench.daemon(async |daemon, _| {
            let (sandbox, id) = match before {
                Some(before) => before,
                None => made(daemon).await?,
            };
            let pid = daemon.status(&id).await?.1.pid.ok_or("no pid")?;
            kill_process(bench.supervisor(&sandbox)?, Signal::KILL)?;
            let status = daemon.end(&id).await?.0;
            assert_eq!((status.exit_code, status.reason.as_str()), (137, "ContainerStatusUnknown"));
            assert!(!runs(pid));
            assert!(!daemon.is_ready(&sandbox).await?);
            daemon.remove(&sandbox).await
        })?;
    }
    bench.finish()
}

fn a_killed_pause() -> Result<(), Failed> {
    let bench = Bench::new("pause")?;
    let id = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        daemon.eat(&sandbox, "eater", MIB_64, "8 0 --hold").await
    })?;
    let is_pause =
        |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "pause\n");
    let pause = bench.processes().into_iter().find(is_pause).and_then(Pid::from_raw).ok_or("no pause")?;
    kill_process(pause, Signal::KILL)?;
    until("the Pod ends with its pause", || {
        bench.container(&id).is_ok_and(|it| it.join("end.json").exists())
    })?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted.running, 0);
        let status = daemon.status(&id).await?.0;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
        let sandbox = daemon.sandboxes().await?.remove(0);
        assert_eq!(sandbox.state(), cri::PodSandboxState::SandboxNotready);
        Ok(())
    })?;
    bench.finish()
}

fn garbage() -> Result<(), Failed> {
    let bench = Bench::new("garbage")?;
    let (spoilt, kept, ids, pids) = bench.daemon(async |daemon, _| {
        let (spoilt, kept) = (daemon.sandbox().await?, daemon.sandbox().await?);
        let ids = [
            daemon.eat(&spoilt, "a", MIB_64, "8 0 --hold").await?,
            daemon.eat(&kept, "b", MIB_64, "8 0 --hold").await?,
            daemon.eat(&kept, "c", MIB_64, "8 0 --hold").await?,
            daemon.eat(&kept, "d", MIB_64, "8 0 --hold").await?,
        ];
        let mut pids = Vec::new();
        for id in &ids {
            pids.push(daemon.status(id).await?.1.pid.ok_or("no pid")?);
        }
        Ok((spoilt, kept, ids, pids))
    })?;
    let sandboxes = bench.settings.state.join("sandboxes");
    fs::write(sandboxes.join(&spoilt).join("record.json"), "{\"version\":1,\"config\":\"")?;
    fs::write(bench.container(&ids[1])?.join("record.json"), "")?;
    fs::write(bench.container(&ids[2])?.join("launch.json"), "\0\0\0\0")?;
    fs::write(bench.container(&ids[3])?.join("start.json"), "garbage")?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted { sandboxes: 1, running: 1, dead: 0, removed: 3 });
        assert_eq!(pids.iter().map(|pid| runs(*pid)).collect::<Vec<_>>(), [false, false, false, true]);
        assert!(!sandboxes.join(&spoilt).exists());
        assert_eq!(daemon.sandboxes().await?.len(), 1);
        assert!(daemon.is_ready(&kept).await?);
        assert!(daemon.status(&ids[1]).await.is_err());
        let (status, statement) = daemon.status(&ids[3]).await?;
        assert_eq!(status.state(), cri::ContainerState::ContainerRunning);
        assert_eq!(statement.pid, Some(pids[3]), "its supervisor knows what the file does not");
        Ok(())
    })?;
    bench.finish()
}

fn half_made() -> Result<(), Failed> {
    let bench = Bench::new("half")?;
    let (sandbox, kept) = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        let kept = daemon.eat(&sandbox, "eater", MIB_64, "8 0 --hold").await?;
        Ok((sandbox, kept))
    })?;
    let sandboxes = bench.settings.state.join("sandboxes");
    let (half, half_container) =
        (sandboxes.join("a".repeat(64)), sandboxes.join(&sandbox).join("b".repeat(64)));
    fs::create_dir(&half)?;
    fs::copy(sandboxes.join(&sandbox).join("sandbox.json"), half.join("sandbox.draft"))?;
    fs::create_dir(&half_container)?;
    fs::write(half_container.join("config.json"), "{}")?;
    fs::create_dir(half_container.join("rootfs"))?;
    bench.daemon(async |daemon, adopted| {
        assert_eq!(adopted, Adopted { sandboxes: 1, running: 1, dead: 0, removed: 2 });
        assert!(!half.exists() && !half_container.exists());
        assert_eq!(daemon.status(&kept).await?.0.state(), cri::ContainerState::ContainerRunning);
        Ok(())
    })?;
    bench.finish()
}

fn without_its_folder() -> Result<(), Failed> {
    let bench = Bench::new("folder")?;
    let (sandbox, pid) = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        let id = daemon.eat(&sandbox, "eater", MIB_64, "8 0 --hold").await?;
        Ok((sandbox, daemon.status(&id).await?.1.pid.ok_or("no pid")?))
    })?;
    let folder = bench.settings.state.join("sandboxes").join(&sandbox);
    let supervisor = bench.supervisor(&sandbox)?;
    rustix::mount::unmount(folder.join("shm"), UnmountFlags::DETACH)?;
    fs::remove_dir_all(&folder)?;
    bench.daemon(async |_, adopted| {
        assert_eq!(adopted, Adopted { removed: 1, ..Adopted::default() });
        assert!(!runs(pid) && !runs(supervisor.as_raw_pid()));
        Ok(())
    })?;
    // Where they were, only the one who made the Pod's cgroup can know by now.
    for entry in fs::read_dir(bench.settings.hierarchy.dir(bench.pod.path()))?.flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|_| entry.path().is_dir()) {
            bench.settings.hierarchy.remove_everywhere(&bench.pod.path().join(name)?)?;
        }
    }
    bench.finish()
}

fn a_later_version() -> Result<(), Failed> {
    let bench = Bench::new("later")?;
    let (sandbox, pid) = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        let id = daemon.eat(&sandbox, "eater", MIB_64, "8 0 --hold").await?;
        Ok((sandbox, daemon.status(&id).await?.1.pid.ok_or("no pid")?))
    })?;
    let path = bench.settings.state.join("sandboxes").join(&sandbox).join("record.json");
    let record = fs::read(&path)?;
    fs::write(&path, "{\"version\":2,\"whatever\":[]}")?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let runtime = Runtime::new(bench.settings.clone())?;
    let error = tokio.block_on(runtime.adopt()).err().ok_or("it was taken over")?;
    assert!(matches!(error, AdoptError::Newer { version: 2, .. }), "{error}");
    assert!(runs(pid));
    fs::write(&path, record)?;
    bench.finish()
}

fn a_full_disk() -> Result<(), Failed> {
    let bench = Bench::new("full")?;
    bench.pod.set_limit(memlet_cgroup::Limit::Bytes(Bytes::from_mib(400)))?;
    let logs = bench.folder.path().join("logs");
    fs::create_dir_all(&logs)?;
    fs::create_dir_all(&bench.settings.state)?;
    rustix::mount::mount("logs", &logs, "tmpfs", MountFlags::empty(), Some(c"size=4k"))?;
    rustix::mount::mount("state", &bench.settings.state, "tmpfs", MountFlags::empty(), Some(c"size=256k"))?;
    let told = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        // 76 lines of more than 60 bytes: the log does not hold them.
        let id = daemon.eat(&sandbox, "eater", Bytes::from_mib(400), "300 0.01 --exit 4").await?;
        let late = daemon.create(&sandbox, "late", MIB_64, "8 0").await?;
        let filler = bench.settings.state.join("filler");
        let _ = fs::write(&filler, vec![1; 1 << 20]);
        let status = daemon.end(&id).await?.0;
        // Nothing more can be made or started, and that is said.
        let made = daemon.create(&sandbox, "more", MIB_64, "8 0").await.err().ok_or("made on a full disk")?;
        let started = daemon.start(&late).await.err().ok_or("started on a full disk")?;
        let said = [format!("{made:?}"), started.message().to_owned()];
        fs::remove_file(&filler)?;
        let after = daemon.eat(&sandbox, "after", MIB_64, "8 0").await?;
        assert_eq!(daemon.end(&after).await?.0.exit_code, 0);
        Ok((status.exit_code, said))
    })?;
    assert_eq!(told.0, 4);
    assert!(told.1.iter().all(|said| said.contains("No space left on device")), "{:?}", told.1);
    assert!(bench.log("eater").contains("  3000   23.4 MB"), "what the disk held is there");
    bench.daemon(async |daemon, adopted| {
        assert_eq!((adopted.sandboxes, adopted.removed), (1, 0));
        for sandbox in daemon.sandboxes().await? {
            daemon.remove(&sandbox.id).await?;
        }
        Ok(())
    })?;
    rustix::mount::unmount(&logs, UnmountFlags::DETACH)?;
    rustix::mount::unmount(&bench.settings.state, UnmountFlags::DETACH)?;
    bench.finish()
}

fn a_cgroup_removed() -> Result<(), Failed> {
    let bench = Bench::new("cgroup")?;
    let id = bench.daemon(async |daemon, _| {
        let sandbox = daemon.sandbox().await?;
        let id = daemon.eat(&sandbox, "eater", MIB_64, "8 0 --hold").await?;
        let path: CgroupPath = daemon.status(&id).await?.1.cgroup_path.parse()?;
        Cgroup::open(&bench.settings.hierarchy, &path)?.kill_all()?;
        bench.settings.hierarchy.remove_everywhere(&path)?;
        let status = daemon.end(&id).await?.0;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
        Ok(id)
    })?;
    bench.daemon(async |daemon, _| {
        assert_eq!(daemon.status(&id).await?.0.exit_code, 137);
        Ok(())
    })?;
    bench.finish()
}
