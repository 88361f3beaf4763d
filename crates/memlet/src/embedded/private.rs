//! Folders that are this user's alone.
//!
//! What lies in the run folder is believed: which cgroups to empty, which processes to kill. So nobody else may
//! have put it there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Write permission of the group and of all others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Makes the folder where it is not there yet; another is chosen with `option`.
///
/// # Errors
/// It cannot be made, or what is there is not [ours alone](require_private).
pub(crate) fn make(folder: &Path, option: &str) -> Result<()> {
    memlet_runtime::state::make_private_folder(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    require_private(folder, option)
}

/// # Errors
/// It is no folder, somebody else's, or one that others may write to.
pub(crate) fn require_private(folder: &Path, option: &str) -> Result<()> {
    // With a slash at its end the path would lead through a symbolic link.
    let folder: PathBuf = folder.components().collect();
    let found =
        fs::symlink_metadata(&folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let us = rustix::process::geteuid().as_raw();
    let reason = if found.is_symlink() {
        "is a symbolic link".to_owned()
    } else if !found.is_dir() {
        "is no folder".to_owned()
    } else if found.uid() != us {
        format!("belongs to user {}", found.uid())
    } else if found.mode() & WRITABLE_BY_OTHERS != 0 {
        format!("may be written to by others (mode {:o})", found.mode() & 0o7777)
    } else {
        return Ok(());
    };
    bail!(
        "{} {reason}, so what lies in it cannot be trusted: choose a folder of user {us} alone with {option}",
        folder.display()
    )
}

/// Writes a file that only this user may read: beside, to disk, and then in its place, so that nobody ever sees half of it.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.and_then(|()| fs::rename(&draft, path)).inspect_err(|_| drop(fs::remove_file(&draft)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn refusal(folder: &Path) -> String {
        make(folder, "--run-folder").unwrap_err().to_string()
    }

    #[test]
    fn only_a_folder_of_our_own_is_taken() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("made/below");
        make(&folder, "--run-folder").unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        make(&folder, "--run-folder").unwrap();

        let link = parent.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(refusal(&link).contains("is a symbolic link"), "{}", refusal(&link));
        assert!(refusal(&link.join("")).contains("is a symbolic link"), "{}", refusal(&link.join("")));

        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&folder).contains(&format!("written to by others (mode {mode:o})")));
        }
        for mode in [0o755, 0o500] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            make(&folder, "--run-folder").unwrap();
        }
        if rustix::process::geteuid().is_root() {
            chown(&folder, Some(65534), None).unwrap();
            assert!(refusal(&folder).contains("belongs to user 65534"), "{}", refusal(&folder));
        }
    }
}
