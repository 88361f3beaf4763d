//! Kills and ends as they are kept and told: in the node's records, and a broadcast of each new kill.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use memlet_diagnosis::evidence::{ContainerEnd, KillRecord};
use tokio::sync::broadcast;

use crate::records::{Death, KEPT, Record, Records};

/// Records that a slow listener may lag behind.
const BROADCAST: usize = 256;

/// The runtime's statements about ended containers, by id; the last thousand.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndLog(Arc<Mutex<VecDeque<(String, ContainerEnd)>>>);

impl EndLog {
    pub(crate) fn add(&self, id: &str, end: ContainerEnd) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((id.to_owned(), end));
    }

    pub(crate) fn find(&self, id: &str) -> Option<ContainerEnd> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|(kept, _)| kept == id).map(|(_, end)| end.clone())
    }
}

/// All kills the node has seen, newest last. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct KillLog {
    records: Records,
    listeners: broadcast::Sender<KillRecord>,
}

impl KillLog {
    pub(crate) fn new(records: Records) -> Self {
        Self { records, listeners: broadcast::Sender::new(BROADCAST) }
    }

    pub(crate) fn add(&self, record: KillRecord) {
        self.records.add(Record::Kill(Box::new(record.clone())));
        // Without listeners there is nobody to tell.
        let _ = self.listeners.send(record);
    }

    pub(crate) fn add_death(&self, death: Death) {
        self.records.add(Record::Death(Box::new(death)));
    }

    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    pub(crate) fn all(&self) -> Vec<KillRecord> {
        let kill = |record| match record {
            Record::Kill(kill) => Some(*kill),
            Record::Death(_) | Record::Eviction(_) => None,
        };
        self.records.all().into_iter().filter_map(kill).collect()
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<KillRecord> {
        self.listeners.subscribe()
    }
}
