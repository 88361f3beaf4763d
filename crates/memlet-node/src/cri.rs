//! The container runtime as the node agent calls it: CRI v1 requests, one method each, and its errors.
//!
//! Nothing here knows which runtime answers.

use k8s_cri::v1::{
    self, image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient,
};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// As kubelet's CRI client: container lists with many annotations outgrow tonic's 4 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// A CRI client; cheap to clone, all clones share one connection.
#[derive(Clone, Debug)]
pub(crate) struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// The runtime refused or failed. Prints as Go's gRPC does, because kubelet's messages contain that.
#[derive(Clone, Debug, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct CriError {
    code: Code,
    /// The runtime's own words.
    pub message: String,
}

impl CriError {
    /// The thing asked for does not exist: while removing, as good as success.
    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    /// The runtime finds fault with what it was asked.
    pub fn is_invalid_argument(&self) -> bool {
        self.code == Code::InvalidArgument
    }

    /// The runtime does not know this call at all.
    pub fn is_unimplemented(&self) -> bool {
        self.code == Code::Unimplemented
    }
}

impl From<Status> for CriError {
    fn from(status: Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

type Answer<T> = Result<T, CriError>;

/// Removing what is not there is fine.
fn unless_missing(answer: Answer<()>) -> Answer<()> {
    match answer {
        Err(error) if error.is_not_found() => Ok(()),
        answer => answer,
    }
}

impl Cri {
    pub(crate) fn new(channel: Channel) -> Self {
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
        }
    }

    pub(crate) async fn version(&self) -> Answer<v1::VersionResponse> {
        let request = v1::VersionRequest { version: "0.1.0".to_owned() };
        Ok(self.runtime.clone().version(request).await?.into_inner())
    }

    pub(crate) async fn run_sandbox(&self, config: v1::PodSandboxConfig) -> Answer<String> {
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        Ok(self.runtime.clone().run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Answer<()> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        unless_missing(self.runtime.clone().stop_pod_sandbox(request).await.map(drop).map_err(Into::into))
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Answer<()> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        unless_missing(self.runtime.clone().remove_pod_sandbox(request).await.map(drop).map_err(Into::into))
    }

    pub(crate) async fn list_sandboxes(&self) -> Answer<Vec<v1::PodSandbox>> {
        let request = v1::ListPodSandboxRequest { filter: None };
        Ok(self.runtime.clone().list_pod_sandbox(request).await?.into_inner().items)
    }

    /// Whether the sandbox is there and holds its namespaces.
    pub(crate) async fn is_sandbox_ready(&self, id: &str) -> Answer<bool> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        match self.runtime.clone().pod_sandbox_status(request).await {
            Ok(answer) => {
                let status = answer.into_inner().status.unwrap_or_default();
                Ok(status.state() == v1::PodSandboxState::SandboxReady)
            }
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    pub(crate) async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.runtime.clone().create_container(request).await?.into_inner().container_id)
    }

    pub(crate) async fn start_container(&self, id: &str) -> Answer<()> {
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        Ok(self.runtime.clone().start_container(request).await.map(drop)?)
    }

    /// Asks for TERM, then after `grace` seconds KILL; answers when the container has ended.
    pub(crate) async fn stop_container(&self, id: &str, grace: i64) -> Answer<()> {
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: grace };
        unless_missing(self.runtime.clone().stop_container(request).await.map(drop).map_err(Into::into))
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Answer<()> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        unless_missing(self.runtime.clone().remove_container(request).await.map(drop).map_err(Into::into))
    }

    /// Where a program can be run in a container: an address to stream at.
    pub(crate) async fn exec(&self, request: v1::ExecRequest) -> Answer<String> {
        Ok(self.runtime.clone().exec(request).await?.into_inner().url)
    }

    /// Where a container's own streams are.
    pub(crate) async fn attach(&self, request: v1::AttachRequest) -> Answer<String> {
        Ok(self.runtime.clone().attach(request).await?.into_inner().url)
    }

    /// With the runtime's own statements (`info`).
    pub(crate) async fn container_status(&self, id: &str) -> Answer<v1::ContainerStatusResponse> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        Ok(self.runtime.clone().container_status(request).await?.into_inner())
    }

    pub(crate) async fn list_containers(&self) -> Answer<Vec<v1::Container>> {
        let request = v1::ListContainersRequest { filter: None };
        Ok(self.runtime.clone().list_containers(request).await?.into_inner().containers)
    }

    pub(crate) async fn container_events(&self) -> Answer<Streaming<v1::ContainerEventResponse>> {
        Ok(self.runtime.clone().get_container_events(v1::GetEventsRequest {}).await?.into_inner())
    }

    pub(crate) async fn list_images(&self) -> Answer<Vec<v1::Image>> {
        let request = v1::ListImagesRequest { filter: None };
        Ok(self.images.clone().list_images(request).await?.into_inner().images)
    }

    pub(crate) async fn image_status(&self, image: &str) -> Answer<Option<v1::Image>> {
        let request = v1::ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        Ok(self.images.clone().image_status(request).await?.into_inner().image)
    }

    pub(crate) async fn pull_image(&self, image: &str, sandbox: v1::PodSandboxConfig) -> Answer<String> {
        let request = v1::PullImageRequest {
            image: Some(image_spec(image)),
            auth: None,
            sandbox_config: Some(sandbox),
        };
        Ok(self.images.clone().pull_image(request).await?.into_inner().image_ref)
    }
}

/// An image by the name the Pod uses.
pub(crate) fn image_spec(image: &str) -> v1::ImageSpec {
    v1::ImageSpec { image: image.to_owned(), user_specified_image: image.to_owned(), ..Default::default() }
}
