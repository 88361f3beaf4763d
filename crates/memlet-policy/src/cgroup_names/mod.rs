//! The names of kubelet's cgroups, and back: from a path in a kernel report to a Pod's class, the Pod and the container.
//!
//! [`CgroupNames`] builds paths as kubelet and the runtimes do; [`decode()`] reads them, whatever stands before
//! (kind's nesting, a cgroup root of one's own). Names only: nothing here looks at a filesystem.

mod decode;

use std::fmt;

use crate::qos::QosClass;

pub use self::decode::{CgroupIdentity, ContainerCgroup, Level, decode, decode_container};

/// Who makes the cgroups, which decides how they are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    /// kubelet and the runtime make folders: `/kubepods/burstable/pod<uid>/<id>`.
    Cgroupfs,
    /// systemd makes slices and scopes: `/kubepods.slice/kubepods-burstable.slice/…`.
    Systemd,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        })
    }
}

/// Who runs the containers, which decides what their cgroups are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Runtime {
    /// containerd through CRI.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker, by itself or through cri-dockerd.
    Docker,
    /// podman.
    Podman,
}

impl Runtime {
    /// What stands before `-<id>.scope` with the systemd driver.
    const fn scope_prefix(self) -> &'static str {
        match self {
            Self::Containerd => "cri-containerd",
            Self::CriO => "crio",
            Self::Docker => "docker",
            Self::Podman => "libpod",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// The paths of one node's cgroups, relative to the mount of the controller, each beginning with `/`.
///
/// ```
/// use memlet_policy::cgroup_names::{CgroupNames, Driver};
/// use memlet_policy::qos::QosClass;
/// let names = CgroupNames::new(Driver::Cgroupfs);
/// assert_eq!(names.pod(QosClass::Burstable, "39ea0cc2"), "/kubepods/burstable/pod39ea0cc2");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupNames {
    driver: Driver,
    /// The components above `kubepods`.
    root: Vec<String>,
}

impl CgroupNames {
    /// Names with `kubepods` at the top.
    pub fn new(driver: Driver) -> Self {
        Self { driver, root: Vec::new() }
    }

    /// Names below `root`, a path as kubelet's `cgroupRoot` setting takes it (`/` is the top).
    #[must_use]
    pub fn below(mut self, root: &str) -> Self {
        self.root = root.split('/').filter(|component| !component.is_empty()).map(str::to_owned).collect();
        self
    }

    /// The cgroup above that of all Pods.
    pub fn root(&self) -> String {
        match self.path(&[]) {
            root if root.is_empty() => "/".to_owned(),
            root => root,
        }
    }

    /// The cgroup of all Pods.
    pub fn kubepods(&self) -> String {
        self.path(&["kubepods"])
    }

    /// The cgroup that the Pods of a class sit in. Guaranteed Pods have no tier: they sit in
    /// [`kubepods`](Self::kubepods).
    pub fn qos_tier(&self, class: QosClass) -> String {
        match tier(class) {
            Some(tier) => self.path(&["kubepods", tier]),
            None => self.kubepods(),
        }
    }

    /// The cgroup of a Pod.
    pub fn pod(&self, class: QosClass, pod_uid: &str) -> String {
        let pod = format!("pod{pod_uid}");
        match tier(class) {
            Some(tier) => self.path(&["kubepods", tier, &pod]),
            None => self.path(&["kubepods", &pod]),
        }
    }

    /// The cgroup of a container or of a sandbox's pause process, which has an id of the same kind.
    pub fn container(&self, class: QosClass, pod_uid: &str, runtime: Runtime, container_id: &str) -> String {
        let pod = self.pod(class, pod_uid);
        match (self.driver, runtime) {
            (Driver::Systemd, _) => format!("{pod}/{}-{container_id}.scope", runtime.scope_prefix()),
            (Driver::Cgroupfs, Runtime::CriO | Runtime::Podman) => {
                format!("{pod}/{}-{container_id}", runtime.scope_prefix())
            }
            (Driver::Cgroupfs, Runtime::Containerd | Runtime::Docker) => format!("{pod}/{container_id}"),
        }
    }

    fn path(&self, components: &[&str]) -> String {
        let components = self.root.iter().map(String::as_str).chain(components.iter().copied());
        match self.driver {
            Driver::Cgroupfs => {
                components.fold(String::new(), |path, component| format!("{path}/{component}"))
            }
            Driver::Systemd => slices(components),
        }
    }
}

/// The cgroup of a container whose id and whose Pod's cgroup are these, as the embedded runtime makes it. The Pod's tells
/// whose manner it is in.
///
/// In a scope the container is one level down, as crun has it: the scope itself is systemd's, and gone as soon as nothing
/// is left in it; what is below is its starter's.
pub fn container_in(pod: &str, container_id: &str) -> String {
    if pod.strip_suffix(".slice").is_some() {
        format!("{pod}/{}-{container_id}.scope/{IN_SCOPE}", Runtime::Containerd.scope_prefix())
    } else {
        format!("{}/{container_id}", pod.trim_end_matches('/'))
    }
}

/// Below a container's scope, the container itself.
const IN_SCOPE: &str = "container";

/// Whether the group `name` right below `outer` is all of a container, one down in its scope.
pub fn is_in_scope(outer: &str, name: &str) -> bool {
    name == IN_SCOPE && outer.strip_suffix(".scope").is_some()
}

/// systemd's expansion: `a`, `b` is `/a.slice/a-b.slice`; a dash within a component becomes `_`.
fn slices<'a>(components: impl Iterator<Item = &'a str>) -> String {
    let mut path = String::new();
    let mut slice = String::new();
    for component in components {
        if !slice.is_empty() {
            slice.push('-');
        }
        slice.push_str(&component.trim_end_matches(".slice").replace('-', "_"));
        path.push('/');
        path.push_str(&slice);
        path.push_str(".slice");
    }
    path
}

/// The component of a class's tier; Guaranteed has none.
fn tier(class: QosClass) -> Option<&'static str> {
    match class {
        QosClass::Guaranteed => None,
        QosClass::Burstable => Some("burstable"),
        QosClass::BestEffort => Some("besteffort"),
    }
}

#[cfg(test)]
mod tests;
