//! The files of one log, in the order in which they were written.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use memlet_policy::logs;

use super::record::Lines;

/// Read of a file at a time.
const BUFFER: usize = 64 << 10;

/// What is known of the files of a log.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// The last name that the log was rotated to.
    newest: Option<String>,
    /// The file that was last at the path. It is held open, so no other has its number.
    current: Option<Arc<File>>,
    /// Rotated since, while nothing new was at the path. The first is `current`.
    moved: Vec<PathBuf>,
}

impl Files {
    /// The files that are there, oldest first, and the one at the path apart: that one grows.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<PathBuf>)> {
        let mut files = Self { path: path.to_owned(), newest: None, current: None, moved: Vec::new() };
        loop {
            let rotated = logs::rotated(path).or_else(unless_missing)?;
            files.newest = rotated.last().map(|path| base_name(path));
            files.current = open(path)?.map(Arc::new);
            let again = logs::rotated(path).or_else(unless_missing)?;
            if again.last().map(|path| base_name(path)) == files.newest {
                return Ok((files, rotated));
            }
        }
    }

    /// The file that was last at the path.
    pub(super) fn current(&self) -> Option<Lines> {
        self.current.clone().map(plain)
    }

    /// The files that have come since this was last asked, each opened.
    pub(super) fn come(&mut self) -> io::Result<Vec<Lines>> {
        loop {
            let rotated = logs::rotated(&self.path).or_else(unless_missing)?;
            for path in rotated {
                let name = base_name(&path);
                if self.newest.as_ref().is_none_or(|newest| name > *newest) {
                    self.newest = Some(name);
                    self.moved.push(path);
                }
            }
            let Some(file) = open(&self.path)? else { return Ok(Vec::new()) };
            let number = |file: &File| file.metadata().map(|file| (file.dev(), file.ino()));
            if let Some(current) = &self.current
                && number(current)? == number(&file)?
            {
                return Ok(Vec::new());
            }
            let last = logs::rotated(&self.path).or_else(unless_missing)?.last().map(|path| base_name(path));
            if last > self.newest {
                // One more has been moved away meanwhile.
                continue;
            }
            let had_current = self.current.replace(Arc::new(file)).is_some();
            // The first that was moved away is the one that was read all along.
            let skipped = usize::from(had_current);
            let between: Vec<PathBuf> = std::mem::take(&mut self.moved).into_iter().skip(skipped).collect();
            let mut come: Vec<Lines> = between.iter().filter_map(|path| open_rotated(path)).collect();
            come.extend(self.current());
            return Ok(come);
        }
    }
}

/// The name under which a file was moved away, whether it has been compressed since or not.
fn base_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(".gz").map(str::to_owned).unwrap_or(name)
}

fn unless_missing(error: io::Error) -> io::Result<Vec<PathBuf>> {
    if error.kind() == io::ErrorKind::NotFound { Ok(Vec::new()) } else { Err(error) }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A reader with a place of its own in a file that others read too.
struct Reader {
    file: Arc<File>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

fn plain(file: Arc<File>) -> Lines {
    Lines::new(BufReader::with_capacity(BUFFER, Reader { file, at: 0 }))
}

/// A file that was moved away: as it is, or compressed since. `None` where it has been removed.
pub(super) fn open_rotated(path: &Path) -> Option<Lines> {
    let name = base_name(path);
    let decoded = |file: File| Lines::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)));
    let uncompressed = path.with_file_name(&name);
    let compressed = path.with_file_name(format!("{name}.gz"));
    File::open(uncompressed).map(Arc::new).map(plain).or_else(|_| File::open(compressed).map(decoded)).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn texts(lines: Vec<Lines>) -> Vec<String> {
        let mut texts = Vec::new();
        for mut lines in lines {
            while let Some(line) = lines.next().unwrap() {
                texts.push(String::from_utf8(line.to_vec()).unwrap());
            }
        }
        texts
    }

    fn compress(path: &Path) {
        let to = File::create(format!("{}.gz", path.display())).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
        io::copy(&mut File::open(path).unwrap(), &mut encoder).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn files_come_in_order_whatever_became_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let rotated = |second: u32| folder.path().join(format!("0.log.20261128-00000{second}"));
        fs::write(rotated(0), "zero\n").unwrap();
        compress(&rotated(0));
        fs::write(&path, "one\n").unwrap();
        let (mut files, before) = Files::open(&path).unwrap();
        assert_eq!(before.len(), 1);
        assert_eq!(texts(vec![open_rotated(&before[0]).unwrap()]), ["zero"]);
        assert!(files.come().unwrap().is_empty());
        // Moved away by one who has not told the writer yet: nothing new is there.
        fs::rename(&path, rotated(1)).unwrap();
        assert!(files.come().unwrap().is_empty());
        fs::write(&path, "two\n").unwrap();
        assert_eq!(texts(files.come().unwrap()), ["two"]);
        // Three at once, one of them compressed already.
        fs::rename(&path, rotated(2)).unwrap();
        fs::write(rotated(3), "three\n").unwrap();
        compress(&rotated(3));
        fs::write(rotated(4), "four\n").unwrap();
        fs::write(&path, "five\n").unwrap();
        assert_eq!(texts(files.come().unwrap()), ["three", "four", "five"]);
        assert!(files.come().unwrap().is_empty());
    }

    #[test]
    fn a_log_that_is_not_there_may_come() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/0.log");
        let (mut files, before) = Files::open(&path).unwrap();
        assert!(before.is_empty() && files.current().is_none() && files.come().unwrap().is_empty());
        fs::create_dir(folder.path().join("deep")).unwrap();
        fs::write(&path, "one\n").unwrap();
        assert_eq!(texts(files.come().unwrap()), ["one"]);
    }
}
