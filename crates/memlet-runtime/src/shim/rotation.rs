//! Rotation of log files: when, by which names, and how many are kept, as kubelet has it.
//!
//! The supervisor rotates what it writes itself, between two records, so that no line is lost or split, and also while
//! no daemon runs. The newest of the files moved away stays as it is, for whoever still reads it; older ones are
//! compressed, by a child of the supervisor's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_policy::logs;
use serde::{Deserialize, Serialize};

/// When a log file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// As soon as it is larger than this (`containerLogMaxSize`).
    pub max_size: Bytes,
    /// So many files are kept, the present one included (`containerLogMaxFiles`).
    pub max_files: usize,
}

impl Rotation {
    /// Never: one file, however large.
    pub const NEVER: Self = Self { max_size: Bytes::new(u64::MAX), max_files: 1 };
}

impl Default for Rotation {
    /// kubelet's.
    fn default() -> Self {
        Self { max_size: logs::MAX_SIZE, max_files: logs::MAX_FILES }
    }
}

/// Moves the file at `path` out of the way. `None` where another was moved in this same second: its name is taken, and
/// the file can wait.
pub(super) fn move_away(path: &Path, at: Timestamp) -> io::Result<Option<PathBuf>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let target = path.with_file_name(logs::rotated_name(name, at));
    if target.exists() {
        return Ok(None);
    }
    fs::rename(path, &target)?;
    Ok(Some(target))
}

/// Removes what is more than `max_files` with the present one; answers what is to be compressed, oldest first.
pub(super) fn tidy(path: &Path, max_files: usize) -> io::Result<Vec<PathBuf>> {
    let mut rotated = logs::rotated(path)?;
    let excess = (rotated.len() + 1).saturating_sub(max_files.max(2));
    for old in rotated.drain(..excess) {
        fs::remove_file(old)?;
    }
    rotated.pop();
    rotated.retain(|path| path.extension().is_none_or(|extension| extension != "gz"));
    Ok(rotated)
}

/// Compresses a file in its place: the one is gone when the other is there whole.
pub(super) fn compress(path: &Path) -> io::Result<()> {
    let with = |suffix: &str| PathBuf::from([path.as_os_str(), suffix.as_ref()].join("".as_ref()));
    let draft = with(".tmp");
    let compressed = File::create(&draft).and_then(|file| {
        let mut encoder = GzEncoder::new(file, Compression::default());
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()
    });
    let done = compressed.and_then(|_| fs::rename(&draft, with(".gz"))).and_then(|()| fs::remove_file(path));
    if done.is_err() {
        let _ = fs::remove_file(&draft);
    }
    done
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn as_many_are_kept_as_wanted_and_old_ones_are_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut at: Timestamp = "2026-11-28T00:00:00Z".parse().unwrap();
        for number in 0..5 {
            fs::write(&path, format!("{number}\n")).unwrap();
            assert!(move_away(&path, at).unwrap().is_some());
            fs::write(&path, "next\n").unwrap();
            assert_eq!(move_away(&path, at).unwrap(), None, "the name of this second is taken");
            for old in tidy(&path, 3).unwrap() {
                compress(&old).unwrap();
            }
            at += jiff::SignedDuration::from_secs(1);
        }
        assert_eq!(names(folder.path()), ["0.log", "0.log.20261128-000003.gz", "0.log.20261128-000004"]);
        let mut text = String::new();
        let file = File::open(folder.path().join("0.log.20261128-000003.gz")).unwrap();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "3\n");
    }
}
