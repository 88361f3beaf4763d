//! A log as a stream of pieces, read and unpacked by a thread of its own: so silence is noticed, and unpacking and
//! parsing share the work.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;

use anyhow::{Context, Result, bail};

use super::encoding::{self, Log};

/// Bytes of one piece.
const PIECE: usize = 256 << 10;

/// What a thread says of its log.
pub(super) enum Message {
    /// The next bytes of the log with this number.
    Piece(usize, Vec<u8>),
    /// The log with this number is at its end, or cannot be read further.
    End(usize, io::Result<()>),
}

/// An open log.
pub(super) struct Source {
    /// As it was named; `-` for standard input.
    pub(super) name: String,
    /// Its size on disk, where it has one.
    pub(super) size: Option<u64>,
    log: Log,
    /// Bytes read from disk so far.
    position: Arc<AtomicU64>,
}

impl Source {
    /// Opens a file, or standard input as `-`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let file = if name == "-" {
            let stdin = io::stdin().as_fd().try_clone_to_owned();
            File::from(stdin.context("standard input cannot be read")?)
        } else {
            File::open(path).with_context(|| format!("cannot read {name}"))?
        };
        let metadata = file.metadata().with_context(|| format!("cannot read {}", spoken(&name)))?;
        if metadata.is_dir() {
            bail!("{} is a folder: name the files in it", spoken(&name));
        }
        let size = metadata.is_file().then_some(metadata.len());
        let position = Arc::new(AtomicU64::new(0));
        let log = Box::new(Counted { inner: file, position: Arc::clone(&position) });
        Ok(Self { name, size, log, position })
    }

    /// A log that is already plain.
    pub(super) fn plain(name: String, log: Log) -> Self {
        Self { name, size: None, log, position: Arc::default() }
    }

    /// How much was read from disk, whenever that is asked.
    pub(super) fn position(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.position)
    }

    /// Whether more may come to it at any time, as to a pipe.
    pub(super) const fn is_open_ended(&self) -> bool {
        self.size.is_none()
    }

    /// Starts the thread that reads it.
    pub(super) fn start(self, number: usize, messages: SyncSender<Message>, unpack: bool) -> Result<()> {
        let read = move || {
            let result = match if unpack { encoding::unpacked(self.log) } else { Ok(self.log) } {
                Ok(log) => pieces(log, number, &messages),
                Err(error) => Err(error),
            };
            // Who does not listen any more does not want to know.
            let _ = messages.send(Message::End(number, result));
        };
        let thread = thread::Builder::new().name("memlet-log".to_owned());
        thread.spawn(read).context("a thread for the log cannot be started")?;
        Ok(())
    }
}

/// How a log is called in a sentence.
pub(super) fn spoken(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

fn pieces(mut log: Log, number: usize, messages: &SyncSender<Message>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let count = match log.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        piece.truncate(count);
        if messages.send(Message::Piece(number, piece)).is_err() {
            return Ok(());
        }
    }
}

struct Counted {
    inner: File,
    position: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
