//! Following the changes of a resource with what they make still pending: for what is decided on the present state, in
//! this process. Watches are told what is durable only (`subscription`).

use std::sync::Arc;

use super::{Change, Revision, Storage};

/// How far somebody has followed the changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    revision: Revision,
    /// Changes that were taken back make way for others at the same revisions.
    rollbacks: u64,
}

impl Storage {
    /// The changes of a resource since `position`, which moves to the present. `None` where they are not all known:
    /// whoever follows must look at everything anew.
    pub(crate) fn changes_since(
        &self,
        resource: &'static str,
        position: &mut Option<Position>,
    ) -> Option<Vec<Arc<Change>>> {
        let mut state = self.shared.lock();
        // Changes are taken back with the lock held.
        let rollbacks = self.shared.published.borrow().rollbacks;
        let present = Position { revision: state.revision, rollbacks };
        let seen = position.replace(present)?;
        if seen.rollbacks != rollbacks {
            return None;
        }
        let changes = state.collection(resource).history.after(seen.revision).ok()?;
        Some(changes.cloned().collect())
    }
}
