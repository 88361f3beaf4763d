//! The daemon that is killed: runtime and agent, whose API server is elsewhere and so outlives it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use memlet_bytes::Bytes;
use memlet_cgroup::Hierarchy;
use memlet_node::{MemoryRules, NodeAgent, NodeConfig};
use memlet_policy::cgroup_names::Driver;
use memlet_runtime::service::{Runtime, Settings};
use tokio::signal::unix::{SignalKind, signal};

/// The argument that makes this program a daemon.
pub(crate) const COMMAND: &str = "daemon";

/// Where a daemon has its things.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) cgroup_root: String,
    pub(crate) api: String,
}

impl Place {
    pub(crate) fn runtime(&self, hierarchy: &Hierarchy) -> Settings {
        Settings {
            state: self.folder.join("runtime"),
            images: self.folder.join("images"),
            hierarchy: hierarchy.clone(),
            cgroup_driver: Driver::Cgroupfs,
            log_rotation: memlet_runtime::service::Rotation::default(),
        }
    }

    pub(crate) fn agent(&self, hierarchy: &Hierarchy) -> NodeConfig {
        NodeConfig {
            name: "node".into(),
            memory: Some(Bytes::from_mib(600)),
            memory_rules: MemoryRules::default(),
            cgroup_root: self.cgroup_root.parse().unwrap(),
            cgroup_driver: Driver::Cgroupfs,
            pod_logs: self.folder.join("logs"),
            state: self.folder.join("node"),
            hierarchy: hierarchy.clone(),
            records: memlet_node::Records::in_memory(),
            kernel_log: true,
            most_restarts: None,
            reservations: memlet_node::Reservations::default(),
            registration: memlet_node::Registration::default(),
            static_pods: None,
            api_server: None,
        }
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.folder.join("records")
    }

    /// Exists from when the agent has started until its process ends it in order.
    pub(crate) fn ready(&self) -> PathBuf {
        self.folder.join("ready")
    }
}

/// Runs until TERM, which detaches, or INT, which ends the Pods too.
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut next = || arguments.next().expect("an argument");
    let place = Place { folder: PathBuf::from(next()), cgroup_root: next(), api: next() };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(run(&place));
    ExitCode::SUCCESS
}

async fn run(place: &Place) {
    let hierarchy = Hierarchy::detect().unwrap();
    let mut detach = signal(SignalKind::terminate()).unwrap();
    let mut shutdown = signal(SignalKind::interrupt()).unwrap();
    let runtime = Runtime::new(place.runtime(&hierarchy)).unwrap();
    runtime.adopt().await.unwrap();
    let channel = runtime.channel().await.unwrap();
    let client = kube::Client::try_from(kube::Config::new(place.api.parse().unwrap())).unwrap();
    let records = memlet_node::Records::on_disk(&place.records()).unwrap();
    let config = NodeConfig { records, ..place.agent(&hierarchy) };
    let agent = NodeAgent::start(config, client, channel).await.unwrap();
    write(&place.ready());
    tokio::select! {
        _ = detach.recv() => agent.detach().await,
        _ = shutdown.recv() => agent.shutdown(Duration::ZERO).await,
    }
}

fn write(path: &Path) {
    std::fs::write(path, "").unwrap();
}
