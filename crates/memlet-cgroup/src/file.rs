//! Reading and writing the files of one cgroup directory, relative to its open descriptor.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens a directory to read relative to.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens the directory `name` in `dir`.
pub(crate) fn open_dir_at(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Opens `name` in `dir` for reading.
pub(crate) fn open_read(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

/// Opens `name` in `dir` for writing; never creates it.
pub(crate) fn open_write(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

/// The whole text of `name` in `dir`. A short read is not the end: the kernel hands these files out page by page,
/// so it is read until it says zero.
pub(crate) fn read(dir: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let mut bytes = Vec::with_capacity(4096);
    open_read(dir, name)?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Writes `text` to `name` in `dir` in one call, as the kernel requires. `O_TRUNC` means nothing to the kernel's
/// files; it keeps a plain file in a test's fake tree from keeping an older, longer text.
pub(crate) fn write(dir: BorrowedFd<'_>, name: &str, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::TRUNC;
    let mut file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let written = file.write(text.as_bytes())?;
    if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Whether `name` exists in `dir`.
pub(crate) fn exists(dir: BorrowedFd<'_>, name: &str) -> bool {
    rustix::fs::statat(dir.as_fd(), name, rustix::fs::AtFlags::empty()).is_ok()
}
