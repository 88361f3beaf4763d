//! Real containers on this kernel, driven through CRI as a node agent drives it.
//!
//! Needs root and a writable memory cgroup. Where they are missing every test is reported as ignored with
//! the reason, and fails when `REQUIRE_KERNEL=1` is set, as in CI. A harness of its own, since the supervisor
//! runs from a copy of this very program.

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
use memlet_runtime::service::{Runtime, Settings, sweep};
use tonic::transport::Channel;

fn main() -> ExitCode {
    if let Some(code) = memlet_runtime::shim::main_if_asked(std::env::args_os()) {
        return code;
    }
    let arguments = Arguments::from_args();
    let missing = what_is_missing();
    let trials = TESTS.iter().map(|(name, test)| {
        let missing = missing.clone();
        let required = std::env::var_os("REQUIRE_KERNEL").is_some();
        let ignored = missing.is_some() && !required;
        let shown = if ignored {
            format!("{name} (needs {})", missing.clone().unwrap_or_default())
        } else {
            (*name).to_owned()
        };
        Trial::test(shown, move || match missing {
            Some(missing) => Err(Failed::from(format!("this machine lacks {missing}"))),
            None => block_on(*test),
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

type Test = fn() -> std::pin::Pin<Box<dyn Future<Output = Result<(), Failed>>>>;

fn block_on(test: Test) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test())
}

const TESTS: &[(&str, Test)] = &[
    ("a container within its limit completes", || Box::pin(within_its_limit())),
    ("a container over its limit is killed by the kernel", || Box::pin(over_its_limit())),
    ("a Pod-wide OOM kill takes along what is started behind it", || Box::pin(started_too_late())),
    ("a kill from outside is no OOM kill", || Box::pin(killed_from_outside())),
    ("a killed child does not end its container", || Box::pin(killed_child())),
    ("grace ends with SIGKILL", || Box::pin(grace())),
    ("a limit too low to start anything is said", || Box::pin(limit_too_low())),
    ("a terminal is one", || Box::pin(terminal())),
    ("what a dead daemon left is swept", || Box::pin(swept())),
];

/// A runtime with one sandbox, in folders and cgroups of its own that are removed at the end.
struct Bench {
    runtime: Runtime,
    client: RuntimeServiceClient<Channel>,
    settings: Settings,
    root: CgroupPath,
    pod: Cgroup,
    sandbox: String,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(name: &str) -> Result<Self, Failed> {
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
        let runtime = Runtime::new(settings.clone())?;
        let mut client = RuntimeServiceClient::new(runtime.channel().await?);
        let config = cri::PodSandboxConfig {
            hostname: "test-pod".into(),
            log_directory: folder.path().join("logs").display().to_string(),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: pod.path().to_string(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let request = cri::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let sandbox = client.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        Ok(Self { runtime, client, settings, root, pod, sandbox, folder })
    }

    async fn create(
        &mut self,
        name: &str,
        limit: Bytes,
        change: impl FnOnce(&mut cri::ContainerConfig),
    ) -> Result<String, Failed> {
        let mut config = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: name.into(), attempt: 0 }),
            image: Some(cri::ImageSpec { image: "memlet.dev/memory-eater".into(), ..Default::default() }),
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
        change(&mut config);
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: self.sandbox.clone(),
            config: Some(config),
            ..Default::default()
        };
        Ok(self.client.create_container(request).await?.into_inner().container_id)
    }

    async fn start(&mut self, id: &str) -> Result<(), tonic::Status> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.client.start_container(request).await.map(drop)
    }

    async fn eat(&mut self, name: &str, limit: Bytes, arguments: &str) -> Result<String, Failed> {
        let arguments = arguments.split_whitespace().map(str::to_owned).collect();
        let id = self.create(name, limit, |config| config.args = arguments).await?;
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
            if found.0.state == cri::ContainerState::ContainerExited as i32 {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(format!("container {id} does not end").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(format!("logs/{name}/0.log"))).unwrap_or_default()
    }

    /// Ends everything and makes sure that nothing is left.
    async fn finish(mut self) -> Result<(), Failed> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: self.sandbox.clone() };
        self.client.remove_pod_sandbox(request).await?;
        self.nothing_is_left()
    }

    fn nothing_is_left(&self) -> Result<(), Failed> {
        let sandboxes: Vec<_> = fs::read_dir(self.settings.state.join("sandboxes"))?.flatten().collect();
        assert!(sandboxes.is_empty(), "left: {sandboxes:?}");
        let inside = self.pod.processes_recursive();
        assert!(inside.as_ref().is_ok_and(Vec::is_empty) || inside.is_err(), "left: {inside:?}");
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let ours = self.folder.path().display().to_string();
        assert!(!mounts.contains(&ours), "left mounts: {mounts}");
        for mount in self.settings.hierarchy.mount_points() {
            let pod = mount.join(self.pod.path().as_str().trim_start_matches('/'));
            if pod.exists() {
                let below: Vec<PathBuf> =
                    fs::read_dir(&pod)?.flatten().map(|it| it.path()).filter(|it| it.is_dir()).collect();
                assert!(below.is_empty(), "left cgroups: {below:?}");
            }
        }
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
        let _ = &self.runtime;
    }
}

async fn within_its_limit() -> Result<(), Failed> {
    let mut bench = Bench::new("within").await?;
    let id = bench.eat("eater", Bytes::from_mib(64), "16 0").await?;
    let (status, statement) = bench.end(&id).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    let end = statement.end.ok_or("no end")?;
    assert_eq!(end.container.ok_or("no reading")?.oom_kills, Some(0));
    assert_eq!(statement.oom_score_adj.ok_or("no score")?.actual, Some(900));
    let log = bench.log("eater");
    let lines: Vec<_> = log.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default()).collect();
    assert_eq!(lines, ["  1000    7.8 MB", "  2000   15.6 MB", "  1000    8.2 MB", "  2000    0.4 MB"]);
    bench.finish().await
}

async fn over_its_limit() -> Result<(), Failed> {
    let mut bench = Bench::new("over").await?;
    let id = bench.eat("eater", Bytes::from_mib(32), "300 0").await?;
    let (status, statement) = bench.end(&id).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    let reading = statement.end.ok_or("no end")?.container.ok_or("no reading")?;
    assert_eq!(reading.oom_kills, Some(1));
    assert!(reading.peak >= Some(Bytes::from_mib(31)), "killed at {:?}, so not by this limit", reading.peak);
    let log = bench.log("eater");
    assert!(log.contains("  3000   23.4 MB"), "the last line before the kill is lost: {log}");
    bench.finish().await
}

async fn started_too_late() -> Result<(), Failed> {
    let mut bench = Bench::new("late").await?;
    let create = async |bench: &mut Bench, name: &str, arguments: &[&str]| -> Result<String, Failed> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let id = bench.create(name, Bytes::from_mib(32), |config| {
            config.args = arguments;
            config.annotations.insert("memlet.dev/oom-kill-mode".to_owned(), "pod".to_owned());
        });
        let id = id.await?;
        bench.start(&id).await?;
        Ok(id)
    };
    let eater = create(&mut bench, "eater", &["300", "0"]).await?;
    assert_eq!(bench.end(&eater).await?.0.reason, "OOMKilled");
    let late = create(&mut bench, "late", &["8", "0", "--hold"]).await?;
    let (status, statement) = bench.end(&late).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    let cause = statement.end.ok_or("no end")?.taken_along.ok_or("nothing took it along")?;
    assert_eq!(cause.container, "eater");
    let again = create(&mut bench, "eater", &["8", "0"]).await?;
    assert_eq!(bench.end(&again).await?.0.exit_code, 0, "one that ran before is started again in order");
    bench.finish().await
}

async fn killed_from_outside() -> Result<(), Failed> {
    let mut bench = Bench::new("outside").await?;
    let id = bench.eat("eater", Bytes::from_mib(64), "8 0 --hold").await?;
    let pid = bench.status(&id).await?.1.pid.ok_or("no pid")?;
    let pid = rustix::process::Pid::from_raw(pid).ok_or("no pid")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    let (status, statement) = bench.end(&id).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    assert_eq!(statement.end.ok_or("no end")?.exit, Exit::Signal(9));
    bench.finish().await
}

async fn killed_child() -> Result<(), Failed> {
    let mut bench = Bench::new("child").await?;
    let id = bench.eat("eater", Bytes::from_mib(32), "300 0 --children 1").await?;
    let (status, statement) = bench.end(&id).await?;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "Completed"));
    assert_eq!(statement.end.ok_or("no end")?.container.ok_or("no reading")?.oom_kills, Some(1));
    assert!(bench.log("eater").contains("child 1 was killed by signal 9"), "{}", bench.log("eater"));
    bench.finish().await
}

async fn grace() -> Result<(), Failed> {
    let mut bench = Bench::new("grace").await?;
    // SIGTERM is for the eater a reason to end; a program that ignores it is killed.
    let id = bench.eat("eater", Bytes::from_mib(64), "8 0 --hold").await?;
    let request = cri::StopContainerRequest { container_id: id.clone(), timeout: 10 };
    let began = Instant::now();
    bench.client.stop_container(request).await?;
    assert!(began.elapsed() < Duration::from_secs(5), "it ended {:?} after SIGTERM", began.elapsed());
    assert_eq!(bench.status(&id).await?.0.exit_code, 143);
    let id = bench.eat("stubborn", Bytes::from_mib(64), "8 0 --hold").await?;
    let request = cri::StopContainerRequest { container_id: id.clone(), timeout: 0 };
    bench.client.stop_container(request).await?;
    assert_eq!(bench.status(&id).await?.0.exit_code, 137);
    bench.finish().await
}

async fn limit_too_low() -> Result<(), Failed> {
    let mut bench = Bench::new("low").await?;
    let began = Instant::now();
    let id = bench.create("eater", Bytes::from_kib(64), |_| {}).await?;
    let error = bench.start(&id).await.err().ok_or("a container within 64Ki must not start")?;
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert!(error.message().contains("OOM-killed (memory limit too low?)"), "{}", error.message());
    let status = bench.status(&id).await?.0;
    assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"), "{}", status.message);
    bench.finish().await
}

async fn terminal() -> Result<(), Failed> {
    let mut bench = Bench::new("tty").await?;
    let id = bench
        .create("eater", Bytes::from_mib(64), |config| {
            config.tty = true;
            config.args = ["16", "0", "--no-flush", "--hold"].map(str::to_owned).to_vec();
        })
        .await?;
    bench.start(&id).await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    // On a terminal stdio does not hold lines back: they are there while the program still runs.
    while !bench.log("eater").contains("  2000   15.6 MB") {
        assert!(Instant::now() < deadline, "no line on the terminal: {:?}", bench.log("eater"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.finish().await
}

async fn swept() -> Result<(), Failed> {
    let mut bench = Bench::new("swept").await?;
    let id = bench.eat("eater", Bytes::from_mib(64), "8 0 --hold").await?;
    let pid = bench.status(&id).await?.1.pid.ok_or("no pid")?;
    // As if the daemon had been killed: nothing is told to end, the next start finds it.
    let settings = bench.settings.clone();
    let swept = tokio::task::spawn_blocking(move || sweep::sweep(&settings)).await??;
    assert_eq!(swept, 1);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "the container's process lives on");
    bench.nothing_is_left()
}
