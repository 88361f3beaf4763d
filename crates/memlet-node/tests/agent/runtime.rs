//! A container runtime of a hundred lines: no namespaces, no images, but real processes in real cgroups, and a
//! statement about each as the embedded runtime gives it. Its own reasons are always wrong (`OOMKilled`), so
//! that nobody can pass a test by believing them.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_cri::v1::image_service_server::{ImageService, ImageServiceServer};
use k8s_cri::v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};
#[allow(clippy::wildcard_imports, reason = "the trait names nearly all of them")]
use k8s_cri::v1::{self as cri, *};
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Limit};
use memlet_diagnosis::evidence::{ContainerEnd, ContainerStatement, Exit};
use tokio::sync::broadcast;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// One container.
#[derive(Clone)]
struct Known {
    sandbox: String,
    config: ContainerConfig,
    statement: ContainerStatement,
    started_at: i64,
    ended_at: i64,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<String, String>,
    /// No sandbox comes to be: the kernel kills its first process.
    failing_sandboxes: bool,
    containers: HashMap<String, Known>,
    made: u32,
    silent: bool,
}

/// The runtime; clones share their state.
#[derive(Clone)]
pub(crate) struct Runtime {
    hierarchy: Hierarchy,
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<ContainerEventResponse>,
}

fn now() -> i64 {
    jiff::Timestamp::now().as_nanosecond().try_into().unwrap()
}

impl Runtime {
    pub(crate) fn new(hierarchy: Hierarchy) -> Self {
        Self { hierarchy, state: Arc::default(), events: broadcast::Sender::new(100) }
    }

    /// Serves CRI on an in-memory connection.
    pub(crate) async fn serve(&self) -> Channel {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (this, images) = (self.clone(), self.clone());
        tokio::spawn(async move {
            Server::builder()
                .add_service(RuntimeServiceServer::new(this))
                .add_service(ImageServiceServer::new(images))
                .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(server)))
                .await
        });
        let mut client = Some(client);
        let connector = tower::service_fn(move |_| {
            let client = client.take();
            async move {
                let client = client.ok_or_else(|| std::io::Error::other("connected twice"))?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(client))
            }
        });
        Endpoint::from_static("http://memory").connect_with_connector(connector).await.unwrap()
    }

    /// The main process of the container with this name.
    pub(crate) fn pid(&self, container: &str) -> Option<i32> {
        let state = self.state.lock().unwrap();
        let name = |known: &&Known| known.config.metadata.as_ref().unwrap().name == container;
        state.containers.values().find(name)?.statement.pid
    }

    /// What the container with this name was given to see, and whether it may write there.
    pub(crate) fn mounts(&self, container: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let name = |known: &&Known| known.config.metadata.as_ref().unwrap().name == container;
        let mounts = &state.containers.values().find(name).unwrap().config.mounts;
        let line =
            |mount: &Mount| format!("{} {}", mount.container_path, if mount.readonly { "ro" } else { "rw" });
        mounts.iter().map(line).collect()
    }

    /// From now on it makes no statements, as every runtime but the embedded one.
    pub(crate) fn be_silent(&self) {
        self.state.lock().unwrap().silent = true;
    }

    /// From now on the kernel kills the first process of every sandbox before the sandbox is there.
    pub(crate) fn lose_sandboxes(&self) {
        self.state.lock().unwrap().failing_sandboxes = true;
    }

    /// The kernel kills the pause process of the only sandbox, and its containers end with it.
    pub(crate) async fn lose_pause(&self) {
        let (id, parent) = {
            let state = self.state.lock().unwrap();
            let (id, parent) = state.sandboxes.iter().next().unwrap();
            (id.clone(), parent.clone())
        };
        self.eat_in_sandbox(&id, &parent).await;
        let pids: Vec<i32> = {
            let state = self.state.lock().unwrap();
            state.containers.values().filter_map(|known| known.statement.pid).collect()
        };
        for pid in pids {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }

    /// A process in the sandbox's group that eats until the Pod's limit kills it.
    async fn eat_in_sandbox(&self, id: &str, parent: &str) {
        let path = parent.parse::<CgroupPath>().unwrap().join(id).unwrap();
        Cgroup::create(&self.hierarchy, &path).unwrap();
        // Sure to be the one that is chosen.
        let script = "echo 1000 > /proc/self/oom_score_adj; echo $$ > \"$0\" && exec tail /dev/zero";
        let procs = self.hierarchy.dir(&path).join("cgroup.procs");
        let mut process = tokio::process::Command::new("sh");
        let process = process.args(["-c", script]).arg(procs).stdin(Stdio::null()).stderr(Stdio::null());
        assert!(!process.status().await.unwrap().success());
    }

    /// How many sandboxes and containers there still are.
    pub(crate) fn leftovers(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.sandboxes.len() + state.containers.len()
    }

    fn id(&self) -> String {
        let mut state = self.state.lock().unwrap();
        state.made += 1;
        format!("{:064x}", state.made)
    }

    fn group(&self, id: &str) -> Option<Cgroup> {
        let state = self.state.lock().unwrap();
        let path: CgroupPath = state.containers.get(id)?.statement.cgroup_path.parse().unwrap();
        Cgroup::open(&self.hierarchy, &path).ok()
    }

    async fn reap(self, id: String, mut process: tokio::process::Child, pod: CgroupPath) {
        use std::os::unix::process::ExitStatusExt;
        let status = process.wait().await.unwrap();
        let exit = status.code().map(Exit::Code).or(status.signal().map(Exit::Signal)).unwrap();
        let end = ContainerEnd {
            exit,
            at: jiff::Timestamp::now(),
            container: self.group(&id).map(|group| group.snapshot()),
            pod: Cgroup::open(&self.hierarchy, &pod).ok().map(|group| group.snapshot()),
            taken_along: None,
        };
        {
            let mut state = self.state.lock().unwrap();
            let Some(known) = state.containers.get_mut(&id) else { return };
            known.statement.end = Some(end);
            known.ended_at = now();
        }
        let _ = self.events.send(ContainerEventResponse {
            container_id: id,
            container_event_type: ContainerEventType::ContainerStoppedEvent.into(),
            ..Default::default()
        });
    }

    async fn stop(&self, id: &str, grace: i64) {
        let pid = self
            .state
            .lock()
            .unwrap()
            .containers
            .get(id)
            .and_then(|known| known.statement.pid.filter(|_| known.statement.end.is_none()));
        let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) else { return };
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(grace.try_into().unwrap());
        loop {
            let ended = self
                .state
                .lock()
                .unwrap()
                .containers
                .get(id)
                .is_none_or(|known| known.statement.end.is_some());
            if ended {
                return;
            }
            if tokio::time::Instant::now() >= deadline {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop_all(&self, sandbox: &str) {
        let ids: Vec<String> = {
            let state = self.state.lock().unwrap();
            let ours = state.containers.iter().filter(|(_, known)| known.sandbox == sandbox);
            ours.map(|(id, _)| id.clone()).collect()
        };
        for id in ids {
            self.stop(&id, 0).await;
            if let Some(group) = self.group(&id) {
                group.kill_all().unwrap();
                group.remove().unwrap();
            }
        }
    }
}

/// Calls that the agent does not make.
macro_rules! unused {
    ($($name:ident($request:ident) -> $response:ident;)*) => {
        // As `async_trait` writes an async method: it does not look into macros.
        $(fn $name<'a, 'async_trait>(
            &'a self,
            _: Request<$request>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'async_trait>>
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        })*
    };
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    type GetContainerEventsStream = std::pin::Pin<
        Box<dyn tokio_stream::Stream<Item = Result<ContainerEventResponse, Status>> + Send + 'static>,
    >;

    async fn version(&self, _: Request<VersionRequest>) -> Answer<VersionResponse> {
        Ok(Response::new(VersionResponse {
            runtime_name: "processes".into(),
            runtime_version: "1".into(),
            ..Default::default()
        }))
    }

    async fn run_pod_sandbox(&self, request: Request<RunPodSandboxRequest>) -> Answer<RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap();
        let id = self.id();
        if self.state.lock().unwrap().failing_sandboxes {
            self.eat_in_sandbox(&id, &config.linux.unwrap().cgroup_parent).await;
            return Err(Status::unknown("the pause process was OOM-killed (memory limit too low?)"));
        }
        self.state.lock().unwrap().sandboxes.insert(id.clone(), config.linux.unwrap().cgroup_parent);
        Ok(Response::new(RunPodSandboxResponse { pod_sandbox_id: id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Answer<StopPodSandboxResponse> {
        self.stop_all(&request.into_inner().pod_sandbox_id).await;
        Ok(Response::new(StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Answer<RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        self.stop_all(&id).await;
        let mut state = self.state.lock().unwrap();
        state.containers.retain(|_, known| known.sandbox != id);
        state.sandboxes.remove(&id);
        Ok(Response::new(RemovePodSandboxResponse {}))
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Answer<CreateContainerResponse> {
        let CreateContainerRequest { pod_sandbox_id, config, .. } = request.into_inner();
        let config = config.unwrap();
        let id = self.id();
        let parent: CgroupPath = self.state.lock().unwrap().sandboxes[&pod_sandbox_id].parse().unwrap();
        let path = parent.join(&id).unwrap();
        let group = Cgroup::create(&self.hierarchy, &path).unwrap();
        let resources = config.linux.as_ref().unwrap().resources.as_ref().unwrap();
        if resources.memory_limit_in_bytes > 0 {
            let limit = memlet_bytes::Bytes::new(resources.memory_limit_in_bytes.try_into().unwrap());
            group.set_limit(Limit::from(limit)).unwrap();
        }
        let statement =
            ContainerStatement { pid: None, cgroup_path: path.to_string(), oom_score_adj: None, end: None };
        let known = Known { sandbox: pod_sandbox_id, config, statement, started_at: 0, ended_at: 0 };
        self.state.lock().unwrap().containers.insert(id.clone(), known);
        Ok(Response::new(CreateContainerResponse { container_id: id }))
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Answer<StartContainerResponse> {
        let id = request.into_inner().container_id;
        let known = self.state.lock().unwrap().containers[&id].clone();
        let path: CgroupPath = known.statement.cgroup_path.parse().unwrap();
        let procs = self.hierarchy.dir(&path).join("cgroup.procs");
        // The shell moves itself, then becomes the container's main process.
        let process = tokio::process::Command::new("sh")
            .arg("-c")
            .arg("echo $$ > \"$0\" && exec \"$@\"")
            .arg(procs)
            .args(known.config.command.iter().chain(&known.config.args))
            .envs(known.config.envs.iter().map(|env| (&env.key, &env.value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        {
            let mut state = self.state.lock().unwrap();
            let known = state.containers.get_mut(&id).unwrap();
            known.statement.pid = process.id().map(|pid| pid.try_into().unwrap());
            known.started_at = now();
        }
        tokio::spawn(self.clone().reap(id.clone(), process, path.parent().unwrap()));
        // A container that is said to run is in its group.
        let group = self.group(&id).unwrap();
        let ended = || self.state.lock().unwrap().containers[&id].statement.end.is_some();
        while group.processes().unwrap().is_empty() && !ended() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Response::new(StartContainerResponse {}))
    }

    async fn stop_container(&self, request: Request<StopContainerRequest>) -> Answer<StopContainerResponse> {
        let StopContainerRequest { container_id, timeout } = request.into_inner();
        self.stop(&container_id, timeout).await;
        Ok(Response::new(StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Answer<RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        if let Some(group) = self.group(&id) {
            group.remove().unwrap();
        }
        self.state.lock().unwrap().containers.remove(&id);
        Ok(Response::new(RemoveContainerResponse {}))
    }

    async fn list_containers(&self, _: Request<ListContainersRequest>) -> Answer<ListContainersResponse> {
        Ok(Response::new(ListContainersResponse::default()))
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Answer<ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let state = self.state.lock().unwrap();
        let known = state.containers.get(&id).ok_or_else(|| Status::not_found(id.clone()))?;
        let end = known.statement.end.as_ref();
        let status = ContainerStatus {
            id,
            state: match end {
                Some(_) => cri::ContainerState::ContainerExited.into(),
                None => cri::ContainerState::ContainerRunning.into(),
            },
            started_at: known.started_at,
            finished_at: known.ended_at,
            exit_code: end.map_or(0, |end| end.exit.code()),
            reason: end.map(|_| "OOMKilled".to_owned()).unwrap_or_default(),
            image: known.config.image.clone(),
            image_ref: "sha256:0".into(),
            ..Default::default()
        };
        let text = serde_json::to_string(&known.statement).unwrap();
        let info = HashMap::from([(ContainerStatement::INFO_KEY.to_owned(), text)]);
        let info = if state.silent { HashMap::new() } else { info };
        Ok(Response::new(ContainerStatusResponse { status: Some(status), info }))
    }

    async fn get_container_events(
        &self,
        _: Request<GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        use tokio_stream::StreamExt;
        let events = tokio_stream::wrappers::BroadcastStream::new(self.events.subscribe());
        Ok(Response::new(Box::pin(
            events.map(|event| event.map_err(|error| Status::data_loss(error.to_string()))),
        )))
    }

    unused! {
        pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
        list_pod_sandbox(ListPodSandboxRequest) -> ListPodSandboxResponse;
        update_container_resources(UpdateContainerResourcesRequest) -> UpdateContainerResourcesResponse;
        reopen_container_log(ReopenContainerLogRequest) -> ReopenContainerLogResponse;
        exec_sync(ExecSyncRequest) -> ExecSyncResponse;
        exec(ExecRequest) -> ExecResponse;
        attach(AttachRequest) -> AttachResponse;
        port_forward(PortForwardRequest) -> PortForwardResponse;
        container_stats(ContainerStatsRequest) -> ContainerStatsResponse;
        list_container_stats(ListContainerStatsRequest) -> ListContainerStatsResponse;
        pod_sandbox_stats(PodSandboxStatsRequest) -> PodSandboxStatsResponse;
        list_pod_sandbox_stats(ListPodSandboxStatsRequest) -> ListPodSandboxStatsResponse;
        update_runtime_config(UpdateRuntimeConfigRequest) -> UpdateRuntimeConfigResponse;
        status(StatusRequest) -> StatusResponse;
        checkpoint_container(CheckpointContainerRequest) -> CheckpointContainerResponse;
        list_metric_descriptors(ListMetricDescriptorsRequest) -> ListMetricDescriptorsResponse;
        list_pod_sandbox_metrics(ListPodSandboxMetricsRequest) -> ListPodSandboxMetricsResponse;
        runtime_config(RuntimeConfigRequest) -> RuntimeConfigResponse;
    }
}

#[tonic::async_trait]
impl ImageService for Runtime {
    /// Every image is here but those called `missing…`.
    async fn image_status(&self, request: Request<ImageStatusRequest>) -> Answer<ImageStatusResponse> {
        let image = request.into_inner().image.unwrap().image;
        let found =
            (!image.starts_with("missing")).then(|| Image { id: image, size: 7, ..Default::default() });
        Ok(Response::new(ImageStatusResponse { image: found, ..Default::default() }))
    }

    async fn pull_image(&self, request: Request<PullImageRequest>) -> Answer<PullImageResponse> {
        let image = request.into_inner().image.unwrap().image;
        if image.starts_with("missing") {
            return Err(Status::not_found(format!("image {image} is not in the store")));
        }
        Ok(Response::new(PullImageResponse { image_ref: image }))
    }

    unused! {
        list_images(ListImagesRequest) -> ListImagesResponse;
        remove_image(RemoveImageRequest) -> RemoveImageResponse;
        image_fs_info(ImageFsInfoRequest) -> ImageFsInfoResponse;
    }
}
