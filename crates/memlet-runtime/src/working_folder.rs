//! Makes the folder that a container starts in, where its image has none, as other runtimes do.
//!
//! Every step is resolved within the container's root, so that no link in the image leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat};
use rustix::io::Errno;

use crate::images::inside;

/// Makes `folder`, an absolute path within `root`, with its parents.
///
/// # Errors
/// The path is not absolute, one of its parts is no folder, or it cannot be made.
pub(crate) fn make(root: &Path, folder: &Path) -> io::Result<()> {
    if !folder.is_absolute() {
        let text = format!("{} is not an absolute path", folder.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let root = File::open(root)?;
    let mut path = PathBuf::from("/");
    for part in folder.components() {
        let Component::Normal(name) = part else { continue };
        let parent = open(&root, &path).map_err(|error| named(&path, error))?;
        path.push(name);
        match open(&root, &path) {
            Ok(_) => {}
            Err(Errno::NOENT) => {
                mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(|error| named(&path, error))?;
            }
            Err(error) => return Err(named(&path, error)),
        }
    }
    Ok(())
}

fn open(root: &File, path: &Path) -> Result<OwnedFd, Errno> {
    inside::open(root, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, ResolveFlags::IN_ROOT)
}

fn named(path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn folders_are_made_and_links_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        make(root.path(), Path::new("/a/b/c")).unwrap();
        assert!(root.path().join("a/b/c").is_dir());
        symlink(outside.path(), root.path().join("out")).unwrap();
        // The link's target is looked for within the root, where it does not exist.
        assert!(make(root.path(), Path::new("/out/new")).is_err());
        assert!(fs::read_dir(outside.path()).unwrap().next().is_none(), "something was made outside");
        symlink("/a", root.path().join("in")).unwrap();
        make(root.path(), Path::new("/in/d")).unwrap();
        assert!(root.path().join("a/d").is_dir());
    }

    #[test]
    fn what_is_no_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let error = make(root.path(), Path::new("/file/x")).unwrap_err().to_string();
        assert!(error.starts_with("/file: "), "{error}");
        assert!(
            make(root.path(), Path::new("relative"))
                .unwrap_err()
                .to_string()
                .contains("not an absolute path")
        );
    }
}
