//! Follows containers' log files in CRI's format as they grow.
//!
//! One inotify watch for all of them tells when any file has grown, and then each is read on from where it
//! was, piece by piece: however much a container writes, only one piece of it is held at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Bound;
use std::path::Path;

use futures::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};

use super::changes::Instance;

/// Bytes read of a file at a time.
const PIECE: usize = 256 << 10;
/// Bytes of a record without an end that are held. Runtimes cut lines at 16 KiB: what is longer is none of
/// their records.
const LONGEST: usize = 64 << 10;

/// A line that a container wrote, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogLine {
    /// Its text, without an end.
    pub(crate) text: String,
    /// More of the line follows.
    pub(crate) partial: bool,
}

/// The log files that are followed.
pub(crate) struct Followers {
    grown: EventStream<Vec<u8>>,
    files: BTreeMap<Instance, Follower>,
    /// The one read last, so that each has its turn.
    last: Option<Instance>,
}

struct Follower {
    file: File,
    /// Bytes read so far.
    read: u64,
    unfinished: Vec<u8>,
    /// What is read belongs to a record that was too long, and is dropped up to its end.
    dropping: bool,
    /// There may be more than has been read.
    more: bool,
}

impl Followers {
    /// Follows nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let grown = Inotify::init()?.into_event_stream(vec![0; 4096])?;
        Ok(Self { grown, files: BTreeMap::new(), last: None })
    }

    /// Follows one more file, from its beginning.
    pub(crate) fn follow(&mut self, instance: Instance, path: &Path) -> io::Result<()> {
        // The watch first: what is written between the two is then read anyway.
        self.grown.watches().add(path, WatchMask::MODIFY)?;
        let file = File::open(path)?;
        let follower = Follower { file, read: 0, unfinished: Vec::new(), dropping: false, more: true };
        self.files.insert(instance, follower);
        Ok(())
    }

    /// Waits until a file has grown. Which one is not asked: looking at each costs one read.
    pub(crate) async fn grown(&mut self) -> io::Result<()> {
        if let Some(event) = self.grown.next().await {
            event?;
        }
        while let Some(Some(event)) = self.grown.next().now_or_never() {
            event?;
        }
        self.files.values_mut().for_each(|follower| follower.more = true);
        Ok(())
    }

    /// Whether a file may hold more than has been read.
    pub(crate) fn has_more(&self) -> bool {
        self.files.values().any(|follower| follower.more)
    }

    /// The next lines of one of the files that have any, each in its turn.
    pub(crate) fn read_next(&mut self) -> Option<(Instance, Vec<LogLine>)> {
        let begin = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.files.range((begin, Bound::Unbounded)).find(|(_, follower)| follower.more);
        let next = after.or_else(|| self.files.iter().find(|(_, follower)| follower.more));
        let instance = next?.0.clone();
        self.last = Some(instance.clone());
        let lines = self.files.get_mut(&instance)?.read_on();
        Some((instance, lines))
    }

    /// The next lines of one file.
    pub(crate) fn read(&mut self, instance: &Instance) -> Vec<LogLine> {
        self.files.get_mut(instance).map(Follower::read_on).unwrap_or_default()
    }

    /// Whether a file has been read up to `length` bytes, or to its end.
    pub(crate) fn is_read(&self, instance: &Instance, length: u64) -> bool {
        self.files.get(instance).is_none_or(|follower| !follower.more || follower.read >= length)
    }

    /// The lengths of all files as they are now.
    pub(crate) fn lengths(&mut self) -> Vec<(Instance, u64)> {
        let lengths = self.files.iter_mut().map(|(instance, follower)| {
            follower.more = true;
            (instance.clone(), follower.file.metadata().map_or(follower.read, |file| file.len()))
        });
        lengths.collect()
    }

    /// A container has ended, and its log with it: there is more until its end has been seen.
    pub(crate) fn ended(&mut self, instance: &Instance) {
        if let Some(follower) = self.files.get_mut(instance) {
            follower.more = true;
        }
    }

    /// Follows a file no further.
    pub(crate) fn forget(&mut self, instance: &Instance) {
        self.files.remove(instance);
    }
}

impl Follower {
    /// Reads one piece.
    fn read_on(&mut self) -> Vec<LogLine> {
        let before = self.unfinished.len();
        // A log that cannot be read on is shown as far as it could be.
        let _ = (&self.file).take(PIECE as u64).read_to_end(&mut self.unfinished);
        let count = self.unfinished.len() - before;
        self.read += count as u64;
        self.more = count == PIECE;
        let end = self.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let rest = self.unfinished.split_off(end);
        let whole = std::mem::replace(&mut self.unfinished, rest);
        let mut records = whole.split_inclusive(|byte| *byte == b'\n');
        if self.dropping && records.next().is_some() {
            self.dropping = false;
        }
        let lines =
            records.filter_map(|record| parse(record.strip_suffix(b"\n").unwrap_or(record))).collect();
        if self.dropping || self.unfinished.len() > LONGEST {
            self.dropping = true;
            self.unfinished = Vec::new();
        }
        lines
    }
}

/// `<time> <stream> <tags> <text>`.
fn parse(record: &[u8]) -> Option<LogLine> {
    let record = String::from_utf8_lossy(record);
    let mut fields = record.splitn(4, ' ');
    let (_time, _stream, tags) = (fields.next()?, fields.next()?, fields.next()?);
    let text = fields.next().unwrap_or_default().to_owned();
    Some(LogLine { text, partial: tags.split(':').next() == Some("P") })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;

    fn instance(container: &str) -> Instance {
        Instance { pod: "u".into(), container: container.into(), restarts: 0 }
    }

    fn followed(folder: &tempfile::TempDir, logs: &[(&str, &[u8])]) -> (Followers, Vec<PathBuf>) {
        let mut followers = Followers::new().unwrap();
        let mut paths = Vec::new();
        for (name, text) in logs {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            followers.follow(instance(name), &path).unwrap();
            paths.push(path);
        }
        (followers, paths)
    }

    fn texts(lines: Vec<LogLine>) -> Vec<String> {
        lines.into_iter().map(|line| line.text).collect()
    }

    fn append(path: &Path, text: &[u8]) {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text).unwrap();
    }

    #[tokio::test]
    async fn lines_come_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (mut followers, paths) = followed(&folder, &[("c", b"t stdout F one\nt stderr P tw")]);
        assert_eq!(texts(followers.read_next().unwrap().1), ["one"]);
        assert!(!followers.has_more() && followers.read_next().is_none());
        append(&paths[0], b"o\nt stdout F \n");
        followers.grown().await.unwrap();
        assert_eq!(texts(followers.read_next().unwrap().1), ["two", ""]);
        append(&paths[0], b"t stdout F last\n");
        followers.ended(&instance("c"));
        assert!(!followers.is_read(&instance("c"), u64::MAX));
        assert_eq!(texts(followers.read(&instance("c"))), ["last"]);
        assert!(followers.is_read(&instance("c"), u64::MAX));
        followers.forget(&instance("c"));
        assert!(followers.read(&instance("c")).is_empty());
    }

    #[tokio::test]
    async fn a_long_log_comes_in_pieces_and_each_file_has_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let log = b"t stdout F 0123456789\n".repeat(3 * PIECE / 22);
        let (mut followers, _) = followed(&folder, &[("a", &log), ("b", b"t stdout F short\n")]);
        let mut turns = Vec::new();
        let mut lines = 0;
        while let Some((instance, piece)) = followers.read_next() {
            assert!(piece.len() <= PIECE / 22 + 1, "{} lines at once", piece.len());
            turns.push(instance.container);
            lines += piece.len();
        }
        assert_eq!(turns, ["a", "b", "a", "a"]);
        assert_eq!(lines, 3 * PIECE / 22 + 1);
    }

    #[tokio::test]
    async fn a_record_without_end_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let log =
            [&b"t stdout F one\nt stdout F "[..], &vec![b'x'; 3 * PIECE], b"\nt stdout F two\n"].concat();
        let (mut followers, _) = followed(&folder, &[("c", &log)]);
        let mut lines = Vec::new();
        while let Some((_, piece)) = followers.read_next() {
            assert!(followers.files[&instance("c")].unfinished.len() <= LONGEST);
            lines.extend(texts(piece));
        }
        assert_eq!(lines, ["one", "two"]);
    }
}
