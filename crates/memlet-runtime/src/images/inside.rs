//! Opening paths that untrusted images chose, without ever leaving a folder: openat2(2) (Linux 5.6).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Times to try again; each failure means that somebody renamed or mounted something in that very moment.
const TRIES: usize = 10_000;

/// Opens `path` below `folder`; `how` says what happens to links and `..` that would lead outside:
/// `IN_ROOT` takes them as if `folder` were `/`, `BENEATH` refuses them.
pub(super) fn open(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    for _ in 0..TRIES {
        // The kernel cannot vouch for a `..` while anything on the machine is being renamed or mounted, and
        // says so with EAGAIN.
        match rustix::fs::openat2(&folder, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}
