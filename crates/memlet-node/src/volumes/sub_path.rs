//! Places within a volume, for `subPath`. A container may change the volume at the same moment: so a place is opened once,
//! without ever leaving the volume, and what was opened is mounted on a point of our own, whose name alone is handed on.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// Times to try again: the kernel cannot vouch for a `..` while anything on the machine is being renamed.
const TRIES: usize = 10_000;

/// Opens `below` in the volume, and makes the folders that are missing, open to everybody.
///
/// # Errors
/// A path that is not relative or has a `..`, a link that leads out of the volume, or a folder that cannot be made.
pub(super) fn open(volume: &Path, below: &Path) -> Result<OwnedFd, String> {
    if !below.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{} must be a relative path without ..", below.display()));
    }
    let named = |path: &Path, error: Errno| match error {
        Errno::XDEV | Errno::LOOP => format!("{} leads out of the volume", below.display()),
        error => format!("{}: {}", volume.join(path).display(), io::Error::from(error)),
    };
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(volume, folder, Mode::empty()).map_err(|error| named(Path::new(""), error))?;
    let mut parent: OwnedFd = root.try_clone().map_err(|error| error.to_string())?;
    let mut path = PathBuf::new();
    for part in below.components() {
        let Component::Normal(name) = part else { continue };
        path.push(name);
        parent = match within(&root, &path) {
            Err(Errno::NOENT) => {
                make_folder(&parent, Path::new(name)).map_err(|error| named(&path, error))?;
                within(&root, &path)
            }
            found => found,
        }
        .map_err(|error| named(&path, error))?;
    }
    Ok(parent)
}

fn within(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            found => return found,
        }
    }
    Err(Errno::AGAIN)
}

fn make_folder(parent: &OwnedFd, name: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o777)) {
        // Made by somebody else at the same moment, and theirs to open up.
        Err(Errno::EXIST) => return Ok(()),
        made => made?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    // The umask does not count here.
    rustix::fs::fchmod(folder, Mode::from_raw_mode(0o777))
}

/// Mounts what was opened at `point`, in place of what an earlier start of the container mounted there: a container that
/// still runs has a mount of its own.
pub(super) fn mount(opened: &OwnedFd, point: &Path) -> io::Result<()> {
    if let Some(parent) = point.parent() {
        fs::create_dir_all(parent)?;
    }
    while rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_ok() {}
    let is_folder =
        FileType::from_raw_mode(rustix::fs::fstat(opened.as_fd())?.st_mode) == FileType::Directory;
    match fs::symlink_metadata(point) {
        Ok(there) if there.is_dir() != is_folder => {
            if is_folder { fs::remove_file(point) } else { fs::remove_dir(point) }?;
        }
        _ => {}
    }
    if is_folder {
        fs::create_dir_all(point)?;
    } else {
        fs::write(point, "")?;
    }
    let opened = format!("/proc/self/fd/{}", opened.as_raw_fd());
    let flags = MountFlags::BIND | MountFlags::REC;
    Ok(rustix::mount::mount(opened.as_str(), point, "", flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn where_is(opened: &OwnedFd) -> PathBuf {
        fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd())).unwrap()
    }

    #[test]
    fn a_place_stays_in_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let volume = fs::canonicalize(folder.path()).unwrap().join("volume");
        fs::create_dir(&volume).unwrap();
        assert_eq!(where_is(&open(&volume, Path::new("a/./b")).unwrap()), volume.join("a/b"));
        assert_eq!(fs::metadata(volume.join("a")).unwrap().permissions().mode() & 0o7777, 0o777);
        fs::write(volume.join("a/file"), "").unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("../x", volume.join("up")).unwrap();
        symlink("a", volume.join("in")).unwrap();
        assert_eq!(where_is(&open(&volume, Path::new("in/b")).unwrap()), volume.join("a/b"));
        assert_eq!(where_is(&open(&volume, Path::new("in/file")).unwrap()), volume.join("a/file"));
        for below in ["../x", "/etc", "out", "out/passwd", "up", "up/y", "a/../../x", "a/file/below"] {
            open(&volume, Path::new(below)).expect_err(below);
        }
        assert!(!volume.parent().unwrap().join("x").exists());
    }

    /// A container that swaps a folder for a link all the time does not get what the link names.
    #[test]
    fn a_place_that_is_swapped_is_never_outside() {
        let folder = tempfile::tempdir().unwrap();
        let volume = fs::canonicalize(folder.path()).unwrap().join("volume");
        let outside = volume.parent().unwrap().join("outside");
        fs::create_dir_all(volume.join("place")).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, volume.join("link")).unwrap();
        let root = fs::File::open(&volume).unwrap();
        let done = AtomicBool::new(false);
        let (mut inside, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let flags = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(&root, "place", &root, "link", flags).unwrap();
                }
            });
            for _ in 0..5_000 {
                match open(&volume, Path::new("place/new")) {
                    // It may have been renamed since, and is in the volume all the same.
                    Ok(opened) if where_is(&opened).starts_with(&volume) => inside += 1,
                    Ok(opened) => panic!("{}", where_is(&opened).display()),
                    Err(_) => refused += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(inside > 0 && refused > 0, "{inside} {refused}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "nothing was made outside");
    }
}
