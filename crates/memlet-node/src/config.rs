//! What a node agent is told at its start.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Taint;
use memlet_bytes::Bytes;
use memlet_cgroup::{CgroupPath, Hierarchy};
use memlet_policy::cgroup_limits::{CgroupVersion, NoGroupKill, SwapBehavior};
use memlet_policy::cgroup_names::Driver;
use memlet_policy::eviction;
use memlet_policy::memory_qos::MemoryQos;
use memlet_policy::oom_kill_mode;
use memlet_policy::quantity::Quantity;

use crate::records::Records;

/// What the node is, and where it may put things.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Node object's name.
    pub name: String,
    /// The memory that this node pretends to have; `None` for the machine's.
    pub memory: Option<Bytes>,
    /// What it does about memory beyond limits.
    pub memory_rules: MemoryRules,
    /// What of the node is not for Pods.
    pub reservations: Reservations,
    /// What a new Node object has beyond what every node says of itself.
    pub registration: Registration,
    /// A folder of manifests whose Pods run as long as their file is there; `None`: no static Pods.
    pub static_pods: Option<PathBuf>,
    /// Where the API server listens, as clients on this machine reach it; `None` where it does not listen.
    pub api_server: Option<ApiAddress>,
    /// The cgroup below which `kubepods` is made; nothing outside of it is touched.
    pub cgroup_root: CgroupPath,
    /// Who makes the cgroups.
    pub cgroup_driver: Driver,
    /// The folder of container logs, kubelet's `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// The agent's own folder; volumes are in `pods/<uid>/volumes`.
    pub state: PathBuf,
    /// What is kept of kills and failed containers; nodes of one program may share it.
    pub records: Records,
    /// The machine's memory controller.
    pub hierarchy: Hierarchy,
    /// Whether to read `/dev/kmsg`. Without, kills are told by the cgroups' counters alone.
    pub kernel_log: bool,
    /// A container is not started again after this many restarts, whatever its restart policy says: for a node
    /// that lives as long as one run. `None` for a node proper.
    pub most_restarts: Option<u32>,
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Amounts by resource name: `memory`, `cpu`, `ephemeral-storage`.
pub type Amounts = BTreeMap<String, Quantity>;

/// What of the node is not for Pods: kubelet's `kubeReserved`, `systemReserved`, and what eviction keeps free.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reservations {
    /// For the node agent and the runtime.
    pub kube: Amounts,
    /// For the rest of the system.
    pub system: Amounts,
    /// When Pods are evicted. What the hard threshold keeps free, no Pod may request.
    pub eviction: eviction::Settings,
}

/// What a new Node object is given. A Node that exists keeps what it has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registration {
    /// Labels beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Taints from the start.
    pub taints: Vec<Taint>,
}

/// kubelet's settings about memory, each off or at its default unless chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryRules {
    /// `memorySwap.swapBehavior`
    pub swap: SwapBehavior,
    /// The feature gate `MemoryQoS` and its two settings; `None`: off.
    pub memory_qos: Option<MemoryQos>,
    /// `singleProcessOOMKill`; `None`: as the cgroup version has it.
    pub single_process_oom_kill: Option<bool>,
}

/// What this machine's cgroup version cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A container's swap has a limit of its own only there.
    #[error("LimitedSwap needs cgroup v2, and this machine has v1; leave it at NoSwap")]
    Swap,
    /// `memory.high`, `memory.min` and `memory.low` are only there.
    #[error("MemoryQoS needs cgroup v2, and this machine has v1; leave it off")]
    MemoryQos,
    /// See [`NoGroupKill`].
    #[error(transparent)]
    GroupKill(#[from] NoGroupKill),
}

impl MemoryRules {
    pub(crate) fn check(&self, cgroups: CgroupVersion) -> Result<(), RulesError> {
        oom_kill_mode::of_node(cgroups, self.single_process_oom_kill)?;
        match cgroups {
            CgroupVersion::V1 if self.swap == SwapBehavior::LimitedSwap => Err(RulesError::Swap),
            CgroupVersion::V1 if self.memory_qos.is_some() => Err(RulesError::MemoryQos),
            CgroupVersion::V1 | CgroupVersion::V2 => Ok(()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_version_two_is_refused_on_one() {
        let swap = MemoryRules { swap: SwapBehavior::LimitedSwap, ..MemoryRules::default() };
        let brake = MemoryRules { memory_qos: Some(MemoryQos::default()), ..MemoryRules::default() };
        let group = MemoryRules { single_process_oom_kill: Some(false), ..MemoryRules::default() };
        for (rules, on_one) in [
            (MemoryRules::default(), Ok(())),
            (swap, Err(RulesError::Swap)),
            (brake, Err(RulesError::MemoryQos)),
            (group, Err(RulesError::GroupKill(NoGroupKill))),
        ] {
            assert_eq!(rules.check(CgroupVersion::V1), on_one);
            assert_eq!(rules.check(CgroupVersion::V2), Ok(()));
        }
    }
}
