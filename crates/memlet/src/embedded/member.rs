//! One node of this program: its place on the machine, its container runtime and its agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use memlet_apiserver::{ApiServer, NodeService};
use memlet_bytes::Bytes;
use memlet_cgroup::{CgroupPath, Hierarchy};
use memlet_node::{ApiAddress, MemoryRules, NodeAgent, NodeConfig, Records, Registration, Reservations};
use memlet_policy::cgroup_names::Driver;
use memlet_runtime::service::{Rotation, Runtime, Settings, sweep};

use super::place::{CgroupPlace, Claim, Owner, Place};
use crate::node::folder::DataFolder;

/// What one node is to be.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    /// Its name.
    pub(crate) name: String,
    /// The memory it pretends to have.
    pub(crate) memory: Option<Bytes>,
    /// What of it is not for Pods.
    pub(crate) reservations: Reservations,
    /// What a new Node object has beyond what every node says of itself.
    pub(crate) registration: Registration,
    /// A folder of manifests whose Pods it runs by itself.
    pub(crate) static_pods: Option<PathBuf>,
    /// The cgroup below which kubepods is made, and who makes it.
    pub(crate) cgroups: CgroupPlace,
}

/// What all nodes of the program have in common.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// What they do about memory beyond limits.
    pub(crate) memory_rules: MemoryRules,
    /// Where the API is reached from this machine, if it is.
    pub(crate) api_server: Option<ApiAddress>,
    /// The folder of what lives as long as the Pods do.
    pub(crate) run_folder: PathBuf,
    /// The folder of what survives.
    pub(crate) data: DataFolder,
    /// Whether Pods outlive the program.
    pub(crate) keeps_pods: bool,
    /// Whether to read the kernel's log.
    pub(crate) kernel_log: bool,
    /// How often a container is restarted at most.
    pub(crate) most_restarts: Option<u32>,
}

/// A node that runs.
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Its agent.
    pub(crate) agent: NodeAgent,
    /// The folder of container logs.
    pub(crate) pod_logs: PathBuf,
    /// Its part of the machine's cgroups.
    pub(crate) cgroups: CgroupPlace,
    runtime: Runtime,
    place: Place,
}

impl Member {
    /// Starts a node, beside others where there are any, after sweeping what dead ones left. `made_above`: groups above its
    /// own that are made with it, and go with the last node below them.
    pub(super) async fn start(
        settings: &MemberSettings,
        around: &Surroundings,
        beside: Option<&Runtime>,
        made_above: &[CgroupPath],
        records: &Records,
        server: &ApiServer,
        hierarchy: &Hierarchy,
    ) -> Result<Self> {
        let images = images_folder(around.data.path());
        let claim = if around.keeps_pods { Claim::Node(around.data.path()) } else { Claim::Anew };
        let sweep = |folder: &Path, owner: &Owner| sweep_place(folder, owner, &images, hierarchy);
        let place = Place::claim(&around.run_folder, &settings.cgroups, made_above, claim, hierarchy, sweep)?;
        let started = async {
            let runtime =
                start_runtime(&place, settings.cgroups.driver, around, beside, &images, hierarchy).await?;
            let channel = runtime.channel().await.context("the container runtime cannot be reached")?;
            let config = NodeConfig {
                name: settings.name.clone(),
                memory: settings.memory,
                memory_rules: around.memory_rules,
                reservations: settings.reservations.clone(),
                registration: settings.registration.clone(),
                static_pods: settings.static_pods.clone(),
                api_server: around.api_server.clone(),
                records: records.clone(),
                kernel_log: around.kernel_log,
                most_restarts: around.most_restarts,
                ..node_config(place.folder(), &settings.cgroups, hierarchy)
            };
            let agent = NodeAgent::start(config, server.client(), channel).await?;
            server.connect_node(&settings.name, NodeService::new(agent.server()));
            anyhow::Ok((runtime, agent))
        };
        match started.await {
            Ok((runtime, agent)) => Ok(Self {
                name: settings.name.clone(),
                agent,
                pod_logs: pod_logs(place.folder()),
                cgroups: settings.cgroups.clone(),
                runtime,
                place,
            }),
            Err(error) => {
                // The first error is the one to tell.
                let _ = place.release(hierarchy);
                Err(error)
            }
        }
    }

    /// Its runtime, beside which another's can be made.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Ends the node without its Pods, which run on for the next one.
    pub(super) async fn leave(self) {
        self.agent.detach().await;
        self.place.leave();
    }

    /// Ends all Pods, each given at most `grace`, and removes everything that was made for them.
    pub(super) async fn stop(self, grace: Duration, hierarchy: &Hierarchy) -> Result<()> {
        self.agent.shutdown(grace).await;
        self.place.release(hierarchy)
    }
}

async fn start_runtime(
    place: &Place,
    driver: Driver,
    around: &Surroundings,
    beside: Option<&Runtime>,
    images: &Path,
    hierarchy: &Hierarchy,
) -> Result<Runtime> {
    let mut settings = runtime_settings(place.folder(), images, hierarchy, driver);
    if !around.keeps_pods {
        // A run shows all that was written, and keeps nothing of it.
        settings.log_rotation = Rotation::NEVER;
    }
    let runtime = match beside {
        Some(other) => other.beside(settings),
        None => Runtime::new(settings),
    };
    let runtime = runtime.context("the container runtime cannot keep its state")?;
    // The sealed copy of this program is made while the rest starts; the first sandbox waits for it.
    tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.warm_up().await }
    });
    if around.keeps_pods {
        runtime.adopt().await.context("what runs of an earlier node cannot be taken up")?;
    }
    Ok(runtime)
}

/// Where images are kept.
pub(crate) fn images_folder(data: &Path) -> PathBuf {
    data.join("images")
}

fn runtime_settings(folder: &Path, images: &Path, hierarchy: &Hierarchy, cgroup_driver: Driver) -> Settings {
    Settings {
        state: folder.join("runtime"),
        images: images.to_owned(),
        hierarchy: hierarchy.clone(),
        cgroup_driver,
        log_rotation: Rotation::default(),
    }
}

fn pod_logs(folder: &Path) -> PathBuf {
    folder.join("logs")
}

fn node_config(folder: &Path, cgroups: &CgroupPlace, hierarchy: &Hierarchy) -> NodeConfig {
    NodeConfig {
        name: String::new(),
        memory: None,
        memory_rules: MemoryRules::default(),
        cgroup_root: cgroups.root.clone(),
        cgroup_driver: cgroups.driver,
        pod_logs: pod_logs(folder),
        state: folder.join("node"),
        hierarchy: hierarchy.clone(),
        records: Records::in_memory(),
        kernel_log: true,
        most_restarts: None,
        reservations: Reservations::default(),
        registration: Registration::default(),
        static_pods: None,
        api_server: None,
    }
}

/// Removes what a run that was killed left in its place.
pub(super) fn sweep_place(folder: &Path, owner: &Owner, images: &Path, hierarchy: &Hierarchy) -> Result<()> {
    sweep::sweep(&runtime_settings(folder, images, hierarchy, owner.cgroups.driver))?;
    memlet_node::sweep_leftovers(&node_config(folder, &owner.cgroups, hierarchy))?;
    Ok(())
}
