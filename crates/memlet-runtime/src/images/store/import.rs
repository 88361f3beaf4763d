//! Importing: plan, unpack aside, and put everything in place at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use memlet_bytes::Bytes;

use super::super::digest::Digest;
use super::super::disk;
use super::super::error::{Error, Naming};
use super::super::image::Image;
use super::super::layer;
use super::super::name::ImageName;
use super::super::plan::{self, PlannedImage, PlannedLayer};
use super::super::source::Source;
use super::ImageStore;
use super::record::{self, ImageRecord, LayerRecord};
use super::scratch::Scratch;
use super::sweep::PINS;

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The archive, compressed as a whole or coming through a pipe, is being copied.
    Copying {
        /// Plain bytes so far.
        copied: Bytes,
    },
    /// A layer is in the store already.
    Shared {
        /// Counted from 1, over all images of the archive.
        number: usize,
        /// How many layers there are.
        of: usize,
        /// The layer's diff id.
        layer: Digest,
    },
    /// A layer is being unpacked.
    Unpacking {
        /// Counted from 1, over all images of the archive.
        number: usize,
        /// How many layers there are.
        of: usize,
        /// The layer's diff id.
        layer: Digest,
        /// Bytes of the archive read of it.
        read: Bytes,
        /// Bytes that it has in the archive.
        length: Bytes,
    },
    /// All is unpacked and is being written to disk and put in place.
    Saving,
}

impl ImageStore {
    /// Imports the images in `source`: an OCI archive, an OCI layout folder or a `docker save` tar, itself
    /// plain or compressed. With `tag`, the only image of the archive gets that name instead of its own.
    ///
    /// The images are all imported, or, after an error, none of them.
    ///
    /// # Errors
    /// Any of [`Error`]: each names the archive or the store's folder and what is wrong.
    pub fn import(
        &self,
        source: &Path,
        tag: Option<&ImageName>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Image>, Error> {
        if let Some(name) = tag
            && name.digest().is_some()
        {
            return Err(Error::TagIsDigest { name: name.clone() });
        }
        let scratch = Scratch::create(&self.tmp(), &self.lock()?)?;
        let mut import =
            Import { store: self, scratch: &scratch, progress, made: BTreeMap::new(), length: 0 };
        match import.run(source, tag) {
            Err(error) if error.is_disk_full() => {
                let length = Bytes::new(import.length);
                Err(self.disk_full(error, scratch, length))
            }
            result => result,
        }
    }

    /// Clears the unfinished import away and tells what it took and what there is.
    fn disk_full(&self, error: Error, scratch: Scratch, length: Bytes) -> Error {
        let full = disk::free(&self.folder);
        drop(scratch);
        let (Some(full), Some(free)) = (full, disk::free(&self.folder)) else { return error };
        if full.inodes == Some(0) && full.bytes > Bytes::ZERO {
            return Error::OutOfInodes { folder: self.folder.clone() };
        }
        let taken = free.bytes.saturating_sub(full.bytes);
        Error::DiskFull { folder: self.folder.clone(), needed: taken.max(length), free: free.bytes }
    }
}

struct Import<'a> {
    store: &'a ImageStore,
    scratch: &'a Scratch,
    progress: &'a mut dyn FnMut(Progress),
    /// Layers unpacked so far, by their future folder names.
    made: BTreeMap<String, (PathBuf, LayerRecord)>,
    /// Bytes in the archive of the layers that the store does not have.
    length: u64,
}

/// A layer that is in the store or unpacked aside.
struct Ready {
    key: String,
    folder: PathBuf,
    record: LayerRecord,
}

impl Import<'_> {
    fn run(&mut self, path: &Path, tag: Option<&ImageName>) -> Result<Vec<Image>, Error> {
        let progress = &mut *self.progress;
        let source =
            Source::open(path, self.scratch.path(), &mut |copied| progress(Progress::Copying { copied }))?;
        let mut planned = plan::plan(&source)?;
        if let Some(name) = tag {
            let count = planned.len();
            let [image] = &mut planned[..] else {
                return Err(Error::SeveralImages { path: path.to_owned(), count });
            };
            image.names = vec![name.clone()];
        }
        self.pin(&source, &planned)?;
        let of = planned.iter().map(|image| image.layers.len()).sum();
        let mut number = 0;
        let mut records = Vec::with_capacity(planned.len());
        for image in &planned {
            let mut ready: Vec<Ready> = Vec::with_capacity(image.layers.len());
            for layer in &image.layers {
                number += 1;
                ready.push(self.ready(&source, layer, &ready, (number, of))?);
            }
            records.push(ImageRecord {
                digest: image.digest,
                size: ready.iter().map(|layer| layer.record.size).sum(),
                layers: ready.into_iter().map(|layer| layer.key).collect(),
            });
        }
        (self.progress)(Progress::Saving);
        self.save(&planned, &records)
    }

    /// Keeps others from sweeping away the layers that this import finds in the store.
    fn pin(&mut self, source: &Source, planned: &[PlannedImage]) -> Result<(), Error> {
        let _lock = self.store.lock()?;
        let mut pins = Vec::new();
        for image in planned {
            for (at, layer) in image.layers.iter().enumerate() {
                match self.find(layer, at == 0)? {
                    Some(ready) => pins.push(ready.key),
                    None => self.length += source.stream(&layer.path)?.1,
                }
            }
        }
        record::write(&self.scratch.path().join(PINS), &pins)?;
        Ok(())
    }

    /// Finds a layer in the store, or among those unpacked aside.
    ///
    /// A layer's folder is called by its diff id. Only one that took something from the layers below (see
    /// [`Unpacked::stands_alone`](layer::Unpacked)) is called by its chain id, unless it is the bottom one,
    /// for which the two are the same.
    fn find(&self, layer: &PlannedLayer, bottom: bool) -> Result<Option<Ready>, Error> {
        for key in [layer.diff_id.hex(), layer.chain_id.hex()] {
            let found = match self.made.get(&key) {
                Some((folder, record)) => Some((folder.clone(), record.clone())),
                None => self.store.layer(&key)?.map(|record| (self.store.layer_folder(&key), record)),
            };
            if let Some((folder, record)) = found
                && (record.stands_alone || bottom || key == layer.chain_id.hex())
            {
                return Ok(Some(Ready { key, folder, record }));
            }
        }
        Ok(None)
    }

    fn ready(
        &mut self,
        source: &Source,
        planned: &PlannedLayer,
        below: &[Ready],
        (number, of): (usize, usize),
    ) -> Result<Ready, Error> {
        let layer = planned.diff_id;
        if let Some(ready) = self.find(planned, below.is_empty())? {
            (self.progress)(Progress::Shared { number, of, layer });
            return Ok(ready);
        }
        let folder = self.scratch.path().join(format!("layer-{number}"));
        let target = folder.join("fs");
        for path in [&folder, &target] {
            fs::create_dir(path).naming("create", path)?;
        }
        // The scratch folder is private, so this need not be; a container's root must be open to all.
        rustix::fs::chmod(&target, rustix::fs::Mode::from_raw_mode(0o755)).naming("create", &target)?;
        let lower: Vec<PathBuf> = below.iter().rev().map(|layer| layer.folder.join("fs")).collect();
        let progress = &mut *self.progress;
        let unpacked = layer::unpack(source, planned, &target, &lower, &mut |read, length| {
            progress(Progress::Unpacking { number, of, layer, read, length });
        })?;
        let layer::Unpacked { size, stands_alone, has_root } = unpacked;
        let record = LayerRecord { diff_id: layer, size, stands_alone, has_root };
        record::write(&folder.join("layer.json"), &record)?;
        let key = if stands_alone { planned.diff_id } else { planned.chain_id }.hex();
        self.made.insert(key.clone(), (folder.clone(), record.clone()));
        Ok(Ready { key, folder, record })
    }

    /// Everything to disk, then everything into place.
    fn save(&mut self, planned: &[PlannedImage], records: &[ImageRecord]) -> Result<Vec<Image>, Error> {
        let store = self.store;
        for (image, record) in planned.iter().zip(records) {
            let folder = self.aside(image.id());
            fs::create_dir(&folder).naming("create", &folder)?;
            let config = folder.join("config.json");
            fs::write(&config, &image.config).naming("write", &config)?;
            record::write(&folder.join("image.json"), record)?;
        }
        // One call for tens of thousands of files; it also brings up errors of delayed writing.
        rustix::fs::syncfs(self.scratch.file()).naming("write into", self.scratch.path())?;
        let _lock = store.lock()?;
        let mut names = store.names()?;
        for image in planned {
            names.extend(image.names.iter().map(|name| (name.clone(), image.id())));
        }
        // The last thing that wants space; from here on there are only renames.
        ImageStore::prepare_names(&names, self.scratch)?;
        for (key, (folder, _)) in &self.made {
            let target = store.layer_folder(key);
            // Another import may have been faster with the same layer; a folder by hand half deleted has no record.
            if store.layer(key)?.is_none() {
                if target.exists() {
                    fs::rename(&target, self.scratch.path().join(format!("broken-{key}")))
                        .naming("replace", &target)?;
                }
                fs::rename(folder, &target).naming("create", &target)?;
            }
        }
        record::sync_folder(&store.folder.join("layers"))?;
        for image in planned {
            self.put_in_place(image)?;
        }
        record::sync_folder(&store.folder.join("images"))?;
        store.replace_names(self.scratch)?;
        let mut images = Vec::with_capacity(planned.len());
        for image in planned {
            images.extend(store.load(image.id(), &names)?);
        }
        Ok(images)
    }

    fn aside(&self, id: Digest) -> PathBuf {
        self.scratch.path().join(format!("image-{}", id.hex()))
    }

    fn put_in_place(&self, image: &PlannedImage) -> Result<(), Error> {
        let (aside, target) = (self.aside(image.id()), self.store.image_folder(image.id()));
        if !target.exists() {
            return fs::rename(&aside, &target).naming("create", &target);
        }
        // The same image again: only its manifest may be new, and none is no news.
        if image.digest.is_none() {
            return Ok(());
        }
        let record = target.join("image.json");
        fs::rename(aside.join("image.json"), &record).naming("replace", &record)
    }
}
