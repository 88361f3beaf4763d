//! The lock on a place: a file that one living process holds, with its number in it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, OFlags};

/// How long a lock whose holder has died is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lock that is held as long as this is: the kernel lets go of it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock; `None` where another process holds it. A holder that was killed may have left it to a child that
    /// has not become its own program yet: that is waited for.
    ///
    /// # Errors
    /// The file cannot be opened or locked; a symbolic link is never followed.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(path)
                .with_context(|| cannot_open(path))?;
            if !lock(&file, path)? {
                return Ok(None);
            }
            // The last holder may have removed the file between our opening and locking it.
            let (ours, theirs) = (rustix::fs::fstat(&file)?, rustix::fs::lstat(path));
            if theirs.is_ok_and(|theirs| theirs.st_ino == ours.st_ino) {
                return Ok(Some(Self { path: path.to_owned(), file }));
            }
        }
    }

    /// Writes this process's number into it, for whoever is refused by it.
    pub(crate) fn sign(&self) -> Result<()> {
        let mut file = &self.file;
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)).map(drop))
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Removes the file and lets go of it: nothing of its place is left then. Whoever opened the same file
    /// meanwhile finds it locked until here, and gone after.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

/// Whether a process holds the lock at `path`. Also where nothing may be written, as on a disk mounted to be read.
///
/// # Errors
/// The file cannot be opened or asked.
pub(crate) fn is_held(path: &Path) -> Result<bool> {
    let file = File::open(path).with_context(|| cannot_open(path))?;
    // Taken for a moment only: a node that starts just then tries again.
    lock(&file, path).map(|locked| !locked)
}

/// Locks the file, which is open; false where another process holds it.
fn lock(file: &File, path: &Path) -> Result<bool> {
    let began = Instant::now();
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) if is_left_by_the_dead(path, began) => {
                std::thread::sleep(PATIENCE / 100);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            locked => {
                return locked.map(|()| true).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
}

/// Whether to go on waiting for a lock that somebody still has whose maker has died.
fn is_left_by_the_dead(path: &Path, began: Instant) -> bool {
    began.elapsed() < PATIENCE && holder_pid(path).is_some_and(|pid| !is_alive(pid))
}

/// Whether there is such a process, and it has not ended.
fn is_alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which may hold anything.
    !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

fn cannot_open(path: &Path) -> String {
    let link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let hint = if link { ": a symbolic link was put there; remove it" } else { "" };
    format!("cannot open the lock {}{hint}", path.display())
}

/// ` (process 17)`, as the holder of the lock at `path` signed it.
pub(crate) fn holder(path: &Path) -> String {
    holder_pid(path).map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// The process that signed the lock at `path`.
pub(crate) fn holder_pid(path: &Path) -> Option<i32> {
    let mut text = String::new();
    File::open(path).and_then(|mut file| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        lock.sign().unwrap();
        assert_eq!(holder(&path), format!(" (process {})", std::process::id()));
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(lock);
        Lock::try_take(&path).unwrap().unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_holder_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let inherited = Lock::try_take(&path).unwrap().unwrap();
        fs::write(&path, dead.id().to_string()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(PATIENCE / 10);
                drop(inherited);
            });
            assert!(!is_held(&path).unwrap());
            assert!(Lock::try_take(&path).unwrap().is_some());
        });
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("x.lock"), folder.path().join("victim"));
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(Lock::try_take(&path).is_err(), "not even one that leads nowhere");
        assert!(!victim.exists());
        fs::write(&victim, "precious").unwrap();
        let error = Lock::try_take(&path).unwrap_err().to_string();
        assert!(error.ends_with("a symbolic link was put there; remove it"), "{error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
