//! The pause process: holds the namespaces that a Pod's containers share, and does nothing else.
//!
//! It is made directly and not through libcontainer, which takes some 25 ms and a bundle for what is here a
//! handful of calls. It runs as nobody, in an empty root of its own, in its own memory cgroup. With one pid
//! namespace for the Pod it is process 1 there and reaps orphans.

use std::fs;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use memlet_cgroup::{Cgroup, Joiner};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{Gid, Uid};

use super::process::{self, Forked};
use super::protocol::Sandbox;
use crate::state::SandboxFolder;

/// The user that pause runs as, as in Kubernetes' pause image.
const NOBODY: u32 = 65535;

/// Forks the pause process into its cgroup and namespaces. Returns when the namespaces are ready.
pub(crate) fn start(folder: &SandboxFolder, sandbox: &Sandbox, cgroup: &Cgroup) -> io::Result<i32> {
    let joiner = cgroup.joiner().map_err(io::Error::other)?;
    crate::state::make_private_folder(&folder.pause_root())?;
    let (ready, child_end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the supervisor has a single thread.
    match unsafe { process::fork(namespaces(sandbox)) }? {
        Forked::Child => {
            drop(ready);
            run(folder, sandbox, &joiner, child_end)
        }
        Forked::Parent { child } => {
            drop(child_end);
            let mut said = String::new();
            fs::File::from(ready).read_to_string(&mut said)?;
            match said.strip_prefix("ok") {
                Some(_) => Ok(child),
                None if said.is_empty() => {
                    Err(io::Error::other("the pause process died while it was set up"))
                }
                None => Err(io::Error::other(said)),
            }
        }
    }
}

fn namespaces(sandbox: &Sandbox) -> libc::c_int {
    let mut flags = libc::CLONE_NEWNS;
    for (own, flag) in [
        (sandbox.own_network, libc::CLONE_NEWNET),
        (sandbox.own_ipc, libc::CLONE_NEWIPC),
        (sandbox.hostname.is_some(), libc::CLONE_NEWUTS),
        (sandbox.shared_pids, libc::CLONE_NEWPID),
    ] {
        if own {
            flags |= flag;
        }
    }
    flags
}

/// The child: sets itself up, says so, and waits to be told to end.
fn run(folder: &SandboxFolder, sandbox: &Sandbox, joiner: &Joiner, ready: OwnedFd) -> ! {
    let said = match set_up(folder, sandbox, joiner) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let failed = said != "ok";
    let _ = rustix::io::write(&ready, said.as_bytes());
    if failed {
        process::exit_child(1);
    }
    drop(ready);
    // Nothing of the supervisor's stays open: not its socket, not its containers' pipes.
    // SAFETY: no owner of these descriptors is used again in this process, which only waits from here on.
    unsafe { libc::close_range(0, libc::c_uint::MAX, 0) };
    let awaited = [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD];
    loop {
        match process::wait_signal(&awaited) {
            libc::SIGCHLD => while matches!(process::reap(), Ok(Some(_))) {},
            libc::SIGTERM | libc::SIGINT => process::exit_child(0),
            _ => {}
        }
    }
}

fn set_up(folder: &SandboxFolder, sandbox: &Sandbox, joiner: &Joiner) -> io::Result<()> {
    let step = |doing: &'static str| {
        move |error: io::Error| io::Error::new(error.kind(), format!("pause cannot {doing}: {error}"))
    };
    joiner.join().map_err(step("join its memory cgroup"))?;
    process::wish_oom_score_adj(sandbox.oom_score_adj);
    process::reset_signals();
    process::block(&[libc::SIGTERM, libc::SIGINT, libc::SIGCHLD]);
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"pause");
    if let Some(hostname) = &sandbox.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .map_err(io::Error::from)
            .map_err(step("set the host name"))?;
    }
    if sandbox.own_network {
        loopback_up().map_err(step("bring the loopback device up"))?;
    }
    enter_empty_root(folder).map_err(step("enter its empty root"))?;
    rustix::thread::set_no_new_privs(true)?;
    rustix::thread::set_thread_groups(&[]).map_err(io::Error::from).map_err(step("leave root's groups"))?;
    rustix::thread::set_thread_gid(Gid::from_raw(NOBODY))
        .map_err(io::Error::from)
        .map_err(step("become nobody"))?;
    // Leaving uid 0 drops every capability.
    rustix::thread::set_thread_uid(Uid::from_raw(NOBODY))
        .map_err(io::Error::from)
        .map_err(step("become nobody"))?;
    // After the last change of user, which makes the kernel forget it: a sandbox does not outlive its supervisor.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    Ok(())
}

/// A container that shares pids with pause can reach `/proc/1/root`: it must find nothing there.
fn enter_empty_root(folder: &SandboxFolder) -> io::Result<()> {
    let root = folder.pause_root();
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", &root, "tmpfs", flags, Some(c"size=0,mode=0555"))?;
    rustix::process::chdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Brings `lo` up in this process's network namespace: 127.0.0.1 works in every Pod.
fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: an all-zero ifreq is valid; the name fits with its terminator; the ioctls read and write only
    // `request`, which outlives them.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::c_short::try_from(libc::IFF_UP).map_err(io::Error::other)?;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
