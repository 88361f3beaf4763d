//! A container's log file in CRI's format: `<RFC3339Nano> <stdout|stderr> <P|F> <text>`.
//!
//! A line goes out when its end arrives, and in pieces of 16 KiB before that (`P`); what has no end when the
//! stream closes is a piece too. Nothing is buffered beyond an unfinished line, so whatever a program wrote
//! before it was killed is in the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::container::complain;
use super::rotation::{self, Rotation};

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
pub struct LogFile {
    file: File,
    path: PathBuf,
    size: u64,
    rotation: Rotation,
    /// What could not be written since the last that could.
    lost: Option<Lost>,
    /// A record was broken off in its middle.
    torn: bool,
    to_compress: Vec<PathBuf>,
}

#[derive(Debug)]
struct Lost {
    records: usize,
    reason: String,
}

impl LogFile {
    /// Opens the file for appending, with its folder.
    ///
    /// # Errors
    /// Folder or file cannot be made.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = open(path)?;
        let size = file.metadata()?.len();
        let path = path.to_owned();
        Ok(Self { file, path, size, rotation, lost: None, torn: false, to_compress: Vec::new() })
    }

    /// Goes on in a new file at the same path.
    ///
    /// # Errors
    /// It cannot be made; the old one is written on.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }

    /// Files that rotation left to be compressed, each told once.
    pub fn take_to_compress(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.to_compress)
    }

    /// Writes finished records in one call, so that a follower never sees half of one. What cannot be written is lost,
    /// and the log says so as soon as it can.
    fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let written = self.tell_of_losses().and_then(|()| self.write(records));
        if let Err(error) = written {
            let count = memchr::memchr_iter(b'\n', records).count();
            let lost = self.lost.get_or_insert_with(|| Lost { records: 0, reason: error.to_string() });
            lost.records += count;
            return Err(error);
        }
        if self.size > self.rotation.max_size.get()
            && let Err(error) = self.rotate()
        {
            // It is written on, and this is tried again with what comes next.
            complain(&format!("{} cannot be rotated: {error}", self.path.display()));
        }
        Ok(())
    }

    fn tell_of_losses(&mut self) -> io::Result<()> {
        let Some(lost) = &self.lost else { return Ok(()) };
        let text = format!("[memlet: {} log lines are lost here: {}]", lost.records, lost.reason);
        let mut notice = Vec::new();
        record(Stream::Stderr, b'F', text.as_bytes(), Timestamp::now(), &mut notice);
        self.write(&notice)?;
        self.lost = None;
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let whole = bytes.len();
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(count) => {
                    self.size += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.torn = bytes.len() < whole;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let Some(old) = rotation::move_away(&self.path, Timestamp::now())? else { return Ok(()) };
        if let Err(error) = self.reopen() {
            // The old file is written on, so it belongs at its path.
            fs::rename(old, &self.path)?;
            return Err(error);
        }
        self.to_compress = rotation::tidy(&self.path, self.rotation.max_files)?;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
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

    /// Which it is.
    pub const fn stream(&self) -> Stream {
        self.stream
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
        let (mut log, mut lines) =
            (LogFile::open(&path, Rotation::NEVER).unwrap(), Lines::new(Stream::Stdout));
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

    #[test]
    fn every_line_of_a_rotated_log_is_in_one_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let rotation = Rotation { max_size: memlet_bytes::Bytes::from_kib(1), max_files: 100 };
        let (mut log, mut lines) = (LogFile::open(&path, rotation).unwrap(), Lines::new(Stream::Stdout));
        let began = std::time::Instant::now();
        let mut written = 0;
        while began.elapsed() < std::time::Duration::from_millis(2500) {
            for _ in 0..10 {
                lines.take(format!("{written}\n").as_bytes(), Timestamp::now(), &mut log).unwrap();
                written += 1;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let mut files = memlet_policy::logs::rotated(&path).unwrap();
        assert!(files.len() >= 2, "{files:?}");
        files.push(path);
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        let numbers: Vec<usize> =
            text.lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..written).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_lost_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let (mut log, mut lines) =
            (LogFile::open(&path, Rotation::NEVER).unwrap(), Lines::new(Stream::Stdout));
        let now = Timestamp::now();
        lines.take(b"one\n", now, &mut log).unwrap();
        let good =
            std::mem::replace(&mut log.file, OpenOptions::new().append(true).open("/dev/full").unwrap());
        lines.take(b"two\nthree\n", now, &mut log).unwrap_err();
        lines.take(b"four\n", now, &mut log).unwrap_err();
        log.file = good;
        lines.take(b"five\n", now, &mut log).unwrap();
        let text = fs::read_to_string(path).unwrap();
        let texts: Vec<_> = text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap()).collect();
        assert_eq!(
            texts,
            ["one", "[memlet: 3 log lines are lost here: No space left on device (os error 28)]", "five"]
        );
    }
}
