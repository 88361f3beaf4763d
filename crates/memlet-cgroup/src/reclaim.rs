//! Asking the kernel to take memory back from a group before it must.

use memlet_bytes::Bytes;
use rustix::io::Errno;

use crate::{Cgroup, Error, Result, Version};

impl Cgroup {
    /// Has the kernel drop page cache of this group and all below it, and swap where it may, until about `amount` is
    /// free or nothing more can be had; answers by how much the usage fell meanwhile. Takes as long as that takes.
    ///
    /// v2 (`memory.reclaim`) stops at `amount`; v1 (`memory.force_empty`) knows no amount and drops all that it can.
    /// `None` where the kernel has no such file: v2 before Linux 5.19.
    ///
    /// # Errors
    /// Where the group is gone or may not be written.
    pub fn reclaim(&self, amount: Bytes) -> Result<Option<Bytes>> {
        let before = self.usage()?;
        let reclaimed = match self.version {
            Version::V1 => self.write_optional("memory.force_empty", "0"),
            Version::V2 => self.write_optional("memory.reclaim", &amount.get().to_string()),
        };
        match reclaimed {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            // Less than was asked for; a v1 group with processes is never empty.
            Err(Error::Io { source, .. })
                if matches!(Errno::from_io_error(&source), Some(Errno::AGAIN | Errno::BUSY)) => {}
            Err(error) => return Err(error),
        }
        Ok(Some(before.saturating_sub(self.usage()?)))
    }
}
