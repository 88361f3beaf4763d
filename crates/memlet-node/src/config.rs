//! What a node agent is told at its start.

use std::path::PathBuf;

use memlet_bytes::Bytes;
use memlet_cgroup::{CgroupPath, Hierarchy};
use memlet_policy::cgroup_limits::{CgroupVersion, NoGroupKill, SwapBehavior};
use memlet_policy::cgroup_names::Driver;
use memlet_policy::memory_qos::MemoryQos;
use memlet_policy::oom_kill_mode;

/// What the node is, and where it may put things.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The Node object's name.
    pub name: String,
    /// The memory that this node pretends to have; `None` for the machine's.
    pub memory: Option<Bytes>,
    /// What it does about memory beyond limits.
    pub memory_rules: MemoryRules,
    /// The cgroup below which `kubepods` is made; nothing outside of it is touched.
    pub cgroup_root: CgroupPath,
    /// Who makes the cgroups.
    pub cgroup_driver: Driver,
    /// The folder of container logs, kubelet's `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// The agent's own folder; volumes are in `pods/<uid>/volumes`.
    pub state: PathBuf,
    /// The folder of what is kept of kills and failed containers ([`crate::Records`]), on a disk that survives a reboot;
    /// `None` keeps it in memory.
    pub records: Option<PathBuf>,
    /// The machine's memory controller.
    pub hierarchy: Hierarchy,
    /// Whether to read `/dev/kmsg`. Without, kills are told by the cgroups' counters alone.
    pub kernel_log: bool,
    /// A container is not started again after this many restarts, whatever its restart policy says: for a node
    /// that lives as long as one run. `None` for a node proper.
    pub most_restarts: Option<u32>,
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
