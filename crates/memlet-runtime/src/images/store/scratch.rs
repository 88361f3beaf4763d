//! Temporary folders on the store's own filesystem, and finding those whose owner died.
//!
//! A folder belongs to whoever has it flock'ed. It is made and locked under the store's lock, so nobody who
//! holds that lock sees one between the two steps.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::super::error::{Error, Naming};
use super::lock::Lock;
use super::record;

/// Removed with all that is in it when dropped.
pub(super) struct Scratch {
    path: PathBuf,
    lock: File,
}

impl Scratch {
    pub(super) fn create(tmp: &Path, _lock: &Lock) -> Result<Self, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = tmp.join(format!("{}-{count}", process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                // Of an earlier process with the same id.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::io("create", path, error)),
            }
            let lock = File::open(&path).naming("open", &path)?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive).naming("lock", &path)?;
            return Ok(Self { path, lock });
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.lock
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(folder = %self.path.display(), %error, "a temporary folder of the image store stays behind");
        }
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

/// Takes over the folders whose owners are gone; call with the store's lock held.
pub(super) fn adopt_stale(tmp: &Path) -> Result<Vec<Scratch>, Error> {
    let mut stale = Vec::new();
    for name in record::names_in(tmp)? {
        let path = tmp.join(name);
        let lock = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", path, error)),
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => stale.push(Scratch { path, lock }),
            Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(Error::io("lock", path, errno)),
        }
    }
    Ok(stale)
}
