//! A runtime with one sandbox and a busybox image, in folders and cgroups of its own that are removed at the end.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_cri::v1 as cri;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use libtest_mimic::Failed;
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};
use memlet_diagnosis::evidence::ContainerStatement;
use memlet_runtime::images::ImageStore;
use memlet_runtime::service::{Rotation, Runtime, Settings, sweep};
use tonic::transport::Channel;

use crate::build::{self, Layer};

/// The name of the image.
pub(crate) const SHELL: &str = "example.org/test:1";

pub(crate) struct Bench {
    pub(crate) client: RuntimeServiceClient<Channel>,
    settings: Settings,
    root: CgroupPath,
    sandbox: String,
    folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl Bench {
    pub(crate) async fn new(name: &str) -> Result<Self, Failed> {
        Self::with_rotation(name, Rotation::default()).await
    }

    pub(crate) async fn with_rotation(name: &str, log_rotation: Rotation) -> Result<Self, Failed> {
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
            log_rotation,
        };
        import(&settings, &folder)?;
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
        Ok(Self { client, settings, root, sandbox, folder, _runtime: runtime })
    }

    /// Creates and starts a container, by default of the shell image, with these words as its command.
    pub(crate) async fn start(
        &mut self,
        command: &[&str],
        change: impl FnOnce(&mut cri::ContainerConfig),
    ) -> Result<String, Failed> {
        let mut config = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(cri::ImageSpec { image: SHELL.into(), ..Default::default() }),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            log_path: "c/0.log".to_owned(),
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(cri::LinuxContainerResources {
                    memory_limit_in_bytes: 64 << 20,
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
        let id = self.client.create_container(request).await?.into_inner().container_id;
        self.client.start_container(cri::StartContainerRequest { container_id: id.clone() }).await?;
        Ok(id)
    }

    pub(crate) async fn status(
        &mut self,
        id: &str,
    ) -> Result<(cri::ContainerStatus, ContainerStatement), Failed> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.client.container_status(request).await?.into_inner();
        let statement = serde_json::from_str(&answer.info[ContainerStatement::INFO_KEY])?;
        Ok((answer.status.ok_or("no status")?, statement))
    }

    pub(crate) async fn is_running(&mut self, id: &str) -> Result<bool, Failed> {
        Ok(self.status(id).await?.0.state == cri::ContainerState::ContainerRunning as i32)
    }

    /// Runs a command to its end: exit code, output, errors.
    pub(crate) async fn run(&mut self, id: &str, command: &[&str]) -> Result<(i32, String, String), Failed> {
        let request = cri::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 30,
        };
        let answer = self.client.exec_sync(request).await?.into_inner();
        Ok((answer.exit_code, String::from_utf8(answer.stdout)?, String::from_utf8(answer.stderr)?))
    }

    /// All that is in the container's folder, its root filesystem apart.
    pub(crate) fn files(&self, id: &str) -> Vec<String> {
        let folder = self.settings.state.join("sandboxes").join(&self.sandbox).join(id);
        let mut files: Vec<String> = [folder.clone(), folder.join("libcontainer").join(id)]
            .iter()
            .flat_map(|folder| fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        files
    }

    /// The container's log file.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("logs/c/0.log")
    }

    /// Ends everything and makes sure that nothing is left.
    pub(crate) async fn finish(mut self) -> Result<(), Failed> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: self.sandbox.clone() };
        self.client.remove_pod_sandbox(request).await?;
        let sandboxes: Vec<_> = fs::read_dir(self.settings.state.join("sandboxes"))?.flatten().collect();
        assert!(sandboxes.is_empty(), "left: {sandboxes:?}");
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let ours = self.folder.path().display().to_string();
        assert!(!mounts.contains(&ours), "left mounts: {mounts}");
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

fn import(settings: &Settings, folder: &tempfile::TempDir) -> Result<(), Failed> {
    let mut layer = Layer::new().folder("bin/", 0o755).folder("etc/", 0o755).folder("tmp/", 0o1777);
    layer = layer.program("bin/busybox", &fs::read("/bin/busybox")?);
    for name in ["sh", "cat", "echo", "id", "sleep", "stty", "tty", "yes", "seq", "head", "kill", "ps"] {
        layer = layer.symlink(&format!("bin/{name}"), "busybox");
    }
    layer = layer.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n").file("etc/group", b"root:x:0:\n");
    let recipe = build::Recipe { layers: vec![(layer.tar(), build::Stored::Plain)], ..build::image([]) };
    let path = folder.path().join("image.tar");
    fs::write(&path, build::archive(&recipe.oci()))?;
    ImageStore::open(&settings.images)?.import(&path, None, &mut |_| ())?;
    Ok(())
}

/// Waits for something to become true.
pub(crate) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failed>,
) -> Result<T, Failed> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("it does not happen: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
