//! CRI's runtime service: each call put into this runtime's words, each answer into CRI's.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use k8s_cri::v1::runtime_service_server::RuntimeService;
use k8s_cri::v1::{self as cri, ContainerState as CriState, PodSandboxState};
use memlet_diagnosis::evidence::{ContainerEnd, ContainerStatement};
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::container::{not_found, statement};
use super::table::{Container, ContainerState, Sandbox, SandboxState};
use super::{Runtime, nanoseconds};

type Answer<T> = Result<Response<T>, Status>;

/// The exit code of a container whose program could not be started, as containerd gives it.
const START_FAILED: i32 = 128;
/// The exit code where nobody knows, and the reason, as kubelet has both for a container that it cannot find: it has been
/// killed if it was not over.
const UNKNOWN: (i32, &str) = (137, "ContainerStatusUnknown");

#[tonic::async_trait]
impl RuntimeService for Runtime {
    async fn version(&self, _: Request<cri::VersionRequest>) -> Answer<cri::VersionResponse> {
        Ok(Response::new(cri::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "memlet".to_owned(),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<cri::RunPodSandboxRequest>,
    ) -> Answer<cri::RunPodSandboxResponse> {
        let config = request.into_inner().config.unwrap_or_default();
        let pod_sandbox_id = self.run_sandbox(config).await?;
        Ok(Response::new(cri::RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<cri::StopPodSandboxRequest>,
    ) -> Answer<cri::StopPodSandboxResponse> {
        self.stop_sandbox(&request.into_inner().pod_sandbox_id).await?;
        Ok(Response::new(cri::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<cri::RemovePodSandboxRequest>,
    ) -> Answer<cri::RemovePodSandboxResponse> {
        self.remove_sandbox(&request.into_inner().pod_sandbox_id).await?;
        Ok(Response::new(cri::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<cri::PodSandboxStatusRequest>,
    ) -> Answer<cri::PodSandboxStatusResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let rows = self.0.tables.look();
        let sandbox = rows.sandboxes.get(&id).ok_or_else(|| Status::not_found(format!("no sandbox {id}")))?;
        let status = cri::PodSandboxStatus {
            id,
            metadata: sandbox.config.metadata.clone(),
            state: sandbox_state(sandbox) as i32,
            created_at: sandbox.created_at,
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            ..Default::default()
        };
        Ok(Response::new(cri::PodSandboxStatusResponse { status: Some(status), ..Default::default() }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<cri::ListPodSandboxRequest>,
    ) -> Answer<cri::ListPodSandboxResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let rows = self.0.tables.look();
        let items = rows
            .sandboxes
            .iter()
            .filter(|(id, _)| filter.id.is_empty() || **id == filter.id)
            .filter(|(_, row)| {
                filter.state.as_ref().is_none_or(|wanted| wanted.state == sandbox_state(row) as i32)
            })
            .filter(|(_, row)| is_within(&filter.label_selector, &row.config.labels))
            .map(|(id, row)| cri::PodSandbox {
                id: id.clone(),
                metadata: row.config.metadata.clone(),
                state: sandbox_state(row) as i32,
                created_at: row.created_at,
                labels: row.config.labels.clone(),
                annotations: row.config.annotations.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(cri::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<cri::CreateContainerRequest>,
    ) -> Answer<cri::CreateContainerResponse> {
        let request = request.into_inner();
        let config = request.config.unwrap_or_default();
        let container_id = Runtime::create_container(self, &request.pod_sandbox_id, config).await?;
        Ok(Response::new(cri::CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<cri::StartContainerRequest>,
    ) -> Answer<cri::StartContainerResponse> {
        Runtime::start_container(self, &request.into_inner().container_id).await?;
        Ok(Response::new(cri::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<cri::StopContainerRequest>,
    ) -> Answer<cri::StopContainerResponse> {
        let request = request.into_inner();
        Runtime::stop_container(self, &request.container_id, request.timeout).await?;
        Ok(Response::new(cri::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<cri::RemoveContainerRequest>,
    ) -> Answer<cri::RemoveContainerResponse> {
        Runtime::remove_container(self, &request.into_inner().container_id).await?;
        Ok(Response::new(cri::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<cri::ListContainersRequest>,
    ) -> Answer<cri::ListContainersResponse> {
        let filter = request.into_inner().filter.unwrap_or_default();
        let rows = self.0.tables.look();
        let containers = rows
            .containers
            .iter()
            .filter(|(id, _)| filter.id.is_empty() || **id == filter.id)
            .filter(|(_, row)| filter.pod_sandbox_id.is_empty() || row.sandbox == filter.pod_sandbox_id)
            .filter(|(_, row)| {
                filter.state.as_ref().is_none_or(|wanted| wanted.state == container_state(row) as i32)
            })
            .filter(|(_, row)| is_within(&filter.label_selector, &row.config.labels))
            .map(|(id, row)| cri::Container {
                id: id.clone(),
                pod_sandbox_id: row.sandbox.clone(),
                metadata: row.config.metadata.clone(),
                image: Some(row.image.clone()),
                image_ref: row.image_id.clone(),
                state: container_state(row) as i32,
                created_at: row.created_at,
                labels: row.config.labels.clone(),
                annotations: row.config.annotations.clone(),
                ..Default::default()
            })
            .collect();
        Ok(Response::new(cri::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<cri::ContainerStatusRequest>,
    ) -> Answer<cri::ContainerStatusResponse> {
        let request = request.into_inner();
        let rows = self.0.tables.look();
        let row =
            rows.containers.get(&request.container_id).ok_or_else(|| not_found(&request.container_id))?;
        let mut answer = cri::ContainerStatusResponse {
            status: Some(container_status(&request.container_id, row)),
            ..Default::default()
        };
        if request.verbose {
            let statement = serde_json::to_string(&statement(row))
                .map_err(|error| Status::internal(error.to_string()))?;
            answer.info.insert(ContainerStatement::INFO_KEY.to_owned(), statement);
        }
        Ok(Response::new(answer))
    }

    async fn status(&self, _: Request<cri::StatusRequest>) -> Answer<cri::StatusResponse> {
        let ready = |name: &str| cri::RuntimeCondition {
            r#type: name.to_owned(),
            status: true,
            ..Default::default()
        };
        let conditions = vec![ready("RuntimeReady"), ready("NetworkReady")];
        Ok(Response::new(cri::StatusResponse {
            status: Some(cri::RuntimeStatus { conditions }),
            ..Default::default()
        }))
    }

    async fn runtime_config(
        &self,
        _: Request<cri::RuntimeConfigRequest>,
    ) -> Answer<cri::RuntimeConfigResponse> {
        Ok(Response::new(cri::RuntimeConfigResponse {
            linux: Some(cri::LinuxRuntimeConfiguration {
                cgroup_driver: self.0.settings.cgroup_driver() as i32,
            }),
        }))
    }

    async fn update_runtime_config(
        &self,
        _: Request<cri::UpdateRuntimeConfigRequest>,
    ) -> Answer<cri::UpdateRuntimeConfigResponse> {
        Ok(Response::new(cri::UpdateRuntimeConfigResponse {}))
    }

    type GetContainerEventsStream =
        Pin<Box<dyn Stream<Item = Result<cri::ContainerEventResponse, Status>> + Send>>;

    async fn get_container_events(
        &self,
        _: Request<cri::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let events = BroadcastStream::new(self.0.events.subscribe());
        // A client that fell behind must list again; CRI has no word for that but an error.
        let events = events.map(|event| event.map_err(|missed| Status::data_loss(missed.to_string())));
        Ok(Response::new(Box::pin(events)))
    }

    async fn update_container_resources(
        &self,
        _: Request<cri::UpdateContainerResourcesRequest>,
    ) -> Answer<cri::UpdateContainerResourcesResponse> {
        Err(not_yet("changing a running container's resources"))
    }

    async fn reopen_container_log(
        &self,
        request: Request<cri::ReopenContainerLogRequest>,
    ) -> Answer<cri::ReopenContainerLogResponse> {
        self.reopen_log(&request.into_inner().container_id).await?;
        Ok(Response::new(cri::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<cri::ExecSyncRequest>) -> Answer<cri::ExecSyncResponse> {
        self.run_in_container(request.into_inner()).await.map(Response::new)
    }

    async fn exec(&self, request: Request<cri::ExecRequest>) -> Answer<cri::ExecResponse> {
        let url = self.exec_address(request.into_inner()).await?;
        Ok(Response::new(cri::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<cri::AttachRequest>) -> Answer<cri::AttachResponse> {
        let url = self.attach_address(request.into_inner()).await?;
        Ok(Response::new(cri::AttachResponse { url }))
    }

    async fn port_forward(&self, _: Request<cri::PortForwardRequest>) -> Answer<cri::PortForwardResponse> {
        Err(not_yet("port forwarding"))
    }

    async fn container_stats(
        &self,
        _: Request<cri::ContainerStatsRequest>,
    ) -> Answer<cri::ContainerStatsResponse> {
        Err(not_yet("container statistics"))
    }

    async fn list_container_stats(
        &self,
        _: Request<cri::ListContainerStatsRequest>,
    ) -> Answer<cri::ListContainerStatsResponse> {
        Err(not_yet("container statistics"))
    }

    async fn pod_sandbox_stats(
        &self,
        _: Request<cri::PodSandboxStatsRequest>,
    ) -> Answer<cri::PodSandboxStatsResponse> {
        Err(not_yet("sandbox statistics"))
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Request<cri::ListPodSandboxStatsRequest>,
    ) -> Answer<cri::ListPodSandboxStatsResponse> {
        Err(not_yet("sandbox statistics"))
    }

    async fn checkpoint_container(
        &self,
        _: Request<cri::CheckpointContainerRequest>,
    ) -> Answer<cri::CheckpointContainerResponse> {
        Err(not_yet("checkpoints"))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<cri::ListMetricDescriptorsRequest>,
    ) -> Answer<cri::ListMetricDescriptorsResponse> {
        Err(not_yet("metrics"))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<cri::ListPodSandboxMetricsRequest>,
    ) -> Answer<cri::ListPodSandboxMetricsResponse> {
        Err(not_yet("metrics"))
    }
}

fn not_yet(what: &str) -> Status {
    Status::unimplemented(format!("{what}: this runtime cannot do it yet"))
}

/// Whether every wanted label is there with its value.
fn is_within(
    wanted: &std::collections::HashMap<String, String>,
    labels: &std::collections::HashMap<String, String>,
) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn sandbox_state(sandbox: &Sandbox) -> PodSandboxState {
    match sandbox.state {
        SandboxState::Ready { .. } => PodSandboxState::SandboxReady,
        _ => PodSandboxState::SandboxNotready,
    }
}

fn container_state(container: &Container) -> CriState {
    match container.state {
        ContainerState::Created | ContainerState::Starting => CriState::ContainerCreated,
        ContainerState::Running { .. } => CriState::ContainerRunning,
        _ => CriState::ContainerExited,
    }
}

fn container_status(id: &str, row: &Container) -> cri::ContainerStatus {
    let started_at = row.state.started().map_or(0, |(_, at, _)| nanoseconds(at));
    let (finished_at, exit_code, reason, message) = match &row.state {
        ContainerState::Created | ContainerState::Starting | ContainerState::Running { .. } => {
            (0, 0, "", String::new())
        }
        ContainerState::Ended { end, .. } => {
            (nanoseconds(end.at), end.exit.code(), reason(end), String::new())
        }
        ContainerState::StartFailed { reason, at } => {
            (nanoseconds(*at), START_FAILED, "StartError", reason.clone())
        }
        ContainerState::Lost { at, .. } => {
            let message =
                "the container's supervisor was killed and the container with it; how it ended is not known";
            let (code, reason) = UNKNOWN;
            (nanoseconds(*at), code, reason, message.to_owned())
        }
    };
    cri::ContainerStatus {
        id: id.to_owned(),
        metadata: row.config.metadata.clone(),
        state: container_state(row) as i32,
        created_at: row.created_at,
        started_at,
        finished_at,
        exit_code,
        image: Some(row.image.clone()),
        image_ref: row.image_id.clone(),
        image_id: row.image_id.clone(),
        reason: reason.to_owned(),
        message,
        labels: row.config.labels.clone(),
        annotations: row.config.annotations.clone(),
        mounts: row.config.mounts.clone(),
        log_path: row.log.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        ..Default::default()
    }
}

/// CRI's reason for an end. `OOMKilled` when SIGKILL ended the main process and the container's cgroup
/// counts an OOM kill: the runtime's best knowledge, which the kernel's log can still correct.
fn reason(end: &ContainerEnd) -> &'static str {
    let counted =
        end.container.as_ref().and_then(|snapshot| snapshot.oom_kills).is_some_and(|kills| kills > 0);
    match end.exit.code() {
        0 => "Completed",
        _ if end.exit.is_sigkill() && counted => "OOMKilled",
        _ => "Error",
    }
}
