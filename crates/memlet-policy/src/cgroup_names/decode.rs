//! From a cgroup's path to what it is to Kubernetes.

use crate::qos::QosClass;

use super::{Driver, Runtime, is_in_scope};

/// Which of kubelet's cgroups a path names: whose limit was hit, if this one's was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// `kubepods`: all Pods of the node.
    Kubepods,
    /// The Burstable or `BestEffort` tier.
    QosTier,
    /// One Pod.
    Pod,
    /// One container, or the pause process of a sandbox.
    Container,
    /// A cgroup that a container made inside its own.
    InsideContainer,
}

/// What a cgroup's path says in Kubernetes' terms. What the path does not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupIdentity {
    /// Which of kubelet's cgroups it is.
    pub level: Level,
    /// The class of the Pods in it; `None` for [`Level::Kubepods`], which holds all.
    pub qos: Option<QosClass>,
    /// The Pod's uid as the API writes it. A static Pod's is 32 hexadecimal digits without dashes.
    pub pod_uid: Option<String>,
    /// The container's id; a pause process's cgroup has one too and the path doesn't tell them apart. `None`
    /// inside a Pod where the name is no container's, as of CRI-O's monitor.
    pub container_id: Option<String>,
    /// The runtime; containerd and Docker look alike with the cgroupfs driver.
    pub runtime: Option<Runtime>,
    /// Whose manner the path is in.
    pub driver: Driver,
    /// What stands before the `kubepods` component, without a `/` at its end: empty on an ordinary node.
    pub prefix: String,
}

/// Reads a cgroup's path as a kernel report prints it; `None` where it is none of kubelet's.
///
/// The innermost Pod counts where kubelets are nested. What stands before `kubepods` does not matter.
///
/// ```
/// use memlet_policy::cgroup_names::{Level, decode};
/// let path = "/kubepods.slice/kubepods-burstable.slice/\
///             kubepods-burstable-pod06d44939_d15e_491f_84a3_2dbba9fc0440.slice/cri-containerd-f6b09caae6cf.scope";
/// let identity = decode(path).unwrap();
/// assert_eq!(identity.level, Level::Container);
/// assert_eq!(identity.pod_uid.as_deref(), Some("06d44939-d15e-491f-84a3-2dbba9fc0440"));
/// assert_eq!(identity.container_id.as_deref(), Some("f6b09caae6cf"));
/// ```
pub fn decode(path: &str) -> Option<CgroupIdentity> {
    let components: Vec<&str> = path.split('/').filter(|component| !component.is_empty()).collect();
    // From the end, so that the innermost kubelet's names are found first.
    (0..components.len())
        .rev()
        .find_map(|index| decode_cgroupfs(&components, index).or_else(|| decode_systemd(&components, index)))
}

/// The cgroup of one container, whoever started it: by the last component of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerCgroup {
    /// The runtime, where the name tells.
    pub runtime: Option<Runtime>,
    /// The container's id.
    pub container_id: String,
}

/// Reads one component of a path as a container's: `cri-containerd-<id>.scope`, `crio-<id>`, `docker-<id>.scope`,
/// `libpod-<id>.scope`, or a bare id of 64 hexadecimal digits. Monitors such as CRI-O's conmon are none.
pub fn decode_container(component: &str) -> Option<ContainerCgroup> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let found = |runtime, id: &str| {
        is_hexadecimal(id).then(|| ContainerCgroup { runtime, container_id: id.to_owned() })
    };
    for runtime in [Runtime::Containerd, Runtime::CriO, Runtime::Docker, Runtime::Podman] {
        if let Some(id) = name.strip_prefix(runtime.scope_prefix()).and_then(|rest| rest.strip_prefix('-')) {
            return found(Some(runtime), id);
        }
    }
    (name.len() == 64).then(|| found(None, name))?
}

fn is_uid(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `kubepods[/burstable|/besteffort][/pod<uid>[/<container>[/…]]]`, with `kubepods` at `index`.
fn decode_cgroupfs(components: &[&str], index: usize) -> Option<CgroupIdentity> {
    // A bare `kubepods` right below systemd's slices is a path that was cut off within a slice's name.
    let above = index.checked_sub(1).map_or("", |above| components[above]);
    if components[index] != "kubepods"
        || above.strip_suffix(".slice").is_some_and(|slice| slice.contains("kubepods"))
    {
        return None;
    }
    let mut rest = &components[index + 1..];
    let tier = rest.first().and_then(|component| tier_class(component));
    if tier.is_some() {
        rest = &rest[1..];
    }
    let mut identity = CgroupIdentity {
        level: if tier.is_some() { Level::QosTier } else { Level::Kubepods },
        qos: tier,
        pod_uid: None,
        container_id: None,
        runtime: None,
        driver: Driver::Cgroupfs,
        prefix: joined(&components[..index]),
    };
    let Some((pod, inside)) = rest.split_first() else { return Some(identity) };
    let uid = pod.strip_prefix("pod").filter(|uid| is_uid(uid))?;
    identity.level = Level::Pod;
    identity.qos = Some(tier.unwrap_or(QosClass::Guaranteed));
    identity.pod_uid = Some(uid.to_owned());
    Some(with_container(identity, inside))
}

/// The last slice of `…kubepods[-burstable|-besteffort][-pod<uid>].slice[/<container>.scope[/…]]`, at `index`.
/// Also the misfit `<slice>:cri-containerd:<id>`, which containerd makes of a slice without systemd's driver.
fn decode_systemd(components: &[&str], index: usize) -> Option<CgroupIdentity> {
    let (slice, misfit) = match components[index].split_once(".slice:") {
        Some((slice, container)) => (slice, Some(container)),
        None => (components[index].strip_suffix(".slice")?, None),
    };
    let names: Vec<&str> = slice.split('-').collect();
    let kubepods = names.iter().rposition(|name| *name == "kubepods")?;
    let mut rest = &names[kubepods + 1..];
    let tier = rest.first().and_then(|name| tier_class(name));
    if tier.is_some() {
        rest = &rest[1..];
    }
    // The slices of the levels above stand before this one: not a part of the prefix.
    let top = components[..=index]
        .iter()
        .position(|component| component.strip_suffix(".slice").is_some_and(is_kubepods_slice))
        .unwrap_or(index);
    let mut identity = CgroupIdentity {
        level: if tier.is_some() { Level::QosTier } else { Level::Kubepods },
        qos: tier,
        pod_uid: None,
        container_id: None,
        runtime: None,
        driver: Driver::Systemd,
        prefix: joined(&components[..top]),
    };
    let Some(pod) = rest.first() else {
        return (misfit.is_none() && index + 1 == components.len()).then_some(identity);
    };
    let uid = pod.strip_prefix("pod").filter(|uid| is_uid(uid) && rest.len() == 1)?;
    identity.level = Level::Pod;
    identity.qos = Some(tier.unwrap_or(QosClass::Guaranteed));
    identity.pod_uid = Some(uid.replace('_', "-"));
    if let Some(container) = misfit {
        let (runtime, id) = container.rsplit_once(':')?;
        identity.level = if index + 1 < components.len() { Level::InsideContainer } else { Level::Container };
        identity.runtime = (runtime == "cri-containerd").then_some(Runtime::Containerd);
        identity.container_id = Some(id.to_owned());
        return Some(identity);
    }
    Some(with_container(identity, &components[index + 1..]))
}

fn is_kubepods_slice(name: &str) -> bool {
    name == "kubepods" || name.ends_with("-kubepods")
}

/// Reads what stands inside a Pod's cgroup.
fn with_container(mut identity: CgroupIdentity, inside: &[&str]) -> CgroupIdentity {
    let Some((container, nested)) = inside.split_first() else { return identity };
    let is_whole = match nested {
        [] => true,
        [name] => is_in_scope(container, name),
        _ => false,
    };
    identity.level = if is_whole { Level::Container } else { Level::InsideContainer };
    match decode_container(container) {
        Some(found) => (identity.runtime, identity.container_id) = (found.runtime, Some(found.container_id)),
        // Directly in a Pod's folder any plain name is a container's id; what has a unit's suffix, or a
        // monitor's prefix, is not.
        None if identity.driver == Driver::Cgroupfs && is_plain_id(container) => {
            identity.container_id = Some((*container).to_owned());
        }
        None => {}
    }
    identity
}

fn is_plain_id(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && !name.starts_with("crio-conmon")
}

fn tier_class(name: &str) -> Option<QosClass> {
    match name {
        "burstable" => Some(QosClass::Burstable),
        "besteffort" => Some(QosClass::BestEffort),
        _ => None,
    }
}

fn joined(components: &[&str]) -> String {
    components.iter().fold(String::new(), |path, component| format!("{path}/{component}"))
}
