//! Takes over what a runtime that died left: sandboxes and containers run on, what ended meanwhile has ended, what was
//! half made is removed.
//!
//! What exists is what has a readable record. Whether it lives is for its supervisor to say; of a sandbox without a
//! supervisor nothing may run on, since nobody would write its logs or see its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use memlet_cgroup::{CgroupPath, Hierarchy};

use super::sandbox::{blocking, container_in};
use super::sweep;
use super::table::{Container, ContainerState, Sandbox, SandboxState};
use super::{Runtime, Settings};
use crate::causes::chain;
use crate::shim::cgroup::scope_of;
use crate::shim::protocol::{self, Event, Launch, Request};
use crate::state::records::{self, ContainerRecord, RecordError, SandboxRecord};
use crate::state::{self, SandboxFolder};
use crate::supervisor::{self, Hearing, Process, Remains, Supervisor};

/// A supervisor says what is so within this, also on a machine that has better things to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// A container that was being started is waited for so long, so that it is seen running or ended.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Sandboxes that live.
    pub sandboxes: usize,
    /// Containers that run in them.
    pub running: usize,
    /// Sandboxes whose supervisor has ended, with whatever they held.
    pub dead: usize,
    /// Sandboxes and containers that were removed: half made, or without a record that can be read.
    pub removed: usize,
}

/// What a runtime that died left cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The folder of sandboxes cannot be read.
    #[error("cannot read what an earlier run left in {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody went back to an earlier version of this program while Pods run.
    #[error(
        "{} was made by a later version of this program (format {version}); start that one, or end its Pods with it \
         before going back",
        path.display()
    )]
    Newer {
        /// The record.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// What one folder holds.
struct Found {
    id: String,
    folder: SandboxFolder,
    /// With its containers, where it can be used.
    whole: Option<Whole>,
}

struct Whole {
    record: SandboxRecord,
    containers: Vec<(String, Container)>,
    /// Containers half made, or without a record that can be read.
    spoilt: Vec<String>,
}

/// A sandbox whose supervisor answered.
struct Answered {
    asking: Supervisor,
    hearing: Hearing,
    process: Remains,
    present: Vec<Event>,
}

impl Runtime {
    /// Takes over what a runtime that died left in the state folder. Before anything is served; only for settings that
    /// no living runtime uses.
    ///
    /// # Errors
    /// [`AdoptError`]: then nothing was touched.
    pub async fn adopt(&self) -> Result<Adopted, AdoptError> {
        let settings = self.0.settings.clone();
        let broken_off = |error| AdoptError::Folder {
            path: self.0.settings.state.clone(),
            source: io::Error::other(error),
        };
        let found = blocking(move || survey(&settings)).await.map_err(broken_off)??;
        let state = self.0.settings.state.clone();
        let strays = blocking(move || supervisor::remains::find(&state)).await.map_err(broken_off)?;
        let mut strays = strays.unwrap_or_else(|error| {
            tracing::error!("supervisors without a sandbox are not looked for: {error}");
            Vec::new()
        });
        let mut adopted = Adopted::default();
        let mut takings = Vec::new();
        for Found { id, folder, whole } in found {
            let of_this = strays.extract_if(.., |(supervised, _)| supervised == folder.path());
            let process = of_this.last().map_or(Remains::none(), |(_, process)| process);
            if let Some(whole) = whole {
                takings.push(self.take_over(id, folder, whole, process));
            } else {
                adopted.removed += 1;
                self.remove_spoilt(folder, process).await;
            }
        }
        // Of these not even a folder is left.
        for (folder, process) in strays {
            tracing::error!("{} is gone: its supervisor is ended with its Pod", folder.display());
            adopted.removed += 1;
            let _ = blocking(move || process.terminate()).await;
        }
        for removed in future::join_all(takings).await {
            adopted.removed += removed;
        }
        self.settle().await;
        let rows = self.0.tables.look();
        adopted.sandboxes = rows.sandboxes.values().filter(|row| row.supervised).count();
        adopted.dead = rows.sandboxes.len() - adopted.sandboxes;
        let runs = |row: &&Container| matches!(row.state, ContainerState::Running { .. });
        adopted.running = rows.containers.values().filter(runs).count();
        Ok(adopted)
    }

    /// Puts a sandbox into the tables, and hears its supervisor or buries it. Answers how many containers of it had to
    /// be removed.
    async fn take_over(&self, id: String, folder: SandboxFolder, whole: Whole, process: Remains) -> usize {
        let Whole { record, containers, spoilt } = whole;
        let answered = tokio::time::timeout(PATIENCE, ask(&folder)).await;
        let answered = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (asking, heard) = match answered {
            Ok(Answered { asking, hearing, process, present }) => (asking, Some((hearing, process, present))),
            Err(error) => {
                tracing::error!("the supervisor of sandbox {id} is gone, and its containers end: {error}");
                (Supervisor::gone(), None)
            }
        };
        let SandboxRecord { config, created_at, parent, cgroup, own_ipc, .. } = record;
        let spoilt_cgroups: Vec<CgroupPath> =
            spoilt.iter().filter_map(|container| container_in(&parent, container).ok()).collect();
        let row = Sandbox {
            id: id.clone(),
            config,
            created_at,
            folder: folder.clone(),
            parent,
            cgroup,
            own_ipc,
            supervisor: Arc::new(asking),
            supervised: heard.is_some(),
            state: SandboxState::Starting,
        };
        let supervisor = row.supervisor.clone();
        self.0.tables.change(|rows| {
            rows.sandboxes.insert(id.clone(), row);
            rows.containers.extend(containers);
        });
        let removed = spoilt.len();
        if let Some((hearing, process, present)) = heard {
            for event in present {
                self.take_in(&id, event);
            }
            for container in &spoilt {
                // It would be written to, and reaped, as if somebody knew it.
                let stop = Request::Stop { container: container.clone(), signal: libc::SIGKILL, grace_ms: 0 };
                let _ = supervisor.ask(&stop).await;
            }
            let runtime = self.clone();
            tokio::spawn(async move { runtime.hear(&id, hearing, Process::Found(process)).await });
        } else {
            let _ = blocking(move || process.kill()).await;
            self.bury(&id).await;
        }
        self.remove_spoilt_containers(&folder, spoilt, spoilt_cgroups).await;
        removed
    }

    async fn remove_spoilt_containers(
        &self,
        folder: &SandboxFolder,
        containers: Vec<String>,
        cgroups: Vec<CgroupPath>,
    ) {
        if containers.is_empty() {
            return;
        }
        let Settings { images, hierarchy, .. } = self.0.settings.clone();
        let folder = folder.clone();
        let removed = blocking(move || {
            let removed = cgroups.iter().try_for_each(|cgroup| remove_cgroup(cgroup, &hierarchy));
            let folders = containers.iter().try_for_each(|container| {
                sweep::remove_container_folder(folder.container(container).path(), &images)
            });
            removed.and(folders)
        });
        if let Ok(Err(error)) = removed.await {
            tracing::error!("a container without a record cannot be removed: {}", chain(&error));
        }
    }

    /// Ends and removes a sandbox that was half made, or of which it cannot be read what it is.
    async fn remove_spoilt(&self, folder: SandboxFolder, process: Remains) {
        let Settings { images, hierarchy, .. } = self.0.settings.clone();
        let path = folder.path().to_owned();
        let removed = blocking(move || {
            process.terminate();
            let cgroups = cgroups_in(&folder);
            let removed = cgroups.iter().try_for_each(|cgroup| remove_cgroup(cgroup, &hierarchy));
            removed.and_then(|()| sweep::remove_folder(&folder, &images))
        });
        if let Ok(Err(error)) = removed.await {
            tracing::error!("{} cannot be removed: {}", path.display(), chain(&error));
        }
    }

    /// Waits for what was being started when the earlier daemon died.
    async fn settle(&self) {
        let settled = self.0.tables.wait_for(|rows| {
            let starting = rows.containers.values().any(|row| row.state == ContainerState::Starting);
            (!starting).then_some(())
        });
        if tokio::time::timeout(START_PATIENCE, settled).await.is_err() {
            tracing::warn!("a container that an earlier run began to start has still not started");
        }
    }
}

/// Connects to a supervisor and hears what is so.
async fn ask(folder: &SandboxFolder) -> io::Result<Answered> {
    let (asking, mut hearing) = supervisor::connect(folder)?;
    let mut process = Remains::none();
    let mut present = Vec::new();
    loop {
        match hearing.next().await {
            Some(Event::Hello { pid, .. }) => process = Remains::of(pid, folder.path()),
            Some(Event::Present) => return Ok(Answered { asking, hearing, process, present }),
            Some(event) => present.push(event),
            None => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it says nothing")),
        }
    }
}

/// Reads all that the state folder holds, and changes nothing.
fn survey(settings: &Settings) -> Result<Vec<Found>, AdoptError> {
    let path = settings.state.join("sandboxes");
    let unreadable = |source| AdoptError::Folder { path: path.clone(), source };
    let entries = match std::fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(id) = name.to_str().filter(|name| state::is_id(name)) else { continue };
        let folder = SandboxFolder::new(&settings.state, id);
        let record = usable(&folder.record(), &format!("sandbox {id}"), records::read(&folder.record()))?;
        let whole = match record.map(|record| survey_sandbox(id, &folder, record)) {
            Some(Err(AdoptError::Folder { path, source })) => {
                tracing::error!("sandbox {id} is given up, and ends: {} {source}", path.display());
                None
            }
            whole => whole.transpose()?,
        };
        found.push(Found { id: id.to_owned(), folder, whole });
    }
    Ok(found)
}

fn survey_sandbox(id: &str, folder: &SandboxFolder, record: SandboxRecord) -> Result<Whole, AdoptError> {
    let path = folder.path().to_owned();
    let names = folder.containers().map_err(|source| AdoptError::Folder { path, source })?;
    let (mut containers, mut spoilt) = (Vec::new(), Vec::new());
    for (name, folder) in names {
        let subject = format!("container {name}");
        let record: Option<ContainerRecord> =
            usable(&folder.record(), &subject, records::read(&folder.record()))?;
        let launch = record.as_ref().map(|_| state::read_json::<Launch>(&folder.launch()));
        match (record, launch) {
            (Some(record), Some(Ok(launch))) => {
                let mut container = Container::of_record(id, &folder, record, launch);
                container.state = ContainerState::of_folder(&folder);
                containers.push((name, container));
            }
            (_, launch) => {
                if let Some(Err(error)) = launch {
                    tracing::error!("{subject} is given up: {} {error}", folder.launch().display());
                }
                spoilt.push(name);
            }
        }
    }
    Ok(Whole { record, containers, spoilt })
}

/// The record, where there is one that can be read; otherwise says what that means.
fn usable<T>(path: &Path, subject: &str, read: Result<T, RecordError>) -> Result<Option<T>, AdoptError> {
    match read {
        Ok(record) => Ok(Some(record)),
        Err(RecordError::Newer(version)) => Err(AdoptError::Newer { path: path.to_owned(), version }),
        Err(RecordError::Missing) => {
            tracing::info!("{subject} was being made when an earlier run ended, and is removed");
            Ok(None)
        }
        Err(error @ RecordError::Unreadable(_)) => {
            tracing::error!("{subject} is given up, and ends: {} {error}", path.display());
            Ok(None)
        }
    }
}

/// The cgroups that a sandbox of which little is known may have.
fn cgroups_in(folder: &SandboxFolder) -> Vec<CgroupPath> {
    let own = state::read_json::<protocol::Sandbox>(&folder.description()).ok();
    let containers = folder.containers().unwrap_or_default();
    let launched = containers.iter().filter_map(|(_, folder)| {
        state::read_json::<Launch>(&folder.launch()).ok().map(|launch| launch.cgroup)
    });
    own.map(|sandbox| sandbox.cgroup).into_iter().chain(launched).collect()
}

fn remove_cgroup(cgroup: &CgroupPath, hierarchy: &Hierarchy) -> io::Result<()> {
    sweep::remove_cgroup(&scope_of(cgroup).unwrap_or_else(|| cgroup.clone()), hierarchy)
}
