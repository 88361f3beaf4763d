//! What a node agent is told at its start.

use std::path::PathBuf;

use memlet_bytes::Bytes;
use memlet_cgroup::{CgroupPath, Hierarchy};

/// What the node is, and where it may put things.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Node object's name.
    pub name: String,
    /// The memory that this node pretends to have; `None` for the machine's.
    pub memory: Option<Bytes>,
    /// The cgroup below which `kubepods` is made; nothing outside of it is touched.
    pub cgroup_root: CgroupPath,
    /// The folder of container logs, kubelet's `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// The agent's own folder; volumes are in `pods/<uid>/volumes`.
    pub state: PathBuf,
    /// The machine's memory controller.
    pub hierarchy: Hierarchy,
    /// Whether to read `/dev/kmsg`. Without, kills are told by the cgroups' counters alone.
    pub kernel_log: bool,
    /// A container is not started again after this many restarts, whatever its restart policy says: for a node
    /// that lives as long as one run. `None` for a node proper.
    pub most_restarts: Option<u32>,
}

impl NodeConfig {
    /// The folder of one Pod's volumes and termination messages.
    pub(crate) fn pod_folder(&self, uid: &str) -> PathBuf {
        self.pods_folder().join(uid)
    }

    /// Says that the cgroup root was made by this node, and so is its own to remove.
    pub(crate) fn made_root_marker(&self) -> PathBuf {
        self.state.join("made-cgroup-root")
    }

    pub(crate) fn pods_folder(&self) -> PathBuf {
        self.state.join("pods")
    }
}
