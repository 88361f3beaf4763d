//! The daemon's side of a session: asks a supervisor for it, receives its descriptors, hears of its end.
//!
//! What is read and written goes through the descriptors themselves, past the supervisor. Dropping the session ends it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use memlet_diagnosis::evidence::Exit;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::shim::protocol::{Event, Request, SESSIONS_SINCE};
use crate::shim::session::{Descriptor, SessionEvent};
use crate::shim::socket;
use crate::state::SandboxFolder;

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Session {
    stream: UnixStream,
    heard: Vec<u8>,
    received: Vec<OwnedFd>,
}

/// The program's streams, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<Arc<End>>,
    pub(crate) stdout: Option<Arc<End>>,
    pub(crate) stderr: Option<Arc<End>>,
    /// What a size can be set of.
    pub(crate) terminal: Option<Arc<End>>,
}

/// There is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refused {
    pub(crate) reason: String,
    /// As a shell would give it where the program is at fault.
    pub(crate) exit_code: Option<i32>,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self { reason: format!("the container's supervisor does not answer: {error}"), exit_code: None }
    }
}

impl Session {
    /// Asks the supervisor of this sandbox, and waits until the session has begun.
    pub(crate) async fn open(folder: &SandboxFolder, request: &Request) -> Result<(Self, Streams), Refused> {
        let stream = socket::connect(&folder.socket())?;
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        let mut session = Self { stream, heard: Vec::new(), received: Vec::new() };
        session.ask(request).await?;
        match session.next().await? {
            SessionEvent::Opened { descriptors } => {
                let streams = session.take(&descriptors)?;
                Ok((session, streams))
            }
            SessionEvent::Refused { reason, exit_code } => Err(Refused { reason, exit_code }),
            SessionEvent::SessionEnded { exit } => {
                Err(Refused { reason: format!("it ended before it began ({exit:?})"), exit_code: None })
            }
        }
    }

    /// Says that the client has no more input.
    pub(crate) async fn close_stdin(&mut self) -> io::Result<()> {
        self.ask(&Request::CloseStdin).await
    }

    /// Waits for the end. May be called again if it was broken off.
    pub(crate) async fn end(&mut self) -> io::Result<Exit> {
        loop {
            if let SessionEvent::SessionEnded { exit } = self.next().await? {
                return Ok(exit);
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }

    /// The next event of the session. Before it began, the supervisor may have told other things.
    async fn next(&mut self) -> io::Result<SessionEvent> {
        loop {
            while let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                if let Ok(event) = serde_json::from_slice(&line) {
                    return Ok(event);
                }
                if let Ok(Event::Hello { version, .. }) = serde_json::from_slice(&line)
                    && version < SESSIONS_SINCE
                {
                    let text =
                        "it is of an earlier version, which cannot do that: delete and create the Pod anew";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, text));
                }
            }
            let (bytes, descriptors) =
                self.stream.async_io(Interest::READABLE, || receive(&self.stream)).await?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.heard.extend(bytes);
            self.received.extend(descriptors);
        }
    }

    fn take(&mut self, kinds: &[Descriptor]) -> io::Result<Streams> {
        if kinds.len() != self.received.len() {
            return Err(io::Error::other("descriptors are missing; are there any left in this process?"));
        }
        let mut streams = Streams::default();
        for (kind, descriptor) in kinds.iter().zip(self.received.drain(..)) {
            let end = Some(Arc::new(End::new(descriptor)?));
            match kind {
                Descriptor::Stdin => streams.stdin = end,
                Descriptor::Stdout => streams.stdout = end,
                Descriptor::Stderr => streams.stderr = end,
                Descriptor::Terminal => streams.terminal = end,
            }
        }
        if let Some(terminal) = &streams.terminal {
            streams.stdin.get_or_insert_with(|| terminal.clone());
            // Of an attached client it is not: then there is a pipe for what the terminal shows.
            streams.stdout.get_or_insert_with(|| terminal.clone());
        }
        Ok(streams)
    }
}

fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let into = &mut [io::IoSliceMut::new(&mut bytes)];
    let received = recvmsg(stream.as_fd(), into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    bytes.truncate(received.bytes);
    Ok((bytes, descriptors))
}

/// One descriptor of a session.
#[derive(Debug)]
pub(crate) struct End(AsyncFd<OwnedFd>);

impl End {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        // SAFETY: an owned descriptor is the same open one for as long as it lives, and it lives in the `AsyncFd`.
        let registered = unsafe { AsyncFd::register(descriptor) };
        registered.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Reads what is there, waiting for it; 0 at the end.
    pub(crate) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.0.async_io(Interest::READABLE, |descriptor| read(descriptor, into)).await
    }

    /// Reads what is there now; 0 at the end, or where nothing is.
    pub(crate) fn read_now(&self, into: &mut [u8]) -> usize {
        read(self.0.get_ref(), into).unwrap_or(0)
    }

    /// Writes all of it.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |descriptor: &OwnedFd| Ok(rustix::io::write(descriptor, bytes)?);
            let count = self.0.async_io(Interest::WRITABLE, write).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Says how large the client's window is.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }
}

fn read(descriptor: &OwnedFd, into: &mut [u8]) -> io::Result<usize> {
    match rustix::io::read(descriptor, into) {
        // A terminal's other end has closed.
        Err(Errno::IO) => Ok(0),
        read => Ok(read?),
    }
}
