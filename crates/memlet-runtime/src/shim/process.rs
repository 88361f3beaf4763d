//! The few process calls that std and rustix leave out: fork, signal masks, a descriptor for signals.
//!
//! All of them are sound only because a supervisor has a single thread.

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use memlet_diagnosis::evidence::{Exit, OomScoreAdj};

/// Who one is after a fork.
pub(crate) enum Forked {
    Parent { child: i32 },
    Child,
}

/// Forks this process, with `namespaces` (`CLONE_NEW…`) new for the child.
///
/// # Safety
/// The process must have a single thread: the child runs ordinary Rust code, and a lock held by another
/// thread would stay locked in it for ever.
pub(crate) unsafe fn fork(namespaces: libc::c_int) -> io::Result<Forked> {
    let flags = libc::c_ulong::try_from(namespaces | libc::SIGCHLD).map_err(io::Error::other)?;
    // SAFETY: no new stack, no thread-local storage and no pointers are handed over, so this acts as fork(2)
    // with namespaces; the caller promises a single thread.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        child => Ok(Forked::Parent { child: i32::try_from(child).map_err(io::Error::other)? }),
    }
}

/// Gives this process a session keyring of its own, so that what it becomes does not find the keys of whoever started
/// the daemon, nor those of other containers. A kernel without keys has none to find.
pub(crate) fn leave_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the command takes a name, and null asks for a keyring without one.
    let joined =
        unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
    match io::Error::last_os_error() {
        error if joined == -1 && error.raw_os_error() != Some(libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Ends a forked child at once: no destructors, no `atexit`, which belong to the parent.
pub(crate) fn exit_child(code: i32) -> ! {
    // SAFETY: _exit takes any code and does not return.
    unsafe { libc::_exit(code) }
}

fn set_of(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set it is given; sigaddset gets an initialised set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Blocks SIGCHLD and SIGTERM, and makes a descriptor that becomes readable when a child has ended or this process is
/// to end: whoever finds a supervisor without a socket ends its Pod by a TERM.
pub(crate) fn awaited_signals() -> io::Result<OwnedFd> {
    let set = set_of(&[libc::SIGCHLD, libc::SIGTERM]);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: -1 asks for a new descriptor; `set` is initialised.
    match unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel just made this descriptor; nobody else owns it.
        descriptor => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
    }
}

/// The next signal that came by [`awaited_signals`].
pub(crate) fn next_signal(signals: &OwnedFd) -> Option<libc::c_int> {
    // What the kernel writes of one signal; its number comes first.
    let mut space = [0; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(signals, &mut space).ok()?;
    let number = space.first_chunk().filter(|_| count > 0)?;
    Some(u32::from_ne_bytes(*number).cast_signed())
}

/// Gives a forked child the signal state that programs expect: nothing blocked, nothing ignored, whatever
/// this process inherited (`nohup`) or Rust's runtime set (SIGPIPE).
pub(crate) fn reset_signals() {
    let none = set_of(&[]);
    // SAFETY: `none` is initialised; SIG_DFL is a valid disposition, and refused for what has no other.
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Rids this process of what its caller happened to have: a narrow umask, open descriptors beyond the
/// standard three, which a container would keep open for its whole life. Only at a process's very start.
pub(crate) fn shed_inheritance() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // SAFETY: nothing has been opened by this process yet, so nobody owns a descriptor above 2.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
}

/// Waits for one of `signals`, all of which must be blocked.
pub(crate) fn wait_signal(signals: &[libc::c_int]) -> libc::c_int {
    let set = set_of(signals);
    // SAFETY: `set` is initialised; no details are asked for.
    unsafe { libc::sigwaitinfo(&raw const set, std::ptr::null_mut()) }
}

/// Blocks `signals`, so that [`wait_signal`] receives them.
pub(crate) fn block(signals: &[libc::c_int]) {
    let set = set_of(signals);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// A child that has ended, reaped; `None` when none has.
pub(crate) fn reap() -> io::Result<Option<(i32, Exit)>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
        0 => Ok(None),
        -1 => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        },
        pid if libc::WIFSIGNALED(status) => Ok(Some((pid, Exit::Signal(libc::WTERMSIG(status))))),
        pid => Ok(Some((pid, Exit::Code(libc::WEXITSTATUS(status))))),
    }
}

/// Waits for this child and reaps it.
pub(crate) fn wait_for(child: i32) -> io::Result<Exit> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(child, &raw mut status, 0) } {
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
            _ if libc::WIFSIGNALED(status) => return Ok(Exit::Signal(libc::WTERMSIG(status))),
            _ => return Ok(Exit::Code(libc::WEXITSTATUS(status))),
        }
    }
}

/// Makes each of `signals` end this process with 128 + its number, which is what a shell shows for it.
pub(crate) fn exit_on(signals: &[libc::c_int]) {
    extern "C" fn exit(signal: libc::c_int) {
        exit_child(128 + signal);
    }
    for signal in signals {
        // SAFETY: the handler only calls _exit, which is safe in a signal handler.
        unsafe { libc::signal(*signal, exit as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

/// Sends a signal to a child of this process that has not been reaped, so its pid is still its own.
pub(crate) fn signal(child: i32, signal: i32) {
    // SAFETY: kill takes any numbers; a child that has just ended ignores the signal.
    unsafe { libc::kill(child, signal) };
}

/// Orphans of containers come to this process, which reaps them.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Sets this process's own score adjustment as far as the kernel allows. Lowering it below what it was last
/// set to by a privileged process needs `CAP_SYS_RESOURCE`; without it, the value stays and the difference
/// shows in [`oom_score_adj_of`].
pub(crate) fn wish_oom_score_adj(wanted: i32) {
    let _ = fs::write("/proc/self/oom_score_adj", wanted.to_string());
}

/// What `pid` has, beside what it should have.
pub(crate) fn oom_score_adj_of(pid: i32, wanted: i32) -> OomScoreAdj {
    let actual = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"));
    OomScoreAdj { wanted, actual: actual.ok().and_then(|text| text.trim().parse().ok()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keyrings are a thread's, so the test's own stays as it is.
    #[test]
    fn a_session_keyring_is_ones_own() {
        let number = || {
            const GET_KEYRING_ID: libc::c_long = 0;
            const SESSION_KEYRING: libc::c_long = -3;
            // SAFETY: the command takes a keyring's number and whether to make it.
            unsafe { libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0) }
        };
        let before = number();
        let [first, second] = [(); 2].map(|()| {
            let joined = std::thread::spawn(move || {
                leave_session_keyring().unwrap();
                number()
            });
            joined.join().unwrap()
        });
        assert!(first > 0 && first != before && first != second, "{before} {first} {second}");
        assert_eq!(number(), before);
    }
}
