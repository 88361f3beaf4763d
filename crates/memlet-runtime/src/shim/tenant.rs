//! Runs one more program in a running container, through libcontainer, in a forked child of the supervisor as
//! [`super::launch`] does.
//!
//! It joins the container's namespaces and cgroup, and gets the container's user, environment, folder, capabilities and
//! limits, which all come from the container's own spec. Until it is that program it is the supervisor's sealed copy.

use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::pipe::PipeFlags;

use super::exec::{self, Unusable};
use super::launch::{self, Launcher, Outcome, Stdio};
use super::protocol::Launch;
use super::session::Exec;
use crate::state::{self, ContainerFolder};
use crate::workload::Workload;

/// The files of one launch, in a folder that is removed when it is over: libcontainer leaves some in the container's own.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder, with the container's state in it as libcontainer looks for that.
    pub(super) fn make(folder: &ContainerFolder, number: u64) -> io::Result<Self> {
        let id = folder.path().file_name().ok_or_else(|| io::Error::other("its folder has no name"))?;
        let scratch = Self(folder.exec(number));
        state::make_private_folder(&scratch.0.join(id))?;
        let kept = folder.path().join("libcontainer").join(id).join("state.json");
        fs::copy(kept, scratch.0.join(id).join("state.json"))?;
        Ok(scratch)
    }

    /// Where the program's terminal is received.
    pub(super) fn console(&self) -> PathBuf {
        self.0.join("console.sock")
    }

    fn process(&self) -> PathBuf {
        self.0.join("process.json")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Forks the launcher of a program in this container.
pub(super) fn launch(
    folder: &ContainerFolder,
    launch: &Launch,
    exec: &Exec,
    scratch: &Scratch,
    stdio: Stdio,
) -> io::Result<Launcher> {
    describe(folder, exec, &scratch.process())?;
    launch::fork_launcher(launch.oom_score_adj, || {
        join(folder, launch, exec, scratch, stdio)
            .unwrap_or_else(|error| launch::failed(error.as_ref(), None))
    })
}

/// Writes the process as libcontainer reads it: the container's own, with another command.
fn describe(folder: &ContainerFolder, exec: &Exec, to: &Path) -> io::Result<()> {
    let spec: Spec = state::read_json(&folder.spec())?;
    let mut process = spec.process().clone().ok_or_else(|| io::Error::other("its spec has no process"))?;
    process.set_args(Some(exec.command.clone()));
    process.set_terminal(Some(exec.tty));
    if exec.tty {
        let mut environment = process.env().clone().unwrap_or_default();
        if !environment.iter().any(|entry| entry.starts_with("TERM=")) {
            environment.push("TERM=xterm".to_owned());
        }
        process.set_env(Some(environment));
    }
    state::write_json(to, &process)
}

fn join(
    folder: &ContainerFolder,
    launch: &Launch,
    exec: &Exec,
    scratch: &Scratch,
    stdio: Stdio,
) -> Result<Outcome, Box<dyn Error>> {
    let id = folder.path().file_name().and_then(|name| name.to_str()).ok_or("its folder has no name")?;
    // The only program in a built-in image is its own.
    let own = launch.builtin.as_deref().filter(|name| exec.command.first().is_some_and(|word| word == name));
    let workload = own.and_then(Workload::find);
    let (unusable, saying) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut builder = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(&scratch.0)?
        .with_executor(Program { workload, unusable: Arc::new(saying) });
    match stdio {
        Stdio::Pipes { stdin, stdout, stderr } => {
            builder = builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr);
        }
        Stdio::Terminal => builder = builder.with_console_socket(Some(scratch.console())),
    }
    let joined = builder.as_tenant().with_process(Some(scratch.process())).with_detach(true).build();
    Ok(match joined {
        Ok(pid) => Outcome::Started(pid.as_raw()),
        Err(error) => launch::failed(&error, Unusable::heard(unusable.as_fd())),
    })
}

/// What runs as the joining process. What is wrong with the program is said on a pipe: libcontainer would make other
/// words of it.
#[derive(Clone)]
struct Program {
    workload: Option<Workload>,
    unusable: Arc<OwnedFd>,
}

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        if let Some(workload) = self.workload {
            launch::run_workload(workload, spec);
        }
        let unusable = exec::become_program(spec);
        unusable.say(self.unusable.as_fd());
        Err(ExecutorError::Execution(Box::new(unusable)))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        if self.workload.is_some() {
            return Ok(());
        }
        exec::validate(spec, self.unusable.as_fd())
    }
}
