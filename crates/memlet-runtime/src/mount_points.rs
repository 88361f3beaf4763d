//! Where a container's mounts go: looked at before it is made, since libcontainer tells of one that fails only that the
//! root could not be prepared.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use k8s_cri::v1::Mount;
use rustix::fs::{FileType, OFlags, ResolveFlags};

use crate::images::inside;

/// A mount that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {} at {}: {why}", from.display(), at.display())]
pub(crate) struct CannotMount {
    from: PathBuf,
    at: PathBuf,
    why: &'static str,
}

/// The kernel's own file systems: no folder or file can be made there to mount on.
const OF_THE_KERNEL: [&str; 2] = ["/proc", "/sys"];

/// Looks at all of them; `root` is the container's, before anything is mounted in it.
///
/// # Errors
/// The first that cannot be.
pub(crate) fn check(root: &Path, mounts: &[Mount]) -> Result<(), CannotMount> {
    for mount in mounts {
        let at = plain(Path::new(&mount.container_path));
        let why = reason(root, mounts, mount, &at);
        let from = || PathBuf::from(&mount.host_path);
        why.map_or(Ok(()), |why| Err(CannotMount { from: from(), at, why }))?;
    }
    Ok(())
}

fn reason(root: &Path, mounts: &[Mount], mount: &Mount, at: &Path) -> Option<&'static str> {
    if at == Path::new("/") {
        return Some("that is the container's root");
    }
    if OF_THE_KERNEL.iter().any(|own| at.starts_with(own)) {
        return Some("nothing can be made in the kernel's own file system there");
    }
    // What another mount covers, or what is in /dev, is not in the image.
    let is_covered = |other: &Mount| {
        let other = plain(Path::new(&other.container_path));
        at != other && at.starts_with(other)
    };
    if at.starts_with("/dev") || mounts.iter().any(is_covered) {
        return None;
    }
    let is_folder = fs::metadata(&mount.host_path).ok()?.is_dir();
    match (is_folder, kind_in(root, at)?) {
        (true, FileType::Directory) => None,
        (true, _) => Some("a folder cannot be mounted on a file of the image"),
        (false, FileType::Directory) => Some("a file cannot be mounted on a folder of the image"),
        (false, _) => None,
    }
}

/// What the image has at a path; `None` where nothing, or nothing that can be told.
fn kind_in(root: &Path, at: &Path) -> Option<FileType> {
    let root = File::open(root).ok()?;
    let found = inside::open(root, at, OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT).ok()?;
    Some(FileType::from_raw_mode(rustix::fs::fstat(found).ok()?.st_mode))
}

/// Without `.`, `..` and doubled slashes, as mounts are made.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::from("/"), |mut plain, part| {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            _ => {}
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_cannot_be_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for made in ["root/bin", "volume"] {
            fs::create_dir_all(path(made)).unwrap();
        }
        for made in ["root/bin/sh", "file"] {
            fs::write(path(made), "").unwrap();
        }
        std::os::unix::fs::symlink("/bin", path("root/usr")).unwrap();
        let mount = |from: &str, at: &str| Mount {
            host_path: path(from).display().to_string(),
            container_path: at.into(),
            ..Mount::default()
        };
        let why = |mounts: &[Mount]| check(&path("root"), mounts).err().map(|error| error.why);
        for (from, at) in [
            ("volume", "/data"),
            ("volume", "/bin"),
            ("volume", "/usr"),
            ("file", "/bin/sh"),
            ("file", "/usr/sh"),
            ("file", "/dev/termination-log"),
        ] {
            assert_eq!(why(&[mount(from, at)]), None, "{from} at {at}");
        }
        for (from, at, expected) in [
            ("volume", "/", "that is the container's root"),
            ("volume", "/data/..", "that is the container's root"),
            ("file", "/proc/1/x", "nothing can be made in the kernel's own file system there"),
            ("volume", "//sys/fs", "nothing can be made in the kernel's own file system there"),
            ("volume", "/usr/sh", "a folder cannot be mounted on a file of the image"),
            ("file", "/bin", "a file cannot be mounted on a folder of the image"),
        ] {
            assert_eq!(why(&[mount(from, at)]), Some(expected), "{from} at {at}");
        }
        assert_eq!(why(&[mount("volume", "/bin"), mount("volume", "/bin/sh")]), None, "it is covered");
    }
}
