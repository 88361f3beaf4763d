//! Sandboxes: made by starting a supervisor, ended by telling it to end.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1::{self as cri, ContainerEventType, NamespaceMode};
use memlet_cgroup::{Cgroup, CgroupPath, ParsePathError};
use memlet_policy::cgroup_names;
use tonic::Status;

use super::table::{Container, ContainerState, Sandbox, SandboxState};
use super::{Runtime, nanoseconds_now, new_id};
use crate::causes::chain;
use crate::network_files;
use crate::shim::cgroup::scope_of;
use crate::shim::protocol::{self, Event, Request};
use crate::state::records::SandboxRecord;
use crate::state::{self, SandboxFolder};
use crate::supervisor::{self, Hearing, Process};

/// `oom_score_adj` of pause, set by the runtime as containerd does: below every container's, so that it
/// outlives them.
const PAUSE_OOM_SCORE_ADJ: i32 = -998;

/// A supervisor that has killed everything it had ends well within this.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

impl Runtime {
    pub(super) async fn run_sandbox(&self, config: cri::PodSandboxConfig) -> Result<String, Status> {
        let id = new_id().map_err(|error| internal("no id can be drawn", &error))?;
        let folder = SandboxFolder::new(&self.0.settings.state, &id);
        let made = self.start_supervisor(&id, &folder, config).await;
        if let Err(error) = made {
            let _ = folder.remove();
            return Err(internal("the sandbox's supervisor cannot be started", &error));
        }
        let state = self
            .0
            .tables
            .wait_for(|rows| match &rows.sandboxes.get(&id)?.state {
                SandboxState::Starting => None,
                state => Some(state.clone()),
            })
            .await;
        match state {
            SandboxState::Ready { .. } => Ok(id),
            SandboxState::Failed { reason } => {
                self.remove_sandbox(&id).await?;
                Err(Status::unknown(reason))
            }
            SandboxState::Starting | SandboxState::Gone => {
                let complaints = fs::read_to_string(folder.complaints()).unwrap_or_default();
                self.remove_sandbox(&id).await?;
                Err(Status::unknown(format!("the sandbox's supervisor died: {}", complaints.trim())))
            }
        }
    }

    async fn start_supervisor(
        &self,
        id: &str,
        folder: &SandboxFolder,
        config: cri::PodSandboxConfig,
    ) -> io::Result<()> {
        let linux = config.linux.clone().unwrap_or_default();
        let parent: CgroupPath = linux.cgroup_parent.parse().map_err(io::Error::other)?;
        let cgroup = container_in(&parent, id).map_err(io::Error::other)?;
        let options = linux.security_context.unwrap_or_default().namespace_options.unwrap_or_default();
        let own = |mode: i32| mode != NamespaceMode::Node as i32;
        let description = protocol::Sandbox {
            cgroup: cgroup.clone(),
            pod_cgroup: (!parent.is_root()).then(|| parent.clone()),
            hostname: own(options.network).then(|| config.hostname.clone()),
            own_network: own(options.network),
            own_ipc: own(options.ipc),
            shared_pids: options.pid == NamespaceMode::Pod as i32,
            oom_score_adj: PAUSE_OOM_SCORE_ADJ,
        };
        state::make_private_folder(folder.path())?;
        network_files::write(folder.path(), &config)?;
        state::write_json(&folder.description(), &description)?;
        let record = SandboxRecord {
            version: protocol::VERSION,
            config,
            created_at: nanoseconds_now(),
            parent,
            cgroup,
            own_ipc: description.own_ipc,
        };
        state::write_json(&folder.record(), &record)?;
        let (asking, hearing, child) = supervisor::start(self.program().await?, folder)?;
        let SandboxRecord { config, created_at, parent, cgroup, own_ipc, .. } = record;
        let sandbox = Sandbox {
            id: id.to_owned(),
            config,
            created_at,
            folder: folder.clone(),
            parent,
            cgroup,
            own_ipc,
            supervisor: Arc::new(asking),
            supervised: true,
            state: SandboxState::Starting,
        };
        self.0.tables.change(|rows| rows.sandboxes.insert(id.to_owned(), sandbox));
        let (runtime, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move { runtime.hear(&id, hearing, Process::Child(child)).await });
        Ok(())
    }

    /// Takes in what a supervisor tells, until it ends.
    pub(super) async fn hear(&self, id: &str, mut hearing: Hearing, supervisor: Process) {
        while let Some(event) = hearing.next().await {
            self.take_in(id, event);
        }
        // Silent is as good as dead: one that nobody hears must not go on.
        supervisor.end().await;
        self.bury(id).await;
    }

    /// The supervisor of this sandbox is gone: so is, by its folder or by force, what it supervised.
    pub(super) async fn bury(&self, id: &str) {
        let under_way: Vec<(String, CgroupPath)> = {
            let rows = self.0.tables.look();
            let of_sandbox =
                rows.containers.iter().filter(|(_, row)| row.sandbox == id && !row.state.is_over());
            of_sandbox.map(|(container, row)| (container.clone(), row.launch.cgroup.clone())).collect()
        };
        // What it supervised has nobody any more, so it ends too; only then is it said to have ended.
        let pause = self.0.tables.look().sandboxes.get(id).map(|row| row.cgroup.clone());
        let orphaned = under_way.iter().map(|(_, cgroup)| cgroup.clone()).chain(pause).collect();
        self.kill(orphaned).await;
        let folder = SandboxFolder::new(&self.0.settings.state, id);
        let now = Timestamp::now();
        let mut lost = Vec::new();
        self.0.tables.change(|rows| {
            if let Some(sandbox) = rows.sandboxes.get_mut(id) {
                sandbox.supervised = false;
                if !matches!(sandbox.state, SandboxState::Failed { .. }) {
                    sandbox.state = SandboxState::Gone;
                }
            }
            for (container, _) in under_way {
                let Some(row) = rows.containers.get_mut(&container) else { continue };
                // Its last word may be in its folder.
                let known = ContainerState::of_folder(&folder.container(&container));
                row.state = match known {
                    known if known.is_over() => known,
                    _ if row.state == ContainerState::Created => continue,
                    known => {
                        ContainerState::Lost { started: known.started().or(row.state.started()), at: now }
                    }
                };
                lost.push(container);
            }
        });
        for container in lost {
            self.announce(&container, ContainerEventType::ContainerStoppedEvent);
        }
    }

    /// Kills whatever is in these cgroups.
    pub(super) async fn kill(&self, cgroups: Vec<CgroupPath>) {
        let hierarchy = self.0.settings.hierarchy.clone();
        let killed = tokio::task::spawn_blocking(move || {
            for path in cgroups {
                let killed = Cgroup::open(&hierarchy, &path).and_then(|cgroup| cgroup.kill_all());
                if let Err(error) = killed
                    && !error.is_gone()
                {
                    tracing::warn!("an orphan cannot be killed: {}", chain(&error));
                }
            }
        });
        if let Err(error) = killed.await {
            tracing::warn!(%error, "orphans cannot be killed");
        }
    }

    pub(super) fn take_in(&self, sandbox: &str, event: Event) {
        let set_sandbox = |state| {
            self.0.tables.change(|rows| {
                if let Some(row) = rows.sandboxes.get_mut(sandbox) {
                    row.state = state;
                }
            });
        };
        match event {
            Event::Hello { version, pid } => tracing::debug!(sandbox, version, pid, "supervisor"),
            Event::Present => {}
            Event::Launching { container } => {
                self.set_container(&container, |_| ContainerState::Starting);
            }
            Event::SandboxReady { pause, oom_score_adj } => {
                tracing::debug!(sandbox, pause, ?oom_score_adj, "sandbox ready");
                set_sandbox(SandboxState::Ready { pause });
            }
            Event::SandboxFailed { reason } => set_sandbox(SandboxState::Failed { reason }),
            Event::Started { container, pid, at, oom_score_adj } => {
                self.set_container(&container, |_| ContainerState::Running { pid, at, oom_score_adj });
                self.announce(&container, ContainerEventType::ContainerStartedEvent);
            }
            Event::StartFailed { container, reason, at } => {
                self.set_container(&container, |_| ContainerState::StartFailed { reason, at });
                self.announce(&container, ContainerEventType::ContainerStoppedEvent);
            }
            Event::Ended { container, end } => {
                self.set_container(&container, |row| ContainerState::Ended {
                    started: row.state.started(),
                    end,
                });
                self.announce(&container, ContainerEventType::ContainerStoppedEvent);
            }
        }
    }

    fn set_container(&self, id: &str, state: impl FnOnce(&Container) -> ContainerState) {
        self.0.tables.change(|rows| {
            if let Some(row) = rows.containers.get_mut(id) {
                row.state = state(row);
            }
        });
    }

    /// Kills what runs in it and ends its supervisor. Nothing to do is no error.
    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<(), Status> {
        let Some(sandbox) = self.0.tables.look().sandboxes.get(id).cloned() else { return Ok(()) };
        // One that has ended meanwhile does not listen, and need not.
        let _ = sandbox.supervisor.ask(&Request::Shutdown).await;
        let ended = self
            .0
            .tables
            .wait_for(|rows| rows.sandboxes.get(id).is_none_or(|row| !row.supervised).then_some(()));
        if tokio::time::timeout(LAST_PATIENCE, ended).await.is_err() {
            return Err(Status::deadline_exceeded(format!("the supervisor of sandbox {id} does not end")));
        }
        Ok(())
    }

    /// Removes the sandbox and its containers, with folders and cgroups.
    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<(), Status> {
        self.stop_sandbox(id).await?;
        let Some(sandbox) = self.0.tables.look().sandboxes.get(id).cloned() else { return Ok(()) };
        let containers: Vec<_> = {
            let rows = self.0.tables.look();
            rows.containers.iter().filter(|(_, row)| row.sandbox == id).map(|(id, _)| id.clone()).collect()
        };
        for container in containers {
            self.remove_container(&container).await?;
        }
        self.remove_cgroup(sandbox.cgroup.clone()).await?;
        let folder = sandbox.folder.clone();
        blocking(move || folder.remove())
            .await?
            .map_err(|error| internal("the sandbox's folder cannot be removed", &error))?;
        self.0.tables.change(|rows| rows.sandboxes.remove(id));
        Ok(())
    }

    /// Removes a cgroup in every hierarchy, killing what is still inside; with it the scope in which it is, which systemd
    /// then forgets.
    pub(super) async fn remove_cgroup(&self, path: CgroupPath) -> Result<(), Status> {
        let hierarchy = self.0.settings.hierarchy.clone();
        let path = scope_of(&path).unwrap_or(path);
        let removed = blocking(move || {
            if let Ok(cgroup) = Cgroup::open(&hierarchy, &path) {
                cgroup.kill_all()?;
            }
            hierarchy.remove_everywhere(&path)
        });
        removed.await?.map_err(|error| internal("a cgroup cannot be removed", &error))
    }
}

/// The cgroup of a container or of pause in its Pod's.
pub(super) fn container_in(parent: &CgroupPath, id: &str) -> Result<CgroupPath, ParsePathError> {
    cgroup_names::container_in(parent.as_str(), id).parse()
}

/// Does what may block (disks, mounts, locks, dying processes) beside the one thread that everything else
/// runs on.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|error| internal("work was broken off", &error))
}

/// An error that is nobody's fault but this machine's.
pub(super) fn internal(what: &str, cause: &dyn std::error::Error) -> Status {
    Status::internal(format!("{what}: {}", chain(cause)))
}
