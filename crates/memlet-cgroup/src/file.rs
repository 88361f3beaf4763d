//! Reading and writing the files of one cgroup directory, relative to its open descriptor.

use std::collections::BTreeMap;
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

/// The lines `key number` of a text; the first that is no such line comes back as the error.
pub(crate) fn keyed_numbers(text: &str) -> Result<BTreeMap<String, u64>, &str> {
    text.lines()
        .map(|line| {
            let (key, number) = line.split_once(' ').ok_or(line)?;
            Ok((key.to_owned(), number.parse().map_err(|_| line)?))
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        for (text, line) in [
            ("a 1\nb\n", "b"),
            ("a 1\nb x\nc y\n", "b x"),
            ("a -1\n", "a -1"),
            ("a 1 2\n", "a 1 2"),
            ("a 18446744073709551616\n", "a 18446744073709551616"),
            ("a 1\n\n", ""),
        ] {
            assert_eq!(keyed_numbers(text), Err(line), "{text:?}");
        }
        assert_eq!(keyed_numbers(""), Ok(BTreeMap::new()));
    }

    proptest! {
        #[test]
        fn what_the_kernel_may_write_is_read_back(numbers in prop::collection::btree_map("[a-z_]{1,20}", any::<u64>(), 0..40)) {
            let text: String = numbers.iter().fold(String::new(), |text, (key, number)| text + &format!("{key} {number}\n"));
            prop_assert_eq!(keyed_numbers(&text), Ok(numbers));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = keyed_numbers(&text);
        }
    }
}
