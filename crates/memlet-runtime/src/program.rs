//! One sealed in-memory copy of this program, from which every supervisor runs.
//!
//! Nothing that ends up inside a container may run from the host's own program file: a container that opens
//! `/proc/self/exe` could overwrite it and so own the host (CVE-2019-5736). A sealed memfd cannot be written
//! by anybody, and all supervisors share its pages.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use rustix::fs::{MemfdFlags, SealFlags};

/// The sealed copy of the running program.
#[derive(Debug)]
pub struct Program(OwnedFd);

impl Program {
    /// Copies `/proc/self/exe` into a sealed memfd: about 0.4 ms per MiB of program.
    ///
    /// # Errors
    /// The kernel refuses the memfd (out of memory, or `vm.memfd_noexec=2`).
    pub fn seal() -> io::Result<Self> {
        let source = File::open("/proc/self/exe")?;
        let size = source.metadata()?.len();
        let copy = memfd()?;
        let mut offset = 0;
        while offset < size {
            let left = usize::try_from(size - offset).unwrap_or(usize::MAX);
            if rustix::fs::sendfile(&copy, &source, Some(&mut offset), left)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        rustix::fs::fcntl_add_seals(
            &copy,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )?;
        Ok(Self(copy))
    }

    /// A command that runs this copy.
    pub fn command(&self) -> Command {
        let mut command = Command::new(format!("/proc/self/fd/{}", self.0.as_raw_fd()));
        std::os::unix::process::CommandExt::arg0(&mut command, "memlet");
        command
    }
}

impl AsFd for Program {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives back the pages of this program's code that only its start needed: those that are needed again come from the file.
/// A start runs through most of a program, and a process that lives for months would keep all of that mapped.
pub fn forget_start() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Ok(own) = std::fs::read_link("/proc/self/exe") else { return };
    for (start, length) in code_of(&maps, &own.to_string_lossy()) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: the range is a mapping of this program's own file that cannot be written (`r-xp`), so all of its pages
        // are as in the file, from which the kernel fills them again whenever they are touched.
        let given_back = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
        if given_back != 0 {
            tracing::debug!("the code of the start stays mapped: {}", io::Error::last_os_error());
        }
    }
}

/// The mappings of `file` that hold code: where they begin, and their lengths.
fn code_of(maps: &str, file: &str) -> Vec<(usize, usize)> {
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let is_code = rest.starts_with("r-xp ") && rest.ends_with(&format!(" {file}"));
        let (start, end) = range.split_once('-').filter(|_| is_code)?;
        let start = usize::from_str_radix(start, 16).ok()?;
        Some((start, usize::from_str_radix(end, 16).ok()?.checked_sub(start)?))
    };
    maps.lines().filter_map(range).collect()
}

/// Whether `/proc/<pid>/exe`, which this is, names such a copy.
pub(crate) fn is_sealed_copy(runs: &Path) -> bool {
    runs == Path::new("/memfd:memlet (deleted)")
}

/// `MFD_EXEC` is wanted where `vm.memfd_noexec` exists (Linux 6.3) and unknown (EINVAL) before.
fn memfd() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("memlet", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => Ok(rustix::fs::memfd_create("memlet", flags)?),
        made => Ok(made?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn the_copy_is_the_program_and_cannot_be_written() {
        let program = Program::seal().unwrap();
        let copy = File::from(program.0.try_clone().unwrap());
        let original = std::fs::read("/proc/self/exe").unwrap();
        let mut copied = vec![0; original.len()];
        copy.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == original, "the copy differs from the program");
        assert!(copy.write_at(b"x", 0).is_err(), "a sealed copy must refuse writes");
        assert!(copy.set_len(0).is_err(), "a sealed copy must refuse truncation");
        let runs = std::fs::read_link(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap();
        assert!(is_sealed_copy(&runs), "{}", runs.display());
    }

    #[test]
    fn code_alone_is_given_back() {
        let maps = "1000-2000 r--p 00000000 08:01 5 /a/memlet\n2000-5000 r-xp 00001000 08:01 5 /a/memlet\n\
                    5000-6000 rw-p 00004000 08:01 5 /a/memlet\n7000-8000 r-xp 00000000 08:01 6 /lib/c.so\n";
        assert_eq!(code_of(maps, "/a/memlet"), [(0x2000, 0x3000)]);
        forget_start();
        assert_eq!(code_of("", "x"), [], "and the code goes on");
    }
}
