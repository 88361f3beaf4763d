//! Where the objects live: one revision counter, one map per resource, and a bounded history per resource
//! from which watches are served.
//!
//! Storage knows keys, revisions and encoded bytes; what is inside an object is the business of `resources`.
//!
//! Reads and writes are answered from memory. A store with a file (`disk`) writes every change there too: one thread
//! (`commit`) takes all changes that have come together and makes them durable at once. Until then a change is *pending*.
//! Whoever may have seen a pending change waits for it before telling anybody (`durability`), and watches are not given
//! it. So what was once told is never taken back, neither by a crash nor by a full disk: a change that cannot be written
//! is undone, and nothing can be changed until the file can be written again.

mod collection;
mod commit;
mod disk;
mod durability;
mod history;
mod notices;
mod object;
mod position;
mod subscription;
mod ties;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use disk::OpenError;
pub(crate) use history::{Change, ChangeKind};
pub(crate) use notices::{NoticeReader, Recorded, Wake};
pub(crate) use object::{Fields, Key, Labels, StoredObject};
pub(crate) use position::Position;
pub(crate) use subscription::Subscription;
pub(crate) use ties::{FOREGROUND, ORPHAN, Owner, Ties};

use collection::Collection;
use commit::Committer;
use disk::{Disk, Loaded};
use durability::Published;
use notices::Notices;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// An object of that key exists.
    Exists,
    /// The object has gone.
    Missing,
    /// The object was changed since it was read.
    Changed,
    /// The new object has no JSON form. No type served here can do that; nothing was stored.
    Unencodable,
    /// Nothing can be changed at present, for this reason.
    ReadOnly(Arc<str>),
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
    /// How long a change is kept: upstream's `--etcd-compaction-interval`.
    pub(crate) age: Duration,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { changes: 4096, bytes: 4 << 20, age: Duration::from_mins(5) }
    }
}

/// Objects that match, and the revision at which that was true.
pub(crate) struct Snapshot {
    pub(crate) objects: Vec<Arc<StoredObject>>,
    pub(crate) revision: Revision,
}

/// The store. Shared by all requests; each call holds the lock for a moment and never across an await.
pub(crate) struct Storage {
    shared: Arc<Shared>,
    /// The thread that makes changes durable; `None` for a store in memory.
    committer: Option<Committer>,
}

/// What the store's threads share.
struct Shared {
    state: Mutex<State>,
    /// Wakes the committer.
    work: Condvar,
    /// Wakes whoever waits for notices.
    attention: Condvar,
    published: watch::Sender<Published>,
}

struct State {
    revision: Revision,
    /// Up to here all changes are durable.
    durable: Revision,
    collections: BTreeMap<&'static str, Collection>,
    limits: HistoryLimits,
    /// The changes that the committer has not taken yet, in order. Never filled in a store in memory.
    pending: Vec<Recorded>,
    /// With so many of them the committer is woken.
    worth_waking: usize,
    on_disk: bool,
    /// Why nothing can be changed at present.
    read_only: Option<Arc<str>>,
    closing: bool,
    notices: Notices,
}

impl Storage {
    /// An empty store in memory for these resources.
    pub(crate) fn in_memory(
        resources: impl IntoIterator<Item = &'static str>,
        limits: HistoryLimits,
    ) -> Self {
        let state = State::new(resources, limits, FIRST_REVISION);
        Self { shared: Arc::new(Shared::new(state)), committer: None }
    }

    /// A store whose objects are kept in `folder`. `read` gives an object from its resource and its stored bytes; `None`
    /// for a resource that is not served (its objects stay in the file).
    pub(crate) fn open(
        folder: &Path,
        resources: impl IntoIterator<Item = &'static str>,
        limits: HistoryLimits,
        read: impl FnMut(&str, &[u8]) -> Option<Result<(&'static str, StoredObject), String>>,
    ) -> Result<Self, OpenError> {
        let (disk, loaded) = Disk::open(folder, read)?;
        Self::on_disk(disk, loaded, resources, limits, commit::RETRY)
            .map_err(|source| OpenError::Io { path: folder.to_owned(), source })
    }

    fn on_disk(
        disk: Disk,
        loaded: Loaded,
        resources: impl IntoIterator<Item = &'static str>,
        limits: HistoryLimits,
        retry: Duration,
    ) -> io::Result<Self> {
        let mut state = State::new(resources, limits, loaded.revision);
        state.on_disk = true;
        for (resource, object) in loaded.objects {
            state.collection(resource).objects.insert(object.key.clone(), object);
        }
        let shared = Arc::new(Shared::new(state));
        let committer = Committer::start(Arc::clone(&shared), disk, retry)?;
        Ok(Self { shared, committer: Some(committer) })
    }

    /// The revision of the latest change.
    pub(crate) fn revision(&self) -> Revision {
        self.shared.lock().revision
    }

    /// The object as it is now.
    pub(crate) fn get(&self, resource: &'static str, key: &Key) -> Option<Arc<StoredObject>> {
        self.shared.lock().collection(resource).objects.get(key).cloned()
    }

    /// All objects of one namespace, or of all, that come after `after` in key order.
    pub(crate) fn list(
        &self,
        resource: &'static str,
        namespace: Option<&str>,
        after: Option<&Key>,
    ) -> Snapshot {
        let mut state = self.shared.lock();
        let revision = state.revision;
        Snapshot { objects: state.collection(resource).list(namespace, after), revision }
    }

    /// How many objects there are in a namespace.
    pub(crate) fn count(&self, resource: &'static str, namespace: &str) -> usize {
        self.shared.lock().collection(resource).in_namespace(namespace).count()
    }

    /// As [`Storage::list`], as it was at `revision`, for as long as the history reaches back.
    pub(crate) fn list_at(
        &self,
        revision: Revision,
        resource: &'static str,
        namespace: Option<&str>,
        after: Option<&Key>,
    ) -> Result<Snapshot, Expired> {
        let mut state = self.shared.lock();
        let objects = state.collection(resource).list_at(revision, namespace, after)?;
        Ok(Snapshot { objects, revision })
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
        let mut state = self.shared.lock();
        let previous = state.admit(resource, key, expect)?;
        let object = Arc::new(encode(state.revision + 1).ok_or(Unmet::Unencodable)?);
        let kind = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.record(state, resource, Change::new(kind, Arc::clone(&object), previous));
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
        let mut state = self.shared.lock();
        let previous = state.admit(resource, key, Expect::At(expect))?;
        let object = Arc::new(encode(state.revision + 1).ok_or(Unmet::Unencodable)?);
        self.record(state, resource, Change::new(ChangeKind::Deleted, Arc::clone(&object), previous));
        Ok(object)
    }

    /// The changes of a resource after `from`, without a gap.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        resource: &'static str,
        from: Revision,
    ) -> Result<Subscription, Expired> {
        let mut state = self.shared.lock();
        let collection = state.collection(resource);
        collection.history.check(from)?;
        Ok(Subscription::new(Arc::clone(self), resource, from, collection.news.subscribe()))
    }

    /// Drops what the history keeps beyond its limits; also of resources in which nothing happens.
    pub(crate) fn trim_history(&self) {
        let now = Instant::now();
        for collection in self.shared.lock().collections.values_mut() {
            collection.history.trim(now);
        }
    }

    /// Makes everything durable, then ends the store: it can be read, but not changed any more. The file is free for
    /// another store.
    pub(crate) fn close(&self) {
        self.shared.close();
        if let Some(committer) = &self.committer {
            committer.join();
        }
    }

    fn record(&self, mut state: MutexGuard<'_, State>, resource: &'static str, change: Change) {
        let recorded = Recorded { resource, change: Arc::new(change) };
        state.revision = recorded.change.object.revision;
        state.collection(resource).apply(Arc::clone(&recorded.change));
        if state.on_disk {
            state.pending.push(recorded);
            if state.pending.len() >= state.worth_waking {
                self.shared.work.notify_one();
            }
        } else {
            state.durable = state.revision;
            self.shared.tell(&mut state, [recorded]);
        }
    }

    /// The durable changes of a resource after `from`, up to about `budget` bytes of them, and one at least.
    fn changes_after(
        &self,
        resource: &'static str,
        from: Revision,
        budget: usize,
    ) -> Result<Vec<Arc<Change>>, Expired> {
        let mut state = self.shared.lock();
        let durable = state.durable;
        let mut bytes = 0;
        let changes = state.collection(resource).history.after(from)?;
        let given = changes.take_while(|change| {
            let fits = bytes < budget && change.object.revision <= durable;
            bytes += change.object.encoded.len();
            fits
        });
        Ok(given.cloned().collect())
    }

    /// The revision up to which no durable change of the resource came after `from`.
    fn quiet_until(&self, resource: &'static str, from: Revision) -> Revision {
        let mut state = self.shared.lock();
        let durable = state.durable;
        let next = match state.collection(resource).history.after(from) {
            Ok(mut changes) => changes.next().map(|change| change.object.revision),
            Err(_) => Some(from),
        };
        let is_quiet = next.is_none_or(|next| next > durable);
        if is_quiet { durable.max(from) } else { from }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn new(state: State) -> Self {
        let published = watch::Sender::new(Published { durable: state.durable, rollbacks: 0 });
        Self { state: Mutex::new(state), work: Condvar::new(), attention: Condvar::new(), published }
    }

    /// No code panics while it holds the lock halfway through a change; after a panic elsewhere the state is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watchers and housekeeping of changes that are durable.
    fn tell(&self, state: &mut State, changes: impl IntoIterator<Item = Recorded>) {
        let mut wakes = false;
        for recorded in changes {
            state.collection(recorded.resource).news.send_replace(());
            wakes |= state.notices.add(recorded);
        }
        if wakes {
            self.attention.notify_all();
        }
    }

    fn close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
        self.attention.notify_all();
    }
}

impl State {
    fn new(
        resources: impl IntoIterator<Item = &'static str>,
        limits: HistoryLimits,
        revision: Revision,
    ) -> Self {
        let collections = resources.into_iter().map(|resource| (resource, Collection::new(limits, revision)));
        Self {
            revision,
            durable: revision,
            collections: collections.collect(),
            limits,
            pending: Vec::new(),
            worth_waking: 1,
            on_disk: false,
            read_only: None,
            closing: false,
            notices: Notices::default(),
        }
    }

    fn collection(&mut self, resource: &'static str) -> &mut Collection {
        let (limits, revision) = (self.limits, self.durable);
        self.collections.entry(resource).or_insert_with(|| Collection::new(limits, revision))
    }

    /// Whether a change may be made; gives the object as it is before it.
    fn admit(
        &mut self,
        resource: &'static str,
        key: &Key,
        expect: Expect,
    ) -> Result<Option<Arc<StoredObject>>, Unmet> {
        let previous = self.collection(resource).expect(key, expect)?;
        match &self.read_only {
            Some(reason) => Err(Unmet::ReadOnly(Arc::clone(reason))),
            None if self.closing => Err(Unmet::ReadOnly("the server is ending".into())),
            None => Ok(previous),
        }
    }
}

#[cfg(test)]
mod failing_disk;
#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;
