//! Mounting and unmounting overlayfs.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::error::{Error, Naming};

/// mount(2) takes one page of options, the last byte of which is a NUL.
const LONGEST_OPTIONS: usize = 4095;
/// `OVERLAYFS_SUPER_MAGIC`
const OVERLAY_MAGIC: i64 = 0x794c_7630;

/// What the root of a container's files shows.
#[derive(Clone, Copy)]
pub(super) struct RootOwner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Default for RootOwner {
    fn default() -> Self {
        Self { uid: 0, gid: 0, mode: 0o755 }
    }
}

/// Mounts `lower` (top first) with a writable layer in `folder`; gives the path of the merged folder.
pub(super) fn mount(lower: &[PathBuf], folder: &Path, owner: RootOwner) -> Result<PathBuf, Error> {
    let [upper, work, merged, empty] = ["upper", "work", "merged", "empty"].map(|name| folder.join(name));
    for path in [&upper, &work, &merged] {
        fs::create_dir_all(path).naming("create", path)?;
    }
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::chown(&upper, Some(uid), Some(gid)).naming("change the owner of", &upper)?;
    rustix::fs::chmod(&upper, Mode::from_raw_mode(owner.mode)).naming("change the mode of", &upper)?;
    // An image without layers is legal; overlayfs wants one.
    let nothing = [empty];
    let lower = if lower.is_empty() {
        fs::create_dir_all(&nothing[0]).naming("create", &nothing[0])?;
        &nothing[..]
    } else {
        lower
    };
    let (options, _held) = options(lower, &upper, &work)?;
    rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), options.as_c_str()).map_err(
        |errno| Error::Overlay { folder: folder.to_owned(), hint: hint(errno, &upper), source: errno.into() },
    )?;
    Ok(merged)
}

/// The mount options; by path where they are plain and fit, otherwise through open descriptors, which are short
/// and have no `:` or `,` to escape. The descriptors must live until the mount is made.
fn options(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<(CString, Vec<OwnedFd>), Error> {
    let mut paths: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
    paths.extend([upper, work]);
    let is_plain = |path: &&Path| !path.as_os_str().as_bytes().iter().any(|b| b":,\\\"".contains(b));
    if paths.iter().all(is_plain) {
        let bytes: Vec<Vec<u8>> = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        if let Some(options) = joined(&bytes) {
            return Ok((options, Vec::new()));
        }
    }
    let mut held = Vec::with_capacity(paths.len());
    let mut links = Vec::with_capacity(paths.len());
    for path in paths {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::empty()).naming("open", path)?;
        links.push(format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into_bytes());
        held.push(descriptor);
    }
    let options = joined(&links).ok_or_else(|| Error::Overlay {
        folder: upper.parent().unwrap_or(upper).to_owned(),
        hint: ": the image has more layers than one mount takes; rebuild it with fewer",
        source: Errno::TOOBIG.into(),
    })?;
    Ok((options, held))
}

/// `paths` ends with the upper and the work folder. `index=off`: the same layers may be under many containers.
fn joined(paths: &[Vec<u8>]) -> Option<CString> {
    let [lower @ .., upper, work] = paths else { return None };
    let options =
        [b"index=off,lowerdir=", &*lower.join(&b':'), b",upperdir=", upper, b",workdir=", work].concat();
    if options.len() > LONGEST_OPTIONS { None } else { CString::new(options).ok() }
}

fn hint(errno: Errno, upper: &Path) -> &'static str {
    #[allow(clippy::unnecessary_cast, reason = "the type differs between processors")]
    let on_overlay = rustix::fs::statfs(upper).is_ok_and(|stat| stat.f_type as i64 == OVERLAY_MAGIC);
    match errno {
        _ if on_overlay => {
            ": the folder is itself on an overlay, as in a container; put it on a volume or a tmpfs"
        }
        Errno::NODEV => ": this kernel has no overlayfs; load it with: modprobe overlay",
        Errno::PERM => ": mounting needs root with CAP_SYS_ADMIN",
        _ => "",
    }
}

/// Unmounts what [`mount`] mounted in `folder` and deletes its writable layer.
pub(super) fn unmount(folder: &Path) -> Result<(), Error> {
    let merged = folder.join("merged");
    loop {
        match rustix::mount::unmount(&merged, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not there, or not a mount (any more).
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => break,
            // Somebody still has a file open there: it goes away with the last of them.
            Err(Errno::BUSY) => {
                rustix::mount::unmount(&merged, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
                    .naming("unmount", &merged)?;
            }
            Err(errno) => return Err(Error::io("unmount", merged, errno)),
        }
    }
    // Never recursively: were anything still mounted there, the image's files would be the ones deleted.
    gone(fs::remove_dir(&merged)).naming("delete", &merged)?;
    for name in ["upper", "work", "empty"] {
        let path = folder.join(name);
        gone(fs::remove_dir_all(&path)).naming("delete", &path)?;
    }
    Ok(())
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_fit_a_page_or_are_none() {
        let paths = |count: usize| vec![b"/proc/self/fd/1000".to_vec(); count];
        assert_eq!(
            joined(&[b"/a".to_vec(), b"/b".to_vec(), b"/u".to_vec(), b"/w".to_vec()]).unwrap().as_bytes(),
            b"index=off,lowerdir=/a:/b,upperdir=/u,workdir=/w"
        );
        assert!(joined(&paths(130)).is_some());
        assert!(joined(&paths(300)).is_none());
    }
}
