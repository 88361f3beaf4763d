//! Starts one container through libcontainer, in a forked child of the supervisor.
//!
//! Why a child: libcontainer changes the process that calls it (score adjustment, dumpability) and needs
//! memory that a supervisor would keep for the life of the Pod. The child creates and starts the container,
//! says how that went, and ends; the container's main process then belongs to the supervisor, which is its
//! subreaper.

use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::pipe::PipeFlags;
use serde::{Deserialize, Serialize};

use super::exec::{self, Unusable};
use super::process::{self, Forked};
use super::protocol::Launch;
use crate::causes::chain;
use crate::state::{ContainerFolder, SandboxFolder};
use crate::workload::Workload;

/// How a launch went, said by the launcher through its pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The main process, started.
    Started(i32),
    /// Why there is none.
    Failed {
        /// What libcontainer says.
        reason: String,
        /// SIGKILL ended a process that was setting the container up.
        killed: bool,
        /// The exit code by which a shell would say that there is no such program, or none that can be run.
        #[serde(default)]
        exit_code: Option<i32>,
    },
}

/// What a container's process gets as its standard streams.
pub(crate) enum Stdio {
    /// Pipes, or `/dev/null` for input.
    Pipes { stdin: OwnedFd, stdout: OwnedFd, stderr: OwnedFd },
    /// A terminal, whose other end comes to the container's console socket.
    Terminal,
}

/// A launch under way: the launcher's pid, and the pipe on which its [`Outcome`] comes.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) pid: i32,
    pub(crate) outcome: OwnedFd,
}

/// Forks the launcher.
pub(crate) fn launch(
    sandbox: &SandboxFolder,
    id: &str,
    launch: &Launch,
    stdio: Stdio,
) -> io::Result<Launcher> {
    let (unusable, saying) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let executor = Payload { workload: None, unusable: Arc::new(saying) };
    fork_launcher(launch.oom_score_adj, || match create_and_start(sandbox, id, launch, stdio, executor) {
        Ok(pid) => Outcome::Started(pid),
        Err(error) => failed(error.as_ref(), Unusable::heard(unusable.as_fd())),
    })
}

/// What became of a launch that failed. A process that said itself what was wrong was not killed for want of memory:
/// libcontainer ended it after that.
pub(super) fn failed(error: &dyn Error, unusable: Option<Unusable>) -> Outcome {
    let killed = a_child_was_killed() && unusable.is_none() && !was_said(error);
    Outcome::Failed {
        reason: unusable.as_ref().map_or_else(|| chain(error), ToString::to_string),
        killed,
        exit_code: unusable.map(|unusable| unusable.exit_code()),
    }
}

/// Whether the process that was setting the container up reported the error: libcontainer's `ChannelError::ExecError`,
/// which its `CreateContainerError` shows and does not give out.
fn was_said(error: &dyn Error) -> bool {
    error.to_string().contains("exec process failed with error")
}

/// Forks a child in which `work` calls libcontainer.
pub(super) fn fork_launcher(oom_score_adj: i32, work: impl FnOnce() -> Outcome) -> io::Result<Launcher> {
    let (outcome, said) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: the supervisor has a single thread.
    match unsafe { process::fork(0) }? {
        Forked::Parent { child } => {
            rustix::io::ioctl_fionbio(&outcome, true)?;
            Ok(Launcher { pid: child, outcome })
        }
        Forked::Child => {
            process::reset_signals();
            process::wish_oom_score_adj(oom_score_adj);
            let outcome = match process::leave_session_keyring() {
                Ok(()) => work(),
                Err(error) => {
                    let reason = format!("cannot make a session keyring: {error}");
                    Outcome::Failed { reason, killed: false, exit_code: None }
                }
            };
            let text = serde_json::to_vec(&outcome).unwrap_or_default();
            let _ = rustix::io::write(&said, &text);
            process::exit_child(0)
        }
    }
}

fn create_and_start(
    sandbox: &SandboxFolder,
    id: &str,
    launch: &Launch,
    stdio: Stdio,
    executor: Payload,
) -> Result<i32, Box<dyn Error>> {
    let folder = sandbox.container(id);
    let workload = match &launch.builtin {
        Some(name) => Some(Workload::find(name).ok_or("there is no such built-in image")?),
        None => None,
    };
    // libcontainer asks for a folder that does not hold the bundle.
    let root = folder.path().join("libcontainer");
    fs::create_dir_all(&root)?;
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(&root)?
        .with_executor(Payload { workload, ..executor });
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
        }
        Stdio::Terminal => builder = builder.with_console_socket(Some(folder.console_socket())),
    }
    let mut container = builder.as_init(folder.path()).with_systemd(false).with_detach(true).build()?;
    container.start()?;
    let pid = container.pid().ok_or("the container has no process")?;
    Ok(pid.as_raw())
}

/// Whether SIGKILL ended one of this launcher's children. libcontainer only sees that they fell silent, and
/// has removed the cgroup with its counters by now.
pub(super) fn a_child_was_killed() -> bool {
    std::iter::from_fn(|| process::reap().ok().flatten()).any(|(_, exit)| exit.is_sigkill())
}

/// What runs as the container's main process. What is wrong with the program is said on a pipe: libcontainer would make
/// other words of it.
#[derive(Clone)]
struct Payload {
    workload: Option<Workload>,
    unusable: Arc<OwnedFd>,
}

impl Executor for Payload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        match self.workload {
            Some(workload) => run_workload(workload, spec),
            None => Err(ExecutorError::Execution(Box::new(exec::execute(spec)))),
        }
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        if self.workload.is_some() { Ok(()) } else { exec::validate(spec, self.unusable.as_fd()) }
    }
}

/// Becomes a built-in workload.
pub(super) fn run_workload(workload: Workload, spec: &Spec) -> ! {
    // No exec follows that would close what came from the supervisor.
    // SAFETY: no owner of a descriptor above 2 is used again in this process.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    let arguments = spec.process().as_ref().and_then(|process| process.args().clone());
    process::exit_child(workload.run(&arguments.unwrap_or_default()))
}

/// Receives the terminal's other end from the console socket, to which the container connected by now.
pub(crate) fn receive_terminal(listener: &std::os::unix::net::UnixListener) -> io::Result<OwnedFd> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    let (socket, _) = listener.accept()?;
    let mut bytes = [0; 256];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket.as_fd(), &mut [io::IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::other("the container sent no terminal"))
}

/// Removes what libcontainer left in the bundle's folder; the cgroups are the caller's.
pub(crate) fn forget(folder: &ContainerFolder) {
    let _ = fs::remove_dir_all(folder.path().join("libcontainer"));
}
