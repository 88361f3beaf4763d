//! What exists: sandboxes and containers by id, and a way to wait for a change.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_cri::v1 as cri;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{ContainerEnd, OomScoreAdj};
use tokio::sync::watch;

use crate::shim::protocol::Launch;
use crate::state::records::ContainerRecord;
use crate::state::{self, ContainerFolder, SandboxFolder, Start};
use crate::supervisor::Supervisor;

/// A sandbox.
#[derive(Clone)]
pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) config: cri::PodSandboxConfig,
    pub(super) created_at: i64,
    pub(super) folder: SandboxFolder,
    /// The Pod's cgroup, or whatever CRI calls the parent.
    pub(super) parent: CgroupPath,
    /// That of the pause process.
    pub(super) cgroup: CgroupPath,
    pub(super) own_ipc: bool,
    pub(super) supervisor: Arc<Supervisor>,
    /// Its supervisor has not ended.
    pub(super) supervised: bool,
    pub(super) state: SandboxState,
}

impl Sandbox {
    /// What is `/dev/shm` in its containers.
    pub(super) fn shared_memory(&self) -> PathBuf {
        if self.own_ipc { self.folder.shared_memory() } else { PathBuf::from("/dev/shm") }
    }
}

/// Where a sandbox is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SandboxState {
    Starting,
    Ready {
        pause: i32,
    },
    Failed {
        reason: String,
    },
    /// Its supervisor has ended.
    Gone,
}

impl SandboxState {
    /// Why it failed, if it is known.
    pub(super) fn failure(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } => Some(reason),
            _ => None,
        }
    }
}

/// A container.
#[derive(Clone)]
pub(super) struct Container {
    pub(super) sandbox: String,
    pub(super) config: cri::ContainerConfig,
    pub(super) image: cri::ImageSpec,
    pub(super) image_id: String,
    pub(super) launch: Launch,
    pub(super) log: Option<PathBuf>,
    pub(super) stop_signal: i32,
    /// The folder of a mounted image, to be unmounted; built-in workloads have none.
    pub(super) mounted: Option<PathBuf>,
    pub(super) created_at: i64,
    pub(super) state: ContainerState,
}

impl Container {
    /// A container as it was recorded when it was made.
    pub(super) fn of_record(
        sandbox: &str,
        folder: &ContainerFolder,
        record: ContainerRecord,
        launch: Launch,
    ) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            config: record.config,
            image: record.image,
            image_id: record.image_id,
            log: launch.log.clone(),
            launch,
            stop_signal: record.stop_signal,
            mounted: record.is_mounted.then(|| folder.path().to_owned()),
            created_at: record.created_at,
            state: ContainerState::Created,
        }
    }
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ContainerState {
    Created,
    /// Its start has been asked for.
    Starting,
    Running {
        pid: i32,
        at: Timestamp,
        oom_score_adj: OomScoreAdj,
    },
    Ended {
        started: Option<(i32, Timestamp, OomScoreAdj)>,
        end: Box<ContainerEnd>,
    },
    StartFailed {
        reason: String,
        at: Timestamp,
    },
    /// Its supervisor ended without saying how the container did.
    Lost {
        started: Option<(i32, Timestamp, OomScoreAdj)>,
        at: Timestamp,
    },
}

impl ContainerState {
    /// What its folder says, as far as that tells: without an end it may run or not.
    pub(super) fn of_folder(folder: &ContainerFolder) -> Self {
        let started = match read_if_there(&folder.start()) {
            Some(Start::Started { pid, at, oom_score_adj }) => Some((pid, at, oom_score_adj)),
            Some(Start::Failed { reason, at }) => return Self::StartFailed { reason, at },
            None => None,
        };
        match (read_if_there(&folder.end()), started) {
            (Some(end), started) => Self::Ended { started, end: Box::new(end) },
            (None, Some((pid, at, oom_score_adj))) => Self::Running { pid, at, oom_score_adj },
            (None, None) => Self::Created,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::StartFailed { .. } | Self::Lost { .. })
    }

    /// Whether its supervisor has it in hand.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self, Self::Starting | Self::Running { .. })
    }

    /// The main process, when it started and with which score adjustment, if it ever ran.
    pub(super) fn started(&self) -> Option<(i32, Timestamp, OomScoreAdj)> {
        match self {
            Self::Running { pid, at, oom_score_adj } => Some((*pid, *at, *oom_score_adj)),
            Self::Ended { started, .. } | Self::Lost { started, .. } => *started,
            Self::Created | Self::Starting | Self::StartFailed { .. } => None,
        }
    }
}

/// A file that cannot be read is told, and otherwise as good as none.
fn read_if_there<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    match state::read_json(path) {
        Ok(value) => Some(value),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::error!("{} cannot be read and is passed over: {error}", path.display());
            None
        }
    }
}

/// Both tables behind one lock, never held across an await.
pub(super) struct Tables {
    rows: Mutex<Rows>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct Rows {
    pub(super) sandboxes: HashMap<String, Sandbox>,
    pub(super) containers: HashMap<String, Container>,
}

impl Default for Tables {
    fn default() -> Self {
        Self { rows: Mutex::default(), changed: watch::channel(0).0 }
    }
}

impl Tables {
    /// Looks, without changing anything.
    pub(super) fn look(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something and wakes whoever waits.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Rows) -> T) -> T {
        let result = change(&mut self.look());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until `ready` finds what it looks for.
    pub(super) async fn wait_for<T>(&self, mut ready: impl FnMut(&Rows) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = ready(&self.look()) {
                return found;
            }
            // The sender lives in `self`, so this only ends with a change.
            let _ = changes.changed().await;
        }
    }
}
