//! The recent changes of one resource, bounded in number, in bytes and in age.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::{Expired, HistoryLimits, Key, Revision, StoredObject};

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
    made: Instant,
}

impl Change {
    pub(super) fn new(
        kind: ChangeKind,
        object: Arc<StoredObject>,
        previous: Option<Arc<StoredObject>>,
    ) -> Self {
        Self { kind, object, previous, made: Instant::now() }
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
    /// A history that begins after `revision`.
    pub(super) fn new(limits: HistoryLimits, revision: Revision) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, limits, dropped: revision }
    }

    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.bytes += change.object.encoded.len();
        self.changes.push_back(change);
        self.trim(Instant::now());
    }

    /// Drops what is beyond the limits.
    pub(super) fn trim(&mut self, now: Instant) {
        let old = |change: &Change| now.saturating_duration_since(change.made) > self.limits.age;
        while self.changes.len() > self.limits.changes
            || self.bytes > self.limits.bytes
            || self.changes.front().is_some_and(|change| old(change))
        {
            let Some(oldest) = self.changes.pop_front() else { break };
            self.bytes -= oldest.object.encoded.len();
            self.dropped = oldest.object.revision;
        }
        // What a burst took is given back.
        if self.changes.capacity() > 64 && self.changes.len() < self.changes.capacity() / 4 {
            self.changes.shrink_to(self.changes.len() * 2);
        }
    }

    /// Forgets the changes after `revision`, which never came to be.
    pub(super) fn cut(&mut self, revision: Revision) {
        while self.changes.back().is_some_and(|change| change.object.revision > revision) {
            let Some(newest) = self.changes.pop_back() else { break };
            self.bytes -= newest.object.encoded.len();
        }
        self.dropped = self.dropped.min(revision);
    }

    pub(super) fn check(&self, from: Revision) -> Result<(), Expired> {
        if from < self.dropped { Err(Expired { oldest: self.dropped }) } else { Ok(()) }
    }

    /// The changes after `from`, in order.
    pub(super) fn after(
        &self,
        from: Revision,
    ) -> Result<impl Iterator<Item = &Arc<Change>> + use<'_>, Expired> {
        self.check(from)?;
        let start = self.changes.partition_point(|change| change.object.revision <= from);
        Ok(self.changes.range(start..))
    }

    /// How the objects that were changed after `revision` stood at it; `None` for those that were not there.
    pub(super) fn before(
        &self,
        revision: Revision,
    ) -> Result<BTreeMap<&Key, Option<&Arc<StoredObject>>>, Expired> {
        let mut past = BTreeMap::new();
        for change in self.after(revision)? {
            past.entry(&change.object.key).or_insert(change.previous.as_ref());
        }
        Ok(past)
    }
}
