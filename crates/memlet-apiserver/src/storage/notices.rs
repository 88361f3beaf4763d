//! What housekeeping hears of: durable changes that may give it something to do.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Change, ChangeKind, Storage};

/// A change, and the resource in which it was made.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) resource: &'static str,
    pub(crate) change: Arc<Change>,
}

/// Why housekeeping was woken.
#[derive(Debug)]
pub(crate) enum Wake {
    /// These changes were made, in this order.
    Changes(Vec<Recorded>),
    /// Changes may have been missed, or taken back: look at everything.
    LookAtAll,
    /// Nothing happened for as long as one wanted to wait.
    Quiet,
    /// The store ends.
    Closing,
}

/// More than this waiting is not kept: looking at everything is cheaper.
const MOST_WAITING: usize = 4096;

/// Changes that wait to be looked at. Nothing is kept where nobody asks.
#[derive(Default)]
pub(super) struct Notices {
    waiting: VecDeque<Recorded>,
    look_at_all: bool,
    is_read: bool,
    /// The resources, and the namespaces, of which every change is told.
    resources: HashSet<&'static str>,
    namespaces: HashSet<String>,
}

impl Notices {
    /// Whether somebody must be woken.
    pub(super) fn add(&mut self, recorded: Recorded) -> bool {
        let change = &recorded.change;
        let before = change.previous.as_ref().is_some_and(|previous| previous.ties.matter());
        let followed = self.resources.contains(recorded.resource)
            || self.namespaces.contains(&change.object.key.namespace);
        let matters = change.kind == ChangeKind::Deleted || change.object.ties.matter() || before || followed;
        if !self.is_read || !matters {
            return false;
        }
        if self.waiting.len() < MOST_WAITING {
            self.waiting.push_back(recorded);
        } else {
            self.forget();
        }
        true
    }

    /// What waits is dropped; the reader must look at everything.
    pub(super) fn forget(&mut self) {
        self.waiting = VecDeque::new();
        self.look_at_all = true;
    }

    fn take(&mut self) -> Option<Wake> {
        if std::mem::take(&mut self.look_at_all) {
            return Some(Wake::LookAtAll);
        }
        if self.waiting.is_empty() {
            return None;
        }
        Some(Wake::Changes(std::mem::take(&mut self.waiting).into()))
    }
}

/// The one reader of a store's notices. It does not keep the store alive.
pub(crate) struct NoticeReader {
    shared: Arc<super::Shared>,
}

impl Storage {
    /// Starts the collection of notices.
    pub(crate) fn notices(&self) -> NoticeReader {
        let mut state = self.shared.lock();
        state.notices.is_read = true;
        state.notices.look_at_all = true;
        NoticeReader { shared: Arc::clone(&self.shared) }
    }
}

impl NoticeReader {
    /// Waits for notices, but not longer than `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> Wake {
        let mut state = self.shared.lock();
        let end = std::time::Instant::now() + patience;
        loop {
            if state.closing {
                return Wake::Closing;
            }
            // While nothing can be changed there is nothing to do; the end of that looks at everything.
            if state.read_only.is_none()
                && let Some(wake) = state.notices.take()
            {
                return wake;
            }
            let left = end.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Wake::Quiet;
            }
            let waited = self.shared.attention.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Every change of this resource is told from now on.
    pub(crate) fn follow_resource(&self, resource: &'static str) {
        self.shared.lock().notices.resources.insert(resource);
    }

    /// Every change in these namespaces is told from now on, and no longer those in others.
    pub(crate) fn follow_namespaces(&self, namespaces: HashSet<String>) {
        self.shared.lock().notices.namespaces = namespaces;
    }

    /// The next wait gives [`Wake::LookAtAll`].
    pub(crate) fn look_at_all(&self) {
        self.shared.lock().notices.forget();
    }

    /// Waits, whatever happens meanwhile, unless the store ends.
    pub(crate) fn pause(&self, length: Duration) {
        let state = self.shared.lock();
        let ends = |state: &mut super::State| !state.closing;
        drop(self.shared.attention.wait_timeout_while(state, length, ends));
    }
}
