//! On with a log as it grows, from one file to the next, until its container has ended and all of it was given.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use inotify::{EventMask, EventStream, Inotify, WatchMask};

use super::files::Files;
use super::read::Opened;
use super::record::Lines;
use super::shape::Shaper;
use super::{Sink, Writer};

/// Text that goes out at once.
const PIECE: usize = 32 << 10;
/// A log that has been silent for so long is asked about: its container may have ended.
const SILENCE: Duration = Duration::from_millis(300);

/// Watches the folder of a log.
pub(super) struct Follower {
    events: EventStream<Vec<u8>>,
}

/// What is being read.
struct Reading {
    files: Files,
    /// Files in their order; the last is the one that grows.
    queue: VecDeque<Lines>,
    shaper: Shaper,
    /// Another file may have come.
    changed: bool,
}

impl Follower {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let folder = path.parent().unwrap_or(path);
        inotify.watches().add(folder, WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO)?;
        Ok(Self { events: inotify.into_event_stream(vec![0; 4096])? })
    }

    /// Gives all that comes, until the writer has ended.
    pub(super) async fn follow(
        mut self,
        log: Opened,
        shaper: Shaper,
        writer: impl Writer,
        sink: &Sink,
    ) -> io::Result<()> {
        let Opened { files, queue } = log;
        let mut reading = Reading { files, queue, shaper, changed: true };
        let mut over = false;
        loop {
            self.give_what_is_there(&mut reading, sink).await?;
            if over || reading.shaper.is_full() || sink.is_closed() {
                return Ok(());
            }
            tokio::select! {
                changed = changed(&mut self.events) => reading.changed |= changed,
                () = sink.closed() => return Ok(()),
                () = tokio::time::sleep(SILENCE) => {
                    over = !writer.goes_on().await;
                    // Should the kernel have forgotten to tell of a file.
                    reading.changed = true;
                }
            }
            while let Some(Some(event)) = self.events.next().now_or_never() {
                reading.changed |= event.is_ok_and(|event| is_of_files(event.mask));
            }
        }
    }

    async fn give_what_is_there(&mut self, reading: &mut Reading, sink: &Sink) -> io::Result<()> {
        loop {
            reading.look_for_more()?;
            // Only what is read to its end after another file has come is read for good.
            let is_done = reading.queue.len() > 1;
            let Some(lines) = reading.queue.front_mut() else { return Ok(()) };
            let mut at_end = false;
            while reading.shaper.len() < PIECE && !reading.shaper.is_full() && !at_end {
                match lines.next()? {
                    Some(line) => reading.shaper.take(line),
                    None => at_end = true,
                }
            }
            if reading.shaper.len() > 0 {
                self.send(reading, sink).await?;
            }
            if reading.shaper.is_full() || sink.is_closed() {
                return Ok(());
            }
            match (at_end, is_done) {
                (true, true) => drop(reading.queue.pop_front()),
                (true, false) if reading.queue.len() == 1 && !reading.changed => return Ok(()),
                _ => {}
            }
        }
    }

    /// Hands text over; while its reader takes its time, files that come are opened.
    async fn send(&mut self, reading: &mut Reading, sink: &Sink) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                permit = sink.reserve() => {
                    // Who is gone misses nothing.
                    if let Ok(permit) = permit {
                        permit.send(reading.shaper.give().into());
                    }
                    return Ok(());
                }
                changed = changed(&mut self.events) => {
                    reading.changed |= changed;
                    reading.look_for_more()?;
                }
            }
        }
    }
}

impl Reading {
    fn look_for_more(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.changed) {
            self.queue.extend(self.files.come()?);
        }
        Ok(())
    }
}

/// Waits until something has happened; whether there may be another file.
async fn changed(events: &mut EventStream<Vec<u8>>) -> bool {
    match events.next().await {
        Some(Ok(event)) => is_of_files(event.mask),
        // Nothing more is told; whoever waits looks by himself now and then.
        Some(Err(_)) | None => std::future::pending().await,
    }
}

fn is_of_files(mask: EventMask) -> bool {
    mask.intersects(EventMask::CREATE | EventMask::MOVED_TO | EventMask::Q_OVERFLOW)
}
