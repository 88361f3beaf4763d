//! A node's statistics, as far as this API tells them (kubelet's `/stats/summary`).

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use jiff::Timestamp;
use serde::Deserialize;
use tower::ServiceExt as _;

use crate::nodes::NodeService;

/// The longest document that is read: a node tells some hundred bytes of each container.
const LONGEST: usize = 16 << 20;

#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    pub(super) node: Usage,
    #[serde(default)]
    pub(super) pods: Vec<PodUsage>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodUsage {
    pub(super) pod_ref: PodReference,
    #[serde(default)]
    pub(super) containers: Vec<ContainerUsage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PodReference {
    pub(super) uid: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ContainerUsage {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) usage: Usage,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    pub(super) cpu: Option<Cpu>,
    pub(super) memory: Option<Memory>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cpu {
    pub(super) time: Timestamp,
    pub(super) usage_nano_cores: Option<u64>,
    /// The time over which the usage is a mean. Kubelet does not tell it.
    pub(super) window_nano_seconds: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    pub(super) time: Timestamp,
    pub(super) working_set_bytes: Option<u64>,
}

/// Asks a node.
pub(super) async fn ask(service: NodeService) -> Result<Summary, String> {
    let request = Request::get("/stats/summary?only_cpu_and_memory=true");
    let request = request.body(Empty::new().boxed_unsync()).map_err(|error| error.to_string())?;
    let Ok(response) = service.oneshot(request).await;
    let code = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    if code != StatusCode::OK {
        return Err(format!("{code}: {}", String::from_utf8_lossy(&body)));
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}
