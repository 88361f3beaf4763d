//! The supervisor of one Pod: `memlet shim FOLDER`, a small process with one thread and no async runtime.
//!
//! It makes the pause process ([`pause`]), starts containers through libcontainer ([`launch`]), writes their
//! output to log files ([`log`]), reaps them, reads their cgroups before anything is removed, and tells the
//! daemon ([`protocol`]). It outlives the daemon; what it must not lose it writes to its folder. On connections of
//! their own it runs further programs in containers and attaches clients to them ([`session`]).
//!
//! The daemon's side of the conversation is `crate::supervisor`.

mod audience;
pub(crate) mod cgroup;
mod connection;
mod container;
mod exec;
mod exec_session;
pub mod launch;
pub mod log;
mod losses;
mod pause;
mod process;
pub mod protocol;
pub mod rotation;
pub mod session;
pub mod socket;
mod supervise;
mod tenant;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::state::SandboxFolder;

/// The hidden first argument that makes this program a supervisor.
pub const COMMAND: &str = "shim";

/// What a supervisor is called among the machine's processes.
pub(crate) const NAME: &str = "memlet-shim";

/// Runs the supervisor if the arguments ask for it. Call it first in `main`, before any thread exists.
pub fn main_if_asked(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let _program = arguments.next();
    if arguments.next()? != COMMAND {
        return None;
    }
    let folder = arguments.next()?;
    Some(match supervise::run(SandboxFolder::at(PathBuf::from(folder))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the supervisor's complaint file.
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
            ExitCode::FAILURE
        }
    })
}

/// Waits for one of `signals`. For built-in workloads, which are forked from the supervisor.
pub(crate) fn wait_for_signal(signals: &[i32]) {
    process::block(signals);
    process::wait_signal(signals);
}

/// Makes SIGTERM and SIGINT end this process even as process 1 of a pid namespace, for which the kernel
/// drops signals that have no handler.
pub(crate) fn end_on_termination() {
    process::exit_on(&[libc::SIGTERM, libc::SIGINT]);
}

/// Runs `work` in a forked child and says how the child ended. For processes with a single thread.
pub(crate) fn in_child(work: impl FnOnce() -> i32) -> std::io::Result<String> {
    use memlet_diagnosis::evidence::Exit;

    // SAFETY: a built-in workload is forked from the supervisor and has a single thread, as it has.
    match unsafe { process::fork(0) }? {
        process::Forked::Child => process::exit_child(work()),
        process::Forked::Parent { child } => Ok(match process::wait_for(child)? {
            Exit::Code(code) => format!("exited with {code}"),
            Exit::Signal(signal) => format!("was killed by signal {signal}"),
        }),
    }
}
