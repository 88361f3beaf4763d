//! Deleting layers that nothing needs any more.

use std::collections::HashSet;
use std::fs;

use super::super::error::{Error, Naming};
use super::ImageStore;
use super::lock::Lock;
use super::mounts::is_record;
use super::record::{ImageRecord, MountRecord, names_in, read_if_there};
use super::scratch::Scratch;

/// The file in an import's temporary folder that names the store's layers which that import builds on.
pub(super) const PINS: &str = "pins.json";

/// Moves unused layers out of the way, under the store's lock; they are deleted when the answer is dropped.
/// A record that cannot be read ends this with an error, since its layers are unknown and might be any.
pub(super) fn sweep(store: &ImageStore, lock: &Lock) -> Result<Option<Scratch>, Error> {
    let needed = needed(store)?;
    let layers = names_in(&store.folder.join("layers"))?;
    let unused: Vec<&String> = layers.iter().filter(|layer| !needed.contains(*layer)).collect();
    if unused.is_empty() {
        return Ok(None);
    }
    let trash = Scratch::create(&store.tmp(), lock)?;
    for layer in unused {
        let path = store.layer_folder(layer);
        fs::rename(&path, trash.path().join(layer)).naming("delete", &path)?;
    }
    Ok(Some(trash))
}

/// What images, mounted containers and running imports need.
fn needed(store: &ImageStore) -> Result<HashSet<String>, Error> {
    let mut needed = HashSet::new();
    for id in store.ids()? {
        let record: Option<ImageRecord> = read_if_there(&store.image_folder(id).join("image.json"))?;
        needed.extend(record.into_iter().flat_map(|record| record.layers));
    }
    let mounts = store.folder.join("mounts");
    for path in names_in(&mounts)?.iter().map(|name| mounts.join(name)).filter(|path| is_record(path)) {
        let record: Option<MountRecord> = read_if_there(&path)?;
        needed.extend(record.into_iter().flat_map(|record| record.layers));
    }
    for name in names_in(&store.tmp())? {
        let pins: Option<Vec<String>> = read_if_there(&store.tmp().join(name).join(PINS))?;
        needed.extend(pins.into_iter().flatten());
    }
    Ok(needed)
}
