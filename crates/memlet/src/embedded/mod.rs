//! A whole node in this process: API server, scheduler, node agent and container runtime, wired together.
//!
//! The wiring is the two seams of the design: everything above the API server holds a `kube::Client`, and
//! the node agent reaches the runtime through CRI on an in-memory connection.

pub(crate) mod lock;
mod place;
pub(crate) mod private;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use memlet_apiserver::{ApiServer, NodeService};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Hierarchy, Version};
use memlet_node::{ApiAddress, MemoryRules, NodeAgent, NodeConfig, Registration, Reservations};
use memlet_policy::cgroup_names::Driver;
use memlet_runtime::service::{Rotation, Runtime, Settings, sweep};
use memlet_scheduler::Scheduler;
use tokio::sync::oneshot;

pub(crate) use place::CgroupPlace;
use place::{Claim, Owner, Place};

use crate::node::folder::DataFolder;
use crate::node::record::NodeRecord;

/// What the node is to be.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedSettings {
    /// Its name.
    pub(crate) name: String,
    /// The memory it pretends to have.
    pub(crate) memory: Option<Bytes>,
    /// What it does about memory beyond limits.
    pub(crate) memory_rules: MemoryRules,
    /// What of it is not for Pods.
    pub(crate) reservations: Reservations,
    /// A folder of manifests whose Pods it runs by itself.
    pub(crate) static_pods: Option<PathBuf>,
    /// Where its API is reached from this machine, if it is.
    pub(crate) api_server: Option<ApiAddress>,
    /// The cgroup below which kubepods is made, and who makes it.
    pub(crate) cgroups: CgroupPlace,
    /// The folder of what lives as long as the Pods do.
    pub(crate) run_folder: PathBuf,
    /// The folder of what survives.
    pub(crate) data: DataFolder,
    /// Whether its Pods outlive it.
    pub(crate) keeps_pods: bool,
    /// Whether to read the kernel's log.
    pub(crate) kernel_log: bool,
    /// How often a container is restarted at most.
    pub(crate) most_restarts: Option<u32>,
}

/// A node that runs in this process.
pub(crate) struct Embedded {
    /// A client of its API server.
    pub(crate) client: kube::Client,
    /// Its agent.
    pub(crate) agent: NodeAgent,
    /// The machine's memory controller.
    pub(crate) hierarchy: Hierarchy,
    /// The folder of container logs.
    pub(crate) pod_logs: PathBuf,
    place: Place,
    stop_scheduler: oneshot::Sender<()>,
}

impl Embedded {
    /// Starts the node with this API server, after sweeping what dead ones left.
    pub(crate) async fn start(settings: &EmbeddedSettings, server: &ApiServer) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("running Pods needs root, for cgroups, namespaces and mounts: run it with sudo");
        }
        survive_the_oom_killer();
        let hierarchy = Hierarchy::detect()?;
        leave_for_pods(&hierarchy, settings)?;
        let images = images_folder(settings.data.path());
        let claim = if settings.keeps_pods { Claim::Node(settings.data.path()) } else { Claim::Anew };
        let place =
            Place::claim(&settings.run_folder, &settings.cgroups, claim, &hierarchy, |folder, owner| {
                sweep_place(folder, owner, &images, &hierarchy)
            })?;
        match wire(settings, server, &place, &images, &hierarchy).await {
            Ok(Wired { client, agent, stop_scheduler }) => {
                let pod_logs = pod_logs(place.folder());
                Ok(Self { client, agent, hierarchy, pod_logs, place, stop_scheduler })
            }
            Err(error) => {
                // The first error is the one to tell.
                let _ = place.release(&hierarchy);
                Err(error)
            }
        }
    }

    /// Ends the node without its Pods, which run on for the next one. Where none runs, everything that was made goes too.
    pub(crate) async fn leave(self, grace: Duration) -> Result<()> {
        if !self.has_pods().await {
            return self.stop(grace).await;
        }
        let _ = self.stop_scheduler.send(());
        self.agent.detach().await;
        self.place.leave();
        Ok(())
    }

    /// Whether a Pod is on this node that has not ended; also where that cannot be learnt.
    async fn has_pods(&self) -> bool {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let over = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let placed = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let list = pods.list(&ListParams::default()).await;
        list.map_or(true, |list| list.items.iter().any(|pod| placed(pod) && !over(pod)))
    }

    /// Ends all Pods, each given at most `grace`, and removes everything that was made for them.
    pub(crate) async fn stop(self, grace: Duration) -> Result<()> {
        let _ = self.stop_scheduler.send(());
        self.agent.shutdown(grace).await;
        self.place.release(&self.hierarchy)
    }
}

/// Ends the Pods that a node which does not run left running, and removes what was made for them; false where there was
/// nothing.
pub(crate) fn end_leftovers(data: &DataFolder, node: &NodeRecord) -> Result<bool> {
    let hierarchy = Hierarchy::detect()?;
    let images = images_folder(data.path());
    if !Place::is_kept(&node.run_folder, &node.cgroups)? {
        return Ok(false);
    }
    let sweep = |folder: &Path, owner: &Owner| sweep_place(folder, owner, &images, &hierarchy);
    let claim = Claim::Node(data.path());
    let place = Place::claim(&node.run_folder, &node.cgroups, claim, &hierarchy, sweep)?;
    place.sweep_and_release(&hierarchy, sweep)?;
    Ok(true)
}

/// Whether a node that does not run left Pods running.
pub(crate) fn keeps_pods(node: &NodeRecord) -> bool {
    Place::is_kept(&node.run_folder, &node.cgroups).unwrap_or(false)
}

/// What runs in a place.
struct Wired {
    client: kube::Client,
    agent: NodeAgent,
    stop_scheduler: oneshot::Sender<()>,
}

/// Starts everything and joins it: runtime below, API server above, agent and scheduler between.
async fn wire(
    settings: &EmbeddedSettings,
    server: &ApiServer,
    place: &Place,
    images: &Path,
    hierarchy: &Hierarchy,
) -> Result<Wired> {
    let mut runtime = runtime_settings(place.folder(), images, hierarchy, settings.cgroups.driver);
    if !settings.keeps_pods {
        // A run shows all that was written, and keeps nothing of it.
        runtime.log_rotation = Rotation::NEVER;
    }
    let runtime = Runtime::new(runtime).context("the container runtime cannot keep its state")?;
    // The sealed copy of this program is made while the rest starts; the first sandbox waits for it.
    tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.warm_up().await }
    });
    if settings.keeps_pods {
        runtime.adopt().await.context("what runs of an earlier node cannot be taken up")?;
    }
    let channel = runtime.channel().await.context("the container runtime cannot be reached")?;
    let client = server.client();
    let node = NodeConfig {
        name: settings.name.clone(),
        memory: settings.memory,
        memory_rules: settings.memory_rules,
        reservations: settings.reservations.clone(),
        static_pods: settings.static_pods.clone(),
        api_server: settings.api_server.clone(),
        records: settings.keeps_pods.then(|| settings.data.kills()),
        kernel_log: settings.kernel_log,
        most_restarts: settings.most_restarts,
        ..node_config(place.folder(), &settings.cgroups, hierarchy)
    };
    let agent = NodeAgent::start(node, client.clone(), channel).await?;
    server.connect_node(&settings.name, NodeService::new(agent.server()));
    let (stop_scheduler, stopped) = oneshot::channel();
    tokio::spawn(Scheduler::new(client.clone()).run(async move {
        // Told to stop, or nobody is left to tell.
        let _ = stopped.await;
    }));
    Ok(Wired { client, agent, stop_scheduler })
}

/// Where memlet itself is in the group below which Pods are to be made, as a service is that was given its own, or all of a
/// container: on cgroup v2 only a group without processes hands its controllers down, so all that are there move to one
/// below it. The machine's root alone does both.
fn leave_for_pods(hierarchy: &Hierarchy, settings: &EmbeddedSettings) -> Result<()> {
    let CgroupPlace { root, driver } = &settings.cgroups;
    let is_of_machine = || root.is_root() && !hierarchy.dir(root).join("cgroup.type").exists();
    let is_own = hierarchy.own_path() == Some(root) && !is_of_machine();
    if is_own && *driver == Driver::Cgroupfs && hierarchy.version() == Version::V2 {
        Cgroup::open(hierarchy, root)?.move_down("memlet")?;
    }
    Ok(())
}

/// kubelet's own score adjustment: whoever must tell of a kill should not be its victim. Supervisors inherit it;
/// containers and pause set theirs. Root without `CAP_SYS_RESOURCE` may not have it.
const OWN_OOM_SCORE_ADJ: i32 = -999;

fn survive_the_oom_killer() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", OWN_OOM_SCORE_ADJ.to_string()) {
        tracing::info!(
            "oom_score_adj {OWN_OOM_SCORE_ADJ} is refused, so the OOM killer may choose memlet: {error}"
        );
    }
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
        records: None,
        kernel_log: true,
        most_restarts: None,
        reservations: Reservations::default(),
        registration: Registration::default(),
        static_pods: None,
        api_server: None,
    }
}

/// Removes what a run that was killed left in its place.
fn sweep_place(folder: &Path, owner: &Owner, images: &Path, hierarchy: &Hierarchy) -> Result<()> {
    sweep::sweep(&runtime_settings(folder, images, hierarchy, owner.cgroups.driver))?;
    memlet_node::sweep_leftovers(&node_config(folder, &owner.cgroups, hierarchy))?;
    Ok(())
}
