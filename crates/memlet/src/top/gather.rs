//! Reads it: Pods from the API, everything else from the kernel.

use std::fs;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Limit};
use memlet_node::PressureThreshold;
use memlet_policy::cgroup_limits::containers_without_limit;
use memlet_policy::cgroup_names::{CgroupNames, container_in};
use memlet_policy::oom_score_adj::is_critical;
use memlet_policy::phase::is_over;
use memlet_policy::qos::QosClass;
use memlet_policy::resources::{self, Side};
use serde::Serialize;

use super::held::{Held, Left, Owner, left_of_machine};
use super::thresholds::{self, Available};
use crate::node::record::{MemberRecord, NodeRecord};
use crate::view::gather::uid_on_node;

/// All nodes of a program at one moment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    pub(crate) at: Timestamp,
    pub(crate) nodes: Vec<NodeUsage>,
}

/// One node and what is on it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeUsage {
    pub(crate) name: String,
    /// The memory that the node has, or pretends to have.
    pub(crate) capacity: Bytes,
    /// What Pods may request of it.
    pub(crate) allocatable: Bytes,
    /// What all Pods together may use: the limit of the `kubepods` cgroup.
    pub(crate) limit: Option<Bytes>,
    /// Below so much available memory the node evicts Pods at once; zero where it does not.
    pub(crate) eviction_threshold: Bytes,
    /// Every threshold, hard ones first; `None` where the node has not recorded them.
    pub(crate) eviction_thresholds: Option<Vec<PressureThreshold>>,
    /// What is held against those.
    pub(crate) available: Option<Available>,
    /// Of all its Pods.
    #[serde(flatten)]
    pub(crate) held: Held,
    pub(crate) left: Option<Left>,
    /// Of the Pods that have not ended.
    pub(crate) requests: Bytes,
    /// `None` where a Pod has a container without one.
    pub(crate) limits: Option<Bytes>,
    /// Those that have a cgroup, the largest working set first.
    pub(crate) pods: Vec<PodUsage>,
}

impl NodeUsage {
    /// The thresholds that are met now; none where it is not known.
    pub(crate) fn met(&self) -> impl Iterator<Item = &PressureThreshold> {
        let met = |threshold: &&PressureThreshold| {
            self.available.is_some_and(|available| available.is_below(threshold))
        };
        self.eviction_thresholds.iter().flatten().filter(met)
    }
}

/// One Pod.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodUsage {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) qos_class: String,
    pub(crate) priority: i32,
    /// Static, a mirror or of the system's priorities: never evicted.
    pub(crate) critical: bool,
    pub(crate) request: Bytes,
    /// That, where the Pod requests memory as a whole: its containers' requests do not count then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod_level_request: Option<Bytes>,
    /// Of its cgroup.
    pub(crate) limit: Option<Bytes>,
    /// With its sandbox and its memory-backed volumes.
    #[serde(flatten)]
    pub(crate) held: Held,
    pub(crate) left: Option<Left>,
    /// Those that run, the largest working set first.
    pub(crate) containers: Vec<ContainerUsage>,
    #[serde(skip)]
    pub(crate) cgroup: Option<CgroupPath>,
}

/// One container that runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerUsage {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_init: bool,
    pub(crate) id: String,
    pub(crate) request: Option<Bytes>,
    pub(crate) limit: Option<Bytes>,
    #[serde(flatten)]
    pub(crate) held: Held,
    pub(crate) left: Option<Left>,
}

/// Looks at all nodes of the program. `pods` are all that the API has.
pub(crate) fn usage(node: &NodeRecord, pods: &[Pod], hierarchy: &Hierarchy) -> Result<Usage> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| left_of_machine(&text));
    let nodes = node.members.iter().map(|member| node_usage(member, pods, hierarchy, machine));
    Ok(Usage { at: Timestamp::now(), nodes: nodes.collect::<Result<_>>()? })
}

fn node_usage(
    member: &MemberRecord,
    pods: &[Pod],
    hierarchy: &Hierarchy,
    machine: Option<Left>,
) -> Result<NodeUsage> {
    let on_it = |pod: &&Pod| {
        pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(member.name.as_str())
    };
    let pods: Vec<&Pod> = pods.iter().filter(on_it).collect();
    let (held, limit) = group(&member.cgroups.kubepods()?, hierarchy).unwrap_or_default();
    let left = Left::least([Left::below(Owner::Node, limit, &held), machine]);
    let active: Vec<_> =
        pods.iter().filter(|pod| !is_over(pod)).filter_map(|pod| pod.spec.as_ref()).collect();
    let names = member.cgroups.names();
    let mut used: Vec<_> = pods.iter().filter_map(|pod| pod_usage(pod, &names, hierarchy, left)).collect();
    used.sort_by(|a, b| {
        b.held
            .working_set
            .cmp(&a.held.working_set)
            .then_with(|| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)))
    });
    Ok(NodeUsage {
        name: member.name.clone(),
        capacity: member.capacity,
        allocatable: member.allocatable,
        limit,
        eviction_threshold: member.thresholds.as_deref().map(thresholds::hard).unwrap_or_default(),
        eviction_thresholds: member.thresholds.clone(),
        available: Available::new(&held, member.capacity, limit, machine.filter(|_| member.is_machine)),
        held,
        left,
        requests: active.iter().map(|spec| resources::pod_memory_request(spec)).sum(),
        limits: active.iter().map(|spec| limit_in_all(spec)).sum(),
        pods: used,
    })
}

/// `None` where one of its containers may use whatever there is.
fn limit_in_all(spec: &PodSpec) -> Option<Bytes> {
    if !containers_without_limit(spec).is_empty() {
        return None;
    }
    resources::pod_memory_limit_sum(spec)
}

/// `None` for a Pod without a cgroup: it has ended, or not begun.
fn pod_usage(pod: &Pod, names: &CgroupNames, hierarchy: &Hierarchy, node: Option<Left>) -> Option<PodUsage> {
    let uid = uid_on_node(pod);
    let qos = QosClass::of_pod(pod);
    let path: CgroupPath = names.pod(qos, &uid).parse().ok()?;
    let (held, limit) = group(&path, hierarchy)?;
    let left = Left::least([Left::below(Owner::Pod, limit, &held), node]);
    let spec = pod.spec.as_ref()?;
    let mut containers: Vec<_> =
        statuses(pod).filter_map(|status| container_usage(status, spec, &path, hierarchy, left)).collect();
    containers.sort_by(|a, b| b.held.working_set.cmp(&a.held.working_set).then_with(|| a.name.cmp(&b.name)));
    Some(PodUsage {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid,
        qos_class: qos.as_str().to_owned(),
        priority: spec.priority.unwrap_or_default(),
        critical: is_critical(pod),
        request: resources::pod_memory_request(spec),
        pod_level_request: resources::pod_level_memory(spec, Side::Requests),
        limit,
        held,
        left,
        containers,
        cgroup: Some(path),
    })
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status
        .iter()
        .flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses).flatten())
}

fn container_usage(
    status: &ContainerStatus,
    spec: &PodSpec,
    pod: &CgroupPath,
    hierarchy: &Hierarchy,
    pod_left: Option<Left>,
) -> Option<ContainerUsage> {
    status.state.as_ref()?.running.as_ref()?;
    let (_, id) = status.container_id.as_deref()?.split_once("://")?;
    let path: CgroupPath = container_in(pod.as_str(), id).parse().ok()?;
    let (held, limit) = group(&path, hierarchy)?;
    let is_it = |container: &&Container| container.name == status.name;
    let request = resources::counted_containers(spec).find(is_it).and_then(resources::memory_request);
    Some(ContainerUsage {
        name: status.name.clone(),
        is_init: spec.init_containers.iter().flatten().any(|container| is_it(&container)),
        id: id.to_owned(),
        request,
        limit,
        held,
        left: Left::least([Left::below(Owner::Container, limit, &held), pod_left]),
    })
}

/// What a group holds and its own limit; `None` where there is no such group.
fn group(path: &CgroupPath, hierarchy: &Hierarchy) -> Option<(Held, Option<Bytes>)> {
    let group = Cgroup::open(hierarchy, path).ok()?;
    let held = Held::new(group.usage().ok()?, &group.stat().ok()?);
    let limit = match group.limit() {
        Ok(Limit::Bytes(limit)) => Some(limit),
        _ => None,
    };
    Some((held, limit))
}
