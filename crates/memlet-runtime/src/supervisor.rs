//! The daemon's side of a supervisor: starts it, asks it, hears it.

pub(crate) mod remains; // one that this daemon did not start

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::program::Program;
use crate::shim::protocol::{Event, Request};
use crate::shim::{self, socket};
use crate::state::SandboxFolder;

pub(crate) use remains::Remains;

/// The asking half of a conversation with a supervisor; nothing where it had died before this daemon came.
#[derive(Debug)]
pub(crate) struct Supervisor(Option<Mutex<OwnedWriteHalf>>);

/// The hearing half.
#[derive(Debug)]
pub(crate) struct Hearing(Lines<BufReader<OwnedReadHalf>>);

/// The supervisor's process.
#[derive(Debug)]
pub(crate) enum Process {
    /// Started by this daemon.
    Child(Child),
    /// Found running.
    Found(Remains),
}

/// Starts a supervisor for the sandbox described in `folder` and connects to it.
///
/// The socket listens before the supervisor exists, so there is no moment at which connecting fails.
pub(crate) fn start(program: &Program, folder: &SandboxFolder) -> io::Result<(Supervisor, Hearing, Child)> {
    let listener = socket::listen(&folder.socket())?;
    let complaints = std::fs::File::create(folder.complaints())?;
    let mut command = program.command();
    command
        .arg(shim::COMMAND)
        .arg(folder.path())
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::from(complaints))
        .current_dir("/");
    // It leaves the terminal's session by itself: a Ctrl-C there is for the daemon, which ends its Pods in order.
    let mut child = Command::from(command).spawn()?;
    match connect(folder) {
        Ok((supervisor, hearing)) => Ok((supervisor, hearing, child)),
        Err(error) => {
            // It would wait for a daemon for ever.
            let _ = child.start_kill();
            Err(error)
        }
    }
}

/// Connects to a supervisor that runs already.
pub(crate) fn connect(folder: &SandboxFolder) -> io::Result<(Supervisor, Hearing)> {
    let stream = socket::connect(&folder.socket())?;
    stream.set_nonblocking(true)?;
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    Ok((Supervisor(Some(Mutex::new(write))), Hearing(BufReader::new(read).lines())))
}

impl Supervisor {
    /// One that died before this daemon came.
    pub(crate) const fn gone() -> Self {
        Self(None)
    }

    /// Asks; the effect comes as an event.
    pub(crate) async fn ask(&self, request: &Request) -> io::Result<()> {
        let Some(connection) = &self.0 else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        connection.lock().await.write_all(&line).await
    }
}

impl Process {
    /// Kills it if it still runs, and waits until it is gone.
    pub(crate) async fn end(self) {
        match self {
            Self::Child(mut child) => {
                let _ = child.start_kill();
                let _ = child.wait().await;
            }
            // A task that is broken off has nothing left to wait for.
            Self::Found(remains) => drop(tokio::task::spawn_blocking(move || remains.kill()).await),
        }
    }
}

impl Hearing {
    /// The next event; `None` when the supervisor has ended. What a later version of it tells beyond what this program
    /// knows is passed over.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let line = self.0.next_line().await.ok()??;
            match serde_json::from_str(&line) {
                Ok(event) => return Some(event),
                Err(error) => {
                    tracing::error!(%error, line, "a supervisor says what this program does not understand");
                }
            }
        }
    }
}
