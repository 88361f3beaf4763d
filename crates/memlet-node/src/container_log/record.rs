//! Records of CRI's log format: `<RFC3339Nano> <stdout|stderr> <tags> <text>`.

use std::io::{self, BufRead};

use jiff::Timestamp;

/// Bytes of a record without an end that are held. Runtimes cut lines at 16 KiB: what is longer is none of their records.
const LONGEST: usize = 64 << 10;

/// Which of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// A line that a container wrote, or a piece of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// As it is written.
    pub(super) time: &'a [u8],
    pub(super) stream: Stream,
    /// More of the line follows.
    pub(super) partial: bool,
    pub(super) text: &'a [u8],
}

impl<'a> Record<'a> {
    /// `None` for what is no record.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (time, stream, tags) = (fields.next()?, fields.next()?, fields.next()?);
        let stream = match stream {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let partial = match tags.split(|byte| *byte == b':').next() {
            Some(b"P") => true,
            Some(b"F") => false,
            _ => return None,
        };
        Some(Self { time, stream, partial, text: fields.next().unwrap_or_default() })
    }

    pub(super) fn timestamp(&self) -> Option<Timestamp> {
        std::str::from_utf8(self.time).ok()?.parse().ok()
    }
}

/// Lines of a file, whole ones only; of one that grows, more of them later.
pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    line: Vec<u8>,
    /// What is in `line` has been given.
    given: bool,
    /// What is read belongs to a line that was too long.
    dropping: bool,
}

impl Lines {
    pub(super) fn new(reader: impl BufRead + Send + 'static) -> Self {
        Self { reader: Box::new(reader), line: Vec::new(), given: false, dropping: false }
    }

    /// The next line, without its end; `None` where no more are there yet.
    pub(super) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        if std::mem::take(&mut self.given) {
            self.line.clear();
        }
        loop {
            let there = self.reader.fill_buf()?;
            if there.is_empty() {
                return Ok(None);
            }
            let end = there.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(there.len(), |at| at + 1);
            if !self.dropping {
                self.line.extend_from_slice(&there[..end.unwrap_or(count)]);
            }
            self.reader.consume(count);
            if self.line.len() > LONGEST {
                self.dropping = true;
                self.line = Vec::new();
            }
            if end.is_some() && !std::mem::take(&mut self.dropping) {
                self.given = true;
                return Ok(Some(&self.line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_others_are_not() {
        let time = "2026-11-28T01:02:03.500000000Z";
        let line = format!("{time} stderr P:x a b");
        let record = Record::parse(line.as_bytes()).unwrap();
        assert_eq!((record.stream, record.partial, record.text), (Stream::Stderr, true, &b"a b"[..]));
        assert_eq!(record.timestamp(), time.parse().ok());
        assert_eq!(Record::parse(b"t stdout F").unwrap().text, b"");
        for line in ["", "no", "t stdin F x", "t stdout X x"] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_held() {
        let text = [&b"one\n"[..], &vec![b'x'; 5 * LONGEST], b"\ntwo\nrest"].concat();
        let mut lines = Lines::new(io::Cursor::new(text));
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(found, ["one", "two"]);
        assert!(lines.line.len() <= LONGEST);
    }
}
