//! Records as lines of JSON in numbered files, of which the oldest are removed.
//!
//! A line is written by one call, so a process that is killed leaves whole lines. Where a write fails half-way the file
//! is cut back; what a power loss leaves of a line is passed over by readers, and never continued, because each start
//! begins a file of its own.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{KEPT, Record, is_kept};

/// Lines of one file.
const LINES: usize = 100;
/// Bytes of one file, and of all together: a kernel's report with a long process list is large.
const FILE_BYTES: u64 = 4 << 20;
const ALL_BYTES: u64 = 32 << 20;
/// The version of a line. Readers pass over lines of later versions.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Line<R> {
    version: u32,
    #[serde(flatten)]
    record: R,
}

/// One file, by what decides when it goes.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    lines: usize,
    bytes: u64,
    newest: Timestamp,
}

/// The files of one folder, and the one that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    next: u64,
    /// Writes into the last segment.
    file: Option<File>,
}

impl Journal {
    /// Opens the folder, and removes what is too old.
    pub(super) fn open(folder: &Path, now: Timestamp) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut segments = VecDeque::new();
        let mut next = 1;
        for (number, path) in files(folder)? {
            next = number + 1;
            let text = fs::read(&path)?;
            // Reading all of it would take its time, at every start.
            let lines = text.split(|byte| *byte == b'\n').count() - 1;
            let newest = parse(&text).next_back().map_or(Timestamp::MIN, |record| record.at());
            segments.push_back(Segment { path, lines, bytes: text.len() as u64, newest });
        }
        let mut journal = Self { folder: folder.to_owned(), segments, next, file: None };
        journal.remove_old(now);
        Ok(journal)
    }

    /// Writes one line.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { version: VERSION, record })?;
        line.push(b'\n');
        let is_full =
            self.segments.back().is_some_and(|last| last.lines >= LINES || last.bytes >= FILE_BYTES);
        if self.file.is_none() || is_full {
            self.begin()?;
            self.remove_old(record.at());
        }
        let (Some(file), Some(segment)) = (&mut self.file, self.segments.back_mut()) else { return Ok(()) };
        if let Err(error) = file.write_all(&line) {
            // Half a line would spoil the next one.
            if file.set_len(segment.bytes).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        segment.lines += 1;
        segment.bytes += line.len() as u64;
        segment.newest = segment.newest.max(record.at());
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        let path = self.folder.join(format!("{:010}.jsonl", self.next));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        self.next += 1;
        self.file = Some(file);
        self.segments.push_back(Segment { path, lines: 0, bytes: 0, newest: Timestamp::MIN });
        Ok(())
    }

    /// Removes the oldest files as long as the others hold enough, or these are too old or too large. Never the one that is
    /// written.
    fn remove_old(&mut self, now: Timestamp) {
        let last = usize::from(self.file.is_some());
        while self.segments.len() > last
            && let Some(oldest) = self.segments.front()
        {
            let lines: usize = self.segments.iter().skip(1).map(|segment| segment.lines).sum();
            let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
            if lines < KEPT && bytes <= ALL_BYTES && is_kept(oldest.newest, now) {
                return;
            }
            match fs::remove_file(&oldest.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("cannot remove {}: {error}", oldest.path.display());
                    return;
                }
                _ => self.segments.pop_front(),
            };
        }
    }
}

/// Every record that can be read, oldest first.
pub(super) fn read(folder: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for (_, path) in files(folder)? {
        match fs::read(&path) {
            Ok(text) => records.extend(parse(&text)),
            // Removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// The files by their numbers, in order.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_ours = path.extension().is_some_and(|extension| extension == "jsonl");
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| is_ours) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn parse(text: &[u8]) -> impl DoubleEndedIterator<Item = Record> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records = lines.filter_map(|line| serde_json::from_slice::<Line<Record>>(line).ok());
    records.filter(|line| line.version <= VERSION).map(|line| line.record)
}
