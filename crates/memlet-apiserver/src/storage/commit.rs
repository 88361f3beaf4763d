//! The thread that makes changes durable.
//!
//! It takes all changes that are pending, writes them in one transaction, and publishes how far it got; while it writes,
//! the next ones gather. So many writers share one wait for the disk.
//!
//! Where a transaction fails (a full disk, a broken one), the pending changes are undone and the store is read-only. A
//! failed transaction may have reached the disk all the same, so the file is brought to what is in memory before
//! anything is changed again.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::disk::{Disk, WriteError};
use super::{Key, Recorded, Revision, Shared, State};

/// Between attempts to write a file that could not be written.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// How long changes are waited for that will probably come: those of the clients that were told of the last transaction
/// together. Much shorter than a transaction.
const GATHERING: Duration = Duration::from_micros(150);

/// The running thread.
pub(super) struct Committer {
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    pub(super) fn start(shared: Arc<Shared>, disk: Disk, retry: Duration) -> io::Result<Self> {
        let run = Run { shared, disk, retry, last_batch: 0 };
        let thread = std::thread::Builder::new().name("memlet-commit".to_owned());
        Ok(Self { thread: Mutex::new(Some(thread.spawn(move || run.run())?)) })
    }

    /// Waits for the thread's end.
    pub(super) fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // It has no result, and a panic of it was printed.
            let _ = thread.join();
        }
    }
}

struct Run {
    shared: Arc<Shared>,
    disk: Disk,
    retry: Duration,
    /// How many changes the last transaction had.
    last_batch: usize,
}

impl Run {
    fn run(mut self) {
        while let Some(batch) = self.next() {
            self.last_batch = batch.len();
            let written = self.disk.write(&batch);
            match written {
                Ok(()) => self.publish(batch),
                Err(error) => {
                    let touched = self.undo(&batch, &error);
                    self.recover(&touched, &batch);
                }
            }
        }
        self.disk.close();
    }

    /// Waits for changes; `None` when the store ends and nothing is pending.
    fn next(&self) -> Option<Vec<Recorded>> {
        let idle = |state: &mut State| state.pending.is_empty() && !state.closing;
        let waited = self.shared.work.wait_while(self.shared.lock(), idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if self.last_batch > 1 {
            state.worth_waking = self.last_batch;
            let few = |state: &mut State| state.pending.len() < state.worth_waking && !state.closing;
            let waited = self.shared.work.wait_timeout_while(state, GATHERING, few);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.worth_waking = 1;
        }
        let batch = std::mem::take(&mut state.pending);
        if batch.is_empty() { None } else { Some(batch) }
    }

    fn publish(&self, batch: Vec<Recorded>) {
        let mut state = self.shared.lock();
        state.durable = last_revision(&batch).unwrap_or(state.durable);
        let durable = state.durable;
        self.shared.tell(&mut state, batch);
        self.shared.published.send_modify(|published| published.durable = durable);
    }

    /// Takes back all changes that are not durable; says which objects the failed transaction was about.
    fn undo(&self, batch: &[Recorded], error: &WriteError) -> BTreeSet<(&'static str, Key)> {
        tracing::error!(%error, "changes cannot be stored; the API server is read-only until they can");
        let mut state = self.shared.lock();
        let later = std::mem::take(&mut state.pending);
        for Recorded { resource, change } in batch.iter().chain(&later).rev() {
            state.collection(resource).undo(change);
        }
        let durable = state.durable;
        for collection in state.collections.values_mut() {
            collection.history.cut(durable);
        }
        state.revision = durable;
        state.read_only = Some(error.to_string().into());
        // Housekeeping's own changes may be among them.
        state.notices.forget();
        self.shared.published.send_modify(|published| published.rollbacks += 1);
        batch.iter().map(|Recorded { resource, change }| (*resource, change.object.key.clone())).collect()
    }

    /// Tries until the file says what memory says.
    fn recover(&mut self, touched: &BTreeSet<(&'static str, Key)>, batch: &[Recorded]) {
        let failed = last_revision(batch);
        loop {
            let state = self.shared.lock();
            let open = |state: &mut State| !state.closing;
            let waited = self.shared.work.wait_timeout_while(state, self.retry, open);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let is_last = state.closing;
            drop(state);
            match self.repair(touched, failed) {
                Ok(()) => {
                    tracing::info!("changes can be stored again");
                    self.shared.lock().read_only = None;
                    self.shared.attention.notify_all();
                    return;
                }
                Err(error) if is_last => {
                    tracing::error!(%error, "the API server ends while its file cannot be written");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "changes still cannot be stored");
                    self.shared.lock().read_only = Some(error.to_string().into());
                }
            }
        }
    }

    /// Nothing is changed meanwhile: the store is read-only.
    fn repair(
        &mut self,
        touched: &BTreeSet<(&'static str, Key)>,
        failed: Option<Revision>,
    ) -> Result<(), WriteError> {
        let found = self.disk.reopen()?;
        let mut state = self.shared.lock();
        let durable = state.durable;
        if found == durable || Some(found) == failed {
            let objects: Vec<_> = touched
                .iter()
                .map(|(resource, key)| (*resource, key, state.collection(resource).objects.get(key).cloned()))
                .collect();
            drop(state);
            return self.disk.restore(&objects, durable);
        }
        // Somebody put another file there, or took it away: memory has everything.
        let all: Vec<_> = state
            .collections
            .iter()
            .flat_map(|(resource, collection)| {
                collection.objects.values().map(|object| (*resource, Arc::clone(object)))
            })
            .collect();
        drop(state);
        self.disk.replace(&all, durable)
    }
}

fn last_revision(batch: &[Recorded]) -> Option<Revision> {
    batch.last().map(|recorded| recorded.change.object.revision)
}
