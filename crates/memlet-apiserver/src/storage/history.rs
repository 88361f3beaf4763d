//! The recent changes of one resource, bounded in number and in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Expired, HistoryLimits, Revision, StoredObject};

/// What happened to an object, as a watch names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// The object after the change; for a deletion, its last state at the revision of the deletion.
    pub(crate) object: Arc<StoredObject>,
    /// The object before the change: a watch with a selector must tell when an object leaves the selection.
    pub(crate) previous: Option<Arc<StoredObject>>,
}

impl Change {
    pub(super) fn new(
        kind: ChangeKind,
        object: Arc<StoredObject>,
        previous: Option<Arc<StoredObject>>,
    ) -> Self {
        Self { kind, object, previous }
    }
}

#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    limits: HistoryLimits,
    /// The newest revision that was dropped: watches can start from here on, not before.
    dropped: Revision,
}

impl History {
    pub(super) fn new(limits: HistoryLimits) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, limits, dropped: 0 }
    }

    pub(super) fn push(&mut self, change: Change) {
        self.bytes += change.object.encoded.len();
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > self.limits.changes || self.bytes > self.limits.bytes {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.object.encoded.len();
            self.dropped = oldest.object.revision;
        }
    }

    pub(super) fn check(&self, from: Revision) -> Result<(), Expired> {
        if from < self.dropped { Err(Expired { oldest: self.dropped }) } else { Ok(()) }
    }

    pub(super) fn after(&self, from: Revision) -> Result<Vec<Arc<Change>>, Expired> {
        self.check(from)?;
        let start = self.changes.partition_point(|change| change.object.revision <= from);
        Ok(self.changes.range(start..).cloned().collect())
    }
}
