//! Files that change all at once, for whoever reads them: kubelet's `AtomicWriter`.
//!
//! A volume holds a folder for each state, `..data`, a link to the present one, and a link for each name in it, through
//! `..data`. Putting another link in the place of `..data` changes everything in one step.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::payload::{File, Files};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes the volume at `root` show these files, and none else; whether that changed anything. `group` is the Pod's
/// `fsGroup`, which may read all of it.
pub(super) fn write(root: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    let old = fs::read_link(root.join(DATA)).ok();
    if let Some(old) = &old
        && shows(&root.join(old), files, group)?
    {
        return Ok(false);
    }
    let (state, name) = new_state(root)?;
    if let Err(error) = fill(&state, files, group) {
        // What is half made is of no use; that removing it fails too changes nothing about the error.
        let _ = fs::remove_dir_all(&state);
        return Err(error);
    }
    let next = root.join(NEXT);
    remove_if_there(&next)?;
    symlink(&name, &next)?;
    let wanted = names(files);
    for name in &wanted {
        link(root, name)?;
    }
    fs::rename(&next, root.join(DATA))?;
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b"..") && !wanted.contains(&name) {
            remove_if_there(&root.join(&name))?;
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(root.join(old))?;
    }
    Ok(true)
}

/// A folder named by the time, as kubelet's: `..2026_11_22_01_17_24.` and something that makes it new.
fn new_state(root: &Path) -> io::Result<(PathBuf, String)> {
    let now = Timestamp::now();
    let time = now.strftime("%Y_%m_%d_%H_%M_%S").to_string();
    let mut number = now.subsec_nanosecond().unsigned_abs();
    loop {
        let name = format!("..{time}.{number:09}");
        let path = root.join(&name);
        match fs::create_dir(&path) {
            Ok(()) => return Ok((path, name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn fill(state: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    open_folder(state, group)?;
    for (path, file) in files {
        let parents: Vec<&Path> = path.ancestors().skip(1).filter(|parent| !is_empty(parent)).collect();
        for parent in parents.into_iter().rev() {
            let parent = state.join(parent);
            if !parent.is_dir() {
                fs::create_dir(&parent)?;
                open_folder(&parent, group)?;
            }
        }
        let path = state.join(path);
        fs::write(&path, &file.contents)?;
        chown(&path, file.owner, group)?;
        // After the owner: changing that may take bits of the mode away. And whatever the process's umask.
        fs::set_permissions(&path, Permissions::from_mode(mode(file, group)))?;
    }
    Ok(())
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

fn open_folder(path: &Path, group: Option<u32>) -> io::Result<()> {
    chown(path, None, group)?;
    fs::set_permissions(path, Permissions::from_mode(if group.is_some() { 0o2755 } else { 0o755 }))
}

/// A group that is to read the volume may read every file.
fn mode(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() { file.mode | 0o440 } else { file.mode }
}

/// What is to be seen at the top of the volume.
fn names(files: &Files) -> BTreeSet<OsString> {
    files.keys().filter_map(|path| path.iter().next()).map(OsStr::to_owned).collect()
}

/// A name that leads through `..data`; one that does already is left alone.
fn link(root: &Path, name: &OsStr) -> io::Result<()> {
    let (place, target) = (root.join(name), Path::new(DATA).join(name));
    if fs::read_link(&place).is_ok_and(|found| found == target) {
        return Ok(());
    }
    remove_if_there(&place)?;
    symlink(target, place)
}

/// A link or file; a folder is nothing of ours, and an error.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the state holds just these files.
fn shows(state: &Path, files: &Files, group: Option<u32>) -> io::Result<bool> {
    let mut found = BTreeSet::new();
    if !state.is_dir() {
        return Ok(false);
    }
    collect(state, Path::new(""), &mut found)?;
    if !found.iter().eq(files.keys()) {
        return Ok(false);
    }
    for (path, file) in files {
        let path = state.join(path);
        let metadata = fs::metadata(&path)?;
        let same_owner = file.owner.is_none_or(|owner| metadata.uid() == owner);
        let same_mode = metadata.permissions().mode() & 0o777 == mode(file, group);
        if !same_owner || !same_mode || fs::read(&path)? != file.contents {
            return Ok(false);
        }
    }
    Ok(true)
}

fn collect(folder: &Path, within: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = within.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str, u32)]) -> Files {
        let file = |contents: &str, mode| File { contents: contents.into(), mode, owner: None };
        of.iter().map(|(path, contents, mode)| (PathBuf::from(path), file(contents, *mode))).collect()
    }

    fn entries(root: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn all_files_change_in_one_step() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let first = files(&[("a", "1", 0o644), ("deep/er/b", "2", 0o400)]);
        assert!(write(root, &first, None).unwrap());
        assert_eq!(fs::read_to_string(root.join("deep/er/b")).unwrap(), "2");
        assert_eq!(fs::metadata(root.join("deep/er/b")).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::read_link(root.join("a")).unwrap(), Path::new("..data/a"));
        let state = fs::read_link(root.join("..data")).unwrap();
        assert!(state.to_str().unwrap().starts_with("..20"), "{state:?}");
        assert!(!write(root, &first, None).unwrap(), "nothing changed");
        assert_eq!(fs::read_link(root.join("..data")).unwrap(), state);
        // Whoever holds the old file keeps reading it.
        let held = fs::File::open(root.join("a")).unwrap();
        assert!(write(root, &files(&[("a", "3", 0o644), ("c", "4", 0o644)]), None).unwrap());
        assert_eq!(io::read_to_string(held).unwrap(), "1");
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "3");
        let seen = entries(root);
        assert_eq!(seen[1..], ["..data", "a", "c"], "the old state and what is gone are removed: {seen:?}");
        assert!(
            write(root, &files(&[("a", "3", 0o600), ("c", "4", 0o644)]), None).unwrap(),
            "a mode changed"
        );
        assert!(write(root, &Files::new(), None).unwrap());
        assert_eq!(entries(root)[1..], ["..data"]);
    }

    #[test]
    fn a_failure_leaves_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, &files(&[("a", "1", 0o644)]), None).unwrap();
        // A file and a folder of one name cannot be.
        assert!(write(root, &files(&[("b", "1", 0o644), ("b/c", "2", 0o644)]), None).is_err());
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1");
        assert_eq!(entries(root).len(), 3, "{:?}", entries(root));
    }

    #[test]
    fn a_group_may_read() {
        let folder = tempfile::tempdir().unwrap();
        // Our own group, so that the test needs no root.
        let group = rustix::process::getegid().as_raw();
        let files = files(&[("d/token", "t", 0o600)]);
        write(folder.path(), &files, Some(group)).unwrap();
        let mode = |path: &str| fs::metadata(folder.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("d/token"), mode("d")), (0o640, 0o2755));
        assert!(!write(folder.path(), &files, Some(group)).unwrap());
    }
}
