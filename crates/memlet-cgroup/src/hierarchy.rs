//! Where the memory controller is mounted, and every other cgroup hierarchy beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mountinfo::{self, Mount, MountKind};
use crate::{CgroupPath, Error, Result, remove};

/// Which interface the memory controller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// A hierarchy of its own, `memory.limit_in_bytes` and so on.
    V1,
    /// The unified hierarchy, `memory.max` and so on.
    V2,
}

/// Where the memory controller is, and where every other cgroup hierarchy is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hierarchy(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: Version,
    root: PathBuf,
    own_path: Option<CgroupPath>,
    /// The mount points of all hierarchies, the memory controller's among them.
    everywhere: Vec<PathBuf>,
}

impl Hierarchy {
    /// Finds the memory controller of this machine.
    ///
    /// # Errors
    /// [`Error::NoMemoryController`], [`Error::MemoryDisabled`], [`Error::NotDelegated`]; that the filesystem is
    /// read-only shows at [`Cgroup::create`](crate::Cgroup::create).
    pub fn detect() -> Result<Self> {
        let file = Path::new("/proc/self/mountinfo");
        let mountinfo = fs::read_to_string(file).map_err(|error| Error::system("read", file, error))?;
        Self::detect_from(&mountinfo, Path::new("/"))
    }

    /// The same from the text of a `mountinfo`, with every path in it, and `/proc/self/cgroup`, looked up
    /// below `root`.
    ///
    /// # Errors
    /// As [`Hierarchy::detect`].
    pub fn detect_from(mountinfo: &str, root: &Path) -> Result<Self> {
        let mounts = mountinfo::cgroup_mounts(mountinfo);
        let at = |mount: &Mount| root.join(mount.point.strip_prefix("/").unwrap_or(&mount.point));
        let memory = mounts.iter().find(|mount| mount.has_v1_controller("memory"));
        let unified = mounts.iter().find(|mount| mount.kind == MountKind::V2);
        // A controller is in one hierarchy only: where v1 has memory, cgroup2 has not.
        let (version, mount) = match (memory, unified) {
            (Some(mount), _) => (Version::V1, mount),
            (None, Some(mount)) => (Version::V2, mount),
            (None, None) => return Err(Error::NoMemoryController),
        };
        if version == Version::V2 {
            require_memory(&at(mount))?;
        }
        Ok(Self(Arc::new(Inner {
            version,
            root: at(mount),
            own_path: own_path(root, version, &mount.root)?,
            everywhere: mounts.iter().map(at).collect(),
        })))
    }

    /// Which interface the memory controller has here.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// The mount point of the memory controller's hierarchy.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Where this process was in the hierarchy at detection; `None` where that is outside of what is mounted here
    /// (a container that sees only a part).
    pub fn own_path(&self) -> Option<&CgroupPath> {
        self.0.own_path.as_ref()
    }

    /// The mount points of all cgroup hierarchies, the memory controller's among them.
    pub fn mount_points(&self) -> impl Iterator<Item = &Path> {
        self.0.everywhere.iter().map(PathBuf::as_path)
    }

    /// The directory of a group in the memory controller's hierarchy, whether it exists or not.
    pub fn dir(&self, path: &CgroupPath) -> PathBuf {
        path.below(self.root())
    }

    /// Removes `path` and all below it from every hierarchy, deepest first. What is missing is fine.
    ///
    /// Container runtimes on cgroup v1 create the same path in `cpu`, `pids` and so on. All hierarchies are tried
    /// even where one is busy; no process is killed. Waits as
    /// [`Cgroup::remove`](crate::Cgroup::remove) does, once for all hierarchies.
    ///
    /// # Errors
    /// [`Error::Busy`] naming a process inside; [`Error::Refused`] for `/`.
    pub fn remove_everywhere(&self, path: &CgroupPath) -> Result<()> {
        if path.is_root() {
            let reason = "it is the root of everything";
            return Err(Error::Refused { action: "remove", path: path.clone(), reason });
        }
        let patience = remove::Patience::begin();
        let mut first_failure = Ok(());
        for mount_point in self.mount_points() {
            let removed = remove::tree(&path.below(mount_point), &patience);
            first_failure = first_failure.and(removed);
        }
        first_failure
    }
}

/// cgroup2 is there; is the memory controller in it?
fn require_memory(dir: &Path) -> Result<()> {
    let controllers = dir.join("cgroup.controllers");
    let offered =
        fs::read_to_string(&controllers).map_err(|error| Error::system("read", &controllers, error))?;
    if offered.split_whitespace().any(|controller| controller == "memory") {
        return Ok(());
    }
    // Every group has a cgroup.type but the real root: so this is a group to which nobody handed memory.
    if dir.join("cgroup.type").exists() {
        return Err(Error::NotDelegated { dir: dir.to_path_buf() });
    }
    Err(Error::MemoryDisabled { controllers })
}

fn own_path(root: &Path, version: Version, mount_root: &Path) -> Result<Option<CgroupPath>> {
    let file = root.join("proc/self/cgroup");
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::system("read", &file, error)),
    };
    let controller = (version == Version::V1).then_some("memory");
    Ok(mountinfo::own_place(&text, controller)
        .and_then(|place| mountinfo::seen_through(place, mount_root))
        // Above the root of a cgroup namespace the kernel writes "/..", which is no place in it.
        .and_then(|place| place.parse().ok()))
}
