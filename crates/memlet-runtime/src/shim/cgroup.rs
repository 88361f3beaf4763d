//! The cgroups that a supervisor makes: of pause, of each container.
//!
//! Below a slice of systemd's they are in scopes, which systemd makes around a process. A scope is gone as soon as the
//! last process in it is, and with it the counters that tell how a container ended. So a process that does nothing holds
//! it, beside the container's own cgroup, which is below the scope and so not systemd's.

use std::io;

use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};
use memlet_policy::cgroup_names::is_in_scope;
use memlet_systemd::{Manager, Scope};

use super::container::told;
use super::process::{self, Forked};
use crate::causes::chain;

/// Below a scope, the process that holds it.
const HOLDER: &str = "holder";

/// Makes a cgroup below the Pod's. The kernel charges its own memory for it to the Pod: a limit of some KiB
/// does not even hold that.
pub(crate) fn make_cgroup(hierarchy: &Hierarchy, path: &CgroupPath) -> io::Result<Cgroup> {
    if let Some(scope) = scope_of(path) {
        start_scope(hierarchy, &scope)?;
    }
    Cgroup::create(hierarchy, path).map_err(|error| match &error {
        memlet_cgroup::Error::Io { source, .. } if source.raw_os_error() == Some(libc::ENOMEM) => {
            io::Error::other(format!(
                "the Pod's memory limit leaves no room to start anything (memory limit too low?): {}",
                chain(&error)
            ))
        }
        _ => told(error),
    })
}

/// The scope in which a container's cgroup is.
pub(crate) fn scope_of(path: &CgroupPath) -> Option<CgroupPath> {
    path.parent().filter(|outer| is_in_scope(outer.name(), path.name()))
}

/// Has systemd make a scope, and leaves nothing in it but its holder, so that it can have cgroups below.
fn start_scope(hierarchy: &Hierarchy, path: &CgroupPath) -> io::Result<()> {
    let slice = path.parent().unwrap_or_else(CgroupPath::root);
    let holder = fork_holder()?;
    let started = Manager::connect().and_then(|mut systemd| {
        systemd.start_scope(Scope {
            name: path.name(),
            slice: slice.name(),
            description: "container of memlet",
            process: holder.unsigned_abs(),
        })
    });
    let started = started.map_err(told).and_then(|()| {
        let scope = Cgroup::open(hierarchy, path).map_err(told)?;
        scope.move_down(HOLDER).map_err(told)
    });
    if started.is_err() {
        process::signal(holder, libc::SIGKILL);
    }
    started
}

/// A process that waits for its end, which comes with the scope's, or with the supervisor's.
fn fork_holder() -> io::Result<i32> {
    // SAFETY: the supervisor has a single thread.
    match unsafe { process::fork(0) }? {
        Forked::Parent { child } => Ok(child),
        Forked::Child => {
            process::reset_signals();
            let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
            let _ = rustix::thread::set_name(c"scope-holder");
            // SAFETY: no owner of these descriptors is used again in this process, which only waits from here on.
            unsafe { libc::close_range(0, libc::c_uint::MAX, 0) };
            process::block(&[libc::SIGTERM]);
            process::wait_signal(&[libc::SIGTERM]);
            process::exit_child(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_a_scope_has_one() {
        let scope = |path: &str| scope_of(&path.parse().unwrap()).map(|scope| scope.to_string());
        assert_eq!(
            scope("/a.slice/cri-containerd-1.scope/container").as_deref(),
            Some("/a.slice/cri-containerd-1.scope")
        );
        assert_eq!(scope("/kubepods/pod1/1"), None);
        assert_eq!(scope("/kubepods/pod1/container"), None);
    }
}
