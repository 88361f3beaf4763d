//! What can go wrong with a memory cgroup, each with the thing, the reason and the way out.

use std::io;
use std::path::{Path, PathBuf};

use memlet_bytes::Bytes;
use rustix::io::Errno;

use crate::{CgroupPath, Limit, ParsePathError, Pid};

/// Why something could not be done to, or learnt of, a memory cgroup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither cgroup v1's memory hierarchy nor cgroup2 is mounted.
    #[error(
        "no memory controller: neither a cgroup v1 memory hierarchy nor cgroup2 is mounted; \
         mount one (mount -t cgroup2 none /sys/fs/cgroup), or give this container the host's /sys/fs/cgroup"
    )]
    NoMemoryController,
    /// cgroup2 is mounted, but the kernel does not offer the memory controller in it.
    #[error(
        "the kernel offers no memory controller: {} does not list it; \
         boot with cgroup_enable=memory, and without cgroup_disable=memory", controllers.display()
    )]
    MemoryDisabled {
        /// The `cgroup.controllers` that lacks it.
        controllers: PathBuf,
    },
    /// The cgroup namespace begins in a group to which the group above did not hand the memory controller.
    #[error(
        "the memory controller is not delegated to {}: its cgroup.controllers does not list it; \
         outside, write +memory to the cgroup.subtree_control of the group above (systemd: Delegate=yes)",
        dir.display()
    )]
    NotDelegated {
        /// The root of the visible hierarchy.
        dir: PathBuf,
    },
    /// cgroup v2 hands no controller to the children of a group that has processes of its own.
    #[error(
        "{} cannot hand the memory controller to its children while it has processes of its own (cgroup v2); \
         move them to a child group first, or start below another group", dir.display()
    )]
    InternalProcesses {
        /// The group with the processes.
        dir: PathBuf,
    },
    /// cgroup v2 takes no process into a group that handed controllers to its children.
    #[error(
        "no process can be in cgroup {path}: it has handed the memory controller to groups below it (cgroup v2); \
         use a group below it that has none itself"
    )]
    NotALeaf {
        /// The group with groups below it.
        path: CgroupPath,
    },
    /// The cgroup filesystem is mounted read-only.
    #[error(
        "{} is on a read-only cgroup filesystem; remount it (mount -o remount,rw), \
         or run the container privileged or with a writable cgroup mount", path.display()
    )]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// This user may not do it.
    #[error("not permitted to {action} {}; run as root, or have the cgroup delegated to this user", path.display())]
    NotPermitted {
        /// What was tried: "read", "write", …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The group does not exist, or no longer. See [`Error::is_gone`].
    #[error("cgroup {path} does not exist, or no longer; it has to be created first")]
    Gone {
        /// The group that is gone.
        path: CgroupPath,
    },
    /// The directory exists but has no memory files.
    #[error("cgroup {path} has no {file}: the memory controller is not enabled for it")]
    NoMemoryFiles {
        /// The group without them.
        path: CgroupPath,
        /// The file that was looked for.
        file: &'static str,
    },
    /// cgroup v1 refused a limit because what is charged already cannot be reclaimed below it.
    #[error(
        "cgroup {path} uses {} and cannot be limited to {limit}: the kernel could not reclaim enough; \
         stop processes in it or choose a higher limit",
        usage.map_or_else(|| "more".to_owned(), |usage| usage.to_string())
    )]
    LimitBelowUsage {
        /// The group.
        path: CgroupPath,
        /// The limit that was refused.
        limit: Limit,
        /// What is charged, where it could be read.
        usage: Option<Bytes>,
    },
    /// cgroup v1 requires: limit of memory ≤ limit of memory and swap together.
    #[error(
        "cgroup {path} cannot be limited to {limit}: with cgroup v1 memory must not exceed memory plus swap \
         ({file}); set both with set_limits"
    )]
    LimitsOutOfOrder {
        /// The group.
        path: CgroupPath,
        /// The limit that was refused.
        limit: Limit,
        /// The file that was written.
        file: &'static str,
    },
    /// The group has members or children, so it cannot be removed.
    #[error("cgroup {} is busy: {}; stop it first", dir.display(), inhabitant(*pid, comm.as_deref()))]
    Busy {
        /// The directory of the group.
        dir: PathBuf,
        /// One process inside, where one is visible from this pid namespace.
        pid: Option<Pid>,
        /// Its command name.
        comm: Option<String>,
    },
    /// The operation would end or remove the calling process or the whole hierarchy.
    #[error("refusing to {action} cgroup {path}: {reason}")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The group.
        path: CgroupPath,
        /// Why it is not done.
        reason: &'static str,
    },
    /// The kernel wrote something this crate does not understand.
    #[error("cannot understand {:?} in {}; please report it with the kernel's version", text, path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The piece that was not understood.
        text: String,
    },
    /// A place that is none.
    #[error(transparent)]
    Path(#[from] ParsePathError),
    /// Anything else the system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: "read", "write", …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// Whether the group went away: for most callers an ordinary end, not a failure. A file that this kernel does
    /// not have, in a group that is there, is not meant.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }

    /// Whether a file is missing, or does nothing, on this kernel, in a group that is there.
    pub(crate) fn is_missing_file(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOENT | Errno::OPNOTSUPP))
    }

    /// Sorts a system's answer into the variants that have a way out of their own.
    pub(crate) fn system(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_path_buf(), source.into());
        match Errno::from_io_error(&source) {
            Some(Errno::ROFS) => Self::ReadOnly { path },
            Some(Errno::ACCESS | Errno::PERM) => Self::NotPermitted { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }
}

fn inhabitant(pid: Option<Pid>, comm: Option<&str>) -> String {
    match (pid, comm) {
        (Some(pid), Some(comm)) => format!("process {pid} ({comm}) is in it"),
        (Some(pid), None) => format!("process {pid} is in it"),
        (None, _) => "something in it does not end, or lives in another pid namespace".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    fn path() -> CgroupPath {
        "/kubepods/pod1".parse().unwrap()
    }

    #[test]
    fn sorts_the_systems_answers() {
        let file = Path::new("/sys/fs/cgroup/a/memory.max");
        let sorted = |errno| Error::system("write", file, errno);
        assert!(matches!(sorted(Errno::ROFS), Error::ReadOnly { .. }));
        for refused in [Errno::ACCESS, Errno::PERM] {
            assert!(matches!(sorted(refused), Error::NotPermitted { .. }));
        }
        assert!(matches!(sorted(Errno::INVAL), Error::Io { .. }));
        assert!(sorted(Errno::NOENT).is_missing_file() && sorted(Errno::OPNOTSUPP).is_missing_file());
        assert!(!sorted(Errno::NOENT).is_gone(), "a file that is missing is not a group that is gone");
        assert!(Error::Gone { path: path() }.is_gone());
    }

    #[test]
    fn names_the_thing_the_reason_and_the_way_out() {
        let denied = Error::system("write", Path::new("/sys/fs/cgroup/a/memory.max"), Errno::ACCESS);
        insta::assert_snapshot!(denied, @"not permitted to write /sys/fs/cgroup/a/memory.max; run as root, or have the cgroup delegated to this user");
        assert!(denied.source().is_some(), "the cause is told once, as the source");

        let (limit, usage) = (Limit::Bytes(Bytes::from_mib(4)), Some(Bytes::from_mib(17)));
        let refused = Error::LimitBelowUsage { path: path(), limit, usage };
        insta::assert_snapshot!(refused, @"cgroup /kubepods/pod1 uses 17Mi and cannot be limited to 4Mi: the kernel could not reclaim enough; stop processes in it or choose a higher limit");
        let refused = Error::LimitBelowUsage { path: path(), limit, usage: None };
        assert!(refused.to_string().contains("uses more and cannot"));

        let file = "memory.limit_in_bytes";
        insta::assert_snapshot!(Error::LimitsOutOfOrder { path: path(), limit, file }, @"cgroup /kubepods/pod1 cannot be limited to 4Mi: with cgroup v1 memory must not exceed memory plus swap (memory.limit_in_bytes); set both with set_limits");
        insta::assert_snapshot!(Error::NotALeaf { path: path() }, @"no process can be in cgroup /kubepods/pod1: it has handed the memory controller to groups below it (cgroup v2); use a group below it that has none itself");

        let busy = |pid, comm: Option<&str>| {
            let (dir, comm) = (PathBuf::from("/sys/fs/cgroup/a"), comm.map(str::to_owned));
            Error::Busy { dir, pid, comm }.to_string()
        };
        let pid = Some(Pid::from(7));
        insta::assert_snapshot!(busy(pid, Some("sleep")), @"cgroup /sys/fs/cgroup/a is busy: process 7 (sleep) is in it; stop it first");
        insta::assert_snapshot!(busy(pid, None), @"cgroup /sys/fs/cgroup/a is busy: process 7 is in it; stop it first");
        insta::assert_snapshot!(busy(None, None), @"cgroup /sys/fs/cgroup/a is busy: something in it does not end, or lives in another pid namespace; stop it first");
    }
}
