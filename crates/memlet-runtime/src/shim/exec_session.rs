//! One program that a client runs in a container, from its launch to its end.
//!
//! Its streams are the daemon's: the supervisor makes the pipes, or receives the terminal, and hands them over. What is
//! left here is to launch, to reap, and to end what nobody listens to any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use memlet_diagnosis::evidence::Exit;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::connection::Connection;
use super::container::read_available;
use super::launch::{self, Launcher, Outcome, Stdio};
use super::process;
use super::protocol::{Launch, Request};
use super::session::{Descriptor, Exec, SessionEvent};
use super::socket;
use super::tenant::{self, Scratch};
use crate::state::ContainerFolder;

/// The daemon's ends of a program's streams.
type Ends = Vec<(Descriptor, OwnedFd)>;

#[derive(Debug)]
enum Life {
    Launching {
        launcher: Launcher,
        said: Vec<u8>,
        launcher_ended: bool,
        ends: Ends,
        console: Option<UnixListener>,
        /// Removed with this.
        scratch: Scratch,
    },
    Running {
        pid: i32,
    },
    Over,
}

/// A session of `exec`.
#[derive(Debug)]
pub(super) struct ExecSession {
    connection: Connection,
    life: Life,
}

impl ExecSession {
    /// Begins to launch the program; refused sessions are told so and are over.
    pub(super) fn begin(
        mut connection: Connection,
        folder: &ContainerFolder,
        launch: &Launch,
        exec: &Exec,
        number: u64,
    ) -> Self {
        let life = begin_launch(folder, launch, exec, number).unwrap_or_else(|error| {
            connection.tell(&SessionEvent::Refused { reason: error.to_string(), exit_code: None });
            Life::Over
        });
        Self { connection, life }
    }

    /// The session of a container that does not run.
    pub(super) fn refuse(mut connection: Connection, reason: &str) -> Self {
        connection.tell(&SessionEvent::Refused { reason: reason.to_owned(), exit_code: None });
        Self { connection, life: Life::Over }
    }

    /// The program's process, while it runs.
    pub(super) fn pid(&self) -> Option<i32> {
        match self.life {
            Life::Running { pid } => Some(pid),
            _ => None,
        }
    }

    /// The launcher that is still at work.
    pub(super) fn launcher(&self) -> Option<i32> {
        match &self.life {
            Life::Launching { launcher, .. } => Some(launcher.pid),
            _ => None,
        }
    }

    /// Its launcher has been reaped.
    pub(super) fn note_launcher_end(&mut self) {
        if let Life::Launching { launcher_ended, .. } = &mut self.life {
            *launcher_ended = true;
        }
    }

    /// What to wait for, besides the connection.
    pub(super) fn outcome(&self) -> Option<BorrowedFd<'_>> {
        match &self.life {
            Life::Launching { launcher, .. } => Some(launcher.outcome.as_fd()),
            _ => None,
        }
    }

    /// Its connection.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Reads how the launch went as far as that is known; the program's pid, once.
    pub(super) fn launched(&mut self) -> Option<i32> {
        let Life::Launching { launcher, said, launcher_ended, .. } = &mut self.life else { return None };
        if !read_available(&launcher.outcome, said) && !*launcher_ended {
            return None;
        }
        let outcome = serde_json::from_slice(said).unwrap_or_else(|_| Outcome::Failed {
            reason: "the process that was to start it died without a word".to_owned(),
            killed: false,
            exit_code: None,
        });
        let Life::Launching { ends, console, scratch: _scratch, .. } =
            std::mem::replace(&mut self.life, Life::Over)
        else {
            return None;
        };
        match outcome {
            Outcome::Started(pid) => {
                self.life = Life::Running { pid };
                self.hand_over(ends, console.as_ref());
                Some(pid)
            }
            Outcome::Failed { reason, killed, exit_code } => {
                let reason = if killed {
                    format!("it was killed before its program began: out of memory? ({reason})")
                } else {
                    reason
                };
                self.connection.tell(&SessionEvent::Refused { reason, exit_code });
                None
            }
        }
    }

    fn hand_over(&mut self, mut ends: Ends, console: Option<&UnixListener>) {
        if let Some(console) = console {
            match launch::receive_terminal(console) {
                Ok(terminal) => ends.push((Descriptor::Terminal, terminal)),
                Err(error) => {
                    let reason = format!("its terminal is lost: {error}");
                    self.connection.tell(&SessionEvent::Refused { reason, exit_code: None });
                    return;
                }
            }
        }
        let descriptors = ends.iter().map(|(kind, _)| *kind).collect();
        let borrowed: Vec<_> = ends.iter().map(|(_, end)| end.as_fd()).collect();
        self.connection.hand_over(&SessionEvent::Opened { descriptors }, &borrowed);
    }

    /// The program has ended.
    pub(super) fn ended(&mut self, exit: Exit) {
        self.life = Life::Over;
        self.connection.tell(&SessionEvent::SessionEnded { exit });
    }

    /// Hears the connection; a session that nobody listens to ends. Whether it is to be kept.
    pub(super) fn go_on(&mut self) -> bool {
        self.connection.write_on();
        // Nothing is asked of a running session: its end is the connection's.
        let _: Vec<Request> = self.connection.requests();
        if !self.connection.is_broken() {
            return true;
        }
        match self.life {
            Life::Running { pid } => {
                // It leads a session of its own, and with it a process group.
                process::signal(-pid, libc::SIGKILL);
                process::signal(pid, libc::SIGKILL);
                true
            }
            Life::Launching { .. } => true,
            Life::Over => false,
        }
    }
}

fn begin_launch(folder: &ContainerFolder, launch: &Launch, exec: &Exec, number: u64) -> io::Result<Life> {
    let (given, ends) = if exec.tty { (Stdio::Terminal, Vec::new()) } else { pipes(exec)? };
    let scratch = Scratch::make(folder, number)?;
    let console = exec.tty.then(|| socket::listen(&scratch.console())).transpose()?;
    let launcher = tenant::launch(folder, launch, exec, &scratch, given)?;
    Ok(Life::Launching { launcher, said: Vec::new(), launcher_ended: false, ends, console, scratch })
}

/// Pipes for the three streams, or `/dev/null` for input.
fn pipes(exec: &Exec) -> io::Result<(Stdio, Ends)> {
    let (from_stdout, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (from_stderr, stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let mut ends = vec![(Descriptor::Stdout, from_stdout), (Descriptor::Stderr, from_stderr)];
    let stdin = if exec.stdin {
        let (stdin, to_stdin) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        ends.push((Descriptor::Stdin, to_stdin));
        stdin
    } else {
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
    };
    Ok((Stdio::Pipes { stdin, stdout, stderr }, ends))
}
