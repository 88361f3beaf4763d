//! The logs of a container, as files in CRI's format: read from their beginning or their end, and followed as they grow.
//!
//! One instance of a container has one log, in one file after another: the runtime, or whoever rotates, moves the file
//! at the log's path away and has it begun anew there. Old ones may be compressed, and the oldest are removed. A
//! follower holds on to every file that was there since it began, so it misses nothing, however slow its reader is.

mod files; // which files a log is in, and their order
mod follow; // on as it grows
mod read; // what is there
mod record; // one record, and a piece of a file's records
mod shape; // from records to what was asked for

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::mpsc;

pub(crate) use record::Stream;

use follow::Follower;
use shape::Shaper;

/// What is wanted of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogOptions {
    /// Go on until the container has ended.
    pub(crate) follow: bool,
    /// Put each line's time before it.
    pub(crate) timestamps: bool,
    /// Only so many lines at the end of what is there.
    pub(crate) tail_lines: Option<u64>,
    /// Only what was written from then on.
    pub(crate) since: Option<Timestamp>,
    /// No more bytes than that.
    pub(crate) limit_bytes: Option<u64>,
    /// Only what was written to this one.
    pub(crate) stream: Option<Stream>,
}

/// Where a log's text goes; closed when nobody wants it any more.
pub(crate) type Sink = mpsc::Sender<Bytes>;

/// Whether a container still writes its log.
pub(crate) trait Writer: Send {
    /// Whether it may write more. Once it has not, it never will.
    fn goes_on(&self) -> impl Future<Output = bool> + Send;
}

/// Gives the log at `path`. A log that is not there is empty.
pub(crate) async fn give(path: PathBuf, options: LogOptions, writer: impl Writer, sink: Sink) {
    let told = path.display().to_string();
    if let Err(error) = try_give(path, options, writer, sink).await {
        tracing::warn!("the log {told} was not given whole: {error}");
    }
}

async fn try_give(path: PathBuf, options: LogOptions, writer: impl Writer, sink: Sink) -> io::Result<()> {
    // Watched before it is opened: what comes between the two is found.
    let follower = options.follow.then(|| Follower::new(&path)).transpose()?;
    let (shaper, tail) = (Shaper::new(&options), options.tail_lines);
    let Some(follower) = follower else {
        let work = move || read::open(&path, tail).and_then(|log| read::give(log.queue, shaper, &sink));
        return tokio::task::spawn_blocking(work).await?;
    };
    let opened = tokio::task::spawn_blocking(move || read::open(&path, tail)).await??;
    follower.follow(opened, shaper, writer, &sink).await
}

#[cfg(test)]
mod tests;
