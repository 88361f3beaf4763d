//! The node agent: its start, from the machine to a registered node, and its end, with its Pods or without.

use std::sync::Arc;
use std::time::Duration;

use memlet_diagnosis::evidence::{ContainerEnd, KillRecord};
use memlet_policy::cgroup_limits::CgroupVersion;
use memlet_policy::eviction::Watch;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::admission::Ledger;
use crate::adoption::Left;
use crate::cgroups::{CgroupsError, NodeCgroups};
use crate::config::{NodeConfig, RulesError};
use crate::cri::{Cri, CriError};
use crate::events::{Recorder, Severity, node_reference};
use crate::exits::{self, Subscriptions};
use crate::heartbeat::Heartbeat;
use crate::node::{self, Node};
use crate::node_resources::{NodeResources, ReservationError};
use crate::oom::lost;
use crate::oom::record::{EndLog, KillLog};
use crate::oom::witness::Witness;
use crate::pressure::{Keeper, Pressure};
use crate::records::{Record, Records};
use crate::registration::{self, Description, Registered};
use crate::server::NodeServer;
use crate::static_pods::StaticPods;
use crate::workers::{Stop, Workers};

/// The agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The machine does not tell its memory, and none was configured.
    #[error("cannot read MemTotal from /proc/meminfo; say how much memory the node has with --node-memory")]
    NoMemory,
    /// The node is too small for what is set aside of it.
    #[error(transparent)]
    Reservation(#[from] ReservationError),
    /// The machine cannot do what was chosen.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The `kubepods` cgroup cannot be had.
    #[error(transparent)]
    Cgroups(#[from] CgroupsError),
    /// The container runtime does not answer.
    #[error("the container runtime does not answer; check that it runs and speaks CRI v1")]
    Runtime(#[source] CriError),
    /// The API does not take the Node.
    #[error("cannot register node {name} with the API")]
    Register {
        /// The node.
        name: String,
        /// The API's answer.
        source: Box<kube::Error>,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A folder cannot be made.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// A running node agent. Dropping it stops its work without ending its Pods; see [`NodeAgent::shutdown`] and
/// [`NodeAgent::detach`].
#[derive(Debug)]
pub struct NodeAgent {
    node: Arc<Node>,
    stop: Option<oneshot::Sender<Stop>>,
    watching: JoinHandle<()>,
    following: JoinHandle<()>,
    heartbeat: Heartbeat,
    beating: JoinHandle<()>,
    files: JoinHandle<()>,
    lost_kills: JoinHandle<()>,
    keeper: Option<Keeper>,
}

impl NodeAgent {
    /// Registers the node, makes its cgroups, takes over what an earlier run with the same state folder left in the runtime,
    /// and begins to run the Pods bound to it.
    ///
    /// What was left goes on: nothing is started again that has not ended, what ended meanwhile is judged now, and what
    /// belongs to no Pod of the API is ended and removed.
    ///
    /// Needs a tokio runtime with time and I/O; a current-thread one will do.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left behind then.
    pub async fn start(
        config: NodeConfig,
        client: kube::Client,
        runtime: Channel,
    ) -> Result<Self, StartError> {
        for path in [&config.state, &config.pod_logs] {
            let made = std::fs::create_dir_all(path);
            made.map_err(|source| StartError::Folder { path: path.clone(), source })?;
        }
        let records = config.records.clone();
        let memory = config.memory.or_else(node::machine_memory).ok_or(StartError::NoMemory)?;
        let resources = NodeResources::of_machine(memory, &config.reservations, &config.state);
        resources.check()?;
        config.memory_rules.check(node::version_of(&config.hierarchy))?;
        let cri = Cri::new(runtime);
        let version = cri.version().await.map_err(StartError::Runtime)?;
        let cgroups = NodeCgroups::new(config.hierarchy.clone(), config.cgroup_driver, &config.cgroup_root)
            .map_err(CgroupsError::Path)?;
        if cgroups.lacks_root() {
            let path = config.made_root_marker();
            let marked = std::fs::write(&path, config.cgroup_root.as_str());
            marked.map_err(|source| StartError::File { path, source })?;
        }
        let left = Left::survey(&cri, &config, &records).await.map_err(StartError::Runtime)?;
        cgroups.make_node(resources.memory.kubepods_limit(), &left.uids(&config))?;
        let shape = node::shape(&resources, &config, cgroups.accounts_swap());
        let runtime = format!("{}://{}", version.runtime_name, version.runtime_version);
        let description = Description {
            name: config.name.clone(),
            resources: resources.clone(),
            host_ip: shape.host_ip.clone(),
            runtime,
            registration: config.registration.clone(),
        };
        let registered = match registration::register(&client, &cri, &description).await {
            Ok(registered) => registered,
            Err(source) => {
                // The cgroups must not stay where nobody uses them; that this fails too changes nothing here.
                if left.pods.is_empty() {
                    let _ = cgroups.remove_node().await;
                    remove_root(&config, &cgroups);
                }
                return Err(StartError::Register { name: config.name, source: Box::new(source) });
            }
        };
        let recorder = Recorder::start(client.clone(), "kubelet", config.name.clone());
        announce(&recorder, &config, &registered);
        let node = Arc::new(Node {
            ledger: Ledger::new(&resources),
            exits: Subscriptions::default(),
            witness: Witness::start(config.kernel_log, &left.ids(), cgroups.clone()),
            kills: KillLog::new(records),
            ends: EndLog::default(),
            pressure: Pressure::default(),
            recorder,
            cgroups,
            shape,
            config,
            client,
            cri,
        });
        node.pressure.pods.expect(left.pods.keys().cloned());
        let (listening, listens) = oneshot::channel();
        let following = tokio::spawn(exits::follow(node.cri.clone(), node.exits.clone(), listening));
        // The task answers, or keeps trying: then each container's status is asked for at its start.
        let _ = tokio::time::timeout(Duration::from_secs(1), listens).await;
        let (stop, asked) = oneshot::channel();
        let (mirrors, changed_mirrors) = mpsc::unbounded_channel();
        let (changes, changed_files) = mpsc::unbounded_channel();
        let static_pods = StaticPods::new(node.clone(), registered.uid.clone(), changes);
        let files = tokio::spawn(static_pods.run(changed_mirrors));
        let watching = tokio::spawn(Workers::new(node.clone(), left, mirrors, changed_files).run(asked));
        let heartbeat = Heartbeat { node: node.clone(), description, uid: registered.uid };
        let beating = tokio::spawn(heartbeat.clone().run());
        let lost_kills = tokio::spawn(lost::follow(node.clone()));
        let keeper = keep(&node, &resources);
        let stop = Some(stop);
        Ok(Self { node, stop, watching, following, heartbeat, beating, files, lost_kills, keeper })
    }

    /// Every kill by the OOM killer from now on, within milliseconds.
    pub fn kills(&self) -> broadcast::Receiver<KillRecord> {
        self.node.kills.listen()
    }

    /// The kills so far, oldest first: of a week, and no more than a thousand.
    pub fn kill_records(&self) -> Vec<KillRecord> {
        self.node.kills.all()
    }

    /// Everything kept of kills and of containers that failed.
    pub fn records(&self) -> &Records {
        self.node.kills.records()
    }

    /// What the runtime stated about the end of this container, also after the container was removed; `None`
    /// where the runtime makes no such statement, or a thousand others have ended since. The API's id of the
    /// container, `memlet://…`, or the runtime's.
    pub fn container_end(&self, id: &str) -> Option<ContainerEnd> {
        let id = id.split_once("://").map_or(id, |(_, id)| id);
        self.node.ends.find(id).or_else(|| {
            self.records().all().into_iter().rev().find_map(|record| match record {
                Record::Death(death) if death.subject.container_id == id => death.end,
                _ => None,
            })
        })
    }

    /// The node's own HTTP server, with kubelet's paths. It answers for as long as a clone of it lives.
    pub fn server(&self) -> NodeServer {
        NodeServer::new(self.node.clone())
    }

    /// What Pods may request of this node's memory.
    pub fn allocatable(&self) -> memlet_bytes::Bytes {
        self.node.shape.allocatable
    }

    /// What the node pretends to have.
    pub fn capacity(&self) -> memlet_bytes::Bytes {
        self.node.shape.capacity
    }

    /// Whether the node is the whole machine, so that others than its Pods use memory too.
    pub fn is_machine(&self) -> bool {
        self.node.config.memory.is_none()
    }

    /// Where it evicts Pods, hard thresholds first; none where it does not.
    pub fn thresholds(&self) -> Vec<crate::PressureThreshold> {
        self.node.pressure.history.thresholds()
    }

    /// Why the kernel's log is not read; `None` where it is.
    pub fn kernel_log_missing(&self) -> Option<memlet_diagnosis::evidence::Missing> {
        self.node.witness.missing().cloned()
    }

    /// Ends all Pods, each with its own grace but no more than `grace`, and removes everything the agent
    /// made: sandboxes, volumes, cgroups, logs. Pods' objects stay, with their final status, unless their
    /// deletion was asked for.
    pub async fn shutdown(mut self, grace: Duration) {
        self.stop(Stop::Shutdown(grace)).await;
        if let Err(error) = self.node.cgroups.remove_node().await {
            tracing::warn!("{error}");
        }
        remove_root(&self.node.config, &self.node.cgroups);
        self.node.recorder.flush().await;
        // Empty now; where it is not, something is in it that is not ours.
        let _ = tokio::fs::remove_dir(self.node.config.pods_folder()).await;
    }

    /// Ends the agent without its Pods: they run on, and an agent that is started later takes them over. What was to be
    /// written to the API is.
    pub async fn detach(mut self) {
        self.stop(Stop::Detach).await;
        self.node.recorder.flush().await;
    }

    async fn stop(&mut self, how: Stop) {
        // Nobody is chosen any more while all end, or are left.
        self.keeper = None;
        self.beating.abort();
        self.files.abort();
        self.heartbeat.end().await;
        if let Some(stop) = self.stop.take() {
            // The watching task ends only on this.
            let _ = stop.send(how);
        }
        if let Err(error) = (&mut self.watching).await {
            tracing::error!("the node agent's watch failed: {error}");
        }
        self.following.abort();
    }
}

/// Removes the cgroup root where this node made it, now or in a run that was killed.
pub(crate) fn remove_root(config: &NodeConfig, cgroups: &NodeCgroups) {
    let marker = config.made_root_marker();
    if marker.exists() {
        cgroups.remove_empty_root();
        if let Err(error) = std::fs::remove_file(&marker) {
            tracing::warn!("cannot remove {}: {error}", marker.display());
        }
    }
}

impl Drop for NodeAgent {
    fn drop(&mut self) {
        self.watching.abort();
        self.following.abort();
        self.beating.abort();
        self.files.abort();
        self.lost_kills.abort();
    }
}

/// Starts to watch over the node's memory. A node that cannot runs its Pods all the same, and says so.
fn keep(node: &Arc<Node>, resources: &NodeResources) -> Option<Keeper> {
    let eviction = &node.config.reservations.eviction;
    let memory = &resources.memory;
    let watch = Watch::new(eviction, memory.capacity, memory.enforce.then(|| memory.kubepods_limit()));
    Keeper::start(node.clone(), watch, Handle::current())
        .inspect_err(|error| tracing::warn!("no Pod will be evicted for want of memory: {error}"))
        .ok()
}

/// What kubelet tells of the node at its start.
fn announce(recorder: &Recorder, config: &NodeConfig, registered: &Registered) {
    let tell = |severity, reason, message: String| {
        recorder.record(node_reference(&config.name), severity, reason, message);
    };
    tell(Severity::Normal, "Starting", "Starting kubelet.".to_owned());
    if node::version_of(&config.hierarchy) == CgroupVersion::V1 {
        tell(Severity::Warning, "CgroupV1", CGROUP_V1.to_owned());
    }
    let name = &config.name;
    let (ready, others): (Vec<_>, Vec<_>) =
        registered.changed.iter().partition(|reason| **reason == "NodeReady");
    for reason in others {
        tell(Severity::Normal, reason, format!("Node {name} status is now: {reason}"));
    }
    let enforced = "Updated Node Allocatable limit across pods";
    tell(Severity::Normal, "NodeAllocatableEnforced", enforced.to_owned());
    for reason in ready {
        tell(Severity::Normal, reason, format!("Node {name} status is now: {reason}"));
    }
}

/// kubelet's warning about the older cgroups.
const CGROUP_V1: &str = "cgroup v1 detected. cgroup v1 support is deprecated and will be removed in a future release. \
                         Please migrate to cgroup v2. More information at \
                         https://git.k8s.io/enhancements/keps/sig-node/5573-remove-cgroup-v1";
