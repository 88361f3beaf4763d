//! The store's own JSON files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use memlet_bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::digest::Digest;
use super::super::error::{Error, Naming};

/// `images/<id>/image.json`
#[derive(Serialize, Deserialize)]
pub(super) struct ImageRecord {
    pub(super) digest: Option<Digest>,
    pub(super) size: Bytes,
    /// Folder names below `layers/`, from the bottom to the top.
    pub(super) layers: Vec<String>,
}

/// `layers/<key>/layer.json`
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    pub(super) diff_id: Digest,
    pub(super) size: Bytes,
    /// Whether it may be used on top of any other layers, see [`Unpacked`](super::super::layer::Unpacked).
    pub(super) stands_alone: bool,
    /// Whether it says what the root folder's owner and mode are.
    pub(super) has_root: bool,
}

/// `mounts/<key>.json`
#[derive(Serialize, Deserialize)]
pub(super) struct MountRecord {
    pub(super) folder: PathBuf,
    pub(super) layers: Vec<String>,
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs::read(path).naming("read", path)?;
    serde_json::from_slice(&bytes).map_err(|source| Error::DamagedStore { path: path.to_owned(), source })
}

/// `None` if there is no such file.
pub(super) fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match read(path) {
        Ok(record) => Ok(Some(record)),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn write(path: &Path, record: &impl Serialize) -> Result<File, Error> {
    let json = serde_json::to_vec_pretty(record).map_err(io::Error::from).naming("write", path)?;
    let mut file = File::create(path).naming("create", path)?;
    file.write_all(&json).naming("write", path)?;
    Ok(file)
}

/// Survives a power loss once it has been renamed.
pub(super) fn write_durably(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    write(path, record)?.sync_all().naming("write", path)
}

/// Makes renames within `folder` survive a power loss.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).naming("write", folder)
}

/// The names in a folder, sorted; those that are not UTF-8 are not the store's.
pub(super) fn names_in(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).naming("read", folder)? {
        names.extend(entry.naming("read", folder)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
