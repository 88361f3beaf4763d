//! What is kept of kills and of containers that failed, so that a verdict can be given after the container restarted,
//! the Pod was deleted, or this program was started again.
//!
//! A week or a thousand records, whichever is less: on disk, where a folder is given, or in memory.

mod journal; // lines in files

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::Eviction;
use memlet_diagnosis::evidence::{ContainerEnd, KillRecord, Subject};
use serde::{Deserialize, Serialize};

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
    /// A Pod was evicted.
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
pub struct Records(Arc<Mutex<Store>>);

#[derive(Debug)]
struct Store {
    journal: Option<Journal>,
    /// All, where there is no journal; else those that it did not take yet.
    memory: VecDeque<Record>,
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
        Ok(Self::new(Some(Journal::open(folder, Timestamp::now())?)))
    }

    fn new(journal: Option<Journal>) -> Self {
        Self(Arc::new(Mutex::new(Store { journal, memory: VecDeque::new() })))
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
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        store.memory.push_back(record);
        store.write();
    }

    /// All, oldest first.
    pub fn all(&self) -> Vec<Record> {
        let store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = store.journal.as_ref().map(|journal| journal::read(journal.folder()));
        let mut records = written.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|error| {
            tracing::warn!("what was recorded cannot be read: {error}");
            Vec::new()
        });
        records.extend(store.memory.iter().cloned());
        kept(records, Timestamp::now())
    }

    /// Those about the Pods of this name, of which there may have been several, oldest first.
    pub fn of_pod(&self, namespace: &str, name: &str) -> Vec<Record> {
        let mut records = self.all();
        records.retain(|record| record.is_of_pod(namespace, name));
        records
    }
}

impl Store {
    /// Hands to the journal what waits for it.
    fn write(&mut self) {
        let Some(journal) = &mut self.journal else {
            if self.memory.len() > KEPT {
                self.memory.pop_front();
            }
            return;
        };
        while let Some(record) = self.memory.front() {
            if let Err(error) = journal.append(record) {
                tracing::warn!(
                    "a kill or an end cannot be recorded in {}: {error}",
                    journal.folder().display()
                );
                break;
            }
            self.memory.pop_front();
        }
        if self.memory.len() > UNWRITTEN {
            self.memory.pop_front();
        }
    }
}

/// The newest thousand of the last week. A clock that was set back makes no record old.
fn kept(mut records: Vec<Record>, now: Timestamp) -> Vec<Record> {
    records.retain(|record| is_kept(record.at(), now));
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
