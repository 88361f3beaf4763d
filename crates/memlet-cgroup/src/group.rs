//! One group of the memory controller: make it or open it, and know it again.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::{CgroupPath, Error, Hierarchy, Result, Version, file};

/// One memory cgroup, by its open directory.
///
/// Everything is read and written relative to that directory. Once the group is removed, every operation answers
/// an error that [is gone](Error::is_gone), also when another group has been made under the same name.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) version: Version,
    path: CgroupPath,
    place: PathBuf,
    pub(crate) dir: OwnedFd,
    id: CgroupId,
}

/// What tells a group from every other, also from a later one with the same path: its inode number.
/// On cgroup v2 this is the cgroup's id elsewhere in the kernel (`bpf_get_current_cgroup_id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(u64);

impl CgroupId {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CgroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Cgroup {
    /// Makes the group and those above it where they are missing, and opens it; one that exists is opened as it is.
    ///
    /// On cgroup v2 this hands `memory` (and `pids` and `cpu`, where they are) down through `cgroup.subtree_control` of every
    /// group above. On v1 only the memory hierarchy is touched. On failure the groups made are removed again.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::NotPermitted`], [`Error::InternalProcesses`], [`Error::NoMemoryFiles`].
    pub fn create(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<Self> {
        let mut made = Vec::new();
        let created = Self::create_from_top(hierarchy, path, &mut made);
        if created.is_err() {
            for dir in made.iter().rev() {
                // The first failure is what the caller needs to hear of.
                let _ = std::fs::remove_dir(dir);
            }
        }
        created
    }

    fn create_from_top(hierarchy: &Hierarchy, path: &CgroupPath, made: &mut Vec<PathBuf>) -> Result<Self> {
        let mut place = hierarchy.root().to_path_buf();
        for piece in path.pieces() {
            if hierarchy.version() == Version::V2 {
                hand_down(&place)?;
            }
            place.push(piece);
            match rustix::fs::mkdir(&place, Mode::from_raw_mode(0o755)) {
                Ok(()) => made.push(place.clone()),
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT | Errno::NODEV) => return Err(Error::Gone { path: path.clone() }),
                Err(errno) => return Err(Error::system("create cgroup", &place, errno)),
            }
        }
        Self::open(hierarchy, path)
    }

    /// Opens an existing group.
    ///
    /// # Errors
    /// [`Error::Gone`] where there is none, [`Error::NoMemoryFiles`] where it is no memory cgroup.
    pub fn open(hierarchy: &Hierarchy, path: &CgroupPath) -> Result<Self> {
        let place = hierarchy.dir(path);
        let dir = file::open_dir(&place).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Gone { path: path.clone() },
            _ => Error::system("open cgroup", &place, error),
        })?;
        let id = rustix::fs::fstat(&dir).map_err(|errno| Error::system("open cgroup", &place, errno))?.st_ino;
        let group = Self { version: hierarchy.version(), path: path.clone(), place, dir, id: CgroupId(id) };
        // cgroup v2's root has a memory.stat but no limit; every other group has all of them.
        let required = match group.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.stat",
        };
        if !file::exists(group.dir.as_fd(), required) {
            return Err(Error::NoMemoryFiles { path: path.clone(), file: required });
        }
        Ok(group)
    }

    /// Where it is in the hierarchy.
    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Its directory, by name: for messages, and for those who must hand a path on.
    pub fn dir_path(&self) -> &Path {
        &self.place
    }

    /// What tells it from every other group.
    pub fn id(&self) -> CgroupId {
        self.id
    }

    /// Which interface it has.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether it still exists.
    pub fn is_alive(&self) -> bool {
        file::exists(self.dir.as_fd(), "cgroup.procs")
    }

    /// The text of a file every memory cgroup has.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        file::read(self.dir.as_fd(), name).map_err(|error| self.failure("read", name, error))
    }

    /// The text of a file not every kernel has.
    pub(crate) fn read_optional(&self, name: &str) -> Result<Option<String>> {
        match self.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_missing_file() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        file::write(self.dir.as_fd(), name, text).map_err(|error| self.failure("write", name, error))
    }

    /// Writes a file not every kernel has; answers whether it is there.
    pub(crate) fn write_optional(&self, name: &str, text: &str) -> Result<bool> {
        match self.write(name, text) {
            Ok(()) => Ok(true),
            Err(error) if error.is_missing_file() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A file that is missing from a group that is there is one thing; a group that is gone another.
    pub(crate) fn failure(&self, action: &'static str, name: &str, error: io::Error) -> Error {
        match Errno::from_io_error(&error) {
            Some(Errno::NODEV) => Error::Gone { path: self.path.clone() },
            Some(Errno::NOENT) if !self.is_alive() => Error::Gone { path: self.path.clone() },
            _ => Error::system(action, &self.place.join(name), error),
        }
    }

    pub(crate) fn malformed(&self, name: &str, text: &str) -> Error {
        Error::Malformed { path: self.place.join(name), text: text.trim_end().to_owned() }
    }
}

/// Lets the children of `dir` have the memory controller (cgroup v2), and `pids` and `cpu` where they are offered.
fn hand_down(dir: &Path) -> Result<()> {
    let group = file::open_dir(dir).map_err(|error| Error::system("open cgroup", dir, error))?;
    let name = "cgroup.subtree_control";
    let enabled =
        file::read(group.as_fd(), name).map_err(|error| Error::system("read", &dir.join(name), error))?;
    let has = |controller: &str| enabled.split_whitespace().any(|enabled| enabled == controller);
    if !has("memory") {
        file::write(group.as_fd(), name, "+memory").map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::BUSY) => Error::InternalProcesses { dir: dir.to_path_buf() },
            // The kernel answers ENOENT for a controller that cgroup.controllers does not list.
            Some(Errno::NOENT) => Error::NotDelegated { dir: dir.to_path_buf() },
            _ => Error::system("write", &dir.join(name), error),
        })?;
    }
    for controller in ["pids", "cpu"].into_iter().filter(|controller| !has(controller)) {
        // Not this crate's controllers: those who limit processes or share out time, as a container's runtime
        // does, find them where they can be had.
        let _ = file::write(group.as_fd(), name, &format!("+{controller}"));
    }
    Ok(())
}
