//! This machine's part of a run: a folder, a lock on it, and the cgroup below which Pods are made.
//!
//! A place belongs to one cgroup root and to one living process. Whoever claims it sweeps what a dead one
//! left there, and in every other place whose owner has died. Except what a node keeps: its Pods run on without it, and
//! wait for the next node of the same data folder.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memlet_cgroup::{CgroupPath, Hierarchy};
use memlet_policy::cgroup_names::{CgroupNames, Driver};
use serde::{Deserialize, Serialize};

use super::lock::{self, Lock};
use super::private;
use crate::say;

/// A claimed place.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    lock: Lock,
    owner: Owner,
}

/// Who made the folder: written before anything else is made, so that a sweep knows where to look.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Owner {
    /// Where kubepods is made.
    #[serde(flatten)]
    pub(crate) cgroups: CgroupPlace,
    /// Whether that cgroup was made for this run, and goes with it.
    pub(crate) made_root: bool,
    /// Groups above it that were made with it, the nearest first: they go with the last that is below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) made_above: Vec<CgroupPath>,
    /// The data folder of the node whose Pods these are; `None` for those of a run, which end with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept_for: Option<PathBuf>,
}

/// What is to become of what is in a place already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim<'a> {
    /// For one run: what a dead one left is swept, and nothing is left at the end.
    Anew,
    /// For the node of this data folder, whose Pods may be there.
    Node(&'a Path),
}

impl Claim<'_> {
    fn kept_for(self) -> Option<PathBuf> {
        match self {
            Self::Anew => None,
            Self::Node(data) => Some(data.to_owned()),
        }
    }
}

/// The cgroup below which kubepods is made, and who makes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CgroupPlace {
    /// As people name it.
    #[serde(rename = "cgroupRoot")]
    pub(crate) root: CgroupPath,
    #[serde(with = "driver_by_name", rename = "cgroupDriver")]
    pub(crate) driver: Driver,
}

impl CgroupPlace {
    /// The group itself, which systemd's manner calls otherwise.
    fn group(&self) -> Result<CgroupPath> {
        Ok(self.names().root().parse()?)
    }

    /// How the cgroups of Pods and containers are called there.
    pub(crate) fn names(&self) -> CgroupNames {
        CgroupNames::new(self.driver).below(self.root.as_str())
    }

    /// The group of all Pods.
    pub(crate) fn kubepods(&self) -> Result<CgroupPath> {
        Ok(self.names().kubepods().parse()?)
    }
}

/// The driver as the command line has it.
mod driver_by_name {
    use memlet_policy::cgroup_names::Driver;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` asks for this signature")]
    pub(super) fn serialize<S: Serializer>(driver: &Driver, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(driver)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Driver, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = [Driver::Cgroupfs, Driver::Systemd].into_iter().find(|driver| driver.to_string() == name);
        known.ok_or_else(|| serde::de::Error::custom(format!("no cgroup driver is called {name:?}")))
    }
}

impl Place {
    /// Claims the place of `cgroups` in `run_folder`. `sweep` removes what a dead owner left in a folder.
    pub(crate) fn claim(
        run_folder: &Path,
        cgroups: &CgroupPlace,
        made_above: &[CgroupPath],
        claim: Claim<'_>,
        hierarchy: &Hierarchy,
        sweep: impl Fn(&Path, &Owner) -> Result<()>,
    ) -> Result<Self> {
        private::make(run_folder, OPTION)?;
        let name = name_of(&cgroups.root);
        let lock_path = run_folder.join(format!("{name}.lock"));
        let Some(lock) = Lock::try_take(&lock_path)? else {
            bail!(
                "memlet{} already runs Pods under the cgroup {}; wait for it, or run these elsewhere with \
                 --cgroup-root /NAME",
                lock::holder(&lock_path),
                cgroups.root
            );
        };
        sweep_others(run_folder, &lock_path, hierarchy, &sweep)?;
        let folder = run_folder.join(name);
        match take(&folder, cgroups, made_above, claim, hierarchy, &sweep) {
            Ok(owner) => {
                lock.sign()?;
                Ok(Self { folder, lock, owner })
            }
            Err(error) => {
                // By the lock the next start finds what is left; where nothing is, it goes too.
                if fs::symlink_metadata(&folder).is_err() {
                    let _ = lock.remove();
                }
                Err(error)
            }
        }
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the node of this data folder keeps Pods in the place of `cgroups`.
    pub(crate) fn is_kept(run_folder: &Path, cgroups: &CgroupPlace, data: &Path) -> Result<bool> {
        let owner = read_owner(&run_folder.join(name_of(&cgroups.root)))?;
        Ok(owner.is_some_and(|owner| owner.kept_for.as_deref() == Some(data)))
    }

    /// Removes all that is in it, with `sweep`, and gives it back.
    pub(crate) fn sweep_and_release(
        self,
        hierarchy: &Hierarchy,
        sweep: impl Fn(&Path, &Owner) -> Result<()>,
    ) -> Result<()> {
        sweep(&self.folder, &self.owner)?;
        self.release(hierarchy)
    }

    /// Lets go of the place with all that is in it, for the next node of the same data folder.
    pub(crate) fn leave(self) {
        drop(self.lock);
    }

    /// Gives the place back: folder, cgroup root and lock are gone then.
    pub(crate) fn release(self, hierarchy: &Hierarchy) -> Result<()> {
        remove_root(&self.owner, hierarchy)?;
        fs::remove_dir_all(&self.folder)
            .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        self.lock.remove()
    }
}

const OWNER: &str = "owner.json";
/// By this another run folder is chosen.
const OPTION: &str = "--run-folder";

/// Takes up what a node kept for its next start; otherwise sweeps what a dead owner left and makes the folder anew. Under
/// the lock.
fn take(
    folder: &Path,
    cgroups: &CgroupPlace,
    made_above: &[CgroupPath],
    claim: Claim<'_>,
    hierarchy: &Hierarchy,
    sweep: &impl Fn(&Path, &Owner) -> Result<()>,
) -> Result<Owner> {
    match read_owner(folder)? {
        Some(owner) if owner.kept_for.is_some() && owner.kept_for == claim.kept_for() => return Ok(owner),
        Some(Owner { kept_for: Some(data), .. }) => bail!(
            "the node in {} has Pods under the cgroup {}; start it again with `memlet node --data {}`, end them with `memlet \
             stop --pods --data {}`, or run Pods elsewhere with --cgroup-root /NAME",
            data.display(),
            cgroups.root,
            data.display(),
            data.display()
        ),
        Some(_) | None => remove_dead(folder, hierarchy, sweep)?,
    }
    refuse_foreign(&cgroups.root, hierarchy)?;
    let made_root = !cgroups.root.is_root() && !hierarchy.dir(&cgroups.group()?).exists();
    let made_above = made_above.to_vec();
    let owner = Owner { cgroups: cgroups.clone(), made_root, made_above, kept_for: claim.kept_for() };
    private::make(folder, OPTION)?;
    memlet_runtime::state::write_json(&folder.join(OWNER), &owner)
        .with_context(|| format!("cannot write to {}", folder.display()))
        .inspect_err(|_| {
            // Still empty.
            let _ = fs::remove_dir(folder);
        })?;
    Ok(owner)
}

/// A file name for a cgroup path: one for each, and the plain one for the usual.
fn name_of(cgroup_root: &CgroupPath) -> String {
    if cgroup_root.is_root() {
        return "default".to_owned();
    }
    let escaped: Vec<_> = cgroup_root.pieces().map(|piece| piece.replace('-', "--")).collect();
    format!("root-{}", escaped.join("-"))
}

/// Sweeps every other place whose owner has died. What cannot be removed there is told and stays for the next
/// start: it is no reason not to run here.
fn sweep_others(
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
        if let Err(error) = sweep_other(&path, hierarchy, sweep) {
            say::warning(&format!("{error:#}"));
        }
    }
    Ok(())
}

fn sweep_other(
    lock: &Path,
    hierarchy: &Hierarchy,
    sweep: &impl Fn(&Path, &Owner) -> Result<()>,
) -> Result<()> {
    let Some(held) = Lock::try_take(lock)? else { return Ok(()) };
    let folder = lock.with_extension("");
    if read_owner(&folder)?.is_some_and(|owner| owner.kept_for.is_some()) {
        return Ok(());
    }
    remove_dead(&folder, hierarchy, sweep)?;
    held.remove()
}

/// Who made the folder; `None` where there is none, or nobody had made anything in it yet.
fn read_owner(folder: &Path) -> Result<Option<Owner>> {
    if fs::symlink_metadata(folder).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    private::require_private(folder, OPTION)?;
    Ok(memlet_runtime::state::read_json(&folder.join(OWNER)).ok())
}

fn remove_dead(
    folder: &Path,
    hierarchy: &Hierarchy,
    sweep: &impl Fn(&Path, &Owner) -> Result<()>,
) -> Result<()> {
    // Without an owner nothing else had been made yet.
    if let Some(owner) = read_owner(folder)? {
        sweep(folder, &owner).with_context(|| {
            format!("what an earlier run left under {} cannot be removed", folder.display())
        })?;
        remove_root(&owner, hierarchy)?;
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", folder.display())),
    }
}

fn remove_root(owner: &Owner, hierarchy: &Hierarchy) -> Result<()> {
    if owner.made_root {
        let group = owner.cgroups.group()?;
        // Not so where the node was refused before it made anything, as for want of systemd.
        let was_made = hierarchy.dir(&group).exists();
        hierarchy.remove_everywhere(&group)?;
        if was_made && owner.cgroups.driver == Driver::Systemd {
            memlet_systemd::Manager::connect()?.stop(group.name())?;
        }
    }
    for above in &owner.made_above {
        if has_groups(&hierarchy.dir(above)) {
            break;
        }
        hierarchy.remove_everywhere(above)?;
    }
    Ok(())
}

/// Whether there are groups in this one.
fn has_groups(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

/// The groups above those of a program's nodes that are not there yet, the nearest first. systemd removes its own by
/// itself.
pub(crate) fn missing_above(root: &CgroupPlace, is_pool: bool, hierarchy: &Hierarchy) -> Vec<CgroupPath> {
    if root.driver == Driver::Systemd {
        return Vec::new();
    }
    let first = if is_pool { Some(root.root.clone()) } else { root.root.parent() };
    let above = std::iter::successors(first, CgroupPath::parent);
    above.take_while(|path| !path.is_root() && !hierarchy.dir(path).exists()).collect()
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
}
