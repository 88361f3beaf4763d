//! One daemon's connection to the supervisor: lines in, lines out, never blocking.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;

use super::container::complain;
use super::protocol::Request;

/// A daemon that reads nothing while this much waits for it is given up; it may connect again.
const MOST_WAITING: usize = 1 << 20;

/// A connection, with what has been half read and half written.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    broken: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, incoming: Vec::new(), outgoing: Vec::new(), broken: false })
    }

    /// Whether the daemon has gone or stopped reading.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether something waits for the daemon to read on.
    pub(crate) fn has_more_to_say(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Tells an event.
    pub(crate) fn tell(&mut self, event: &impl Serialize) {
        match serde_json::to_vec(event) {
            Ok(line) => {
                self.outgoing.extend_from_slice(&line);
                self.outgoing.push(b'\n');
            }
            Err(_) => self.broken = true,
        }
        self.write_on();
        self.broken |= self.outgoing.len() > MOST_WAITING;
    }

    /// Tells an event with descriptors, at most three, which come with its first byte.
    pub(crate) fn hand_over(&mut self, event: &impl Serialize, descriptors: &[BorrowedFd<'_>]) {
        let Ok(mut line) = serde_json::to_vec(event) else {
            self.broken = true;
            return;
        };
        line.push(b'\n');
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        // A session's connection has said next to nothing so far: what does not go out at once never will.
        let sent = fits && self.outgoing.is_empty();
        let sent = sent
            && sendmsg(self.stream.as_fd(), &[IoSlice::new(&line)], &mut ancillary, SendFlags::NOSIGNAL)
                .is_ok_and(|count| count == line.len());
        self.broken |= !sent;
    }

    /// Writes as much of what waits as the socket takes.
    pub(crate) fn write_on(&mut self) {
        while !self.outgoing.is_empty() && !self.broken {
            match self.stream.write(&self.outgoing) {
                Ok(0) => self.broken = true,
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
    }

    /// The requests that have arrived whole. What this supervisor does not know, a later daemon asks; it is passed over.
    pub(crate) fn requests(&mut self) -> Vec<Request> {
        let mut space = [0; 4096];
        loop {
            match self.stream.read(&mut space) {
                Ok(0) => {
                    self.broken = true;
                    break;
                }
                Ok(count) => self.incoming.extend_from_slice(&space[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken = true;
                    break;
                }
            }
        }
        let mut requests = Vec::new();
        while let Some(end) = self.incoming.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.incoming.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(request) => requests.push(request),
                Err(error) => complain(&format!("a request is not understood: {error}")),
            }
        }
        requests
    }
}
