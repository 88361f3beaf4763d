//! What the node, its Pods and their containers use at the moment, in kubelet's words: `/stats/summary` for programs and
//! `/metrics/resource` for Prometheus.
//!
//! Nothing is sampled in the background: the figures are read when somebody asks. Memory is what the cgroups say. Time
//! of processors is what cgroup v2 counts; on v1, where containers have memory cgroups only, it is summed over their
//! processes, and what a process used that came and went between two questions is not known.

mod cpu;
mod exposition;
mod summary;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::ListParams;
use memlet_cgroup::{Cgroup, CgroupPath};
use memlet_policy::cgroup_names;
use memlet_policy::qos::QosClass;

use crate::node::Node;
use crate::static_pods::mirror;

use cpu::Meters;
use usage::Usage;

pub(crate) use exposition::exposition;
pub(crate) use summary::summary;

/// The state that rates need: what was used when somebody asked last.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<Meters>);

/// All figures of one moment.
pub(crate) struct Figures {
    pub(crate) node: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) usage: Usage,
    pub(crate) pods: Vec<PodFigures>,
}

pub(crate) struct PodFigures {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) usage: Usage,
    pub(crate) containers: Vec<ContainerFigures>,
}

pub(crate) struct ContainerFigures {
    pub(crate) name: String,
    pub(crate) started: Option<Timestamp>,
    pub(crate) usage: Usage,
}

impl Statistics {
    /// Reads everything.
    pub(crate) async fn read(&self, node: &Node) -> Result<Figures, kube::Error> {
        let pods: Api<Pod> = Api::all(node.client.clone());
        let mine = ListParams::default().fields(&format!("spec.nodeName={}", node.config.name));
        let pods = pods.list(&mine).await?.items;
        Ok(self.read_now(node, &pods))
    }

    fn read_now(&self, node: &Node, pods: &[Pod]) -> Figures {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = BTreeSet::new();
        let mut of = |path: &CgroupPath, started: Option<Timestamp>| {
            let group = Cgroup::open(node.cgroups.hierarchy(), path).ok()?;
            seen.insert(path.to_string());
            Some(Usage::of_group(&group, meters.of_group(&group, started)))
        };
        let pods = pods.iter().filter_map(|pod| figures_of(node, pod, &mut of)).collect();
        let mut usage = usage::of_machine(meters.of_machine());
        // A node that has less memory than the machine is as full as its Pods make it.
        if node.config.memory.is_some()
            && let Ok(group) = Cgroup::open(node.cgroups.hierarchy(), node.cgroups.kubepods())
        {
            usage.memory_of(&group);
        }
        meters.forget_all_but(&seen);
        Figures { node: node.config.name.clone(), started: usage::machine_start(), usage, pods }
    }
}

/// `None` for a Pod that has no cgroup: it does not run, or not yet.
fn figures_of(
    node: &Node,
    pod: &Pod,
    of: &mut impl FnMut(&CgroupPath, Option<Timestamp>) -> Option<Usage>,
) -> Option<PodFigures> {
    let metadata = &pod.metadata;
    let uid = mirror::mirrored(pod).or(metadata.uid.as_ref())?.clone();
    let path = node.cgroups.pod(QosClass::of_pod(pod), &uid).ok()?;
    let status = pod.status.as_ref()?;
    let started = status.start_time.as_ref().map(|time| time.0);
    let usage = of(&path, started)?;
    let running: BTreeMap<&str, &ContainerStatus> =
        [&status.container_statuses, &status.init_container_statuses]
            .into_iter()
            .flatten()
            .flatten()
            .map(|container| (container.name.as_str(), container))
            .collect();
    let containers = running.into_iter().filter_map(|(name, container)| {
        let running = container.state.as_ref()?.running.as_ref()?;
        let id = container.container_id.as_deref()?.rsplit("//").next()?;
        let group: CgroupPath = cgroup_names::container_in(path.as_str(), id).parse().ok()?;
        let started = running.started_at.as_ref().map(|time| time.0);
        Some(ContainerFigures { name: name.to_owned(), started, usage: of(&group, started)? })
    });
    Some(PodFigures {
        name: metadata.name.clone().unwrap_or_default(),
        namespace: metadata.namespace.clone().unwrap_or_default(),
        uid,
        started,
        usage,
        containers: containers.collect(),
    })
}
