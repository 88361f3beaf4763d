//! The objects of one resource and their recent past.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::history::History;
use super::{Change, ChangeKind, Expect, Expired, HistoryLimits, Key, Revision, StoredObject, Unmet};

pub(super) struct Collection {
    pub(super) objects: BTreeMap<Key, Arc<StoredObject>>,
    pub(super) history: History,
    /// Wakes the watchers of this resource; carries nothing, they read the history.
    pub(super) news: watch::Sender<()>,
}

impl Collection {
    pub(super) fn new(limits: HistoryLimits, revision: Revision) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: History::new(limits, revision),
            news: watch::Sender::new(()),
        }
    }

    pub(super) fn expect(&self, key: &Key, expect: Expect) -> Result<Option<Arc<StoredObject>>, Unmet> {
        match (self.objects.get(key), expect) {
            (None, Expect::Absent) => Ok(None),
            (Some(_), Expect::Absent) => Err(Unmet::Exists),
            (None, Expect::At(_)) => Err(Unmet::Missing),
            (Some(object), Expect::At(revision)) if object.revision == revision => {
                Ok(Some(Arc::clone(object)))
            }
            (Some(_), Expect::At(_)) => Err(Unmet::Changed),
        }
    }

    /// Makes a change.
    pub(super) fn apply(&mut self, change: Arc<Change>) {
        match change.kind {
            ChangeKind::Deleted => {
                self.objects.remove(&change.object.key);
            }
            ChangeKind::Added | ChangeKind::Modified => {
                self.objects.insert(change.object.key.clone(), Arc::clone(&change.object));
            }
        }
        self.history.push(change);
    }

    /// Takes a change back. Changes are taken back newest first; the history is cut by the caller.
    pub(super) fn undo(&mut self, change: &Change) {
        match &change.previous {
            Some(previous) => self.objects.insert(previous.key.clone(), Arc::clone(previous)),
            None => self.objects.remove(&change.object.key),
        };
    }

    /// The objects of one namespace, in key order.
    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<StoredObject>> {
        let from_there = self.objects.range(Key::first_of(namespace)..);
        from_there.take_while(move |(key, _)| key.namespace == namespace).map(|(_, object)| object)
    }

    /// The objects of one namespace, or of all, that come after `after` in key order.
    pub(super) fn list(&self, namespace: Option<&str>, after: Option<&Key>) -> Vec<Arc<StoredObject>> {
        let first = namespace.map(Key::first_of);
        let start = match (after, &first) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        self.objects
            .range::<Key, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// As [`Collection::list`], at an earlier revision: the present with the changes since then taken back.
    pub(super) fn list_at(
        &self,
        revision: Revision,
        namespace: Option<&str>,
        after: Option<&Key>,
    ) -> Result<Vec<Arc<StoredObject>>, Expired> {
        let past = self.history.before(revision)?;
        let mut objects = self.list(namespace, after);
        if past.is_empty() {
            return Ok(objects);
        }
        let meant = |key: &Key| {
            namespace.is_none_or(|namespace| key.namespace == namespace)
                && after.is_none_or(|after| key > after)
        };
        objects.retain(|object| !past.contains_key(&object.key));
        objects.extend(past.into_values().flatten().filter(|object| meant(&object.key)).cloned());
        objects.sort_by(|left, right| left.key.cmp(&right.key));
        Ok(objects)
    }
}
