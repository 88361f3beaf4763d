//! Whiteouts: how a layer says that something of the layers below is gone.
//!
//! In a tar they are empty files with reserved names (image spec, "Whiteouts"); for overlayfs a deleted name
//! is a character device 0/0 and a replaced folder carries the attribute `trusted.overlay.opaque`
//! (Documentation/filesystems/overlayfs.rst).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Stat};

const PREFIX: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own bookkeeping, which old Docker versions let slip into layers.
const BOOKKEEPING: &[u8] = b".wh..wh.";

/// The extended attribute of an opaque folder, and its value.
pub(super) const OPAQUE_ATTRIBUTE: (&str, &[u8]) = ("trusted.overlay.opaque", b"y");

/// What an entry's file name means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// An ordinary file.
    Itself,
    /// Nothing below shows through in the entry's folder.
    OpaqueFolder,
    /// This name in the entry's folder is gone.
    Deleted(&'a OsStr),
    /// To be ignored.
    Bookkeeping,
    /// A whiteout that would delete nothing, `.` or `..`.
    Nonsense,
}

pub(super) fn meaning(name: &OsStr) -> Meaning<'_> {
    let bytes = name.as_bytes();
    if bytes == OPAQUE {
        return Meaning::OpaqueFolder;
    }
    if bytes.starts_with(BOOKKEEPING) {
        return Meaning::Bookkeeping;
    }
    match bytes.strip_prefix(PREFIX) {
        None => Meaning::Itself,
        Some(b"" | b"." | b"..") => Meaning::Nonsense,
        Some(deleted) => Meaning::Deleted(OsStr::from_bytes(deleted)),
    }
}

/// Whether `stat` is overlayfs's mark of a deleted name.
pub(super) fn is_mark(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Attributes of overlayfs itself, which a layer must not bring along: `redirect` and `metacopy` would show
/// files of other folders.
pub(super) fn is_reserved_attribute(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_image_spec_says() {
        let table: [(&str, Meaning<'_>); 9] = [
            ("file", Meaning::Itself),
            (".wh", Meaning::Itself),
            (".wh.file", Meaning::Deleted(OsStr::new("file"))),
            (".wh..hidden", Meaning::Deleted(OsStr::new(".hidden"))),
            (".wh..wh..opq", Meaning::OpaqueFolder),
            (".wh..wh.plnk", Meaning::Bookkeeping),
            (".wh.", Meaning::Nonsense),
            (".wh..", Meaning::Nonsense),
            (".wh...", Meaning::Nonsense),
        ];
        for (name, expected) in table {
            assert_eq!(meaning(OsStr::new(name)), expected, "{name}");
        }
    }
}
