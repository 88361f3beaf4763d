//! A store whose machine loses its power: of what was written since the last sync, any part may be gone.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use redb::StorageBackend;

use super::*;

const RESOURCE: &str = "things";

/// A disk with a cache that forgets.
#[derive(Clone, Debug, Default)]
struct Machine(Arc<Mutex<Disks>>);

#[derive(Debug, Default)]
struct Disks {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What is there for certain.
    synced: Vec<u8>,
    unsynced: Vec<Write>,
    /// The power fails at the sync after so many.
    syncs_left: u64,
}

#[derive(Clone, Debug)]
enum Write {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Write {
    fn to(&self, disk: &mut Vec<u8>) {
        match self {
            Self::Length(length) => disk.resize(*length, 0),
            Self::Bytes(start, bytes) => {
                if disk.len() < start + bytes.len() {
                    disk.resize(start + bytes.len(), 0);
                }
                disk[*start..start + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl Machine {
    fn with(disk: Vec<u8>, syncs_left: u64) -> Self {
        let disks = Disks { seen: disk.clone(), synced: disk, unsynced: Vec::new(), syncs_left };
        Self(Arc::new(Mutex::new(disks)))
    }

    /// What is on the disk when the power is back: `survives` tells of each write whether it got there.
    fn after_power_loss(&self, mut survives: impl FnMut() -> bool) -> Vec<u8> {
        let disks = self.0.lock().unwrap();
        let mut disk = disks.synced.clone();
        for write in disks.unsynced.iter().filter(|_| survives()) {
            write.to(&mut disk);
        }
        disk
    }

    fn write(&self, write: Write) {
        let mut disks = self.0.lock().unwrap();
        write.to(&mut disks.seen);
        disks.unsynced.push(write);
    }
}

impl StorageBackend for Machine {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.0.lock().unwrap().seen[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write(Write::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disks = self.0.lock().unwrap();
        if disks.syncs_left == 0 {
            return Err(io::Error::other("the power failed"));
        }
        disks.syncs_left -= 1;
        disks.synced = disks.seen.clone();
        disks.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        Machine::write(self, Write::Bytes(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

fn encode(key: &Key, revision: Revision) -> StoredObject {
    let encoded = format!("{} {revision} {}", key.name, "x".repeat(500)).into_bytes().into();
    StoredObject { encoded, ..StoredObject::bare(key.clone(), revision) }
}

/// The store on this machine's disk, and each object's revision.
fn open(machine: &Machine) -> (Storage, BTreeMap<String, Revision>, Revision) {
    let machine = machine.clone();
    // After a failure there is no power, so nothing is opened again.
    let opened = AtomicU64::new(0);
    let open = move |_: &Path| {
        if opened.fetch_add(1, Ordering::SeqCst) > 0 {
            return Err(io::Error::other("there is no power").into());
        }
        disk::builder().create_with_backend(machine.clone())
    };
    let decode = |_: &str, bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut words = text.split(' ');
        let (name, revision) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        Some(Ok((RESOURCE, encode(&Key::new("default", name), revision))))
    };
    let (disk, loaded) =
        Disk::open_with(std::env::temp_dir().join("no.redb"), Box::new(open), decode).unwrap();
    let revision = loaded.revision;
    let objects =
        loaded.objects.iter().map(|(_, object)| (object.key.name.clone(), object.revision)).collect();
    let limits = HistoryLimits::default();
    (Storage::on_disk(disk, loaded, [RESOURCE], limits, Duration::from_millis(1)).unwrap(), objects, revision)
}

/// What was told before the power failed.
#[derive(Default)]
struct Told {
    /// Each object's revision, or that it is gone.
    objects: BTreeMap<String, Option<Revision>>,
    latest: Revision,
    /// The object whose change was not told any more.
    under_way: Option<String>,
}

/// Makes changes until the power fails.
#[tokio::main(flavor = "current_thread")]
async fn change(storage: &Storage, steps: &[(u8, bool)]) -> Told {
    let mut told = Told::default();
    for (name, removes) in steps {
        let key = Key::new("default", format!("o{name}"));
        let current = storage.get(RESOURCE, &key).map(|object| object.revision);
        let attempt = storage.attempt();
        let form = |revision| Some(encode(&key, revision));
        let changed = match (current, removes) {
            (Some(current), true) => storage.remove(RESOURCE, &key, current, form),
            (current, _) => storage.put(RESOURCE, &key, current.map_or(Expect::Absent, Expect::At), form),
        };
        let settled = storage.settle(attempt).await;
        let (Ok(changed), Ok(())) = (changed, settled) else {
            told.under_way = Some(key.name);
            break;
        };
        told.latest = changed.revision;
        told.objects
            .insert(key.name.clone(), Some(changed.revision).filter(|_| current.is_none() || !removes));
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_was_told_is_there_after_a_power_loss(
        steps in prop::collection::vec((0_u8..12, any::<bool>()), 40..60),
        good_syncs in 6_u64..40,
        surviving in prop::collection::vec(any::<bool>(), 64),
    ) {
        let machine = Machine::with(Vec::new(), good_syncs);
        let (storage, _, _) = open(&machine);
        let told = change(&storage, &steps);
        let mut survives = surviving.iter().cycle();
        let disk = machine.after_power_loss(|| survives.next().copied().unwrap_or_default());
        drop(storage);
        prop_assert!(told.under_way.is_some(), "the power did not fail");

        let (_again, found, revision) = open(&Machine::with(disk, u64::MAX));
        prop_assert!(revision >= told.latest, "the revision went back from {} to {}", told.latest, revision);
        for (name, told_of) in told.objects.iter().filter(|(name, _)| Some(*name) != told.under_way.as_ref()) {
            prop_assert_eq!(found.get(name), told_of.as_ref(), "{}", name);
        }
        let mut others = found.keys().filter(|name| !told.objects.contains_key(*name));
        prop_assert!(others.all(|name| Some(name) == told.under_way.as_ref()), "{:?}", found);
    }
}
