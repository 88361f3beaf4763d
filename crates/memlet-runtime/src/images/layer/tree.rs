//! Making files in a layer's folder without ever leaving it.
//!
//! Archives are not trusted: an entry may go through a symbolic link that an earlier entry made. Every folder
//! is therefore opened by openat2(2) with `RESOLVE_IN_ROOT`, for which links, absolute or with `..`, cannot
//! leave the layer's folder; and within an open folder only single names are used, without following links.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags};
use rustix::io::Errno;

use super::super::inside;
use super::metadata::Metadata;
use super::whiteout::{self, OPAQUE_ATTRIBUTE};

/// As many links as the kernel follows in one path (MAXSYMLINKS).
const MOST_LINKS: usize = 40;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A layer's folder while it is being filled.
pub(super) struct Tree {
    root: OwnedFd,
    /// The layers below, the topmost first.
    below: Vec<OwnedFd>,
    /// The folder used last: most entries lie beside their predecessor.
    last: Option<(PathBuf, Rc<OwnedFd>)>,
    /// Folders' times, put on at the end, since filling a folder changes them.
    times: Vec<(PathBuf, Metadata)>,
    implied: bool,
}

impl Tree {
    pub(super) fn open(root: &Path, below: &[PathBuf]) -> io::Result<Self> {
        let open = |folder: &Path| rustix::fs::open(folder, FOLDER, Mode::empty());
        let below = below.iter().map(|folder| open(folder)).collect::<Result<_, _>>()?;
        Ok(Self { root: open(root)?, below, last: None, times: Vec::new(), implied: false })
    }

    /// Whether a folder had to be made that no entry had described before.
    pub(super) fn has_implied_folders(&self) -> bool {
        self.implied
    }

    /// Opens the folder `path`, making what is missing of it.
    pub(super) fn folder(&mut self, path: &Path) -> io::Result<Rc<OwnedFd>> {
        if let Some((last, folder)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(folder));
        }
        let folder = Rc::new(self.open_or_make(path, MOST_LINKS)?);
        self.last = Some((path.to_owned(), Rc::clone(&folder)));
        Ok(folder)
    }

    fn resolve(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        inside::open(&self.root, path, FOLDER, ResolveFlags::IN_ROOT)
    }

    fn open_or_make(&mut self, path: &Path, links: usize) -> io::Result<OwnedFd> {
        match self.resolve(path) {
            Ok(folder) => return Ok(folder),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (Some(parent_path), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::NOTDIR.into());
        };
        let parent = self.open_or_make(parent_path, links)?;
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => return self.describe_implied(&parent, name, path),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if whiteout::is_mark(&stat) {
            // "The name is gone" and then a folder of that name: nothing below shows through.
            rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
            let folder = self.describe_implied(&parent, name, path)?;
            make_opaque(&folder)?;
            return Ok(folder);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(Errno::NOTDIR.into());
        }
        // A link to a folder that is not there yet: the folder is made where it points, inside the root.
        let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        self.open_or_make(&pointed_to(parent_path, &target), links)
    }

    /// Gives a folder without an entry what the folder has that it covers in the layers below.
    fn describe_implied(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<OwnedFd> {
        let folder = rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        let metadata = self.lower_folder(path).unwrap_or_else(Metadata::of_implied_folder);
        metadata.put_on(&folder)?;
        self.implied = true;
        self.times.push((path.to_owned(), metadata));
        Ok(folder)
    }

    fn lower_folder(&self, path: &Path) -> Option<Metadata> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        for lower in &self.below {
            match inside::open(lower, path, flags, how) {
                Ok(found) => {
                    let stat = rustix::fs::fstat(&found).ok()?;
                    let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                    return is_folder.then(|| Metadata::of_lower(&stat));
                }
                Err(Errno::NOENT) => {}
                // Something else has taken the place of a folder on the way: nothing lower shows through.
                Err(_) => return None,
            }
        }
        None
    }

    /// Takes away what has the name so far, to make room for a later entry of the same name; tells what it was.
    pub(super) fn clear(&mut self, folder: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        self.last = None;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            // The standard library walks by descriptors and follows no links; the magic link is the open folder.
            let magic = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
            std::fs::remove_dir_all(magic.join(name))?;
        } else {
            rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        }
        Ok(Some(stat))
    }

    /// Makes the folder of an entry, or takes the one that is there.
    pub(super) fn make_folder(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: PathBuf,
        metadata: Metadata,
    ) -> io::Result<()> {
        let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_folder = there.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let replaced = if is_folder { None } else { self.clear(parent, name)? };
        if !is_folder {
            rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        }
        let folder = rustix::fs::openat(parent, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        metadata.put_on(&folder)?;
        if replaced.is_some_and(|stat| whiteout::is_mark(&stat)) {
            make_opaque(&folder)?;
        }
        self.times.push((path, metadata));
        Ok(())
    }

    /// Owner, mode and times of the layer's root.
    pub(super) fn describe_root(&mut self, metadata: Metadata) -> io::Result<()> {
        metadata.put_on(&self.root)?;
        self.times.push((PathBuf::new(), metadata));
        Ok(())
    }

    /// Puts the folders' times on, the innermost first.
    pub(super) fn finish(self) -> io::Result<()> {
        for (path, metadata) in self.times.iter().rev() {
            match self.resolve(path) {
                Ok(folder) => rustix::fs::futimens(&folder, &metadata.times())?,
                // A later entry put something else in its place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Nothing of the layers below shows through in this folder.
pub(super) fn make_opaque(folder: &OwnedFd) -> io::Result<()> {
    let (name, value) = OPAQUE_ATTRIBUTE;
    Ok(rustix::fs::fsetxattr(folder, name, value, XattrFlags::empty())?)
}

/// Where a link in `folder` points, as a path from the root; `..` at the root stays there.
fn pointed_to(folder: &Path, target: &Path) -> PathBuf {
    let mut path = if target.is_absolute() { PathBuf::new() } else { folder.to_owned() };
    for component in target.components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::ParentDir => {
                path.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path
}
