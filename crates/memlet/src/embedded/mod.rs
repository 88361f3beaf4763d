//! Nodes in this process: API server, scheduler, and for each node its agent and container runtime, wired together.
//!
//! The wiring is the two seams of the design: everything above the API server holds a `kube::Client`, and
//! a node agent reaches its runtime through CRI on an in-memory connection.

pub(crate) mod lock;
mod member; // one node
mod place;
pub(crate) mod private;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use memlet_apiserver::ApiServer;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy, Version};
use memlet_node::Records;
use memlet_policy::cgroup_names::Driver;
use memlet_policy::phase;
use memlet_scheduler::Scheduler;
use serde_json::json;
use tokio::sync::oneshot;

pub(crate) use member::{Member, MemberSettings, Surroundings, images_folder};
pub(crate) use place::CgroupPlace;
use place::{Claim, Owner, Place};

use crate::node::folder::DataFolder;
use crate::node::record::NodeRecord;

/// The nodes that run in this process, with what is above them.
pub(crate) struct Embedded {
    /// A client of the API server.
    pub(crate) client: kube::Client,
    /// The machine's memory controller.
    pub(crate) hierarchy: Hierarchy,
    server: ApiServer,
    around: Surroundings,
    records: Records,
    members: Vec<Member>,
    /// Groups above the nodes' that are made with them.
    made_above: Vec<CgroupPath>,
    stop_scheduler: oneshot::Sender<()>,
}

impl Embedded {
    /// Starts the nodes with this API server, after sweeping what dead ones left. `root` is where all their cgroups are.
    pub(crate) async fn start(
        members: &[MemberSettings],
        root: &CgroupPlace,
        around: Surroundings,
        server: &ApiServer,
    ) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("running Pods needs root, for cgroups, namespaces and mounts: run it with sudo");
        }
        survive_the_oom_killer();
        let hierarchy = Hierarchy::detect()?;
        leave_for_pods(&hierarchy, root)?;
        let is_pool = members.iter().any(|member| member.cgroups.root != root.root);
        let made_above = place::missing_above(root, is_pool, &hierarchy);
        let records = if around.keeps_pods {
            let folder = around.data.kills();
            Records::on_disk(&folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?
        } else {
            Records::in_memory()
        };
        let (stop_scheduler, stopped) = oneshot::channel();
        let client = server.client();
        let mut embedded = Self {
            client,
            hierarchy,
            server: server.clone(),
            around,
            records,
            members: Vec::new(),
            made_above,
            stop_scheduler,
        };
        for settings in members {
            if let Err(error) = embedded.add(settings).await {
                // The first error is the one to tell.
                embedded.abandon().await;
                return Err(error);
            }
        }
        tokio::spawn(Scheduler::new(embedded.client.clone()).run(async move {
            // Told to stop, or nobody is left to tell.
            let _ = stopped.await;
        }));
        Ok(embedded)
    }

    /// Starts one more node.
    pub(crate) async fn add(&mut self, settings: &MemberSettings) -> Result<&Member> {
        let beside = self.members.first().map(Member::runtime);
        let member = Member::start(
            settings,
            &self.around,
            beside,
            &self.made_above,
            &self.records,
            &self.server,
            &self.hierarchy,
        )
        .await?;
        self.members.push(member);
        self.members.last().context("it was just added")
    }

    /// Ends one node with its Pods, each given at most `grace`; its Node object goes, and so do the Pods'.
    pub(crate) async fn remove(&mut self, name: &str, grace: Duration) -> Result<()> {
        let at = self.members.iter().position(|member| member.name == name);
        let at = at.with_context(|| format!("there is no node {name}"))?;
        // Nobody is to come while others go.
        let nodes: Api<Node> = Api::all(self.client.clone());
        let cordon = Patch::Merge(json!({"spec": {"unschedulable": true}}));
        unless_gone(nodes.patch(name, &PatchParams::default(), &cordon).await.map(drop))?;
        self.members.remove(at).stop(grace, &self.hierarchy).await?;
        self.server.disconnect_node(name);
        for pod in pods_of(&self.client, name).await? {
            let namespace = pod.metadata.namespace.unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let now = DeleteParams::default().grace_period(0);
            unless_gone(api.delete(&pod.metadata.name.unwrap_or_default(), &now).await.map(drop))?;
        }
        forget_node(&self.client, name).await
    }

    /// All nodes, in the order in which they were started.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The first node, which is the only one of a run.
    pub(crate) fn first(&self) -> &Member {
        // `start` is called with at least one, and the last one is not removed.
        &self.members[0]
    }

    /// Lets go of what was started before something failed.
    async fn abandon(self) {
        for member in self.members {
            if self.around.keeps_pods {
                member.leave().await;
            } else {
                let _ = member.stop(Duration::ZERO, &self.hierarchy).await;
            }
        }
    }

    /// Ends the program's nodes without their Pods, which run on for the next ones. Of a node where none runs, everything
    /// that was made goes too.
    pub(crate) async fn leave(self, grace: Duration) -> Result<()> {
        let _ = self.stop_scheduler.send(());
        let mut ended = Ok(());
        for member in self.members {
            if has_pods(&self.client, &member.name).await {
                member.leave().await;
            } else {
                ended = ended.and(member.stop(grace, &self.hierarchy).await);
            }
        }
        ended
    }

    /// Ends all Pods, each given at most `grace`, and removes everything that was made for them.
    pub(crate) async fn stop(self, grace: Duration) -> Result<()> {
        let _ = self.stop_scheduler.send(());
        let (hierarchy, members) = (&self.hierarchy, self.members);
        let stopped = members.into_iter().map(|member| member.stop(grace, hierarchy));
        futures::future::join_all(stopped).await.into_iter().collect()
    }
}

/// The Pods of a node, whatever became of them.
pub(crate) async fn pods_of(client: &kube::Client, node: &str) -> kube::Result<Vec<Pod>> {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    Ok(Api::all(client.clone()).list(&on_node).await?.items)
}

/// Whether a Pod is on this node that has not ended; also where that cannot be learnt.
async fn has_pods(client: &kube::Client, node: &str) -> bool {
    pods_of(client, node).await.map_or(true, |pods| !pods.iter().all(phase::is_over))
}

/// Deletes the object of a node that is no more; its lease goes with it.
pub(crate) async fn forget_node(client: &kube::Client, name: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    unless_gone(nodes.delete(name, &DeleteParams::default()).await.map(drop))
}

fn unless_gone(done: kube::Result<()>) -> Result<()> {
    match done {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => Ok(done?),
    }
}

/// Ends the Pods that nodes which do not run left running, and removes what was made for them; false where there was
/// nothing.
pub(crate) fn end_leftovers(data: &DataFolder, record: &NodeRecord) -> Result<bool> {
    let mut found = false;
    for member in &record.members {
        found |= end_leftovers_of(data, &record.run_folder, &member.cgroups)?;
    }
    Ok(found)
}

/// The same for one node.
pub(crate) fn end_leftovers_of(data: &DataFolder, run_folder: &Path, cgroups: &CgroupPlace) -> Result<bool> {
    let hierarchy = Hierarchy::detect()?;
    let images = images_folder(data.path());
    if !Place::is_kept(run_folder, cgroups, data.path())? {
        return Ok(false);
    }
    let sweep = |folder: &Path, owner: &Owner| member::sweep_place(folder, owner, &images, &hierarchy);
    let place = Place::claim(run_folder, cgroups, &[], Claim::Node(data.path()), &hierarchy, sweep)?;
    place.sweep_and_release(&hierarchy, sweep)?;
    Ok(true)
}

/// Whether nodes that do not run left Pods running.
pub(crate) fn keeps_pods(data: &DataFolder, record: &NodeRecord) -> bool {
    record
        .members
        .iter()
        .any(|member| Place::is_kept(&record.run_folder, &member.cgroups, data.path()).unwrap_or(false))
}

/// Where memlet itself is in the group below which Pods are to be made, as a service is that was given its own, or all of a
/// container: on cgroup v2 only a group without processes hands its controllers down, so all that are there move to one
/// below it. The machine's root alone does both.
fn leave_for_pods(hierarchy: &Hierarchy, cgroups: &CgroupPlace) -> Result<()> {
    let CgroupPlace { root, driver } = cgroups;
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
