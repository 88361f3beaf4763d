//! What all Pod workers of a node share.

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Version};
use memlet_policy::cgroup_limits::CgroupVersion;

use crate::admission::Ledger;
use crate::cgroups::NodeCgroups;
use crate::config::NodeConfig;
use crate::container::{NodeShape, Storage};
use crate::cri::Cri;
use crate::events::{Recorder, Severity, node_reference};
use crate::exits::Subscriptions;
use crate::node_resources::NodeResources;
use crate::oom::record::{EndLog, KillLog};

use crate::oom::witness::Witness;
use crate::pressure::Pressure;

/// The node: its ends upward and downward, and what is known of it.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) client: kube::Client,
    pub(crate) cri: Cri,
    pub(crate) recorder: Recorder,
    pub(crate) cgroups: NodeCgroups,
    pub(crate) shape: NodeShape,
    pub(crate) ledger: Ledger,
    pub(crate) exits: Subscriptions,
    pub(crate) witness: Witness,
    pub(crate) kills: KillLog,
    pub(crate) ends: EndLog,
    pub(crate) pressure: Pressure,
}

impl Node {
    /// Kills whatever is in this group and below. Nothing to kill is no fault.
    pub(crate) async fn kill_all_in(&self, path: &CgroupPath) {
        let (hierarchy, path) = (self.cgroups.hierarchy().clone(), path.clone());
        let killed = tokio::task::spawn_blocking(move || Cgroup::open(&hierarchy, &path)?.kill_all()).await;
        if let Ok(Err(error)) = killed
            && !error.is_gone()
        {
            tracing::warn!("what an earlier run left running cannot be ended: {error}");
        }
    }

    /// Records an Event about the node.
    pub(crate) fn tell(&self, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.recorder.record(node_reference(&self.config.name), severity, reason, message);
    }

    /// Has the cgroups above the Pods keep what those that are here now want kept.
    pub(crate) fn protect_tiers(&self) {
        let Some(qos) = self.shape.memory_rules.memory_qos else { return };
        if let Err(error) = self.cgroups.protect_tiers(self.ledger.protection(qos)) {
            tracing::warn!("what Pods requested is not protected: {error}");
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What the node is, as Pods see it.
pub(crate) fn shape(resources: &NodeResources, config: &NodeConfig, accounts_swap: bool) -> NodeShape {
    NodeShape {
        capacity: resources.memory.capacity,
        allocatable: resources.memory.allocatable(),
        allocatable_cpu: resources.allocatable_cpu(),
        storage: Storage { capacity: resources.storage, allocatable: resources.allocatable_storage() },
        host_ip: Some(host_ip()),
        host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        cgroups: version_of(&config.hierarchy),
        swap: accounts_swap.then(machine_swap),
        page_size: Bytes::new(rustix::param::page_size() as u64),
        memory_rules: config.memory_rules,
    }
}

/// The version, as the rules know it.
pub(crate) fn version_of(hierarchy: &Hierarchy) -> CgroupVersion {
    match hierarchy.version() {
        Version::V1 => CgroupVersion::V1,
        Version::V2 => CgroupVersion::V2,
    }
}

/// The address from which this machine would reach others, else loopback. Connecting a datagram socket sends
/// nothing.
fn host_ip() -> String {
    let route = || -> std::io::Result<std::net::IpAddr> {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip())
    };
    route().map_or_else(|_| "127.0.0.1".to_owned(), |ip| ip.to_string())
}

/// The machine's memory; `None` where `/proc/meminfo` does not say.
pub(crate) fn machine_memory() -> Option<Bytes> {
    meminfo("MemTotal")
}

/// The machine's swap: none where `/proc/meminfo` does not say.
fn machine_swap() -> Bytes {
    meminfo("SwapTotal").unwrap_or_default()
}

fn meminfo(key: &str) -> Option<Bytes> {
    Bytes::of_proc(&std::fs::read_to_string("/proc/meminfo").ok()?, key)
}
