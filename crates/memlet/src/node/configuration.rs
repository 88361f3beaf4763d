//! What a node is to be: flags, then the file, then what a node is by default.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memlet_cgroup::CgroupPath;
use memlet_node::{MemoryRules, Reservations};
use memlet_policy::eviction::{self, SettingError, Soft};
use memlet_policy::memory_qos::MemoryQos;

use super::folder::DataFolder;
use super::pool::Common;
use crate::cli::{NodeArguments, NodeSettings};
use crate::embedded::{CgroupPlace, MemberSettings};

/// kube-apiserver's port.
const PORT: u16 = 6443;

/// What a node is to be, nothing left open.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    pub(crate) addresses: Vec<SocketAddr>,
    /// The nodes; one that is alone is at the cgroup root itself, those of a pool below it.
    pub(crate) members: Vec<MemberSettings>,
    /// What a node has that is added later.
    pub(crate) common: Common,
    pub(crate) in_memory: bool,
    pub(crate) memory_rules: MemoryRules,
    pub(crate) run_folder: PathBuf,
    pub(crate) data: DataFolder,
    pub(crate) kernel_log: bool,
}

impl Configuration {
    /// # Errors
    /// The file cannot be read, or what is asked for cannot be.
    pub(crate) fn read(arguments: &NodeArguments) -> Result<Self> {
        let of_file = match &arguments.config {
            Some(path) => read_file(path)?,
            None => NodeSettings::default(),
        };
        Self::new(arguments.settings.clone().or(of_file), &arguments.place.data)
    }

    fn new(settings: NodeSettings, data: &Path) -> Result<Self> {
        let eviction = settings.eviction()?;
        let default_address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let addresses =
            if settings.addresses.is_empty() { vec![default_address] } else { settings.addresses };
        let name = settings.node_name.unwrap_or_else(|| "memlet".to_owned());
        let common = Common {
            memory: settings.node_memory,
            reservations: Reservations {
                kube: settings.kube_reserved.unwrap_or_default().0,
                system: settings.system_reserved.unwrap_or_default().0,
                eviction,
            },
            cgroups: CgroupPlace {
                root: settings.cgroup_root.unwrap_or_else(CgroupPath::root),
                driver: settings
                    .cgroup_driver
                    .map_or(memlet_policy::cgroup_names::Driver::Cgroupfs, Into::into),
            },
        };
        let mut members = match &settings.nodes {
            Some(nodes) => common.members(&name, nodes)?,
            None => vec![common.alone(&name)?],
        };
        // A folder is for one node alone.
        if let Some(first) = members.first_mut() {
            first.static_pods = settings.static_pods.as_deref().map(absolute).transpose()?;
        }
        Ok(Self {
            addresses,
            members,
            common,
            in_memory: settings.in_memory.unwrap_or(false),
            memory_rules: MemoryRules {
                swap: settings.swap_behavior.map_or_else(Default::default, Into::into),
                memory_qos: settings.memory_qos.unwrap_or(false).then(|| MemoryQos {
                    throttling: settings.memory_throttling_factor.unwrap_or_default(),
                    reservation: settings
                        .memory_reservation_policy
                        .map_or(MemoryQos::default().reservation, Into::into),
                }),
                single_process_oom_kill: settings.single_process_oom_kill,
            },
            run_folder: absolute(settings.run_folder.as_deref().unwrap_or(Path::new("/run/memlet")))?,
            data: DataFolder::new(&absolute(data)?),
            kernel_log: !settings.no_kernel_log.unwrap_or(false),
        })
    }
}

/// A file beyond this is another one than was meant.
const LARGEST_FILE: u64 = 1 << 20;

fn read_file(path: &Path) -> Result<NodeSettings> {
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() as u64 > LARGEST_FILE {
        bail!("{} is longer than {} KiB, which no configuration is", path.display(), LARGEST_FILE >> 10);
    }
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no configuration of a node", path.display()))
}

/// Folders are made absolute, since supervisors and mounts do not share this process's own.
fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder).with_context(|| format!("{} cannot be found", folder.display()))
}

impl NodeSettings {
    /// What is said of eviction, the rest as kubelet has it.
    fn eviction(&self) -> Result<eviction::Settings, SettingError> {
        let default = eviction::Settings::default();
        let threshold = self.eviction_soft.and_then(|choice| choice.0);
        let grace_period = self.eviction_soft_grace_period.and_then(|choice| choice.0);
        let soft = match (threshold, grace_period) {
            (Some(threshold), Some(grace_period)) => Some(Soft { threshold, grace_period }),
            (Some(_), None) => return Err(SettingError::NoGracePeriod),
            (None, Some(_)) => return Err(SettingError::NoSoftThreshold),
            (None, None) => None,
        };
        Ok(eviction::Settings {
            hard: self.eviction_hard.map_or(default.hard, |choice| choice.0),
            soft,
            minimum_reclaim: self.eviction_minimum_reclaim.and_then(|choice| choice.0),
            max_pod_grace: self
                .eviction_max_pod_grace_period
                .map_or(default.max_pod_grace, |seconds| Duration::from_secs(seconds.into())),
            transition_period: self
                .eviction_pressure_transition_period
                .map_or(default.transition_period, |choice| choice.0),
        })
    }

    /// What is said here, and where nothing is, there.
    fn or(self, other: Self) -> Self {
        Self {
            addresses: if self.addresses.is_empty() { other.addresses } else { self.addresses },
            node_name: self.node_name.or(other.node_name),
            node_memory: self.node_memory.or(other.node_memory),
            nodes: self.nodes.or(other.nodes),
            kube_reserved: self.kube_reserved.or(other.kube_reserved),
            system_reserved: self.system_reserved.or(other.system_reserved),
            eviction_hard: self.eviction_hard.or(other.eviction_hard),
            eviction_soft: self.eviction_soft.or(other.eviction_soft),
            eviction_soft_grace_period: self.eviction_soft_grace_period.or(other.eviction_soft_grace_period),
            eviction_minimum_reclaim: self.eviction_minimum_reclaim.or(other.eviction_minimum_reclaim),
            eviction_max_pod_grace_period: self
                .eviction_max_pod_grace_period
                .or(other.eviction_max_pod_grace_period),
            eviction_pressure_transition_period: self
                .eviction_pressure_transition_period
                .or(other.eviction_pressure_transition_period),
            static_pods: self.static_pods.or(other.static_pods),
            in_memory: self.in_memory.or(other.in_memory),
            swap_behavior: self.swap_behavior.or(other.swap_behavior),
            memory_qos: self.memory_qos.or(other.memory_qos),
            memory_throttling_factor: self.memory_throttling_factor.or(other.memory_throttling_factor),
            memory_reservation_policy: self.memory_reservation_policy.or(other.memory_reservation_policy),
            single_process_oom_kill: self.single_process_oom_kill.or(other.single_process_oom_kill),
            cgroup_driver: self.cgroup_driver.or(other.cgroup_driver),
            cgroup_root: self.cgroup_root.or(other.cgroup_root),
            run_folder: self.run_folder.or(other.run_folder),
            no_kernel_log: self.no_kernel_log.or(other.no_kernel_log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(flags: &str, file: &str) -> Result<Configuration> {
        let read = |text: &str| serde_saphyr::from_str::<NodeSettings>(text).unwrap();
        Configuration::new(read(flags).or(read(file)), Path::new("/data"))
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let node = configuration("nodeName: flag", "{nodeName: file, nodeMemory: 1Gi}").unwrap();
        let member = &node.members[0];
        assert_eq!((member.name.as_str(), member.memory), ("flag", Some(memlet_bytes::Bytes::from_gib(1))));
        assert_eq!(node.addresses, ["127.0.0.1:6443".parse().unwrap()]);
        assert!(member.cgroups.root.is_root() && !node.in_memory && node.kernel_log);
    }

    #[test]
    fn a_soft_threshold_has_its_time_or_is_refused() {
        let both = "{evictionSoft: {memory.available: 30%}, evictionSoftGracePeriod: {memory.available: 1m}}";
        let node = configuration("evictionHard: memory.available<0%", both).unwrap();
        let eviction = &node.members[0].reservations.eviction;
        assert_eq!(eviction.hard, None);
        assert_eq!(eviction.soft.map(|soft| soft.grace_period), Some(Duration::from_mins(1)));
        for (file, part) in [
            ("evictionSoft: {memory.available: 30%}", "grace period must be specified"),
            ("evictionSoftGracePeriod: {memory.available: 1m}", "no soft threshold"),
        ] {
            let error = configuration("{}", file).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_pool_is_below_the_root() {
        let pool =
            configuration("nodes: 2", "{cgroupRoot: /x, nodeMemory: 1Gi, nodes: [{name: a}]}").unwrap();
        let roots: Vec<_> = pool.members.iter().map(|member| member.cgroups.root.as_str()).collect();
        assert_eq!(roots, ["/x/memlet-1", "/x/memlet-2"]);
    }

    #[test]
    fn a_node_must_leave_something_for_pods() {
        for (file, leaves) in [
            ("nodeMemory: 100Mi", false),
            ("nodeMemory: 101Mi", true),
            ("{nodeMemory: 1Gi, kubeReserved: {memory: 900Mi}}", true),
            ("{nodeMemory: 1Gi, kubeReserved: {memory: 900Mi}, systemReserved: {memory: 24Mi}}", false),
        ] {
            assert_eq!(configuration("{}", file).is_ok(), leaves, "{file}");
        }
    }
}
