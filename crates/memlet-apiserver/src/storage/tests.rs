use super::*;
use proptest::prelude::*;

const RESOURCE: &str = "things";

fn storage(changes: usize) -> Arc<Storage> {
    Arc::new(Storage::in_memory([RESOURCE], HistoryLimits { changes, ..HistoryLimits::default() }))
}

fn object(key: &Key, revision: Revision) -> StoredObject {
    StoredObject::bare(key.clone(), revision)
}

fn put(storage: &Storage, name: &str, expect: Expect) -> Result<Revision, Unmet> {
    let key = Key::new("default", name);
    storage.put(RESOURCE, &key, expect, |revision| Some(object(&key, revision))).map(|object| object.revision)
}

#[test]
fn a_change_is_made_only_on_what_was_read() {
    let storage = storage(16);
    let first = put(&storage, "a", Expect::Absent).unwrap();
    assert_eq!(put(&storage, "a", Expect::Absent), Err(Unmet::Exists));
    assert_eq!(put(&storage, "b", Expect::At(first)), Err(Unmet::Missing));
    let second = put(&storage, "a", Expect::At(first)).unwrap();
    assert!(second > first);
    assert_eq!(put(&storage, "a", Expect::At(first)), Err(Unmet::Changed));
    assert_eq!(storage.revision(), second, "a refused change takes no revision");
}

#[test]
fn a_list_is_of_one_namespace_and_in_order() {
    let storage = storage(16);
    for (namespace, name) in [("b", "x"), ("a", "z"), ("a", "y"), ("aa", "w")] {
        let key = Key::new(namespace, name);
        storage.put(RESOURCE, &key, Expect::Absent, |revision| Some(object(&key, revision))).unwrap();
    }
    let names = |namespace, after: Option<&Key>| {
        let listed = storage.list(RESOURCE, namespace, after).objects;
        listed.iter().map(|object| object.key.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(Some("a"), None), ["y", "z"]);
    assert_eq!(names(None, None), ["y", "z", "w", "x"]);
    assert_eq!(names(Some("a"), Some(&Key::new("a", "y"))), ["z"]);
}

#[test]
fn a_follower_learns_each_change_once_or_that_it_cannot() {
    let storage = storage(4);
    let mut position = None;
    let mut learnt = || {
        let changes = storage.changes_since(RESOURCE, &mut position)?;
        Some(changes.iter().map(|change| change.object.key.name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(learnt(), None, "who begins looks at everything");
    put(&storage, "a", Expect::Absent).unwrap();
    put(&storage, "b", Expect::Absent).unwrap();
    assert_eq!(learnt().unwrap(), ["a", "b"]);
    assert_eq!(learnt().unwrap(), [""; 0]);
    for name in ["c", "d", "e", "f", "g"] {
        put(&storage, name, Expect::Absent).unwrap();
    }
    assert_eq!(learnt(), None, "the history is shorter");
    assert_eq!(learnt().unwrap(), [""; 0]);
    assert_eq!((storage.count(RESOURCE, "default"), storage.count(RESOURCE, "de")), (7, 0));
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_so_and_never_misses_one() {
    let storage = storage(4);
    let from = storage.revision();
    let mut reader = storage.subscribe(RESOURCE, from).unwrap();
    for name in ["a", "b", "c", "d"] {
        put(&storage, name, Expect::Absent).unwrap();
    }
    let seen: Vec<_> = reader.next().await.unwrap().iter().map(|change| change.object.revision).collect();
    assert_eq!(seen, [from + 1, from + 2, from + 3, from + 4]);
    for name in ["e", "f", "g", "h", "i"] {
        put(&storage, name, Expect::Absent).unwrap();
    }
    assert_eq!(reader.next().await.map(|_| ()), Err(Expired { oldest: from + 5 }));
    assert!(storage.subscribe(RESOURCE, from + 4).is_err());
    assert!(storage.subscribe(RESOURCE, from + 5).is_ok());
}

#[tokio::test]
async fn what_is_old_is_forgotten_also_where_nothing_happens() {
    let limits = HistoryLimits { age: Duration::from_millis(20), ..HistoryLimits::default() };
    let storage = Arc::new(Storage::in_memory([RESOURCE], limits));
    let from = storage.revision();
    put(&storage, "a", Expect::Absent).unwrap();
    storage.trim_history();
    assert!(storage.subscribe(RESOURCE, from).is_ok());
    tokio::time::sleep(Duration::from_millis(30)).await;
    storage.trim_history();
    assert!(storage.subscribe(RESOURCE, from).is_err());
    let mut reader = storage.subscribe(RESOURCE, from + 1).unwrap();
    put(&storage, "b", Expect::Absent).unwrap();
    assert_eq!(reader.next().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_reader_wakes_on_a_change() {
    let storage = storage(4);
    let mut reader = storage.subscribe(RESOURCE, storage.revision()).unwrap();
    let waiting = tokio::spawn(async move { reader.next().await.map(|changes| changes.len()) });
    tokio::task::yield_now().await;
    put(&storage, "a", Expect::Absent).unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(1));
}

proptest! {
    /// Whatever the order of changes, replaying the history over an earlier snapshot gives the present state.
    #[test]
    fn replaying_the_history_gives_the_present(steps in prop::collection::vec((0_u8..4, any::<bool>()), 1..60), cut in 0_usize..60) {
        let storage = storage(128);
        let mut replayed = BTreeMap::new();
        let mut from = storage.revision();
        let mut past = Vec::new();
        for (index, (name, remove)) in steps.iter().enumerate() {
            if index == cut {
                let snapshot = storage.list(RESOURCE, None, None);
                replayed = snapshot.objects.iter().map(|object| (object.key.clone(), object.revision)).collect();
                from = snapshot.revision;
                past = snapshot.objects;
            }
            let key = Key::new("default", name.to_string());
            let current = storage.get(RESOURCE, &key).map(|object| object.revision);
            match (current, remove) {
                (Some(revision), true) => {
                    storage.remove(RESOURCE, &key, revision, |revision| Some(object(&key, revision))).unwrap();
                }
                (current, _) => {
                    let expect = current.map_or(Expect::Absent, Expect::At);
                    storage.put(RESOURCE, &key, expect, |revision| Some(object(&key, revision))).unwrap();
                }
            }
        }
        let revisions = |objects: &[Arc<StoredObject>]| -> Vec<_> {
            objects.iter().map(|object| (object.key.clone(), object.revision)).collect()
        };
        let taken_back = storage.list_at(from, RESOURCE, None, None).unwrap();
        prop_assert_eq!(revisions(&taken_back.objects), revisions(&past));
        for change in storage.changes_after(RESOURCE, from, usize::MAX).unwrap() {
            match change.kind {
                ChangeKind::Deleted => { replayed.remove(&change.object.key); }
                ChangeKind::Added | ChangeKind::Modified => {
                    replayed.insert(change.object.key.clone(), change.object.revision);
                }
            }
        }
        let present: BTreeMap<_, _> = storage.list(RESOURCE, None, None).objects.iter()
            .map(|object| (object.key.clone(), object.revision)).collect();
        prop_assert_eq!(replayed, present);
    }
}
