//! From records to the text that was asked for. Pure.

use jiff::Timestamp;

use super::LogOptions;
use super::record::{Record, Stream};

/// Makes text of records, one after the other.
#[derive(Debug)]
pub(super) struct Shaper {
    timestamps: bool,
    since: Option<Timestamp>,
    stream: Option<Stream>,
    left: Option<u64>,
    /// The next record begins a line.
    at_line_start: bool,
    text: Vec<u8>,
}

impl Shaper {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since,
            stream: options.stream,
            left: options.limit_bytes,
            at_line_start: true,
            text: Vec::new(),
        }
    }

    /// Takes one line of a log file. What is no record is left out.
    pub(super) fn take(&mut self, line: &[u8]) {
        let Some(record) = Record::parse(line) else { return };
        if self.stream.is_some_and(|wanted| wanted != record.stream) {
            return;
        }
        if let Some(since) = self.since {
            // Time goes forward in a log: from the first that is late enough on, all are.
            if record.timestamp().is_some_and(|time| time < since) {
                return;
            }
            self.since = None;
        }
        if self.timestamps && self.at_line_start {
            self.put(record.time);
            self.put(b" ");
        }
        self.put(record.text);
        if !record.partial {
            self.put(b"\n");
        }
        self.at_line_start = !record.partial;
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = self.left.map_or(bytes.len(), |left| usize::try_from(left).unwrap_or(usize::MAX));
        let count = bytes.len().min(room);
        self.text.extend_from_slice(&bytes[..count]);
        self.left = self.left.map(|left| left - count as u64);
    }

    /// Whether no more is wanted.
    pub(super) fn is_full(&self) -> bool {
        self.left == Some(0)
    }

    /// How much text there is.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The text so far, given once.
    pub(super) fn give(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-28T00:00:01.000000000Z stdout F one\n2026-11-28T00:00:02.000000000Z stderr P \
                       tw\n2026-11-28T00:00:02.100000000Z stderr F o\nnonsense\n2026-11-28T00:00:03.000000000Z stdout F three";

    fn shaped(options: &LogOptions) -> String {
        let mut shaper = Shaper::new(options);
        for line in LOG.lines() {
            shaper.take(line.as_bytes());
        }
        String::from_utf8(shaper.give()).unwrap()
    }

    #[test]
    fn options_shape_the_text() {
        let plain = LogOptions::default();
        assert_eq!(shaped(&plain), "one\ntwo\nthree\n");
        let since = Some("2026-11-28T00:00:02Z".parse().unwrap());
        assert_eq!(shaped(&LogOptions { since, ..plain.clone() }), "two\nthree\n");
        assert_eq!(shaped(&LogOptions { stream: Some(Stream::Stderr), ..plain.clone() }), "two\n");
        assert_eq!(shaped(&LogOptions { limit_bytes: Some(6), ..plain.clone() }), "one\ntw");
        let stamped = LogOptions { timestamps: true, stream: Some(Stream::Stderr), ..plain };
        assert_eq!(shaped(&stamped), "2026-11-28T00:00:02.000000000Z two\n");
    }
}
