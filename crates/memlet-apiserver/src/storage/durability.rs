//! Waiting until what an answer tells is durable.

use std::sync::Arc;

use super::{Revision, Storage};

/// How far the store has got with making changes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Published {
    pub(super) durable: Revision,
    /// How often pending changes were undone because they could not be written.
    pub(super) rollbacks: u64,
}

/// The start of a request: which undone changes its answer cannot have seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    rollbacks: u64,
}

/// What an answer is based on was undone: it must not be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undone {
    pub(crate) reason: Arc<str>,
}

impl Storage {
    /// To be called before a request is worked on.
    pub(crate) fn attempt(&self) -> Attempt {
        Attempt { rollbacks: self.shared.published.borrow().rollbacks }
    }

    /// Waits until all that the answer of this attempt may have seen is durable. Does not wait where nothing is pending.
    pub(crate) async fn settle(&self, attempt: Attempt) -> Result<(), Undone> {
        if self.committer.is_none() {
            return Ok(());
        }
        let seen = self.revision();
        let mut published = self.shared.published.subscribe();
        loop {
            let now = *published.borrow_and_update();
            if now.rollbacks != attempt.rollbacks {
                let reason = self.shared.lock().read_only.clone();
                return Err(Undone { reason: reason.unwrap_or_else(|| "it could not be stored".into()) });
            }
            if now.durable >= seen {
                return Ok(());
            }
            // The sender lives in this store, so it cannot have gone.
            let _ = published.changed().await;
        }
    }
}
