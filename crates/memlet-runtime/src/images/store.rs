//! The store: a folder of images and their layers, which several processes may use at once.

mod import;
mod lock;
mod lookup;
mod mounts;
mod record;
mod scratch;
mod sweep;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;

use super::digest::Digest;
use super::error::{Error, Naming};
use super::image::{ContainerConfig, Image};
use super::name::ImageName;
pub use import::Progress;
use lock::Lock;
use record::{ImageRecord, LayerRecord, read, read_if_there};
use scratch::Scratch;

/// Name to id.
type Names = BTreeMap<ImageName, Digest>;

/// A folder of images. Opening is cheap; any number of processes and threads may have it open.
#[derive(Clone, Debug)]
pub struct ImageStore {
    folder: PathBuf,
}

/// What [`ImageStore::remove`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The names taken away.
    pub names: Vec<ImageName>,
    /// The image, if no name of it was left, and so it was deleted.
    pub deleted: Option<Digest>,
}

impl ImageStore {
    /// Opens the store in `folder`, making the folder (mode 0700) if need be, and clears away what broken-off
    /// imports left there.
    ///
    /// # Errors
    /// If the folder cannot be made or written, or a record in it is damaged.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let folder = std::path::absolute(folder).naming("find", folder)?;
        let store = Self { folder };
        for part in ["", "images", "layers", "mounts", "tmp"] {
            let path = store.folder.join(part);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).naming("create", &path)?;
        }
        let lock = store.lock()?;
        let leftovers = scratch::adopt_stale(&store.tmp())?;
        mounts::forget_vanished(&store)?;
        let unused = sweep::sweep(&store, &lock)?;
        // Deleting may take long, and nobody else needs to wait for it.
        drop(lock);
        drop((leftovers, unused));
        Ok(store)
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All images, ordered by name, the nameless at the end.
    ///
    /// # Errors
    /// If a record of the store cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        let names = self.names()?;
        let mut images = Vec::new();
        for id in self.ids()? {
            images.extend(self.load(id, &names)?);
        }
        images.sort_by_key(|image| (image.names.is_empty(), image.names.first().cloned(), image.id));
        Ok(images)
    }

    /// The image called `name`: a name (`busybox` means `docker.io/library/busybox:latest`), the digest of its
    /// manifest or configuration, or the start of its id.
    ///
    /// # Errors
    /// If the start of an id fits several images, or a record cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Image>, Error> {
        let names = self.names()?;
        match self.resolve(name, &names)? {
            Some(lookup::Found { id, .. }) => self.load(id, &names),
            None => Ok(None),
        }
    }

    /// Takes a name from its image, and deletes the image with its last name. A digest or the start of an id
    /// takes all names. Layers stay while another image or a mounted container needs them.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], or if the store cannot be written.
    pub fn remove(&self, name: &str) -> Result<Removed, Error> {
        let lock = self.lock()?;
        let mut names = self.names()?;
        let Some(found) = self.resolve(name, &names)? else {
            return Err(Error::NoSuchImage { name: name.to_owned() });
        };
        let id = found.id;
        let before: Vec<ImageName> = names_of(id, &names);
        let taken = match found.by_name {
            Some(name) => vec![name],
            None => before.clone(),
        };
        for name in &taken {
            names.remove(name);
        }
        let last = taken.len() == before.len();
        let trash = Scratch::create(&self.tmp(), &lock)?;
        // Names first: a nameless image is whole, a name without its image is not.
        Self::prepare_names(&names, &trash)?;
        self.replace_names(&trash)?;
        if last {
            let path = self.image_folder(id);
            fs::rename(&path, trash.path().join("image")).naming("delete", &path)?;
        }
        let unused = sweep::sweep(self, &lock)?;
        drop(lock);
        drop((trash, unused));
        Ok(Removed { names: taken, deleted: last.then_some(id) })
    }

    fn lock(&self) -> Result<Lock, Error> {
        Lock::take(&self.folder.join("lock"))
    }

    fn tmp(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    fn image_folder(&self, id: Digest) -> PathBuf {
        self.folder.join("images").join(id.hex())
    }

    fn layer_folder(&self, key: &str) -> PathBuf {
        self.folder.join("layers").join(key)
    }

    /// The record of a layer that is there, complete.
    fn layer(&self, key: &str) -> Result<Option<LayerRecord>, Error> {
        read_if_there(&self.layer_folder(key).join("layer.json"))
    }

    fn names(&self) -> Result<Names, Error> {
        Ok(read_if_there(&self.folder.join("names.json"))?.unwrap_or_default())
    }

    /// Writes the new table aside, which may fail for want of space; call with the store's lock held.
    fn prepare_names(names: &Names, scratch: &Scratch) -> Result<(), Error> {
        record::write_durably(&scratch.path().join("names.json"), names)
    }

    /// Puts the table of [`prepare_names`](Self::prepare_names) in place.
    fn replace_names(&self, scratch: &Scratch) -> Result<(), Error> {
        let path = self.folder.join("names.json");
        fs::rename(scratch.path().join("names.json"), &path).naming("replace", &path)?;
        record::sync_folder(&self.folder)
    }

    fn ids(&self) -> Result<Vec<Digest>, Error> {
        let folder = self.folder.join("images");
        let names = record::names_in(&folder)?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(name)).collect())
    }

    /// `None` if it was removed in the meantime.
    fn load(&self, id: Digest, names: &Names) -> Result<Option<Image>, Error> {
        let folder = self.image_folder(id);
        let Some(record) = read_if_there::<ImageRecord>(&folder.join("image.json"))? else { return Ok(None) };
        let configuration: ImageConfiguration = match read(&folder.join("config.json")) {
            Ok(configuration) => configuration,
            Err(Error::Io { .. }) if !folder.exists() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Image {
            id,
            names: names_of(id, names),
            digest: record.digest,
            size: record.size,
            created: Image::created_in(&configuration),
            platform: Image::platform_in(&configuration),
            config: ContainerConfig::of(&configuration),
            layers: record.layers,
        }))
    }

    fn resolve(&self, name: &str, names: &Names) -> Result<Option<lookup::Found>, Error> {
        let manifest_of = |id: Digest| -> Result<Option<Digest>, Error> {
            let record = read_if_there::<ImageRecord>(&self.image_folder(id).join("image.json"))?;
            Ok(record.and_then(|record| record.digest))
        };
        lookup::find(name, names, &self.ids()?, manifest_of)
    }
}

fn names_of(id: Digest, names: &Names) -> Vec<ImageName> {
    names.iter().filter(|(_, of)| **of == id).map(|(name, _)| name.clone()).collect()
}
