//! A container's log file in CRI's format: `<RFC3339Nano> <stdout|stderr> <P|F> <text>`.
//!
//! A line goes out when its end arrives, and in pieces of 16 KiB before that (`P`); what has no end when the
//! stream closes is a piece too. Nothing is buffered beyond an unfinished line, so whatever a program wrote
//! before it was killed is in the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;

/// Pieces of a line longer than this are written as they are (containerd's default).
const PIECE: usize = 16 * 1024;

/// Which of the container's outputs a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// An open log file.
#[derive(Debug)]
pub struct LogFile(File);

impl LogFile {
    /// Opens the file for appending, with its folder.
    ///
    /// # Errors
    /// Folder or file cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        OpenOptions::new().append(true).create(true).open(path).map(Self)
    }

    /// Writes finished lines in one call, so that a follower never sees half of one.
    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() { Ok(()) } else { self.0.write_all(records) }
    }
}

/// The unfinished line of one stream.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    unfinished: Vec<u8>,
}

impl Lines {
    /// Nothing read yet.
    pub const fn new(stream: Stream) -> Self {
        Self { stream, unfinished: Vec::new() }
    }

    /// Takes what was read and writes each line that is now finished.
    ///
    /// # Errors
    /// The log cannot be written (disk full); the lines are lost then.
    pub fn take(&mut self, bytes: &[u8], now: Timestamp, log: &mut LogFile) -> io::Result<()> {
        let mut records = Vec::with_capacity(bytes.len() + 64);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = piece.strip_suffix(b"\n") {
                self.unfinished.extend_from_slice(line);
                self.emit(b'F', now, &mut records);
            } else {
                self.unfinished.extend_from_slice(piece);
            }
        }
        log.append(&records)
    }

    /// The stream has ended: what is left of a line without end goes out as a piece.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn close(&mut self, now: Timestamp, log: &mut LogFile) -> io::Result<()> {
        let mut records = Vec::new();
        if !self.unfinished.is_empty() {
            self.emit(b'P', now, &mut records);
        }
        log.append(&records)
    }

    /// Writes the unfinished line out, in pieces where it is long; `last` marks the last of them.
    fn emit(&mut self, last: u8, now: Timestamp, records: &mut Vec<u8>) {
        let mut pieces = self.unfinished.chunks(PIECE).peekable();
        if pieces.peek().is_none() {
            record(self.stream, last, &[], now, records);
        }
        while let Some(piece) = pieces.next() {
            let tag = if pieces.peek().is_some() { b'P' } else { last };
            record(self.stream, tag, piece, now, records);
        }
        self.unfinished.clear();
        // A long line must not keep its memory for the life of the Pod.
        self.unfinished.shrink_to(PIECE);
    }

    /// Whether a line has grown so long that a piece should go out before its end arrives.
    pub fn is_long(&self) -> bool {
        self.unfinished.len() >= PIECE
    }

    /// Writes the pieces of a line that is still growing.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn flush_long(&mut self, now: Timestamp, log: &mut LogFile) -> io::Result<()> {
        let mut records = Vec::new();
        self.emit(b'P', now, &mut records);
        log.append(&records)
    }
}

fn record(stream: Stream, tag: u8, text: &[u8], now: Timestamp, records: &mut Vec<u8>) {
    // Nine decimals always, as containerd writes them, so that the text column lines up.
    let _ = write!(records, "{now:.9} {} {} ", stream.name(), char::from(tag));
    records.extend_from_slice(text);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(reads: &[&[u8]]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/0.log");
        let now: Timestamp = "2026-11-22T01:02:03.5Z".parse().unwrap();
        let (mut log, mut lines) = (LogFile::open(&path).unwrap(), Lines::new(Stream::Stdout));
        for read in reads {
            lines.take(read, now, &mut log).unwrap();
            if lines.is_long() {
                lines.flush_long(now, &mut log).unwrap();
            }
        }
        lines.close(now, &mut log).unwrap();
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn whole_lines_are_full_and_the_rest_is_partial() {
        insta::assert_snapshot!(logged(&[b"one\ntw", b"o\n\nend"]), @r"
        2026-11-22T01:02:03.500000000Z stdout F one
        2026-11-22T01:02:03.500000000Z stdout F two
        2026-11-22T01:02:03.500000000Z stdout F 
        2026-11-22T01:02:03.500000000Z stdout P end
        ");
    }

    #[test]
    fn a_long_line_goes_out_in_pieces_and_nothing_is_lost() {
        let text = logged(&[&vec![b'x'; 3 * PIECE + 5], b"y\n"]);
        let pieces: Vec<_> = text.lines().map(|line| line.splitn(4, ' ').collect::<Vec<_>>()).collect();
        let tags: Vec<_> = pieces.iter().map(|piece| piece[2]).collect();
        assert_eq!(tags, ["P", "P", "P", "P", "F"]);
        let whole: String = pieces.iter().map(|piece| piece[3]).collect();
        assert_eq!(whole.len(), 3 * PIECE + 6);
    }
}
