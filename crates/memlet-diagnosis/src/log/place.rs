//! What a cgroup's path is to people: a unit, a container, a job. Names only; whether its limit ran out is
//! another matter.

use memlet_policy::cgroup_names::{self, CgroupIdentity, Runtime};
use memlet_policy::qos::QosClass;
use serde::Serialize;

/// A cgroup by the name that people know it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// What it belongs to.
    pub kind: PlaceKind,
    /// For reading: `systemd unit nginx.service`, `Docker container 2e088fe462e2`.
    pub name: String,
    /// For programs: the unit, the whole container id, the job's number, the Pod's uid.
    pub id: Option<String>,
    /// Whether it is all of that; otherwise a cgroup inside it, which it made itself.
    pub is_whole: bool,
    /// The path as the kernel writes it.
    pub path: String,
}

/// What a cgroup belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PlaceKind {
    /// A container of a Pod.
    KubernetesContainer,
    /// A Pod.
    KubernetesPod,
    /// All Pods of a `QoS` class.
    KubernetesQosClass,
    /// All Pods of a node.
    KubernetesNode,
    /// A Docker container outside Kubernetes.
    DockerContainer,
    /// A podman container.
    PodmanContainer,
    /// A podman pod.
    PodmanPod,
    /// A container of a runtime that the path does not name.
    Container,
    /// An LXC, LXD, Incus or Proxmox container.
    LxcContainer,
    /// A virtual machine of libvirt's, or a container of systemd-nspawn's.
    Machine,
    /// A Slurm job or a step of one.
    SlurmJob,
    /// A task of Amazon ECS.
    EcsTask,
    /// A login session.
    UserSession,
    /// Everything of a user.
    User,
    /// A systemd service, or another unit that runs processes.
    SystemdUnit,
    /// A systemd slice: a group of units.
    SystemdSlice,
    /// Any other cgroup.
    Cgroup,
}

/// A component of a path that was recognised.
struct Found {
    kind: PlaceKind,
    id: String,
    name: String,
}

impl Place {
    /// What the path is, whatever it nests in.
    pub fn of_path(path: &str) -> Self {
        if let Some(identity) = cgroup_names::decode(path) {
            return Self::of_kubernetes(path, identity);
        }
        let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
        let Some((depth, found)) = innermost(&components) else {
            return Self {
                kind: PlaceKind::Cgroup,
                name: format!("cgroup {path}"),
                id: None,
                is_whole: true,
                path: path.to_owned(),
            };
        };
        let inside = &components[depth..];
        let is_whole = is_all_of(found.kind, components[depth - 1], inside);
        let mut found = found;
        let mut name = std::mem::take(&mut found.name);
        if let Some(task) = ecs_task(&components[..depth - 1]) {
            // Its limit is set where the task is defined, whoever runs the container.
            name = format!("{name} of {}", task.name);
            found.kind = PlaceKind::EcsTask;
        }
        if !is_whole {
            name = format!("cgroup {} in {name}", inside.join("/"));
        }
        if let Some(outer) = outer(&components[..depth - 1], found.kind) {
            name = format!("{name} in {outer}");
        }
        Self { kind: found.kind, name, id: Some(found.id), is_whole, path: path.to_owned() }
    }

    fn of_kubernetes(path: &str, identity: CgroupIdentity) -> Self {
        use cgroup_names::Level;
        let class = identity.qos.map(QosClass::as_str);
        let pod = || {
            let uid = identity.pod_uid.as_deref().unwrap_or("of unknown uid");
            class.map_or_else(|| format!("Pod {uid}"), |class| format!("{class} Pod {uid}"))
        };
        let container = |word: &str| {
            let id = identity.container_id.as_deref().map_or("of unknown id", short);
            format!("{word} {id} of {}", pod())
        };
        let (kind, name) = match identity.level {
            Level::Kubepods => (PlaceKind::KubernetesNode, "all Pods of the node".to_owned()),
            Level::QosTier => {
                (PlaceKind::KubernetesQosClass, format!("all {} Pods of the node", class.unwrap_or_default()))
            }
            Level::Pod => (PlaceKind::KubernetesPod, pod()),
            Level::Container => (PlaceKind::KubernetesContainer, container("container")),
            Level::InsideContainer => {
                (PlaceKind::KubernetesContainer, container("a cgroup inside container"))
            }
        };
        let prefix: Vec<&str> =
            identity.prefix.split('/').filter(|component| !component.is_empty()).collect();
        let name = match outer(&prefix, kind) {
            Some(outer) => format!("{name} in {outer}"),
            None => name,
        };
        let is_whole = identity.level != Level::InsideContainer;
        let id = match kind {
            PlaceKind::KubernetesContainer => identity.container_id,
            _ => identity.pod_uid,
        };
        Self { kind, name, id, is_whole, path: path.to_owned() }
    }
}

/// Whether what is `inside` is still all of it: LXC and systemd move everything into a group below, crun a container into
/// one below its scope, and Slurm a step's processes into those of its user and tasks.
fn is_all_of(kind: PlaceKind, component: &str, inside: &[&str]) -> bool {
    match kind {
        PlaceKind::SlurmJob => true,
        PlaceKind::PodmanContainer | PlaceKind::DockerContainer | PlaceKind::Container if matches!(inside, [name] if cgroup_names::is_in_scope(component, name)) => {
            true
        }
        _ => inside.iter().all(|component| matches!(*component, "ns" | "init.scope")),
    }
}

fn ecs_task(above: &[&str]) -> Option<Found> {
    let (last, rest) = above.split_last()?;
    ecs(last, rest.last().copied().unwrap_or_default())
}

/// The first twelve characters of an id, as the runtimes' own tables show it.
fn short(id: &str) -> &str {
    id.char_indices().nth(12).map_or(id, |(end, _)| &id[..end])
}

/// The deepest component that is known by a name, with the number of components down to it.
fn innermost(components: &[&str]) -> Option<(usize, Found)> {
    (1..=components.len()).rev().find_map(|depth| Some((depth, recognise(&components[..depth])?)))
}

/// The container, machine or job in which something else nests; slices and services that only hold it say nothing.
fn outer(components: &[&str], inner: PlaceKind) -> Option<String> {
    let nests = |kind| {
        use PlaceKind::{Container, DockerContainer, LxcContainer, Machine, PodmanContainer, SlurmJob};
        matches!(kind, DockerContainer | PodmanContainer | Container | LxcContainer | Machine | SlurmJob)
            && kind != inner
            || kind == DockerContainer
    };
    (1..=components.len())
        .rev()
        .filter_map(|depth| recognise(&components[..depth]))
        .find(|found| nests(found.kind))
        .map(|found| found.name)
}

/// What the last of these components is.
fn recognise(components: &[&str]) -> Option<Found> {
    let (last, above) = components.split_last()?;
    let parent = above.last().copied().unwrap_or_default();
    container(last, parent)
        .or_else(|| lxc(last, parent))
        .or_else(|| slurm(last, above))
        .or_else(|| machine(last))
        .or_else(|| ecs(last, parent))
        .or_else(|| user(last, parent))
        .or_else(|| unit(last, above))
}

impl Found {
    fn new(kind: PlaceKind, id: &str, name: String) -> Self {
        Self { kind, id: id.to_owned(), name }
    }
}

fn container(last: &str, parent: &str) -> Option<Found> {
    if let Some(id) = last.split_once("libpod_pod_").map(|(_, id)| id.trim_end_matches(".slice")) {
        return Some(Found::new(PlaceKind::PodmanPod, id, format!("podman pod {}", short(id))));
    }
    let cgroup = cgroup_names::decode_container(last)?;
    let id = cgroup.container_id;
    let (kind, word) = match cgroup.runtime {
        Some(Runtime::Docker) => (PlaceKind::DockerContainer, "Docker container"),
        None if parent == "docker" => (PlaceKind::DockerContainer, "Docker container"),
        Some(Runtime::Podman) => (PlaceKind::PodmanContainer, "podman container"),
        None if parent == "libpod_parent" => (PlaceKind::PodmanPod, "podman pod"),
        Some(Runtime::Containerd) => (PlaceKind::Container, "containerd container"),
        Some(Runtime::CriO) => (PlaceKind::Container, "CRI-O container"),
        None => (PlaceKind::Container, "container"),
    };
    Some(Found::new(kind, &id, format!("{word} {}", short(&id))))
}

/// `/lxc/NAME`, `/lxc.payload/NAME`, `/lxc.payload.NAME`.
fn lxc(last: &str, parent: &str) -> Option<Found> {
    let id = match (parent, last.strip_prefix("lxc.payload.")) {
        ("lxc" | "lxc.payload", _) => last,
        (_, Some(id)) => id,
        _ => return None,
    };
    Some(Found::new(PlaceKind::LxcContainer, id, format!("LXC container {id}")))
}

/// `…slurm…/job_N[/step_S]`.
fn slurm(last: &str, above: &[&str]) -> Option<Found> {
    above.iter().find(|component| {
        component.starts_with("slurm") || component.strip_suffix("slurmstepd.scope").is_some()
    })?;
    let number = |component: &str| {
        let number = component.strip_prefix("job_")?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_owned())
    };
    if let Some(job) = number(last) {
        return Some(Found::new(PlaceKind::SlurmJob, &job, format!("Slurm job {job}")));
    }
    let (step, job) = (last.strip_prefix("step_")?, number(above.last()?)?);
    Some(Found::new(PlaceKind::SlurmJob, &job, format!("Slurm job {job} step {step}")))
}

/// systemd-machined's scopes: `machine-qemu\x2d1\x2dNAME.scope`, and nspawn's services.
fn machine(last: &str) -> Option<Found> {
    if let Some(name) = last.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service")) {
        return Some(Found::new(PlaceKind::Machine, name, format!("nspawn container {name}")));
    }
    let name = last.strip_prefix("machine-")?.strip_suffix(".scope")?.replace("\\x2d", "-");
    let word = if name.starts_with("qemu-") { "virtual machine" } else { "machine" };
    Some(Found::new(PlaceKind::Machine, &name, format!("{word} {name}")))
}

/// `/ecs/TASK`, `ecstasks-TASK.slice`.
fn ecs(last: &str, parent: &str) -> Option<Found> {
    let task = match last.strip_prefix("ecstasks-").and_then(|rest| rest.strip_suffix(".slice")) {
        Some(task) => task,
        None if parent == "ecs" => last,
        None => return None,
    };
    Some(Found::new(PlaceKind::EcsTask, task, format!("ECS task {task}")))
}

/// `user-UID.slice`, and a session in it.
fn user(last: &str, parent: &str) -> Option<Found> {
    let session = last.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope"));
    if let (Some(session), Some(user)) = (session, user_of(parent)) {
        return Some(Found::new(
            PlaceKind::UserSession,
            session,
            format!("session {session} of user {user}"),
        ));
    }
    let user = user_of(last)?;
    Some(Found::new(PlaceKind::User, user, format!("everything of user {user}")))
}

fn user_of(slice: &str) -> Option<&str> {
    let user = slice.strip_prefix("user-")?.strip_suffix(".slice")?;
    user.bytes().all(|byte| byte.is_ascii_digit()).then_some(user)
}

fn is_slice(component: &str) -> bool {
    component.strip_suffix(".slice").is_some()
}

fn unit(last: &str, above: &[&str]) -> Option<Found> {
    let (stem, suffix) = last.rsplit_once('.')?;
    // What stands below a unit, and is no unit's child, is a cgroup of the unit's own.
    let is_init = last == "init.scope" && above.iter().any(|component| !is_slice(component));
    if stem.is_empty() || is_init {
        return None;
    }
    let of_user = above
        .iter()
        .find_map(|component| component.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service")));
    let owner = of_user.map(|user| format!(" of user {user}")).unwrap_or_default();
    match suffix {
        "service" | "scope" | "mount" | "socket" | "swap" => {
            Some(Found::new(PlaceKind::SystemdUnit, last, format!("systemd unit {last}{owner}")))
        }
        "slice" => Some(Found::new(PlaceKind::SystemdSlice, last, format!("systemd slice {last}{owner}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2e088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50";

    #[test]
    fn paths_have_names() {
        use PlaceKind::*;
        let uid = "65a49b87-b4ca-46fd-8a90-1c3669d6427c";
        for (path, kind, name) in [
            ("/system.slice/nginx.service", SystemdUnit, "systemd unit nginx.service"),
            ("/system.slice", SystemdSlice, "systemd slice system.slice"),
            (
                "/system.slice/containerd.service/shim",
                SystemdUnit,
                "cgroup shim in systemd unit containerd.service",
            ),
            (&format!("/docker/{ID}"), DockerContainer, "Docker container 2e088fe462e2"),
            (&format!("/system.slice/docker-{ID}.scope"), DockerContainer, "Docker container 2e088fe462e2"),
            (&format!("/actions_job/{ID}"), Container, "container 2e088fe462e2"),
            (&format!("/libpod_parent/{ID}"), PodmanPod, "podman pod 2e088fe462e2"),
            (&format!("/libpod_parent/libpod-{ID}"), PodmanContainer, "podman container 2e088fe462e2"),
            (&format!("/machine.slice/libpod-{ID}.scope"), PodmanContainer, "podman container 2e088fe462e2"),
            ("/lxc/39004", LxcContainer, "LXC container 39004"),
            ("/lxc/39004/ns", LxcContainer, "LXC container 39004"),
            ("/lxc.payload/web", LxcContainer, "LXC container web"),
            ("/lxc.payload.web", LxcContainer, "LXC container web"),
            (
                "/lxc/703/ns/system.slice/pulse.service",
                SystemdUnit,
                "systemd unit pulse.service in LXC container 703",
            ),
            (
                &format!("/lxc/7/ns/system.slice/docker-{ID}.scope"),
                DockerContainer,
                "Docker container 2e088fe462e2 in LXC container 7",
            ),
            ("/slurm/uid_1000/job_123", SlurmJob, "Slurm job 123"),
            ("/slurm_node1/uid_1000/job_123/step_4", SlurmJob, "Slurm job 123 step 4"),
            (
                "/system.slice/slurmstepd.scope/job_123/step_batch/user/task_0",
                SlurmJob,
                "Slurm job 123 step batch",
            ),
            ("/system.slice/node01_slurmstepd.scope/job_123", SlurmJob, "Slurm job 123"),
            (
                &format!("/machine.slice/libpod-{ID}.scope/container"),
                PodmanContainer,
                "podman container 2e088fe462e2",
            ),
            (&format!("/ecs/0123abcd/{ID}"), EcsTask, "container 2e088fe462e2 of ECS task 0123abcd"),
            ("/user.slice/user-1000.slice/session-5.scope", UserSession, "session 5 of user 1000"),
            ("/user.slice/user-1000.slice", User, "everything of user 1000"),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/run-u640.service",
                SystemdUnit,
                "systemd unit run-u640.service of user 1000",
            ),
            (
                "/user.slice/user-0.slice/user@0.service/init.scope",
                SystemdUnit,
                "systemd unit user@0.service",
            ),
            ("/init.scope", SystemdUnit, "systemd unit init.scope"),
            ("/machine.slice/machine-qemu\\x2d3\\x2dweb.scope", Machine, "virtual machine qemu-3-web"),
            ("/ecs/0123abcd", EcsTask, "ECS task 0123abcd"),
            ("/foo/bar", Cgroup, "cgroup /foo/bar"),
            ("/", Cgroup, "cgroup /"),
            ("/kubepods", KubernetesNode, "all Pods of the node"),
            ("/kubepods/burstable", KubernetesQosClass, "all Burstable Pods of the node"),
            (
                &format!("/kubepods/pod{uid}"),
                KubernetesPod,
                "Guaranteed Pod 65a49b87-b4ca-46fd-8a90-1c3669d6427c",
            ),
            (
                &format!("/kubepods/besteffort/pod{uid}/{ID}"),
                KubernetesContainer,
                "container 2e088fe462e2 of BestEffort Pod 65a49b87-b4ca-46fd-8a90-1c3669d6427c",
            ),
            (
                &format!("/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podaa_bb.slice"),
                KubernetesPod,
                "Guaranteed Pod aa-bb in Docker container 2e088fe462e2",
            ),
        ] {
            let place = Place::of_path(path);
            assert_eq!((place.kind, place.name.as_str()), (kind, name), "{path}");
        }
    }

    #[test]
    fn names_that_only_look_like_something_are_not_believed() {
        for path in ["/job_1", "/slurm/job_x", "/docker", "/lxc", "/.service", "", "//"] {
            assert_eq!(Place::of_path(path).kind, PlaceKind::Cgroup, "{path}");
        }
        assert_eq!(Place::of_path("/docker/not-an-id").kind, PlaceKind::Cgroup);
    }
}
