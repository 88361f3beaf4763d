//! Free space, and telling "the disk is full" from other failures.

use std::io;
use std::path::Path;

use memlet_bytes::Bytes;
use rustix::io::Errno;

/// What the filesystem below `folder` still takes; `None` where the kernel would not say.
pub(super) struct Free {
    pub(super) bytes: Bytes,
    /// Filesystems without a fixed number of inodes (btrfs) count none at all: `None`.
    pub(super) inodes: Option<u64>,
}

pub(super) fn free(folder: &Path) -> Option<Free> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    let bytes = Bytes::new(stat.f_bavail.saturating_mul(stat.f_frsize));
    Some(Free { bytes, inodes: (stat.f_files > 0).then_some(stat.f_favail) })
}

/// Whether `error` means that the disk or the user's quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}
