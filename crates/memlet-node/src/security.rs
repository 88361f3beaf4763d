//! A container's security context, from the Pod's and the container's own. Pure.
//!
//! As kubelet's `determineEffectiveSecurityContext`; where the Pod does not ask, the seccomp profile is the
//! runtime's default instead of none.

use k8s_cri::v1::{
    self, Capability, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, NamespaceMode,
    NamespaceOption, SecurityProfile, security_profile::ProfileType,
};
use k8s_openapi::api::core::v1::{Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext};

/// What a container must not see of the machine (kubelet's `defaultMaskedPaths`).
const MASKED_PATHS: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What it must not write (kubelet's `defaultReadonlyPaths`).
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The container would run as root though the Pod forbids that. Prints as the message of
/// `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunsAsRoot {
    #[error("container's runAsUser breaks non-root policy (pod: {pod:?}, container: {container})")]
    ByUser { pod: String, container: String },
    #[error("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})")]
    ByImage { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root \
         (pod: {pod:?}, container: {container})"
    )]
    Unknown { pod: String, container: String, user: String },
}

/// Checks `runAsNonRoot` against the container's user, or the image's.
pub(crate) fn check_not_root(
    pod_name: &str,
    spec: &PodSpec,
    container: &Container,
    image: &v1::Image,
) -> Result<(), RunsAsRoot> {
    let (of_pod, own) = (spec.security_context.as_ref(), container.security_context.as_ref());
    let forbidden =
        own.and_then(|own| own.run_as_non_root).or(of_pod.and_then(|of_pod| of_pod.run_as_non_root));
    if forbidden != Some(true) {
        return Ok(());
    }
    let (pod, container) = (pod_name.to_owned(), container.name.clone());
    match (run_as_user(of_pod, own), &image.uid, image.username.as_str()) {
        (Some(0), _, _) => Err(RunsAsRoot::ByUser { pod, container }),
        (Some(_), _, _) => Ok(()),
        (None, Some(uid), _) if uid.value != 0 => Ok(()),
        (None, None, user) if !user.is_empty() => {
            Err(RunsAsRoot::Unknown { pod, container, user: user.to_owned() })
        }
        (None, _, _) => Err(RunsAsRoot::ByImage { pod, container }),
    }
}

fn run_as_user(of_pod: Option<&PodSecurityContext>, own: Option<&SecurityContext>) -> Option<i64> {
    own.and_then(|own| own.run_as_user).or(of_pod.and_then(|of_pod| of_pod.run_as_user))
}

fn run_as_group(of_pod: Option<&PodSecurityContext>, own: Option<&SecurityContext>) -> Option<i64> {
    own.and_then(|own| own.run_as_group).or(of_pod.and_then(|of_pod| of_pod.run_as_group))
}

fn int64(value: i64) -> Int64Value {
    Int64Value { value }
}

/// The Pod's supplemental groups and its volumes' group.
fn supplemental_groups(of_pod: Option<&PodSecurityContext>) -> Vec<i64> {
    let Some(of_pod) = of_pod else { return Vec::new() };
    of_pod.supplemental_groups.iter().flatten().copied().chain(of_pod.fs_group).collect()
}

/// Which namespaces the Pod shares with the machine, and its containers with each other.
pub(crate) fn namespaces(spec: &PodSpec) -> NamespaceOption {
    let host = |shared: Option<bool>, otherwise: NamespaceMode| {
        if shared == Some(true) { NamespaceMode::Node } else { otherwise }
    };
    let pid = if spec.share_process_namespace == Some(true) {
        NamespaceMode::Pod
    } else {
        NamespaceMode::Container
    };
    NamespaceOption {
        network: host(spec.host_network, NamespaceMode::Pod).into(),
        pid: host(spec.host_pid, pid).into(),
        ipc: host(spec.host_ipc, NamespaceMode::Pod).into(),
        ..NamespaceOption::default()
    }
}

fn seccomp(
    own: Option<&SeccompProfile>,
    of_pod: Option<&SeccompProfile>,
    privileged: bool,
) -> SecurityProfile {
    let profile = match own.or(of_pod).map(|profile| profile.type_.as_str()) {
        _ if privileged => ProfileType::Unconfined,
        Some("Unconfined") => ProfileType::Unconfined,
        _ => ProfileType::RuntimeDefault,
    };
    SecurityProfile { profile_type: profile.into(), localhost_ref: String::new() }
}

/// The sandbox's own context.
pub(crate) fn sandbox(spec: &PodSpec) -> LinuxSandboxSecurityContext {
    let of_pod = spec.security_context.as_ref();
    let privileged = memlet_policy::resources::counted_containers(spec)
        .filter_map(|container| container.security_context.as_ref())
        .any(|own| own.privileged == Some(true));
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        run_as_user: run_as_user(of_pod, None).map(int64),
        run_as_group: run_as_group(of_pod, None).map(int64),
        supplemental_groups: supplemental_groups(of_pod),
        privileged,
        seccomp: Some(seccomp(None, of_pod.and_then(|of_pod| of_pod.seccomp_profile.as_ref()), privileged)),
        ..LinuxSandboxSecurityContext::default()
    }
}

/// The container's context. Where the Pod names no user, the image's is taken.
pub(crate) fn container(
    spec: &PodSpec,
    container: &Container,
    image: &v1::Image,
) -> LinuxContainerSecurityContext {
    let (of_pod, own) = (spec.security_context.as_ref(), container.security_context.as_ref());
    let privileged = own.and_then(|own| own.privileged) == Some(true);
    let user = run_as_user(of_pod, own).map(int64).or(image.uid);
    let user_is_named = user.is_none() && !image.username.is_empty();
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let paths =
        |paths: &[&str]| paths.iter().filter(|_| !privileged).map(|path| (*path).to_owned()).collect();
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: capabilities.and_then(|caps| caps.add.clone()).unwrap_or_default(),
            drop_capabilities: capabilities.and_then(|caps| caps.drop.clone()).unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged,
        namespace_options: Some(namespaces(spec)),
        run_as_user: user,
        run_as_group: run_as_group(of_pod, own).map(int64),
        run_as_username: if user_is_named { image.username.clone() } else { String::new() },
        readonly_rootfs: own.and_then(|own| own.read_only_root_filesystem) == Some(true),
        supplemental_groups: supplemental_groups(of_pod),
        no_new_privs: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(seccomp(
            own.and_then(|own| own.seccomp_profile.as_ref()),
            of_pod.and_then(|of_pod| of_pod.seccomp_profile.as_ref()),
            privileged,
        )),
        ..LinuxContainerSecurityContext::default()
    }
}
