//! What is kept of kills and of containers that failed, so that a verdict can be given after the container restarted,
//! the Pod was deleted, or this program was started again.
//!
//! A week or a thousand records, whichever is less: on disk, where a folder is given, or in memory.

mod journal; // lines in files

use std::collections::{HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::Eviction;
use memlet_diagnosis::evidence::{ContainerEnd, KillRecord, Subject};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use journal::Journal;

/// Records kept; older ones are forgotten.
pub(crate) const KEPT: usize = 1000;
/// How long they are kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Records that could not be written, kept until they can be: a full disk is often not full for long.
const UNWRITTEN: usize = 64;

/// The end of a container that failed, with all that a verdict on it needs beside the kills.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Death {
    /// When the node learnt of it.
    pub at: Timestamp,
    /// The container.
    pub subject: Subject,
    /// As the Pod's status says it.
    pub state: ContainerStateTerminated,
    /// The runtime's statement, where it made one.
    pub end: Option<ContainerEnd>,
    /// Identity and spec of its Pod.
    pub pod: Pod,
    /// What this node gave to all Pods together.
    pub node_memory: Bytes,
}

/// One thing that is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Record {
    /// The OOM killer killed.
    Kill(Box<KillRecord>),
    /// A container failed.
    Death(Box<Death>),
    /// A Pod was chosen to be evicted, or was evicted.
    Eviction(Box<Eviction>),
}

impl Record {
    /// When the node learnt of it.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Kill(kill) => kill.at,
            Self::Death(death) => death.at,
            Self::Eviction(eviction) => eviction.at,
        }
    }

    /// The container that it is about; `None` where it is about a whole Pod.
    pub fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Kill(kill) => Some(&kill.subject),
            Self::Death(death) => Some(&death.subject),
            Self::Eviction(_) => None,
        }
    }

    /// Whether it is about a Pod of this name.
    pub fn is_of_pod(&self, namespace: &str, name: &str) -> bool {
        let (of, pod) = match self {
            Self::Kill(kill) => (&kill.subject.namespace, &kill.subject.pod),
            Self::Death(death) => (&death.subject.namespace, &death.subject.pod),
            Self::Eviction(eviction) => (&eviction.pod.namespace, &eviction.pod.name),
        };
        of == namespace && pod == name
    }
}

/// The records of a node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Records(Arc<Store>);

/// Two locks, so that nobody waits for a slow disk who does not write: the journal's is taken first, and held while it
/// writes.
#[derive(Debug)]
struct Store {
    disk: Option<OnDisk>,
    /// All, where there is no journal; else those that it did not take yet.
    waiting: Mutex<VecDeque<Record>>,
}

#[derive(Debug)]
struct OnDisk {
    folder: PathBuf,
    journal: Mutex<Journal>,
}

impl Records {
    /// Records that end with this process.
    pub fn in_memory() -> Self {
        Self::new(None)
    }

    /// Records kept in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn on_disk(folder: &Path) -> io::Result<Self> {
        let journal = Mutex::new(Journal::open(folder, Timestamp::now())?);
        Ok(Self::new(Some(OnDisk { folder: folder.to_owned(), journal })))
    }

    fn new(disk: Option<OnDisk>) -> Self {
        Self(Arc::new(Store { disk, waiting: Mutex::default() }))
    }

    /// What `folder` holds, also while a node writes into it.
    ///
    /// # Errors
    /// The folder cannot be read; where there is none, nothing was recorded.
    pub fn read(folder: &Path) -> io::Result<Vec<Record>> {
        Ok(kept(journal::read(folder)?, Timestamp::now()))
    }

    /// Keeps one more.
    pub(crate) fn add(&self, record: Record) {
        self.0.take(record);
        self.0.write();
    }

    /// Keeps one more for whoever must not wait for a disk: `runtime` writes it.
    pub(crate) fn add_soon(&self, record: Record, runtime: &Handle) {
        self.0.take(record);
        let store = self.0.clone();
        // In a task, since it panics where no thread can be had; then the next that is written takes it along.
        runtime.spawn(async move { tokio::task::spawn_blocking(move || store.write()).await });
    }

    /// Writes what was not written yet.
    pub(crate) fn flush(&self) {
        self.0.write();
    }

    /// All, oldest first. Reads files.
    pub fn all(&self) -> Vec<Record> {
        // What is written between these two is in both.
        let mut waiting: Vec<_> = self.0.waiting().iter().cloned().collect();
        let written = self.0.disk.as_ref().map_or_else(|| Ok(Vec::new()), |disk| journal::read(&disk.folder));
        let mut records = written.unwrap_or_else(|error| {
            tracing::warn!("what was recorded cannot be read: {error}");
            Vec::new()
        });
        let newest = records.len().saturating_sub(2 * UNWRITTEN);
        waiting.retain(|record| !records.iter().skip(newest).any(|written| written == record));
        records.extend(waiting);
        kept(records, Timestamp::now())
    }

    /// As [`Records::all`], without making others wait that share the thread.
    pub(crate) async fn all_unhurried(&self) -> Vec<Record> {
        let records = self.clone();
        tokio::task::spawn_blocking(move || records.all()).await.unwrap_or_default()
    }

    /// Those about the Pods of this name, of which there may have been several, oldest first.
    pub fn of_pod(&self, namespace: &str, name: &str) -> Vec<Record> {
        let mut records = self.all();
        records.retain(|record| record.is_of_pod(namespace, name));
        records
    }
}

impl Store {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, record: Record) {
        let mut waiting = self.waiting();
        waiting.push_back(record);
        if waiting.len() > if self.disk.is_some() { UNWRITTEN } else { KEPT } {
            waiting.pop_front();
        }
    }

    /// Hands to the journal what waits for it.
    fn write(&self) {
        let Some(OnDisk { folder, journal }) = &self.disk else { return };
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(record) = self.waiting().front().cloned() else { return };
            if let Err(error) = journal.append(&record) {
                let folder = folder.display();
                return tracing::warn!("what happened to a Pod cannot be recorded in {folder}: {error}");
            }
            // Unless it had to make room for others meanwhile.
            let mut waiting = self.waiting();
            if waiting.front() == Some(&record) {
                waiting.pop_front();
            }
        }
    }
}

/// The newest thousand of the last week. A clock that was set back makes no record old. Of an eviction there are two, from
/// its beginning and its end: the later tells all that the earlier does.
fn kept(mut records: Vec<Record>, now: Timestamp) -> Vec<Record> {
    records.retain(|record| is_kept(record.at(), now));
    let mut evicted = HashSet::new();
    records.reverse();
    records.retain(|record| match record {
        Record::Eviction(eviction) => evicted.insert(eviction.pod.uid.clone()),
        Record::Kill(_) | Record::Death(_) => true,
    });
    records.reverse();
    let surplus = records.len().saturating_sub(KEPT);
    records.drain(..surplus);
    records
}

fn is_kept(at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(at) <= KEPT_FOR
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
