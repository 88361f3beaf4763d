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
    // Watched before it is read: what comes between the two is found.
    let follower = options.follow.then(|| Follower::new(&path));
    let shaper = Shaper::new(&options);
    let (at, tail, to) = (path.clone(), options.tail_lines, sink.clone());
    let read = tokio::task::spawn_blocking(move || read::read(&at, tail, shaper, &to)).await;
    let rest = match read {
        Ok(Ok(rest)) => rest,
        Ok(Err(error)) => {
            tracing::warn!("cannot read the log {}: {error}", path.display());
            return;
        }
        Err(error) => return tracing::warn!("the log {} was not read: {error}", path.display()),
    };
    let Some(follower) = follower else { return };
    match follower {
        Ok(follower) => follower.follow(rest, writer, &sink).await,
        Err(error) => tracing::warn!("cannot follow the log {}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests;
