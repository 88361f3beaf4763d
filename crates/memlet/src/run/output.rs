//! Everything that a run says goes out through one thread, in order: a reader that does not read (`| less`, a
//! stopped terminal) holds up that thread, and never the run.
//!
//! How much may wait to be read is the run's to keep small: see [`Output::has_room`].

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::watch;

use super::changes::Instance;
use super::usage::{self, Gauge, Usage};

/// Bytes that may wait to be read before logs are read on.
const ROOM: usize = 256 << 10;
/// Bytes written at a time, so that a slow reader shows as one that reads.
const PIECE: usize = 16 << 10;

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

enum Message {
    Text(Stream, String),
    Show(Gauge),
    Hide(Instance),
    Close,
}

/// How far the thread is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// What has not been written yet, in bytes; a message without text counts as one.
    waiting: usize,
    /// Why a text could not be written to standard output: the first reason.
    failure: Option<Errno>,
}

/// The run's end of the thread.
pub(crate) struct Output {
    messages: Sender<Message>,
    progress: watch::Sender<Progress>,
}

impl Output {
    /// Starts the thread; `usage` is drawn below what is said.
    pub(crate) fn start(usage: Option<Usage>) -> Result<Self> {
        let (messages, received) = mpsc::channel();
        let progress = watch::Sender::new(Progress::default());
        let writer = Writer { progress: progress.clone(), usage };
        let thread = thread::Builder::new().name("memlet-output".to_owned());
        thread.spawn(move || writer.run(&received)).context("a thread for the output cannot be started")?;
        Ok(Self { messages, progress })
    }

    /// Says something, in its turn.
    pub(crate) fn write(&self, stream: Stream, text: String) {
        if !text.is_empty() {
            self.send(Message::Text(stream, text));
        }
    }

    /// Shows a bar.
    pub(crate) fn show(&self, gauge: Gauge) {
        self.send(Message::Show(gauge));
    }

    /// Takes a bar away.
    pub(crate) fn hide(&self, instance: Instance) {
        self.send(Message::Hide(instance));
    }

    /// Takes all bars away: nothing more follows.
    pub(crate) fn close(&self) {
        self.send(Message::Close);
    }

    fn send(&self, message: Message) {
        self.progress.send_modify(|progress| progress.waiting += message.size());
        // The thread ends after the last message only.
        let _ = self.messages.send(message);
    }

    /// What has not been written yet, in bytes.
    pub(crate) fn waiting(&self) -> usize {
        self.progress.borrow().waiting
    }

    /// Why standard output could not be written, where that is so.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.progress.borrow().failure.map(io::Error::from)
    }

    /// Whether more may be said.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting() < ROOM
    }

    /// Waits until more may be said.
    pub(crate) async fn room(&self) {
        // Its other end is here too.
        let _ = self.progress.subscribe().wait_for(|progress| progress.waiting < ROOM).await;
    }

    /// Waits until other than this much waits.
    pub(crate) async fn moved_from(&self, waiting: usize) {
        let _ = self.progress.subscribe().wait_for(|progress| progress.waiting != waiting).await;
    }
}

impl Message {
    fn size(&self) -> usize {
        match self {
            Self::Text(_, text) => text.len(),
            Self::Show(_) | Self::Hide(_) | Self::Close => 1,
        }
    }
}

/// The thread.
struct Writer {
    progress: watch::Sender<Progress>,
    usage: Option<Usage>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut drawn = Instant::now();
        loop {
            // Only what is shown must be drawn anew.
            let next = match &self.usage {
                Some(usage) if usage.is_shown() => {
                    messages.recv_timeout(usage::INTERVAL.saturating_sub(drawn.elapsed()))
                }
                _ => messages.recv().map_err(RecvTimeoutError::from),
            };
            match next {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Some(usage) = self.usage.as_ref().filter(|_| drawn.elapsed() >= usage::INTERVAL) {
                usage.draw();
                drawn = Instant::now();
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Text(stream, text) => match &self.usage {
                Some(usage) => usage.suspend(|| self.put(stream, text.as_bytes())),
                None => self.put(stream, text.as_bytes()),
            },
            Message::Show(gauge) => {
                if let Some(usage) = &mut self.usage {
                    usage.show(gauge);
                }
                self.done(1);
            }
            Message::Hide(instance) => {
                if let Some(usage) = &mut self.usage {
                    usage.hide(&instance);
                }
                self.done(1);
            }
            Message::Close => {
                if let Some(usage) = self.usage.take() {
                    usage.close();
                }
                self.done(1);
            }
        }
    }

    fn done(&self, size: usize) {
        self.progress.send_modify(|progress| progress.waiting -= size);
    }

    fn put(&self, stream: Stream, mut text: &[u8]) {
        while !text.is_empty() {
            match write(stream, &text[..text.len().min(PIECE)]) {
                Ok(count) => {
                    text = &text[count..];
                    self.done(count);
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    // A reader that went away (`| head`) does not stop the Pods from being ended in order.
                    self.progress.send_modify(|progress| {
                        progress.waiting -= text.len();
                        if stream == Stream::Out {
                            progress.failure.get_or_insert(errno);
                        }
                    });
                    return;
                }
            }
        }
    }
}

/// Writes some of it. Waits where somebody who shares the stream made it one that does not wait.
fn write(stream: Stream, text: &[u8]) -> rustix::io::Result<usize> {
    let stream = match stream {
        Stream::Out => rustix::stdio::stdout(),
        Stream::Err => rustix::stdio::stderr(),
    };
    match rustix::io::write(stream, text) {
        Err(Errno::AGAIN) => {
            poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None)?;
            rustix::io::write(stream, text)
                .or_else(|errno| if errno == Errno::AGAIN { Ok(0) } else { Err(errno) })
        }
        written => written,
    }
}
