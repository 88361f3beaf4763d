//! The store's lock, held while its folders change their shape, never while a layer is being unpacked.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::super::error::{Error, Naming};

/// Held until dropped, against other processes and other threads.
pub(super) struct Lock(File);

impl Lock {
    /// Waits for the lock.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(path).naming("open", path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("lock", path, errno)),
            }
        }
    }
}

impl Drop for Lock {
    /// Unlocks in so many words: a child forked meanwhile has a copy of the descriptor, whose mere existence
    /// would keep the lock.
    fn drop(&mut self) {
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
