//! The files of what is being imported, by name, be it a folder or a tar archive.
//!
//! An archive is indexed once by its headers and then read in place, in whatever order the format wants:
//! `docker save` puts its table of contents at the end. One that is compressed as a whole, or that is a pipe,
//! is first copied, plain, into the import's own temporary folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use memlet_bytes::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tar::EntryType;

use super::compression::{Compression, decompress};
use super::error::{Error, Naming};
use super::inside;

/// Links within an archive that lead to links; `docker save` makes one step, a loop makes endless ones.
const MOST_LINKS: usize = 8;
/// Manifests and configurations: registries allow 4 MiB, and they are held in memory.
const LARGEST_DOCUMENT: u64 = 16 << 20;

pub(super) struct Source {
    path: PathBuf,
    files: Files,
}

enum Files {
    Folder(OwnedFd),
    Archive { file: File, members: HashMap<PathBuf, Member> },
}

enum Member {
    File { offset: u64, size: u64 },
    Link(PathBuf),
}

impl Source {
    /// Opens a folder or an archive; copies go into `scratch`, and `copied` hears how far a copy is.
    pub(super) fn open(path: &Path, scratch: &Path, copied: &mut dyn FnMut(Bytes)) -> Result<Self, Error> {
        let file = File::open(path).naming("open", path)?;
        let kind = file.metadata().naming("read", path)?.file_type();
        let path = path.to_owned();
        if kind.is_dir() {
            return Ok(Self { path, files: Files::Folder(file.into()) });
        }
        let mut start = [0; 4];
        let plain = kind.is_file() && {
            let count = file.read_at(&mut start, 0).naming("read", &path)?;
            if count == 0 {
                return Err(Error::NotAnImage { path, found: "it is an empty file".into() });
            }
            Compression::of(&start[..count]) == Compression::None
        };
        let file = if plain { file } else { copy_plain(&file, &path, scratch, copied)? };
        let members = index(&file, &path)?;
        Ok(Self { path, files: Files::Archive { file, members } })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_folder(&self) -> bool {
        matches!(self.files, Files::Folder(_))
    }

    /// Whether it has such a file; one that may not be read is an error, not a file that is missing.
    pub(super) fn contains(&self, name: &str) -> Result<bool, Error> {
        match self.find(name) {
            Ok(_) => Ok(true),
            Err(Error::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens a file for reading from its start; gives its length too.
    pub(super) fn stream(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), Error> {
        self.find(name)
    }

    /// The whole of a small file.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (stream, size) = self.find(name)?;
        if size > LARGEST_DOCUMENT {
            let reason = format!("{name} is {}, too large for its kind", Bytes::new(size));
            return Err(Error::Contradiction { path: self.path.clone(), reason });
        }
        let mut bytes = Vec::new();
        stream.take(LARGEST_DOCUMENT).read_to_end(&mut bytes).map_err(|source| self.damaged(name, source))?;
        Ok(bytes)
    }

    pub(super) fn damaged(&self, part: &str, source: impl Into<io::Error>) -> Error {
        Error::Damaged { path: self.path.clone(), part: part.to_owned(), source: source.into() }
    }

    fn find(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), Error> {
        let missing = || Error::Missing { path: self.path.clone(), part: name.to_owned() };
        match &self.files {
            Files::Folder(folder) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
                // A layout folder is as untrusted as an archive: names in it must not lead outside.
                let opened = inside::open(folder, Path::new(name), flags, ResolveFlags::BENEATH);
                let file = match opened {
                    Ok(file) => File::from(file),
                    // What a link finds outside (XDEV) or never (LOOP) is no part of the image, as in an archive.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => return Err(missing()),
                    Err(errno) => return Err(Error::io("open", self.path.join(name), errno)),
                };
                let metadata = file.metadata().naming("read", &self.path.join(name))?;
                if !metadata.is_file() {
                    return Err(missing());
                }
                Ok((Box::new(file), metadata.len()))
            }
            Files::Archive { file, members } => {
                let mut wanted = normal(Path::new(name)).ok_or_else(missing)?;
                for _ in 0..MOST_LINKS {
                    match members.get(&wanted).ok_or_else(missing)? {
                        Member::File { offset, size } => {
                            return Ok((Box::new(Slice { file, at: *offset, left: *size }), *size));
                        }
                        Member::Link(target) => wanted.clone_from(target),
                    }
                }
                Err(missing())
            }
        }
    }
}

/// A stretch of a file, read without moving a cursor that others share.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.file.read_at(&mut buffer[..want], self.at)?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends too early"));
        }
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Writes the plain bytes of `file` into an unnamed file of `scratch`.
fn copy_plain(
    file: &File,
    path: &Path,
    scratch: &Path,
    copied: &mut dyn FnMut(Bytes),
) -> Result<File, Error> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let copy = if let Ok(copy) = rustix::fs::open(scratch, flags, Mode::RUSR | Mode::WUSR) {
        File::from(copy)
    } else {
        // Not every filesystem has unnamed files; the scratch folder is removed anyway.
        let name = scratch.join("archive");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).open(&name).naming("create", &name)?
    };
    let damaged =
        |source| Error::Damaged { path: path.to_owned(), part: "its compressed content".into(), source };
    let mut stream = decompress(file).map_err(damaged)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(copy),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error)),
        };
        (&copy).write_all(&buffer[..count]).naming("write into", scratch)?;
        total += count as u64;
        copied(Bytes::new(total));
    }
}

/// Where each member of the archive begins, by normalised path; a path twice means the later one.
fn index(file: &File, path: &Path) -> Result<HashMap<PathBuf, Member>, Error> {
    let mut members = HashMap::new();
    let mut archive = tar::Archive::new(file);
    io::Seek::rewind(&mut &*file).naming("read", path)?;
    for entry in archive.entries_with_seek().naming("read", path)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(_) if members.is_empty() => {
                return Err(Error::NotAnImage {
                    path: path.to_owned(),
                    found: "it is not a tar archive".into(),
                });
            }
            Err(source) => {
                return Err(Error::Damaged {
                    path: path.to_owned(),
                    part: "its table of entries".into(),
                    source,
                });
            }
        };
        let Some(name) = normal(Path::new(&*String::from_utf8_lossy(&entry.path_bytes()))) else { continue };
        let target = || entry.link_name().ok().flatten();
        let member = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                Member::File { offset: entry.raw_file_position(), size: entry.size() }
            }
            EntryType::Symlink => {
                let beside = name.parent().unwrap_or(Path::new(""));
                let Some(target) = target().and_then(|target| normal(&beside.join(target))) else { continue };
                Member::Link(target)
            }
            EntryType::Link => {
                let Some(target) = target().and_then(|target| normal(&target)) else { continue };
                Member::Link(target)
            }
            _ => continue,
        };
        members.insert(name, member);
    }
    if members.is_empty() {
        return Err(Error::NotAnImage { path: path.to_owned(), found: "it is an empty archive".into() });
    }
    Ok(members)
}

/// `path` without `.`, with `..` taken back; `None` if it leads outside or is empty.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir => {
                if !parts.pop() {
                    return None;
                }
            }
            Component::Prefix(_) => return None,
        }
    }
    (!parts.as_os_str().is_empty()).then_some(parts)
}
