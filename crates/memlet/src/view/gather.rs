//! Gathers it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Limit, Version};
use memlet_policy::cgroup_names::{CgroupNames, container_in};
use memlet_policy::qos::QosClass;
use serde::Serialize;

/// A Pod and all that is of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) qos_class: String,
    pub(crate) phase: String,
    /// `None` where the Pod has none, because it has ended or not begun.
    pub(crate) cgroup: Option<CgroupView>,
    /// What holds the Pod's namespaces.
    pub(crate) sandbox: Option<SandboxView>,
    pub(crate) containers: Vec<ContainerView>,
}

/// The pause process and its cgroup.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SandboxView {
    pub(crate) id: String,
    pub(crate) cgroup: CgroupView,
    pub(crate) processes: Vec<ProcessView>,
}

/// One container.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    /// Without the runtime's name before it; `None` where it has not been made yet.
    pub(crate) id: Option<String>,
    /// `Running`, or why not.
    pub(crate) state: String,
    pub(crate) running: bool,
    pub(crate) restart_count: i32,
    pub(crate) cgroup: Option<CgroupView>,
    pub(crate) processes: Vec<ProcessView>,
}

/// One cgroup.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CgroupView {
    pub(crate) path: CgroupPath,
    pub(crate) folder: PathBuf,
    /// As the kernel counts what cannot be dropped; `None` where it does not say.
    pub(crate) working_set: Option<Bytes>,
    /// `None`: no limit.
    pub(crate) limit: Option<Bytes>,
    /// The files of limits and counts, word for word.
    pub(crate) files: BTreeMap<&'static str, String>,
}

/// One process, as `/proc` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessView {
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) oom_score: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) rss: Option<Bytes>,
    /// Its number inside of the container.
    pub(crate) inner_pid: Option<i32>,
}

/// The files that tell of limits, in the order of their version.
const FILES_V1: &[&str] = &[
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.soft_limit_in_bytes",
    "memory.usage_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.failcnt",
    "memory.oom_control",
];
const FILES_V2: &[&str] = &[
    "memory.min",
    "memory.low",
    "memory.high",
    "memory.max",
    "memory.swap.max",
    "memory.current",
    "memory.peak",
    "memory.oom.group",
    "memory.events",
];

/// Looks at a Pod.
pub(crate) fn pod(pod: &Pod, names: &CgroupNames, hierarchy: &Hierarchy) -> Result<PodView> {
    let uid = uid_on_node(pod);
    let qos = QosClass::of_pod(pod);
    let path: CgroupPath = names.pod(qos, &uid).parse()?;
    let status = pod.status.clone().unwrap_or_default();
    let statuses: Vec<_> =
        status.init_container_statuses.into_iter().chain(status.container_statuses).flatten().collect();
    let containers: Vec<_> = statuses.iter().map(|status| container(status, &path, hierarchy)).collect();
    Ok(PodView {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid,
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        qos_class: qos.as_str().to_owned(),
        phase: status.phase.unwrap_or_default(),
        sandbox: sandbox(&path, &containers, hierarchy),
        cgroup: cgroup(&path, hierarchy),
        containers,
    })
}

/// The uid by which the node knows the Pod: a static Pod has one of its own, of which the object that mirrors it tells.
pub(crate) fn uid_on_node(pod: &Pod) -> String {
    const MIRRORED: &str = "kubernetes.io/config.mirror";
    let of_static = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(MIRRORED));
    of_static.or(pod.metadata.uid.as_ref()).cloned().unwrap_or_default()
}

fn container(status: &ContainerStatus, pod: &CgroupPath, hierarchy: &Hierarchy) -> ContainerView {
    let id = status.container_id.as_deref().and_then(|id| id.split_once("://")).map(|(_, id)| id.to_owned());
    let path = id.as_deref().and_then(|id| container_in(pod.as_str(), id).parse::<CgroupPath>().ok());
    let state = status.state.clone().unwrap_or_default();
    ContainerView {
        name: status.name.clone(),
        running: state.running.is_some(),
        state: state_word(&state),
        restart_count: status.restart_count,
        cgroup: path.as_ref().and_then(|path| cgroup(path, hierarchy)),
        processes: path.map(|path| processes(&path, hierarchy)).unwrap_or_default(),
        id,
    }
}

fn state_word(state: &ContainerState) -> String {
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    let terminated = state.terminated.as_ref().map(|ended| {
        let reason = ended.reason.clone().unwrap_or_else(|| "Terminated".to_owned());
        format!("{reason} ({})", ended.exit_code)
    });
    if state.running.is_some() {
        return "Running".to_owned();
    }
    terminated.or(waiting).unwrap_or_else(|| "Waiting".to_owned())
}

/// The child of the Pod's cgroup that is no container's.
fn sandbox(pod: &CgroupPath, containers: &[ContainerView], hierarchy: &Hierarchy) -> Option<SandboxView> {
    let known: Vec<&str> =
        containers.iter().filter_map(|container| Some(container.cgroup.as_ref()?.path.name())).collect();
    let mut children: Vec<String> = fs::read_dir(hierarchy.dir(pod))
        .ok()?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    children.sort();
    children.into_iter().find_map(|name| {
        let path: CgroupPath = format!("{}/{name}", pod.as_str()).parse().ok()?;
        let processes = processes(&path, hierarchy);
        // A container that ended a moment ago has no process any more.
        (!processes.is_empty()).then(|| {
            cgroup(&path, hierarchy).map(|cgroup| SandboxView { id: identity(&name), cgroup, processes })
        })?
    })
}

/// `<id>` of `cri-containerd-<id>.scope`, and of `<id>`.
fn identity(group: &str) -> String {
    let bare = group.strip_suffix(".scope").unwrap_or(group);
    bare.rsplit('-').next().unwrap_or(bare).to_owned()
}

fn cgroup(path: &CgroupPath, hierarchy: &Hierarchy) -> Option<CgroupView> {
    let group = Cgroup::open(hierarchy, path).ok()?;
    let files = match hierarchy.version() {
        Version::V1 => FILES_V1,
        Version::V2 => FILES_V2,
    };
    let read = |name: &&'static str| Some((*name, content(&group.dir_path().join(name))?));
    Some(CgroupView {
        path: path.clone(),
        folder: group.dir_path().to_owned(),
        working_set: group.working_set().ok().flatten(),
        limit: match group.limit() {
            Ok(Limit::Bytes(limit)) => Some(limit),
            _ => None,
        },
        files: files.iter().filter_map(read).collect(),
    })
}

fn content(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim_end().to_owned())
}

fn processes(path: &CgroupPath, hierarchy: &Hierarchy) -> Vec<ProcessView> {
    let Ok(group) = Cgroup::open(hierarchy, path) else { return Vec::new() };
    let mut pids = group.processes_recursive().unwrap_or_default();
    pids.sort_unstable();
    pids.into_iter().filter_map(|pid| process(pid.get().cast_signed())).collect()
}

/// `None` where it has ended meanwhile.
fn process(pid: i32) -> Option<ProcessView> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let number = |file: &str| content(&folder.join(file)).and_then(|text| text.parse().ok());
    Some(ProcessView {
        pid,
        name: field("Name:").unwrap_or_default().to_owned(),
        oom_score: number("oom_score"),
        oom_score_adj: number("oom_score_adj"),
        rss: Bytes::of_proc(&status, "VmRSS"),
        inner_pid: field("NSpid:").and_then(|pids| pids.split_whitespace().last()?.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_as_proc_shows_it() {
        let own = process(std::process::id().cast_signed()).unwrap();
        assert_eq!(own.inner_pid, Some(own.pid));
        assert!(own.rss.is_some_and(|rss| rss > Bytes::ZERO) && own.oom_score.is_some());
        assert!(process(i32::MAX).is_none());
    }

    #[test]
    fn names_of_groups() {
        assert_eq!(identity("64ae20d2"), "64ae20d2");
        assert_eq!(identity("cri-containerd-64ae20d2.scope"), "64ae20d2");
    }

    #[test]
    fn states_in_a_word() {
        let state = |json| state_word(&serde_json::from_value(json).unwrap());
        assert_eq!(state(serde_json::json!({"running": {}})), "Running");
        assert_eq!(state(serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}})), "CrashLoopBackOff");
        assert_eq!(
            state(serde_json::json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
            "OOMKilled (137)"
        );
        assert_eq!(state(serde_json::json!({})), "Waiting");
    }
}
