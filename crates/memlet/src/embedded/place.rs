//! This machine's part of a run: a folder, a lock on it, and the cgroup below which Pods are made.
//!
//! A place belongs to one cgroup root and to one living process. Whoever claims it sweeps what a dead one
//! left there, and in every other place whose owner has died.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memlet_cgroup::{CgroupPath, Hierarchy};
use memlet_policy::cgroup_names::{CgroupNames, Driver};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// A claimed place.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    /// Held as long as the place is: the kernel lets go of it with the process, however that ends.
    lock: File,
    lock_path: PathBuf,
    owner: Owner,
}

/// Who made the folder: written before anything else is made, so that a sweep knows where to look.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    /// The cgroup below which kubepods is made.
    pub(crate) cgroup_root: CgroupPath,
    /// Whether that cgroup was made for this run, and goes with it.
    pub(crate) made_root: bool,
}

impl Place {
    /// Claims the place of `cgroup_root` in `run_folder`. `sweep` removes what a dead owner left in a folder.
    pub(crate) fn claim(
        run_folder: &Path,
        cgroup_root: &CgroupPath,
        hierarchy: &Hierarchy,
        sweep: impl Fn(&Path, &Owner) -> Result<()>,
    ) -> Result<Self> {
        make_folder(run_folder)?;
        let name = name_of(cgroup_root);
        let lock_path = run_folder.join(format!("{name}.lock"));
        let Some(lock) = try_lock(&lock_path)? else {
            bail!(
                "memlet{} already runs Pods under the cgroup {cgroup_root}; wait for it, or run these elsewhere \
                 with --cgroup-root /NAME",
                holder(&lock_path)
            );
        };
        let made = Self::make(run_folder, &name, cgroup_root, hierarchy, &lock_path, &sweep);
        let (folder, owner) = made.inspect_err(|_| {
            // Nothing else of this place exists.
            let _ = fs::remove_file(&lock_path);
        })?;
        let place = Self { folder, lock, lock_path, owner };
        place.sign()?;
        Ok(place)
    }

    /// Sweeps the dead and makes the folder, under the lock.
    fn make(
        run_folder: &Path,
        name: &str,
        cgroup_root: &CgroupPath,
        hierarchy: &Hierarchy,
        lock_path: &Path,
        sweep: &impl Fn(&Path, &Owner) -> Result<()>,
    ) -> Result<(PathBuf, Owner)> {
        sweep_dead(run_folder, lock_path, hierarchy, sweep)?;
        let folder = run_folder.join(name);
        remove_dead(&folder, hierarchy, sweep)?;
        refuse_foreign(cgroup_root, hierarchy)?;
        let made_root = !cgroup_root.is_root() && !hierarchy.dir(cgroup_root).exists();
        let owner = Owner { cgroup_root: cgroup_root.clone(), made_root };
        make_folder(&folder)?;
        memlet_runtime::state::write_json(&folder.join(OWNER), &owner)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
        Ok((folder, owner))
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes this process's number into the lock, for whoever is refused by it.
    fn sign(&self) -> Result<()> {
        let mut lock = &self.lock;
        lock.set_len(0)
            .and_then(|()| lock.seek(SeekFrom::Start(0)).map(drop))
            .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()))
            .with_context(|| format!("cannot write {}", self.lock_path.display()))
    }

    /// Gives the place back: folder, cgroup root and lock are gone then.
    pub(crate) fn release(self, hierarchy: &Hierarchy) -> Result<()> {
        remove_root(&self.owner, hierarchy)?;
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        // Whoever opened the same file meanwhile finds it locked until here, and gone after.
        fs::remove_file(&self.lock_path)
            .with_context(|| format!("cannot remove {}", self.lock_path.display()))?;
        drop(self.lock);
        Ok(())
    }
}

const OWNER: &str = "owner.json";

fn make_folder(folder: &Path) -> Result<()> {
    memlet_runtime::state::make_private_folder(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))
}

/// A file name for a cgroup path: one for each, and the plain one for the usual.
fn name_of(cgroup_root: &CgroupPath) -> String {
    if cgroup_root.is_root() {
        return "default".to_owned();
    }
    let escaped: Vec<_> = cgroup_root.pieces().map(|piece| piece.replace('-', "--")).collect();
    format!("root-{}", escaped.join("-"))
}

fn try_lock(path: &Path) -> Result<Option<File>> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            locked => locked.with_context(|| format!("cannot lock {}", path.display()))?,
        }
        // The last holder may have removed the file between our opening and locking it.
        let (ours, theirs) = (rustix::fs::fstat(&file)?, rustix::fs::stat(path));
        if theirs.is_ok_and(|theirs| theirs.st_ino == ours.st_ino) {
            return Ok(Some(file));
        }
    }
}

fn holder(lock: &Path) -> String {
    let mut text = String::new();
    let read = File::open(lock).and_then(|mut file| file.read_to_string(&mut text));
    if read.is_ok() && !text.is_empty() { format!(" (process {})", text.trim()) } else { String::new() }
}

/// Sweeps every other place whose owner has died.
fn sweep_dead(
    run_folder: &Path,
    own_lock: &Path,
    hierarchy: &Hierarchy,
    sweep: &impl Fn(&Path, &Owner) -> Result<()>,
) -> Result<()> {
    for entry in fs::read_dir(run_folder).with_context(|| format!("cannot list {}", run_folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", run_folder.display()))?.path();
        if path == own_lock || path.extension().is_none_or(|ending| ending != "lock") {
            continue;
        }
        if let Some(lock) = try_lock(&path)? {
            remove_dead(&path.with_extension(""), hierarchy, sweep)?;
            let _ = fs::remove_file(&path);
            drop(lock);
        }
    }
    Ok(())
}

fn remove_dead(
    folder: &Path,
    hierarchy: &Hierarchy,
    sweep: &impl Fn(&Path, &Owner) -> Result<()>,
) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    // Without this file nothing else had been made yet.
    if let Ok(owner) = memlet_runtime::state::read_json::<Owner>(&folder.join(OWNER)) {
        sweep(folder, &owner).with_context(|| {
            format!("what an earlier run left under {} cannot be removed", folder.display())
        })?;
        remove_root(&owner, hierarchy)?;
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn remove_root(owner: &Owner, hierarchy: &Hierarchy) -> Result<()> {
    if owner.made_root {
        hierarchy.remove_everywhere(&owner.cgroup_root)?;
    }
    Ok(())
}

/// A kubepods that is there now is somebody else's, most likely a kubelet's: whatever is inside stays
/// untouched.
fn refuse_foreign(cgroup_root: &CgroupPath, hierarchy: &Hierarchy) -> Result<()> {
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        let kubepods: CgroupPath = CgroupNames::new(driver).below(cgroup_root.as_str()).kubepods().parse()?;
        if hierarchy.dir(&kubepods).exists() {
            bail!(
                "the cgroup {kubepods} is there already and not memlet's (a kubelet's?); run Pods elsewhere with \
                 --cgroup-root /NAME"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_root_has_a_name_of_its_own() {
        let name = |path: &str| name_of(&path.parse().unwrap());
        assert_eq!(name("/"), "default");
        assert_eq!(name("/a/b"), "root-a-b");
        assert_eq!(name("/a-b"), "root-a--b");
    }

    #[test]
    fn a_lock_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let lock = try_lock(&path).unwrap();
        assert!(lock.is_some());
        assert!(try_lock(&path).unwrap().is_none());
        drop(lock);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
