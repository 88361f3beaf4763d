//! Follows containers' log files in CRI's format as they grow.
//!
//! One inotify watch for all of them tells when any file has grown, and then each is read on from where it
//! was.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use futures::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};

use super::changes::Instance;

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
}

struct Follower {
    file: File,
    unfinished: Vec<u8>,
}

impl Followers {
    /// Follows nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let grown = Inotify::init()?.into_event_stream(vec![0; 4096])?;
        Ok(Self { grown, files: BTreeMap::new() })
    }

    /// Follows one more file, from its beginning.
    pub(crate) fn follow(&mut self, instance: Instance, path: &Path) -> io::Result<()> {
        // The watch first: what is written between the two is then read anyway.
        self.grown.watches().add(path, WatchMask::MODIFY)?;
        let file = File::open(path)?;
        self.files.insert(instance, Follower { file, unfinished: Vec::new() });
        Ok(())
    }

    /// Waits until a file has grown. What grew is not asked: every file is read on, which costs one read each.
    pub(crate) async fn grown(&mut self) -> io::Result<()> {
        if let Some(event) = self.grown.next().await {
            event?;
        }
        while let Some(Some(event)) = self.grown.next().now_or_never() {
            event?;
        }
        Ok(())
    }

    /// The new lines of all files.
    pub(crate) fn read_all(&mut self) -> Vec<(Instance, Vec<LogLine>)> {
        self.files.iter_mut().map(|(instance, follower)| (instance.clone(), follower.read_on())).collect()
    }

    /// The last lines of a file whose container has ended; it is followed no further.
    pub(crate) fn finish(&mut self, instance: &Instance) -> Vec<LogLine> {
        self.files.remove(instance).map(|mut follower| follower.read_on()).unwrap_or_default()
    }
}

impl Follower {
    fn read_on(&mut self) -> Vec<LogLine> {
        // A log that cannot be read on is shown as far as it could be.
        let _ = self.file.read_to_end(&mut self.unfinished);
        let Some(end) = self.unfinished.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let whole: Vec<u8> = self.unfinished.drain(..=end).collect();
        whole.split(|byte| *byte == b'\n').filter_map(parse).collect()
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

    use super::*;

    #[tokio::test]
    async fn lines_come_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        fs::write(&path, "t stdout F one\nt stderr P tw").unwrap();
        let instance = Instance { pod: "u".into(), container: "c".into(), restarts: 0 };
        let mut followers = Followers::new().unwrap();
        followers.follow(instance.clone(), &path).unwrap();
        let texts = |lines: Vec<LogLine>| lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(followers.read_all().remove(0).1), ["one"]);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"o\nt stdout F \n").unwrap();
        followers.grown().await.unwrap();
        assert_eq!(texts(followers.read_all().remove(0).1), ["two", ""]);
        file.write_all(b"t stdout F last\n").unwrap();
        assert_eq!(texts(followers.finish(&instance)), ["last"]);
        assert!(followers.finish(&instance).is_empty());
    }
}
