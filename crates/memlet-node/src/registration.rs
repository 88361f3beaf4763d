//! The node as the API shows it.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Node as ApiNode, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use memlet_bytes::Bytes;
use memlet_policy::quantity;
use serde_json::json;

use crate::admission::MAX_PODS;
use crate::container::NodeShape;
use crate::life;

/// Creates the Node, or brings the one that is there up to date.
pub(crate) async fn register(
    client: &kube::Client,
    name: &str,
    shape: &NodeShape,
    runtime: &str,
) -> kube::Result<()> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let node = describe(name, shape, machine_info(runtime), Timestamp::now());
    match nodes.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let patch = json!({"metadata": {"labels": node.metadata.labels}});
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Err(error) => return Err(error),
    }
    // An API server takes no status along with a new object.
    let patch = json!({"status": node.status});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// The Node object. Pure.
fn describe(name: &str, shape: &NodeShape, info: NodeSystemInfo, now: Timestamp) -> ApiNode {
    let architecture = info.architecture.clone();
    let labels = [
        ("beta.kubernetes.io/arch", architecture.as_str()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture.as_str()),
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
    ];
    let labels = labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    let address =
        |type_: &str, address: &str| NodeAddress { type_: type_.to_owned(), address: address.to_owned() };
    let internal = shape.host_ip.as_deref().map(|ip| address("InternalIP", ip));
    ApiNode {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels: Some(labels), ..ObjectMeta::default() },
        spec: Some(NodeSpec::default()),
        status: Some(NodeStatus {
            addresses: Some(internal.into_iter().chain([address("Hostname", name)]).collect()),
            capacity: Some(amounts(shape.cpus, shape.capacity)),
            allocatable: Some(amounts(shape.cpus, shape.allocatable)),
            conditions: Some(conditions(now)),
            node_info: Some(info),
            ..NodeStatus::default()
        }),
    }
}

fn amounts(cpus: u32, memory: Bytes) -> BTreeMap<String, Quantity> {
    let memory = quantity::Quantity::from_bytes(memory);
    [
        ("cpu".to_owned(), Quantity(cpus.to_string())),
        ("memory".to_owned(), (&memory).into()),
        ("pods".to_owned(), Quantity(MAX_PODS.to_string())),
    ]
    .into()
}

fn conditions(now: Timestamp) -> Vec<NodeCondition> {
    [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    .into_iter()
    .map(|(type_, status, reason, message)| NodeCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_heartbeat_time: Some(life::seconds(now)),
        last_transition_time: Some(life::seconds(now)),
    })
    .collect()
}

/// What the machine says of itself; an empty text where it does not.
fn machine_info(runtime: &str) -> NodeSystemInfo {
    let first_line = |path: &str| {
        fs::read_to_string(path)
            .ok()
            .and_then(|text| text.lines().next().map(str::to_owned))
            .unwrap_or_default()
    };
    let uname = rustix::system::uname();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os_image = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    NodeSystemInfo {
        architecture: architecture.to_owned(),
        boot_id: first_line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime.to_owned(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kubelet_version: format!("v1.36.2-memlet-{}", env!("CARGO_PKG_VERSION")),
        machine_id: first_line("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image: os_image.trim_matches('"').to_owned(),
        system_uuid: first_line("/etc/machine-id"),
        ..NodeSystemInfo::default()
    }
}
