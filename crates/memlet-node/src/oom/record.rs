//! Kill records as they are kept and told: the last thousand, and a broadcast of each new one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use memlet_diagnosis::evidence::{ContainerEnd, KillRecord};
use tokio::sync::broadcast;

/// Records kept; older ones are forgotten.
pub(crate) const KEPT: usize = 1000;
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
    kept: Arc<Mutex<VecDeque<KillRecord>>>,
    listeners: broadcast::Sender<KillRecord>,
}

impl KillLog {
    pub(crate) fn new() -> Self {
        Self { kept: Arc::default(), listeners: broadcast::Sender::new(BROADCAST) }
    }

    pub(crate) fn add(&self, record: KillRecord) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(record.clone());
        // Without listeners there is nobody to tell.
        let _ = self.listeners.send(record);
    }

    pub(crate) fn all(&self) -> Vec<KillRecord> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<KillRecord> {
        self.listeners.subscribe()
    }
}
