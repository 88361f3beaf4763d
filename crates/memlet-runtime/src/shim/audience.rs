//! Clients that are attached to a container: each is given what the container writes, beside the log.
//!
//! Neither container nor log ever waits for a client. What one does not take at once waits for it, up to a bound; what is
//! beyond that is left out for this client, and it is told so where it reads on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memlet_diagnosis::evidence::Exit;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::connection::Connection;
use super::log::Stream;
use super::protocol::Request;
use super::session::{Descriptor, SessionEvent};

/// What waits for one client of one output, beyond the 64 KiB in its pipe.
const MOST_WAITING: usize = 256 << 10;

/// One output's way to one client.
#[derive(Debug)]
struct Outlet {
    stream: Stream,
    sink: OwnedFd,
    waiting: Vec<u8>,
    left_out: usize,
    broken: bool,
}

#[derive(Debug)]
struct Attachment {
    connection: Connection,
    outlets: Vec<Outlet>,
    has_stdin: bool,
    /// The container has ended.
    over: bool,
}

/// The clients of one container.
#[derive(Debug, Default)]
pub(super) struct Audience(Vec<Attachment>);

/// Refuses a client.
pub(super) fn refuse(mut connection: Connection, reason: &str) {
    connection.tell(&SessionEvent::Refused { reason: reason.to_owned(), exit_code: None });
}

impl Audience {
    /// Takes in a client. It is given pipes for these outputs, and the container's input, where there is one.
    pub(super) fn join(
        &mut self,
        mut connection: Connection,
        outputs: &[Stream],
        stdin: Option<(Descriptor, BorrowedFd<'_>)>,
    ) {
        let mut outlets = Vec::new();
        let mut given = Vec::new();
        for stream in outputs {
            match rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
                Ok((source, sink)) => {
                    outlets.push(Outlet {
                        stream: *stream,
                        sink,
                        waiting: Vec::new(),
                        left_out: 0,
                        broken: false,
                    });
                    given.push((descriptor(*stream), source));
                }
                Err(error) => return refuse(connection, &format!("no pipe can be had: {error}")),
            }
        }
        let mut descriptors: Vec<_> = given.iter().map(|(kind, _)| *kind).collect();
        let mut borrowed: Vec<_> = given.iter().map(|(_, source)| source.as_fd()).collect();
        if let Some((kind, stdin)) = stdin {
            descriptors.push(kind);
            borrowed.push(stdin);
        }
        let has_stdin = stdin.is_some();
        connection.hand_over(&SessionEvent::Opened { descriptors }, &borrowed);
        self.0.push(Attachment { connection, outlets, has_stdin, over: false });
    }

    /// Gives every client what the container wrote.
    pub(super) fn give(&mut self, stream: Stream, bytes: &[u8]) {
        let outlets = self.0.iter_mut().flat_map(|attachment| &mut attachment.outlets);
        for outlet in outlets.filter(|outlet| outlet.stream == stream) {
            outlet.give(bytes);
        }
    }

    /// The container has ended, and nothing more will come.
    pub(super) fn end(&mut self, exit: Exit) {
        for attachment in &mut self.0 {
            attachment.over = true;
            attachment.connection.tell(&SessionEvent::SessionEnded { exit });
        }
        self.go_on();
    }

    /// Every descriptor to wait for, and what for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.0.iter().flat_map(|attachment| {
            let waiting = attachment.outlets.iter().filter(|outlet| outlet.has_more());
            let sinks = waiting.map(|outlet| (outlet.sink.as_fd(), PollFlags::OUT));
            sinks.chain([(attachment.connection.stream.as_fd(), PollFlags::IN)])
        })
    }

    /// Writes on what waits, and lets go of clients that are gone. Whether one of them had the container's input.
    pub(super) fn go_on(&mut self) -> bool {
        let mut input_ended = false;
        self.0.retain_mut(|attachment| {
            attachment.connection.write_on();
            let closes = attachment.connection.requests().contains(&Request::CloseStdin);
            attachment.outlets.iter_mut().for_each(Outlet::write_on);
            let over = attachment.over;
            attachment.outlets.retain(|outlet| !outlet.broken && (!over || outlet.has_more()));
            let gone = attachment.connection.is_broken();
            if attachment.has_stdin && (closes || gone) {
                attachment.has_stdin = false;
                input_ended = true;
            }
            !gone
        });
        input_ended
    }
}

fn descriptor(stream: Stream) -> Descriptor {
    match stream {
        Stream::Stdout => Descriptor::Stdout,
        Stream::Stderr => Descriptor::Stderr,
    }
}

impl Outlet {
    fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn give(&mut self, bytes: &[u8]) {
        if self.waiting.len() + bytes.len() > MOST_WAITING || self.left_out > 0 {
            self.left_out += bytes.len();
        } else {
            self.waiting.extend_from_slice(bytes);
        }
        self.write_on();
    }

    fn write_on(&mut self) {
        while !self.broken {
            if self.waiting.is_empty() {
                if self.left_out == 0 {
                    return;
                }
                let notice = format!(
                    "\r\n[memlet: {} bytes left out here: they came faster than they were read]\r\n",
                    self.left_out
                );
                self.left_out = 0;
                self.waiting = notice.into_bytes();
            }
            match rustix::io::write(&self.sink, &self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_client_that_does_not_read_misses_something_and_is_told() {
        let (source, sink) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut outlet =
            Outlet { stream: Stream::Stdout, sink, waiting: Vec::new(), left_out: 0, broken: false };
        let written = 1 << 20;
        for _ in 0..written / 4096 {
            outlet.give(&[b'x'; 4096]);
        }
        assert!(outlet.waiting.len() <= MOST_WAITING && outlet.left_out > 0, "{outlet:?}");
        let mut source = std::fs::File::from(source);
        let mut text = Vec::new();
        let mut space = vec![0; 64 << 10];
        while let Ok(count @ 1..) = source.read(&mut space) {
            text.extend_from_slice(&space[..count]);
            outlet.write_on();
        }
        let text = String::from_utf8(text).unwrap();
        let kept = text.bytes().take_while(|byte| *byte == b'x').count();
        let notice = format!("[memlet: {} bytes left out here", written - kept);
        assert!(text.contains(&notice), "{}", text.trim_start_matches('x'));
        outlet.give(b"again");
        let count = source.read(&mut space).unwrap();
        assert_eq!(&space[..count], b"again");
    }

    #[test]
    fn a_client_that_is_gone_is_let_go() {
        let (source, sink) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let mut outlet =
            Outlet { stream: Stream::Stdout, sink, waiting: Vec::new(), left_out: 0, broken: false };
        drop(source);
        outlet.give(b"x");
        assert!(outlet.broken);
    }
}
