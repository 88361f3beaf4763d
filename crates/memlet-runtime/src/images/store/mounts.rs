//! Container roots: an image's layers with a writable folder on top.
//!
//! The store remembers which layers a mount uses, so that removing the image of a running container does not
//! take files from under it.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::digest::Digest;
use super::super::error::{Error, Naming};
use super::super::image::Image;
use super::super::overlay::{self, RootOwner};
use super::ImageStore;
use super::record::{self, LayerRecord, MountRecord, names_in, read, read_if_there};
use super::sweep;

impl ImageStore {
    /// Mounts `image` for a container: makes `upper`, `work` and `merged` in `folder`, and gives the path of
    /// `merged`, the container's root. What an earlier mount wrote into `upper` is still there.
    ///
    /// # Errors
    /// If a layer is missing, the folder cannot be made, or the kernel refuses; nothing stays mounted then.
    pub fn mount(&self, image: &Image, folder: &Path) -> Result<PathBuf, Error> {
        let folder = std::path::absolute(folder).naming("find", folder)?;
        let lower: Vec<PathBuf> =
            image.layers.iter().rev().map(|layer| self.layer_folder(layer).join("fs")).collect();
        let owner = {
            // Under the lock, for the layers must not be swept away before the record says they are needed.
            let _lock = self.lock()?;
            for (layer, path) in image.layers.iter().rev().zip(&lower) {
                if !path.is_dir() {
                    return Err(Error::LostLayer { image: image.id.short(), layer: layer.clone() });
                }
            }
            let record = MountRecord { folder: folder.clone(), layers: image.layers.clone() };
            let path = self.mount_record(&folder);
            let new = path.with_extension("new");
            // Not synced: after a power loss nothing is mounted.
            record::write(&new, &record)?;
            fs::rename(&new, &path).naming("create", &path)?;
            self.root_owner(&image.layers)?
        };
        match overlay::mount(&lower, &folder, owner) {
            Ok(merged) => Ok(merged),
            Err(error) => {
                // The first failure is the one to tell.
                let _ = self.unmount(&folder);
                Err(error)
            }
        }
    }

    /// Undoes [`mount`](Self::mount), with all that the container wrote. Does nothing where nothing is mounted,
    /// so it may be repeated, and be used after a crash.
    ///
    /// # Errors
    /// If the kernel refuses to unmount, or files cannot be deleted.
    pub fn unmount(&self, folder: &Path) -> Result<(), Error> {
        let folder = std::path::absolute(folder).naming("find", folder)?;
        overlay::unmount(&folder)?;
        let lock = self.lock()?;
        let path = self.mount_record(&folder);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("delete", path, error)),
        }
        let unused = sweep::sweep(self, &lock);
        drop(lock);
        if let Err(error) = unused {
            // The container is gone, which was the task; the next open() sweeps again.
            tracing::warn!(%error, "layers of removed images stay in the image store");
        }
        Ok(())
    }

    fn mount_record(&self, folder: &Path) -> PathBuf {
        let key = Digest::of(folder.as_os_str().as_bytes()).hex();
        self.folder.join("mounts").join(key).with_extension("json")
    }

    /// Overlayfs shows the upper folder's own owner and mode for the root, so it must get the image's: those of
    /// the topmost layer that speaks of the root.
    fn root_owner(&self, layers: &[String]) -> Result<RootOwner, Error> {
        for layer in layers.iter().rev() {
            let folder = self.layer_folder(layer);
            let record: LayerRecord = read(&folder.join("layer.json"))?;
            if record.has_root {
                let root = folder.join("fs");
                let metadata = fs::metadata(&root).naming("read", &root)?;
                let mode = metadata.mode() & 0o7777;
                return Ok(RootOwner { uid: metadata.uid(), gid: metadata.gid(), mode });
            }
        }
        Ok(RootOwner::default())
    }
}

/// Drops the records of mounts whose folder somebody deleted, since nobody will unmount them.
pub(super) fn forget_vanished(store: &ImageStore) -> Result<(), Error> {
    let folder = store.folder.join("mounts");
    for name in names_in(&folder)? {
        let path = folder.join(&name);
        let record: Option<MountRecord> = if is_record(&path) { read_if_there(&path)? } else { None };
        if record.is_none_or(|record| !record.folder.exists()) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("delete", path, error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Others are records that were being written when somebody died.
pub(super) fn is_record(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}
