//! What an agent that was killed left behind: processes, cgroups, mounts, folders. Removed before the next one
//! starts. The runtime sweeps its own state.

use std::collections::HashSet;
use std::io;

use memlet_cgroup::Cgroup;

use crate::agent;
use crate::cgroups::{CgroupsError, NodeCgroups};
use crate::config::NodeConfig;
use crate::volumes;

/// Something left behind cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A cgroup or a process in it.
    #[error(transparent)]
    Cgroup(#[from] memlet_cgroup::Error),
    /// A cgroup that the driver cannot remove.
    #[error(transparent)]
    Cgroups(#[from] CgroupsError),
    /// The configured root does not make a path.
    #[error(transparent)]
    Path(#[from] memlet_cgroup::ParsePathError),
    /// A mount or a folder.
    #[error("cannot remove {}, left by an earlier run; unmount what is in it and remove it", path.display())]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Kills the processes in `kubepods` below the configured cgroup root, and removes that group, the Pods' mounts
/// and their folders. Nothing outside of these places is touched.
///
/// **Only where no other agent uses the same places**: whoever calls this holds the lock on the state folder.
/// A root of its own is required: at the top of the hierarchy `/kubepods` may belong to a real kubelet, so there
/// only Pods whose folder is in the state folder are swept. Blocks for as long as killed processes take to end.
///
/// # Errors
/// The first thing that could not be removed; the others are.
pub fn sweep_leftovers(config: &NodeConfig) -> Result<(), SweepError> {
    let cgroups = NodeCgroups::new(config.hierarchy.clone(), config.cgroup_driver, &config.cgroup_root)?;
    let swept = sweep_cgroups(config, &cgroups);
    if swept.is_ok() {
        agent::remove_root(config, &cgroups);
    }
    swept.and(sweep_folders(config))
}

fn sweep_cgroups(config: &NodeConfig, cgroups: &NodeCgroups) -> Result<(), SweepError> {
    if config.cgroup_root.is_root() {
        for uid in known_pods(config) {
            for path in cgroups.places_of(&uid)? {
                sweep_cgroup(cgroups, &path)?;
            }
        }
        return Ok(());
    }
    sweep_cgroup(cgroups, cgroups.kubepods())
}

fn sweep_cgroup(cgroups: &NodeCgroups, path: &memlet_cgroup::CgroupPath) -> Result<(), SweepError> {
    match Cgroup::open(cgroups.hierarchy(), path) {
        Ok(group) => {
            group.kill_all()?;
        }
        Err(error) if error.is_gone() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(cgroups.remove_now(path)?)
}

/// The Pods that have a folder.
pub(crate) fn known_pods(config: &NodeConfig) -> Vec<String> {
    let entries = std::fs::read_dir(config.pods_folder()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Removes the logs of Pods that are not `here` any more: of those that were deleted while nobody looked.
pub(crate) fn remove_logs_of_others(config: &NodeConfig, here: &HashSet<String>) {
    let folders = std::fs::read_dir(&config.pod_logs).into_iter().flatten().flatten();
    for folder in folders {
        let name = folder.file_name();
        // `<namespace>_<pod>_<uid>`; whatever is called otherwise is not a Pod's.
        let uid = name.to_str().and_then(|name| Some(name.rsplit_once('_')?.1));
        if uid.is_some_and(|uid| !here.contains(uid))
            && let Err(error) = std::fs::remove_dir_all(folder.path())
        {
            tracing::warn!(
                "cannot remove the logs of a Pod that is gone, {}: {error}",
                folder.path().display()
            );
        }
    }
}

fn sweep_folders(config: &NodeConfig) -> Result<(), SweepError> {
    let path = config.pods_folder();
    volumes::remove_pod_folder(&path).map_err(|source| SweepError::Folder { path: path.clone(), source })
}
