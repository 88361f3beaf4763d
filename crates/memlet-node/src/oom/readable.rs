//! Waiting until a file descriptor of the kernel has something to read.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches the same open file through a descriptor of its own, so that whoever reads it stays free to.
pub(super) fn watch(file: impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    let file = file.as_fd().try_clone_to_owned()?;
    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that may change their descriptor; OwnedFd cannot"
    )]
    AsyncFd::with_interest(file, Interest::READABLE)
}
