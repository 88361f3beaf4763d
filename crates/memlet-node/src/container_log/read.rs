//! What is there of a log: all of it, or its last lines. Blocks; for a thread of its own.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use super::Sink;
use super::files::{self, Files};
use super::record::{Lines, Record};
use super::shape::Shaper;

/// Text that goes out at once.
const PIECE: usize = 32 << 10;

/// A log that has been opened.
pub(super) struct Opened {
    pub(super) files: Files,
    /// Its files in their order, each held open, so that none is missed that is removed meanwhile. The last is the one at
    /// the log's path, if there is one.
    pub(super) queue: VecDeque<Lines>,
}

/// Opens a log, from the last `tail` lines on.
pub(super) fn open(path: &Path, tail: Option<u64>) -> io::Result<Opened> {
    let (files, rotated) = Files::open(path)?;
    let from = match tail {
        None => Start { file: 0, lines: 0 },
        Some(tail) => start(&rotated, &files, tail)?,
    };
    let mut queue: VecDeque<Lines> =
        rotated.iter().skip(from.file).filter_map(|old| files::open_rotated(old)).collect();
    queue.extend(files.current());
    if let Some(first) = queue.front_mut() {
        skip(first, from.lines)?;
    }
    Ok(Opened { files, queue })
}

/// Gives what is there.
pub(super) fn give(queue: VecDeque<Lines>, mut shaper: Shaper, sink: &Sink) -> io::Result<()> {
    for mut lines in queue {
        while !shaper.is_full() && !sink.is_closed() {
            let Some(line) = lines.next()? else { break };
            shaper.take(line);
            if shaper.len() >= PIECE {
                let _ = sink.blocking_send(shaper.give().into());
            }
        }
    }
    if shaper.len() > 0 {
        let _ = sink.blocking_send(shaper.give().into());
    }
    Ok(())
}

/// Where the last lines begin: in which file, the rotated ones first, and after how many of its lines.
struct Start {
    file: usize,
    lines: u64,
}

fn start(rotated: &[PathBuf], files: &Files, tail: u64) -> io::Result<Start> {
    let mut wanted = tail;
    let mut file = rotated.len();
    loop {
        let lines = if file == rotated.len() {
            files.current().map(count).transpose()?
        } else {
            files::open_rotated(&rotated[file]).map(count).transpose()?
        };
        let lines = lines.unwrap_or(0);
        if lines >= wanted {
            return Ok(Start { file, lines: lines - wanted });
        }
        wanted -= lines;
        if file == 0 {
            return Ok(Start { file: 0, lines: 0 });
        }
        file -= 1;
    }
}

/// Lines of the container's, whichever pieces they are in; pieces at the end are one too.
fn count(mut lines: Lines) -> io::Result<u64> {
    let (mut count, mut unfinished) = (0, false);
    while let Some(line) = lines.next()? {
        let Some(record) = Record::parse(line) else { continue };
        unfinished = record.partial;
        count += u64::from(!record.partial);
    }
    Ok(count + u64::from(unfinished))
}

fn skip(lines: &mut Lines, count: u64) -> io::Result<()> {
    let mut skipped = 0;
    while skipped < count {
        let Some(line) = lines.next()? else { break };
        skipped += u64::from(Record::parse(line).is_some_and(|record| !record.partial));
    }
    Ok(())
}
