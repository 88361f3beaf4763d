//! The node as the API shows it: registered at the start, described anew by and by, not ready at the end.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Node as ApiNode, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::config::Registration;
use crate::cri::Cri;
use crate::life;
use crate::node_images;
use crate::node_resources::NodeResources;

/// The release whose kubelet this agent stands in for.
const VERSION: &str = "v1.37.0+memlet";
/// kubelet says with it who attaches volumes; there are none to attach here.
const ATTACHES: (&str, &str) = ("volumes.kubernetes.io/controller-managed-attach-detach", "true");

/// What the Node object is made from.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) name: String,
    pub(crate) resources: NodeResources,
    pub(crate) host_ip: Option<String>,
    /// `name://version`
    pub(crate) runtime: String,
    pub(crate) registration: Registration,
}

/// The Node is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) uid: String,
    /// The conditions that are not as the API had them, by their reason in an Event.
    pub(crate) changed: Vec<&'static str>,
}

/// Creates the Node, or brings the one that is there up to date: its own labels, taints and whether it may be scheduled
/// on stay as they are.
pub(crate) async fn register(
    client: &kube::Client,
    cri: &Cri,
    description: &Description,
) -> kube::Result<Registered> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let name = &description.name;
    let now = Timestamp::now();
    let node = match nodes.create(&PostParams::default(), &describe(description, now)).await {
        Ok(created) => created,
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let patch = json!({"metadata": {
                "labels": labels(description), "annotations": {ATTACHES.0: ATTACHES.1},
            }});
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?
        }
        Err(error) => return Err(error),
    };
    let known = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let (conditions, changed) = conditions(Readiness::Ready, false, &known, now);
    // An API server takes no status along with a new object.
    let images = node_images::list(cri).await;
    let status = NodeStatus { conditions: Some(conditions), images, ..status(description) };
    write_status(client, name, &status).await?;
    Ok(Registered { uid: node.metadata.uid.unwrap_or_default(), changed })
}

/// Says again what the node is, and that it still is: the conditions that changed, by their reason in an Event. `None`
/// where there is no Node to say it of.
pub(crate) async fn report(
    client: &kube::Client,
    cri: &Cri,
    description: &Description,
    readiness: Readiness,
    under_pressure: bool,
) -> kube::Result<Option<Vec<&'static str>>> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let Some(node) = nodes.get_opt(&description.name).await? else { return Ok(None) };
    let known = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let (conditions, changed) = conditions(readiness, under_pressure, &known, Timestamp::now());
    let images = node_images::list(cri).await;
    let status = NodeStatus { conditions: Some(conditions), images, ..status(description) };
    write_status(client, &description.name, &status).await.map(|()| Some(changed))
}

/// By strategic merge, as kubelet writes it: what others say of the node stays.
async fn write_status(client: &kube::Client, name: &str, status: &NodeStatus) -> kube::Result<()> {
    let nodes: Api<ApiNode> = Api::all(client.clone());
    let patch = Patch::Strategic(json!({"status": status}));
    nodes.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
}

/// The labels that every node has of itself.
fn labels(description: &Description) -> BTreeMap<String, String> {
    let labels = [
        ("beta.kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/hostname", description.name.as_str()),
        ("kubernetes.io/os", "linux"),
    ];
    labels.into_iter().map(|(label, value)| (label.to_owned(), value.to_owned())).collect()
}

/// A new Node object. Pure.
fn describe(description: &Description, now: Timestamp) -> ApiNode {
    let Registration { labels: own, taints } = &description.registration;
    let taints = taints.iter().cloned().map(|mut taint| {
        taint.time_added = taint.time_added.or_else(|| {
            // Only what drives Pods away has a time.
            (taint.effect == "NoExecute").then(|| life::seconds(now))
        });
        taint
    });
    let taints: Vec<_> = taints.collect();
    ApiNode {
        metadata: ObjectMeta {
            name: Some(description.name.clone()),
            labels: Some(own.clone().into_iter().chain(labels(description)).collect()),
            annotations: Some([(ATTACHES.0.to_owned(), ATTACHES.1.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..NodeSpec::default() }),
        status: None,
    }
}

/// All but the conditions and images.
fn status(description: &Description) -> NodeStatus {
    let address =
        |type_: &str, address: &str| NodeAddress { type_: type_.to_owned(), address: address.to_owned() };
    let internal = description.host_ip.as_deref().map(|ip| address("InternalIP", ip));
    let host_name = address("Hostname", &description.name);
    NodeStatus {
        addresses: Some(internal.into_iter().chain([host_name]).collect()),
        capacity: Some(description.resources.capacity()),
        allocatable: Some(description.resources.allocatable()),
        node_info: Some(machine_info(&description.runtime)),
        ..NodeStatus::default()
    }
}

/// Whether the node takes Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    ShuttingDown,
}

/// The reason of the Event about readiness.
pub(crate) const NODE_NOT_READY: &str = "NodeNotReady";

/// The node's conditions now, with the times at which they changed, and what did change, in the words of Events.
fn conditions(
    readiness: Readiness,
    under_pressure: bool,
    known: &[NodeCondition],
    now: Timestamp,
) -> (Vec<NodeCondition>, Vec<&'static str>) {
    let ready = match readiness {
        Readiness::Ready => ("Ready", "True", "KubeletReady", "kubelet is posting ready status", "NodeReady"),
        Readiness::ShuttingDown => {
            ("Ready", "False", "KubeletNotReady", "node is shutting down", NODE_NOT_READY)
        }
    };
    let memory = if under_pressure {
        (
            "MemoryPressure",
            "True",
            "KubeletHasInsufficientMemory",
            "kubelet has insufficient memory available",
            "NodeHasInsufficientMemory",
        )
    } else {
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
            "NodeHasSufficientMemory",
        )
    };
    let verdicts = [
        memory,
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
            "NodeHasNoDiskPressure",
        ),
        (
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
            "NodeHasSufficientPID",
        ),
        ready,
    ];
    let mut changed = Vec::new();
    let conditions = verdicts.into_iter().map(|(type_, status, reason, message, event)| {
        let same = known.iter().find(|condition| condition.type_ == type_ && condition.status == status);
        if same.is_none() {
            changed.push(event);
        }
        let since = same.and_then(|condition| condition.last_transition_time.clone());
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(life::seconds(now)),
            last_transition_time: since.or_else(|| Some(life::seconds(now))),
        }
    });
    (conditions.collect(), changed)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os_image = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: first_line("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: runtime.to_owned(),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        kubelet_version: VERSION.to_owned(),
        machine_id: first_line("/etc/machine-id"),
        operating_system: "linux".to_owned(),
        os_image: os_image.trim_matches('"').to_owned(),
        system_uuid: first_line("/etc/machine-id"),
        ..NodeSystemInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn conditions_keep_the_time_of_their_change() {
        let (first, changed) = conditions(Readiness::Ready, false, &[], at(10));
        assert_eq!(
            changed,
            ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"]
        );
        let (second, changed) = conditions(Readiness::Ready, false, &first, at(20));
        assert!(changed.is_empty());
        let times = |condition: &NodeCondition| {
            let second = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
                time.as_ref().unwrap().0.as_second()
            };
            (second(&condition.last_transition_time), second(&condition.last_heartbeat_time))
        };
        assert!(second.iter().all(|condition| times(condition) == (10, 20)));
        let (third, changed) = conditions(Readiness::ShuttingDown, false, &second, at(30));
        assert_eq!(changed, [NODE_NOT_READY]);
        assert_eq!(third.iter().map(times).collect::<Vec<_>>(), [(10, 30), (10, 30), (10, 30), (30, 30)]);
        let ready = &third[3];
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
        let (fourth, changed) = conditions(Readiness::Ready, true, &first, at(40));
        assert_eq!(changed, ["NodeHasInsufficientMemory"]);
        assert_eq!((fourth[0].status.as_str(), times(&fourth[0])), ("True", (40, 40)));
    }
}
