//! A store whose disk fails when it is told to, and what becomes of its changes.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

use super::durability::Undone;
use super::*;

const RESOURCE: &str = "things";
const RETRY: Duration = Duration::from_millis(10);

/// What is wrong with the disk.
#[derive(Debug, Default)]
struct Faults {
    /// Nothing can be written.
    full: AtomicBool,
    /// So many more writes and syncs work, then the disk is full. 0 means any number.
    last_good: AtomicU64,
    /// What was written stays, but it is said to have failed.
    lying: AtomicBool,
    /// Nothing gets done.
    slow: AtomicBool,
}

impl Faults {
    fn wait(&self) {
        while self.slow.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn check(&self) -> io::Result<()> {
        self.wait();
        if self.last_good.load(Ordering::SeqCst) > 0 && self.last_good.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.full.store(true, Ordering::SeqCst);
        }
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Backend {
    file: FileBackend,
    faults: Arc<Faults>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.wait();
        if self.faults.lying.load(Ordering::SeqCst) {
            self.file.sync_data()?;
            return Err(io::Error::other("the disk does not answer"));
        }
        self.faults.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: std::ops::Bound<u64>,
        end: std::ops::Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
}

/// The key and the revision, which is all that an object of these tests is.
fn encode(key: &Key, revision: Revision) -> StoredObject {
    let encoded = format!("{} {revision}", key.name).into_bytes().into();
    StoredObject { encoded, ..StoredObject::bare(key.clone(), revision) }
}

#[expect(clippy::unnecessary_wraps, reason = "as a store reads its objects")]
fn decode(resource: &str, bytes: &[u8]) -> Option<Result<(&'static str, StoredObject), String>> {
    assert_eq!(resource, RESOURCE);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (name, revision) = text.split_once(' ').unwrap();
    Some(Ok((RESOURCE, encode(&Key::new("default", name), revision.parse().unwrap()))))
}

fn open(folder: &Path, faults: &Arc<Faults>) -> Arc<Storage> {
    let faults = Arc::clone(faults);
    let open = move |path: &Path| -> Result<redb::Database, DatabaseError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        disk::builder()
            .create_with_backend(Backend { file: FileBackend::new(file)?, faults: Arc::clone(&faults) })
    };
    let (disk, loaded) = Disk::open_with(folder.join("objects.redb"), Box::new(open), decode).unwrap();
    Arc::new(Storage::on_disk(disk, loaded, [RESOURCE], HistoryLimits::default(), RETRY).unwrap())
}

fn put(storage: &Storage, name: &str) -> Result<Revision, Unmet> {
    let key = Key::new("default", name);
    let expect = storage.get(RESOURCE, &key).map_or(Expect::Absent, |object| Expect::At(object.revision));
    storage.put(RESOURCE, &key, expect, |revision| Some(encode(&key, revision))).map(|object| object.revision)
}

fn remove(storage: &Storage, name: &str) -> Result<Revision, Unmet> {
    let key = Key::new("default", name);
    let current = storage.get(RESOURCE, &key).unwrap().revision;
    storage
        .remove(RESOURCE, &key, current, |revision| Some(encode(&key, revision)))
        .map(|object| object.revision)
}

/// A change, and whether it is durable.
async fn durably<T>(storage: &Storage, change: impl FnOnce() -> Result<T, Unmet>) -> Result<T, Undone> {
    let attempt = storage.attempt();
    let done = change().map_err(|unmet| match unmet {
        Unmet::ReadOnly(reason) => Undone { reason },
        other => panic!("{other:?}"),
    });
    storage.settle(attempt).await?;
    done
}

fn state(storage: &Storage) -> (Vec<(String, Revision)>, Revision) {
    let Snapshot { objects, revision } = storage.list(RESOURCE, None, None);
    (objects.iter().map(|object| (object.key.name.clone(), object.revision)).collect(), revision)
}

async fn until_writable(storage: &Storage) {
    while storage.shared.lock().read_only.is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_cannot_be_written_has_not_happened() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let storage = open(folder.path(), &faults);
    for name in ["changed", "removed"] {
        durably(&storage, || put(&storage, name)).await.unwrap();
    }
    let before = state(&storage);
    let mut reader = storage.subscribe(RESOURCE, before.1).unwrap();
    let mut position = None;
    storage.changes_since(RESOURCE, &mut position);

    // The disk fails once everything is said: some are in the failed transaction, and some come after it.
    faults.slow.store(true, Ordering::SeqCst);
    faults.full.store(true, Ordering::SeqCst);
    let attempt = storage.attempt();
    put(&storage, "changed").unwrap();
    assert_eq!(storage.changes_since(RESOURCE, &mut position).unwrap().len(), 1, "pending ones are followed");
    put(&storage, "added").unwrap();
    remove(&storage, "removed").unwrap();
    faults.slow.store(false, Ordering::SeqCst);
    let undone = storage.settle(attempt).await.unwrap_err();
    let file = folder.path().join("objects.redb");
    assert!(undone.reason.starts_with(&format!("{} cannot be written: ", file.display())), "{undone:?}");
    assert_eq!(state(&storage), before);
    let refused = durably(&storage, || put(&storage, "later")).await.unwrap_err();
    assert!(refused.reason.contains("cannot be written"), "{refused:?}");
    // Reading goes on, and waits for nothing.
    storage.settle(storage.attempt()).await.unwrap();

    faults.full.store(false, Ordering::SeqCst);
    until_writable(&storage).await;
    let later = durably(&storage, || put(&storage, "later")).await.unwrap();
    assert!(later > before.1);
    let followed = storage.changes_since(RESOURCE, &mut position);
    assert!(followed.is_none(), "who followed what was undone looks anew");
    let seen = reader.next().await.unwrap();
    assert_eq!(seen.iter().map(|change| change.object.key.name.as_str()).collect::<Vec<_>>(), ["later"]);
    let after = state(&storage);
    storage.close();
    assert_eq!(state(&open(folder.path(), &faults)), after);
}

/// The worst moment: the transaction is on disk, and is said not to be.
#[tokio::test]
async fn a_change_that_was_said_to_have_failed_is_gone_from_the_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let storage = open(folder.path(), &faults);
    for name in ["changed", "removed"] {
        durably(&storage, || put(&storage, name)).await.unwrap();
    }
    let before = state(&storage);
    for change in [
        (|storage: &Storage| put(storage, "added")) as fn(&Storage) -> Result<Revision, Unmet>,
        |storage| put(storage, "changed"),
        |storage| remove(storage, "removed"),
    ] {
        faults.lying.store(true, Ordering::SeqCst);
        durably(&storage, || change(&storage)).await.unwrap_err();
        faults.lying.store(false, Ordering::SeqCst);
        until_writable(&storage).await;
        assert_eq!(state(&storage), before);
    }
    storage.close();
    assert_eq!(state(&open(folder.path(), &faults)), before);
}

#[tokio::test]
async fn a_disk_that_fills_at_any_point_loses_nothing_that_was_told() {
    for last_good in 1..40 {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let storage = open(folder.path(), &faults);
        faults.last_good.store(last_good, Ordering::SeqCst);
        let mut told = Vec::new();
        for round in 0..40 {
            let name = format!("o{}", round % 7);
            match durably(&storage, || put(&storage, &name)).await {
                Ok(revision) => told.push((name, revision)),
                Err(_) => break,
            }
        }
        assert!(told.len() < 40, "the disk never filled");
        let before = state(&storage);
        // It ends while it is full.
        storage.close();
        drop(storage);
        faults.full.store(false, Ordering::SeqCst);
        let (objects, revision) = state(&open(folder.path(), &faults));
        for (name, told) in &told {
            let found = objects.iter().find(|(found, _)| found == name).map(|(_, revision)| *revision);
            assert!(found.is_some_and(|found| found >= *told), "{name} was at {told}, is at {found:?}");
        }
        assert!(revision >= before.1, "the revision went back from {} to {revision}", before.1);
    }
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let storage = open(folder.path(), &faults);
    for name in ["a", "b", "c"] {
        durably(&storage, || put(&storage, name)).await.unwrap();
    }
    let before = state(&storage);
    std::fs::remove_file(folder.path().join("objects.redb")).unwrap();
    faults.lying.store(true, Ordering::SeqCst);
    durably(&storage, || put(&storage, "d")).await.unwrap_err();
    faults.lying.store(false, Ordering::SeqCst);
    until_writable(&storage).await;
    storage.close();
    assert_eq!(state(&open(folder.path(), &faults)), before);
}

#[tokio::test]
async fn what_is_pending_is_waited_for_and_not_shown_to_watchers() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let storage = open(folder.path(), &faults);
    let from = storage.revision();
    let mut reader = storage.subscribe(RESOURCE, from).unwrap();
    let short = Duration::from_millis(50);

    faults.slow.store(true, Ordering::SeqCst);
    let attempt = storage.attempt();
    let written = put(&storage, "a").unwrap();
    assert_eq!(state(&storage).1, written, "the change is in memory");
    assert!(
        tokio::time::timeout(short, storage.settle(attempt)).await.is_err(),
        "and told before it is on disk"
    );
    assert!(tokio::time::timeout(short, reader.next()).await.is_err(), "and watched before it is on disk");
    assert_eq!(reader.caught_up_to(), from);

    faults.slow.store(false, Ordering::SeqCst);
    storage.settle(attempt).await.unwrap();
    assert_eq!(reader.next().await.unwrap().len(), 1);
    assert_eq!(reader.caught_up_to(), written);
}
