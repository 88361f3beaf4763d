//! Unix sockets in deep folders: an address holds 107 bytes, a sandbox's path is longer.
//!
//! The folder is opened and the socket named through `/proc/self/fd`, so the length of the path to it does
//! not count.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Listens at `path`.
///
/// # Errors
/// The folder cannot be opened, or something is there already.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let (_folder, short) = shortened(path)?;
    UnixListener::bind(short)
}

/// Connects to the listener at `path`.
///
/// # Errors
/// The folder cannot be opened, or nobody listens.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_folder, short) = shortened(path)?;
    UnixStream::connect(short)
}

fn shortened(path: &Path) -> io::Result<(File, PathBuf)> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Ok((folder, short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_where_the_path_is_too_long_for_an_address() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("shim.sock");
        assert!(
            UnixListener::bind(&path).is_err(),
            "the path must be too long for this test to mean anything"
        );
        let listener = listen(&path).unwrap();
        connect(&path).unwrap();
        listener.accept().unwrap();
    }
}
