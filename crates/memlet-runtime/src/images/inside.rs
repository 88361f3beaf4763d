//! Opening paths that untrusted images chose, without ever leaving a folder: openat2(2) (Linux 5.6).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Times to try again; each failure means that somebody renamed or mounted something in that very moment.
const TRIES: usize = 10_000;

/// Opens `path` below `folder`; `how` says what happens to links and `..` that would lead outside:
/// `IN_ROOT` takes them as if `folder` were `/`, `BENEATH` refuses them.
pub(crate) fn open(
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Other programs rename files all the time, and an import must not fail for that.
    #[test]
    fn renames_elsewhere_do_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let [tree, one, two] = ["tree", "one", "two"].map(|name| folder.path().join(name));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(&one, b"").unwrap();
        let tree = fs::File::open(tree).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    fs::rename(&one, &two).unwrap();
                    fs::rename(&two, &one).unwrap();
                }
            });
            // Long, so that a rename falls into the walk.
            let path = "a/../".repeat(200);
            let opened = (0..5_000).find_map(|_| {
                open(&tree, Path::new(&path), OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT).err()
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(opened, None);
        });
    }
}
