//! Where an archive's entry belongs: its path, cut into a folder and a name that cannot lead outside.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The place of an entry within the layer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The layer's root folder itself.
    Root,
    /// A name in a folder, which is relative to the root and empty for the root itself.
    In(PathBuf, OsString),
}

/// Leading slashes and `.` mean the root, as tar and every runtime take them; `None` where `..` occurs, which
/// no builder writes.
pub(super) fn place(path: &[u8]) -> Option<Place> {
    let mut folder = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(part) => folder.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    let Some(name) = folder.file_name().map(OsStr::to_owned) else { return Some(Place::Root) };
    folder.pop();
    Some(Place::In(folder, name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_paths() {
        let place_in = |folder: &str, name: &str| Some(Place::In(folder.into(), name.into()));
        let table = [
            ("", Some(Place::Root)),
            ("./", Some(Place::Root)),
            ("/", Some(Place::Root)),
            ("a", place_in("", "a")),
            ("./a/b", place_in("a", "b")),
            ("/a//b/./c/", place_in("a/b", "c")),
            ("a/..b", place_in("a", "..b")),
            ("..", None),
            ("a/../b", None),
            ("/../../etc/passwd", None),
        ];
        for (path, expected) in table {
            assert_eq!(place(path.as_bytes()), expected, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn a_place_has_only_ordinary_components(path in "[a./]{0,12}") {
            if let Some(Place::In(folder, name)) = place(path.as_bytes()) {
                let whole = folder.join(&name);
                prop_assert!(whole.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(Path::new(&name).components().count(), 1);
            }
        }
    }
}
