//! Going through a layer's tar and making each entry.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use memlet_bytes::Bytes;
use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::entry::{Place, place};
use super::metadata::Metadata;
use super::tree::{Tree, make_opaque};
use super::whiteout::{self, Meaning};
use super::{Failure, Unpacked};

const CHUNK: usize = 128 << 10;

/// Unpacks the plain tar `stream` into the empty folder `target`, on top of `below` (top first).
pub(super) fn unpack(stream: &mut impl Read, target: &Path, below: &[PathBuf]) -> Result<Unpacked, Failure> {
    let tree = Tree::open(target, below).map_err(|error| Failure::Write(target.to_owned(), error))?;
    let mut unpacking = Unpacking { tree, size: 0, has_root: false, chunk: vec![0; CHUNK] };
    let mut archive = tar::Archive::new(stream);
    for entry in archive.entries().map_err(Failure::Stream)? {
        unpacking.unpack_entry(&mut entry.map_err(Failure::Stream)?)?;
    }
    let Unpacking { tree, size, has_root, .. } = unpacking;
    let stands_alone = !tree.has_implied_folders();
    tree.finish().map_err(|error| Failure::Write(target.to_owned(), error))?;
    Ok(Unpacked { size: Bytes::new(size), stands_alone, has_root })
}

struct Unpacking {
    tree: Tree,
    size: u64,
    has_root: bool,
    chunk: Vec<u8>,
}

impl Unpacking {
    fn unpack_entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), Failure> {
        let path = entry.path_bytes().into_owned();
        let shown = Shown(PathBuf::from(String::from_utf8_lossy(&path).into_owned()));
        let kind = kind_of(entry.header().entry_type(), &path);
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let metadata = Metadata::of(entry).map_err(|error| shown.bad_header(&error))?;
        let (folder_path, name) = match place(&path) {
            None => return Err(shown.refuse("leads outside with '..'")),
            Some(Place::In(folder, name)) => (folder, name),
            Some(Place::Root) if kind == EntryType::Directory => {
                self.has_root = true;
                return self.tree.describe_root(metadata).map_err(|error| shown.write(error));
            }
            Some(Place::Root) => return Err(shown.refuse("would replace the root folder")),
        };
        let meaning = whiteout::meaning(&name);
        match meaning {
            Meaning::Bookkeeping => return Ok(()),
            Meaning::Nonsense => return Err(shown.refuse("deletes no name")),
            Meaning::Itself | Meaning::OpaqueFolder | Meaning::Deleted(_) => {}
        }
        let folder = self.tree.folder(&folder_path).map_err(|error| shown.write(error))?;
        match meaning {
            Meaning::OpaqueFolder => make_opaque(&folder).map_err(|error| shown.write(error)),
            Meaning::Deleted(deleted) => Self::delete(&folder, deleted).map_err(|error| shown.write(error)),
            _ if kind == EntryType::Directory => {
                let path = folder_path.join(&name);
                self.tree.make_folder(&folder, &name, path, metadata).map_err(|error| shown.write(error))
            }
            _ => self.make(kind, &folder, &name, &metadata, entry, &shown),
        }
    }

    /// Makes anything but a folder.
    fn make<R: Read>(
        &mut self,
        kind: EntryType,
        folder: &OwnedFd,
        name: &OsStr,
        metadata: &Metadata,
        entry: &mut tar::Entry<'_, R>,
        shown: &Shown,
    ) -> Result<(), Failure> {
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.make_file(folder, name, metadata, entry, shown)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| shown.refuse("is a link to nothing"))?;
                self.make_link(folder, name, &target, metadata).map_err(|error| shown.write(error))
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or_else(|| shown.refuse("is a link to nothing"))?;
                self.make_hard_link(folder, name, &target).map_err(|error| {
                    match Errno::from_io_error(&error) {
                        Some(Errno::NOENT) => {
                            shown.refuse("is a hard link to a file that its layer does not have")
                        }
                        Some(Errno::XDEV) => shown.refuse("is a hard link that leads outside with '..'"),
                        Some(Errno::PERM) => shown.refuse("is a hard link to a folder"),
                        _ => shown.write(error),
                    }
                })
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let device = device_of(entry.header(), kind).map_err(|error| shown.bad_header(&error))?;
                self.make_node(folder, name, kind, device, metadata).map_err(|error| shown.write(error))
            }
            other => Err(shown.refuse(&format!("is of the unknown type {:?}", char::from(other.as_byte())))),
        }
    }

    fn make_link(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        target: &[u8],
        metadata: &Metadata,
    ) -> io::Result<()> {
        self.tree.clear(folder, name)?;
        rustix::fs::symlinkat(target, folder, name)?;
        metadata.put_on_link(folder, name)
    }

    /// Marks a name of the layers below as gone. What this very layer has of that name stays (image spec:
    /// whiteouts apply to lower layers only), a folder then without what is below.
    fn delete(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
        match rustix::fs::mknodat(folder, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                match rustix::fs::openat(folder, name, flags, Mode::empty()) {
                    Ok(there) => make_opaque(&there),
                    Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn make_file<R: Read>(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        metadata: &Metadata,
        content: &mut tar::Entry<'_, R>,
        shown: &Shown,
    ) -> Result<(), Failure> {
        let write = |error: io::Error| shown.write(error);
        self.tree.clear(folder, name).map_err(write)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(made.map_err(|errno| write(errno.into()))?);
        loop {
            let count = match content.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::Stream(error)),
            };
            file.write_all(&self.chunk[..count]).map_err(write)?;
            self.size += count as u64;
        }
        metadata.put_on(&file).map_err(write)?;
        rustix::fs::futimens(&file, &metadata.times()).map_err(|errno| write(errno.into()))
    }

    fn make_hard_link(&mut self, folder: &OwnedFd, name: &OsStr, target: &[u8]) -> io::Result<()> {
        let Some(Place::In(target_folder, target_name)) = place(target) else {
            return Err(Errno::XDEV.into());
        };
        let from = self.tree.folder(&target_folder)?;
        let target = rustix::fs::statat(&*from, &target_name, AtFlags::SYMLINK_NOFOLLOW)?;
        let there = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (target.st_dev, target.st_ino)) {
            return Ok(()); // a file that is linked to itself: clearing it would lose it
        }
        self.tree.clear(folder, name)?;
        Ok(rustix::fs::linkat(&*from, &target_name, folder, name, AtFlags::empty())?)
    }

    fn make_node(
        &mut self,
        folder: &OwnedFd,
        name: &OsStr,
        kind: EntryType,
        device: Dev,
        metadata: &Metadata,
    ) -> io::Result<()> {
        let file_type = match kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        self.tree.clear(folder, name)?;
        rustix::fs::mknodat(folder, name, file_type, Mode::RUSR | Mode::WUSR, device)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        metadata.put_on_path(&node)?;
        Ok(rustix::fs::utimensat(folder, name, &metadata.times(), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// An entry's path as the archive has it, for what is said about it.
struct Shown(PathBuf);

impl Shown {
    fn refuse(&self, reason: &str) -> Failure {
        Failure::Entry(self.0.clone(), reason.to_owned())
    }

    fn bad_header(&self, error: &io::Error) -> Failure {
        self.refuse(&format!("has a bad header ({error})"))
    }

    /// What the kernel says of the entry's path is the archive's fault, the rest is the disk's.
    fn write(&self, error: io::Error) -> Failure {
        match Errno::from_io_error(&error) {
            Some(Errno::NOTDIR) => self.refuse("goes through something that is not a folder"),
            Some(Errno::LOOP) => self.refuse("goes through a loop of symbolic links"),
            _ => Failure::Write(self.0.clone(), error),
        }
    }
}

/// Archives from before POSIX mark a folder by a slash at the end alone.
fn kind_of(kind: EntryType, path: &[u8]) -> EntryType {
    if kind == EntryType::Regular && path.ends_with(b"/") { EntryType::Directory } else { kind }
}

/// A pipe has no numbers, and tar may leave their fields blank.
fn device_of(header: &tar::Header, kind: EntryType) -> io::Result<Dev> {
    if kind == EntryType::Fifo {
        return Ok(0);
    }
    let (major, minor) = (header.device_major()?, header.device_minor()?);
    Ok(rustix::fs::makedev(major.unwrap_or(0), minor.unwrap_or(0)))
}
