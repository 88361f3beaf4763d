//! Where the objects live: one revision counter, one map per resource, and a bounded history per resource
//! from which watches are served.
//!
//! Storage knows keys, revisions and encoded bytes; what is inside an object is the business of `resources`.
//! Everything is held in memory. A durable log belongs behind [`Storage::put`] and [`Storage::remove`], the only
//! two ways in which anything changes.

mod history;
mod object;
mod subscription;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub(crate) use history::{Change, ChangeKind};
pub(crate) use object::{Fields, Key, StoredObject};
pub(crate) use subscription::Subscription;

use history::History;

/// The position of a change in the one order that all changes of this server have; what the API calls a
/// `resourceVersion`.
pub(crate) type Revision = u64;

/// The first revision: an empty store is at 1, so that 0 keeps its meaning of "any" in the API.
const FIRST_REVISION: Revision = 1;

/// What must be true of the stored object for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// There is no such object.
    Absent,
    /// The object is still the one that was read.
    At(Revision),
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// An object of that key exists.
    Exists,
    /// The object has gone.
    Missing,
    /// The object was changed since it was read.
    Changed,
    /// The new object has no JSON form. No type served here can do that; nothing was stored.
    Unencodable,
}

/// A watch cannot start, or go on, from a revision that the history no longer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    /// The oldest revision from which a watch could still start.
    pub(crate) oldest: Revision,
}

/// How much of the past is kept for watches; whichever bound is met first drops the oldest change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    /// Changes kept per resource.
    pub(crate) changes: usize,
    /// Encoded bytes kept per resource.
    pub(crate) bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { changes: 4096, bytes: 4 << 20 }
    }
}

/// Objects that match, and the revision at which that was true.
pub(crate) struct Snapshot {
    pub(crate) objects: Vec<Arc<StoredObject>>,
    pub(crate) revision: Revision,
}

/// The store. Shared by all requests; each call holds the lock for a moment and never across an await.
pub(crate) struct Storage {
    state: Mutex<State>,
}

struct State {
    revision: Revision,
    collections: BTreeMap<&'static str, Collection>,
}

struct Collection {
    objects: BTreeMap<Key, Arc<StoredObject>>,
    history: History,
    /// Wakes the watchers of this resource; carries nothing, they read the history.
    news: watch::Sender<()>,
}

impl Storage {
    /// An empty store for these resources.
    pub(crate) fn new(resources: impl IntoIterator<Item = &'static str>, limits: HistoryLimits) -> Self {
        let collections = resources.into_iter().map(|resource| (resource, Collection::new(limits))).collect();
        Self { state: Mutex::new(State { revision: FIRST_REVISION, collections }) }
    }

    /// The revision of the latest change.
    pub(crate) fn revision(&self) -> Revision {
        self.lock().revision
    }

    /// The object as it is now.
    pub(crate) fn get(&self, resource: &'static str, key: &Key) -> Option<Arc<StoredObject>> {
        self.lock().collection(resource).objects.get(key).cloned()
    }

    /// All objects of one namespace, or of all, that come after `after` in key order.
    pub(crate) fn list(
        &self,
        resource: &'static str,
        namespace: Option<&str>,
        after: Option<&Key>,
    ) -> Snapshot {
        let mut state = self.lock();
        let revision = state.revision;
        let first = namespace.map(Key::first_of);
        let start = match (after, &first) {
            (Some(after), _) => Bound::Excluded(after),
            (None, Some(first)) => Bound::Included(first),
            (None, None) => Bound::Unbounded,
        };
        let objects = state
            .collection(resource)
            .objects
            .range::<Key, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| namespace.is_none_or(|namespace| key.namespace == namespace))
            .map(|(_, object)| Arc::clone(object))
            .collect();
        Snapshot { objects, revision }
    }

    /// Creates or replaces an object. `encode` is given the revision that the change will have and is called
    /// with the lock held, so it must only encode.
    pub(crate) fn put(
        &self,
        resource: &'static str,
        key: &Key,
        expect: Expect,
        encode: impl FnOnce(Revision) -> Option<StoredObject>,
    ) -> Result<Arc<StoredObject>, Unmet> {
        let mut state = self.lock();
        let revision = state.revision + 1;
        let collection = state.collection(resource);
        let previous = collection.expect(key, expect)?;
        let object = Arc::new(encode(revision).ok_or(Unmet::Unencodable)?);
        collection.objects.insert(key.clone(), Arc::clone(&object));
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        collection.record(Change::new(kind, Arc::clone(&object), previous));
        state.revision = revision;
        Ok(object)
    }

    /// Removes an object. `encode` gives its last state with the revision of the removal, for the watchers.
    pub(crate) fn remove(
        &self,
        resource: &'static str,
        key: &Key,
        expect: Revision,
        encode: impl FnOnce(Revision) -> Option<StoredObject>,
    ) -> Result<Arc<StoredObject>, Unmet> {
        let mut state = self.lock();
        let revision = state.revision + 1;
        let collection = state.collection(resource);
        let previous = collection.expect(key, Expect::At(expect))?;
        let object = Arc::new(encode(revision).ok_or(Unmet::Unencodable)?);
        collection.objects.remove(key);
        collection.record(Change::new(ChangeKind::Deleted, Arc::clone(&object), previous));
        state.revision = revision;
        Ok(object)
    }

    /// The changes of a resource after `from`, without a gap.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        resource: &'static str,
        from: Revision,
    ) -> Result<Subscription, Expired> {
        let mut state = self.lock();
        let collection = state.collection(resource);
        collection.history.check(from)?;
        Ok(Subscription::new(Arc::clone(self), resource, from, collection.news.subscribe()))
    }

    fn changes_after(&self, resource: &'static str, from: Revision) -> Result<Vec<Arc<Change>>, Expired> {
        self.lock().collection(resource).history.after(from)
    }

    /// No code panics while it holds the lock halfway through a change; after a panic elsewhere the state is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn collection(&mut self, resource: &'static str) -> &mut Collection {
        self.collections.entry(resource).or_insert_with(|| Collection::new(HistoryLimits::default()))
    }
}

impl Collection {
    fn new(limits: HistoryLimits) -> Self {
        Self { objects: BTreeMap::new(), history: History::new(limits), news: watch::Sender::new(()) }
    }

    fn expect(&self, key: &Key, expect: Expect) -> Result<Option<Arc<StoredObject>>, Unmet> {
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

    fn record(&mut self, change: Change) {
        self.history.push(change);
        self.news.send_replace(());
    }
}

#[cfg(test)]
mod tests;
