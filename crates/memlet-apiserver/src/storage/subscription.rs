//! A reader of the history: every change after a revision, in order, exactly once.
//!
//! A subscription buffers nothing. It is a position in the shared history, so a reader that falls behind costs no
//! memory; when the history has moved past it, it is told [`Expired`] and must list again.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Change, Expired, Revision, Storage};

/// How many bytes of objects a reader is given at once: what a stalled one may hold.
const PORTION: usize = 64 << 10;

pub(crate) struct Subscription {
    storage: Arc<Storage>,
    resource: &'static str,
    position: Revision,
    news: watch::Receiver<()>,
}

impl Subscription {
    pub(super) fn new(
        storage: Arc<Storage>,
        resource: &'static str,
        position: Revision,
        news: watch::Receiver<()>,
    ) -> Self {
        Self { storage, resource, position, news }
    }

    /// The revision up to which changes were given.
    pub(crate) fn position(&self) -> Revision {
        self.position
    }

    /// Waits for changes and gives the next of them. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<Change>>, Expired> {
        loop {
            self.news.mark_unchanged();
            let changes = self.storage.changes_after(self.resource, self.position, PORTION)?;
            if let Some(last) = changes.last() {
                self.position = last.object.revision;
                return Ok(changes);
            }
            // The sender lives in the storage that this subscription holds, so it cannot have gone.
            let _ = self.news.changed().await;
        }
    }

    /// The revision up to which this reader has seen everything, for bookmarks.
    pub(crate) fn caught_up_to(&self) -> Revision {
        self.storage.quiet_until(self.resource, self.position)
    }
}
