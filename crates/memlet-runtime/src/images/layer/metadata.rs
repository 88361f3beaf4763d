//! Owner, mode, times and extended attributes of an entry, and putting them on what was made for it.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::whiteout::is_reserved_attribute;

/// In pax headers of star, GNU tar, Go and Docker's builder, an extended attribute's name follows this.
const PAX_ATTRIBUTE: &str = "SCHILY.xattr.";

#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) modified: Timespec,
    pub(super) attributes: Vec<(CString, Vec<u8>)>,
}

impl Metadata {
    /// What an entry's headers say.
    pub(super) fn of<R: io::Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<Self> {
        let entry_name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let header = entry.header();
        let too_large = |_| io::Error::new(io::ErrorKind::InvalidData, "a user or group id exceeds 32 bits");
        let uid = u32::try_from(header.uid()?).map_err(too_large)?;
        let gid = u32::try_from(header.gid()?).map_err(too_large)?;
        let mode = header.mode()? & 0o7777;
        let seconds = i64::try_from(header.mtime()?).unwrap_or(i64::MAX);
        let mut modified = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let mut attributes = Vec::new();
        for extension in entry.pax_extensions()?.into_iter().flatten() {
            // The tar crate cuts extensions at newlines, which binary attributes may contain. Losing such an
            // attribute is better than refusing the image.
            let Ok(extension) = extension else {
                tracing::warn!(entry = %entry_name, "an extended attribute with a newline byte in it is left out");
                continue;
            };
            let Ok(key) = extension.key() else { continue };
            if key == "mtime" {
                modified = extension.value().ok().and_then(pax_time).unwrap_or(modified);
            } else if let Some(name) = key.strip_prefix(PAX_ATTRIBUTE)
                && !is_reserved_attribute(name.as_bytes())
                && let Ok(name) = CString::new(name)
            {
                attributes.push((name, extension.value_bytes().to_vec()));
            }
        }
        Ok(Self { uid, gid, mode, modified, attributes })
    }

    /// What a folder of a lower layer has; its extended attributes stay its own.
    pub(super) fn of_lower(stat: &Stat) -> Self {
        #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast, reason = "differs between libcs")]
        let modified = Timespec { tv_sec: stat.st_mtime as i64, tv_nsec: stat.st_mtime_nsec as _ };
        let mode = stat.st_mode & 0o7777;
        Self { uid: stat.st_uid, gid: stat.st_gid, mode, modified, attributes: Vec::new() }
    }

    /// What tar gives a folder that no entry describes.
    pub(super) fn of_implied_folder() -> Self {
        let modified = Timespec { tv_sec: 0, tv_nsec: 0 };
        Self { uid: 0, gid: 0, mode: 0o755, modified, attributes: Vec::new() }
    }

    pub(super) fn times(&self) -> Timestamps {
        Timestamps { last_access: self.modified, last_modification: self.modified }
    }

    /// Owner, mode and attributes of an open file or folder. Owner first: a change of it clears set-user-id
    /// and `security.capability`.
    pub(super) fn put_on(&self, file: impl AsFd) -> io::Result<()> {
        let (uid, gid) = self.owner()?;
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.attributes {
            tolerate(rustix::fs::fsetxattr(&file, name.as_c_str(), value, XattrFlags::empty()), name)?;
        }
        Ok(())
    }

    /// The same for what cannot be opened (devices, pipes), by an `O_PATH` descriptor.
    pub(super) fn put_on_path(&self, node: impl AsFd) -> io::Result<()> {
        let (uid, gid) = self.owner()?;
        rustix::fs::chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        // The magic link leads to the very inode, whatever its name has become.
        let link = format!("/proc/self/fd/{}", node.as_fd().as_raw_fd());
        rustix::fs::chmod(&link, Mode::from_raw_mode(self.mode))?;
        for (name, value) in &self.attributes {
            tolerate(rustix::fs::setxattr(&link, name.as_c_str(), value, XattrFlags::empty()), name)?;
        }
        Ok(())
    }

    /// The owner of a symbolic link, which has neither mode nor, in practice, attributes.
    pub(super) fn put_on_link(&self, folder: impl AsFd, name: &OsStr) -> io::Result<()> {
        let (uid, gid) = self.owner()?;
        rustix::fs::chownat(&folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::utimensat(&folder, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// The all-ones id is chown(2)'s "leave it", no owner.
    fn owner(&self) -> io::Result<(Uid, Gid)> {
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(Errno::INVAL.into());
        }
        Ok((Uid::from_raw(self.uid), Gid::from_raw(self.gid)))
    }
}

/// A filesystem or security module without a kind of attribute does not make the image unusable (containerd
/// and Docker skip these too).
fn tolerate(result: rustix::io::Result<()>, name: &CString) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {
            tracing::debug!(attribute = ?name, "the store's filesystem does not take this extended attribute");
            Ok(())
        }
        other => Ok(other?),
    }
}

/// `1700000000.25`; a time before 1970 has a sign.
fn pax_time(text: &str) -> Option<Timespec> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    // The fraction counts away from zero, the kernel's nanoseconds always forward.
    let before_1970 = whole.starts_with('-') && nanoseconds > 0;
    let (whole, part) =
        if before_1970 { (seconds - 1, 1_000_000_000 - nanoseconds) } else { (seconds, nanoseconds) };
    Some(Timespec { tv_sec: whole, tv_nsec: part as _ })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pax_times() {
        let table = [
            ("1700000000", Some((1_700_000_000, 0))),
            ("1700000000.25", Some((1_700_000_000, 250_000_000))),
            ("1.1234567891", Some((1, 123_456_789))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("", None),
            ("1.x", None),
        ];
        for (text, expected) in table {
            assert_eq!(pax_time(text).map(|time| (time.tv_sec, time.tv_nsec)), expected, "{text:?}");
        }
    }
}
