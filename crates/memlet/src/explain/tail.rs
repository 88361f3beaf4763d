//! A file that grows, by its name: what is added, through truncation and rotation, as `tail -F` reads it.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::encoding::Encoding;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// The file; reading it never ends.
pub(super) struct Tail {
    path: PathBuf,
    file: File,
    position: u64,
    /// Whether the last byte given was the end of a line.
    at_line_start: bool,
}

impl Tail {
    /// Opens the file at its beginning.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let name = path.display();
        let mut file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        let metadata = file.metadata().with_context(|| format!("cannot read {name}"))?;
        if metadata.is_dir() {
            bail!("{name} is a folder: name the files in it");
        }
        if !metadata.is_file() {
            bail!("{name} is no plain file: read it without --follow, it is read as it comes");
        }
        let mut start = Vec::new();
        file.by_ref().take(8).read_to_end(&mut start).with_context(|| format!("cannot read {name}"))?;
        let encoding = Encoding::of(&start);
        if encoding.is_compressed() || matches!(encoding, Encoding::Utf16(_) | Encoding::Journal) {
            bail!("{name} is not plain text, which cannot be followed: read it without --follow");
        }
        file.seek(SeekFrom::Start(0)).with_context(|| format!("cannot read {name}"))?;
        Ok(Self { path: path.to_owned(), file, position: 0, at_line_start: true })
    }

    /// Looks whether the name means another file now, or the file was cut. Answers whether reading starts again.
    fn renewed(&mut self) -> bool {
        let Ok(now) = std::fs::metadata(&self.path) else {
            // Between the two steps of a rotation there is none: the old one may still grow.
            return false;
        };
        let is_same = |here: &Metadata| (here.dev(), here.ino()) == (now.dev(), now.ino());
        match self.file.metadata() {
            Ok(here) if is_same(&here) => {
                let is_cut = here.len() < self.position;
                is_cut && self.file.seek(SeekFrom::Start(0)).is_ok() && self.restarted()
            }
            _ => match File::open(&self.path) {
                Ok(file) => {
                    self.file = file;
                    self.restarted()
                }
                Err(_) => false,
            },
        }
    }

    fn restarted(&mut self) -> bool {
        self.position = 0;
        true
    }
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.file.read(buffer)?;
            if let Some(last) = count.checked_sub(1) {
                self.position += count as u64;
                self.at_line_start = buffer[last] == b'\n';
                return Ok(count);
            }
            if self.renewed() {
                // What the old file ended with is no beginning of the new one's first line.
                if let Some(first) = buffer.first_mut().filter(|_| !self.at_line_start) {
                    *first = b'\n';
                    self.at_line_start = true;
                    return Ok(1);
                }
                continue;
            }
            thread::sleep(INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn next(tail: &mut Tail) -> String {
        let mut buffer = [0; 64];
        let count = tail.read(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }

    #[test]
    fn growth_rotation_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\n").unwrap();
        let mut tail = Tail::open(&path).unwrap();
        assert_eq!(next(&mut tail), "one\n");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"two").unwrap();
        assert_eq!(next(&mut tail), "two");
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        fs::write(&path, "three\n").unwrap();
        assert_eq!(next(&mut tail), "\n", "the line that was cut ends");
        assert_eq!(next(&mut tail), "three\n");
        fs::write(&path, "4\n").unwrap();
        assert_eq!(next(&mut tail), "4\n");
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let packed = folder.path().join("log.gz");
        fs::write(&packed, b"\x1f\x8b\x08\0\0\0\0\0\0").unwrap();
        assert!(Tail::open(&packed).err().unwrap().to_string().contains("cannot be followed"));
        assert!(Tail::open(folder.path()).err().unwrap().to_string().contains("folder"));
        assert!(Tail::open(Path::new("/dev/null")).err().unwrap().to_string().contains("no plain file"));
    }
}
