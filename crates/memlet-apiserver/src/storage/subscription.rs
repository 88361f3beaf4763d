//! A reader of the history: every change after a revision, in order, exactly once.
//!
//! A subscription buffers nothing. It is a position in the shared history, so a reader that falls behind costs no
//! memory; when the history has moved past it, it is told [`Expired`] and must list again.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Change, Expired, Revision, Storage};

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

    /// Waits for changes and gives all that there are. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Vec<Arc<Change>>, Expired> {
        loop {
            self.news.mark_unchanged();
            let changes = self.storage.changes_after(self.resource, self.position)?;
            if let Some(last) = changes.last() {
                self.position = last.object.revision;
                return Ok(changes);
            }
            // The sender lives in the storage that this subscription holds, so it cannot have gone.
            let _ = self.news.changed().await;
        }
    }

    /// The revision up to which this reader has seen everything, for bookmarks: nothing of its resource happened
    /// between its position and the store's present revision if it has no news.
    pub(crate) fn caught_up_to(&self) -> Revision {
        let present = self.storage.revision();
        match self.storage.changes_after(self.resource, self.position) {
            Ok(changes) if changes.is_empty() => present,
            _ => self.position,
        }
    }
}
