//! Removes what a runtime that died left behind: supervisors, containers, mounts, cgroups, folders.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};

use super::Settings;
use crate::images::ImageStore;
use crate::shim::protocol::{Request, Sandbox};
use crate::shim::socket;
use crate::state::{self, SandboxFolder};

/// A supervisor that is told to end does so within this, or its containers are killed without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Removes every sandbox found in the state folder, and answers how many there were. Only for settings
/// that no living runtime uses.
///
/// # Errors
/// Something could not be removed; what could, was.
pub fn sweep(settings: &Settings) -> io::Result<usize> {
    let Settings { state, images, hierarchy, .. } = settings;
    let entries = match fs::read_dir(state.join("sandboxes")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut count = 0;
    let mut failure = None;
    for entry in entries {
        count += 1;
        let folder = SandboxFolder::at(entry?.path());
        if let Err(error) = remove(&folder, images, hierarchy) {
            failure = Some(error);
        }
    }
    failure.map_or(Ok(count), Err)
}

fn remove(folder: &SandboxFolder, images: &Path, hierarchy: &Hierarchy) -> io::Result<()> {
    // First the supervisor, so that nothing is restarted or written behind our back.
    let _ = end_supervisor(folder);
    if let Ok(sandbox) = state::read_json::<Sandbox>(&folder.description()) {
        remove_cgroup(&sandbox.pod_cgroup.unwrap_or(sandbox.cgroup), hierarchy)?;
    }
    remove_folder(folder, images)
}

/// Kills what is in a cgroup, and removes it from every hierarchy.
pub(super) fn remove_cgroup(path: &CgroupPath, hierarchy: &Hierarchy) -> io::Result<()> {
    if let Ok(cgroup) = Cgroup::open(hierarchy, path) {
        cgroup.kill_all().map_err(io::Error::other)?;
    }
    hierarchy.remove_everywhere(path).map_err(io::Error::other)
}

/// Unmounts what is mounted in a sandbox's folder, and removes it.
pub(super) fn remove_folder(folder: &SandboxFolder, images: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder.path())?.flatten() {
        unmount_image(&entry.path(), images)?;
    }
    folder.remove()
}

/// Unmounts a container's image, and removes its folder.
pub(super) fn remove_container_folder(folder: &Path, images: &Path) -> io::Result<()> {
    unmount_image(folder, images)?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn unmount_image(folder: &Path, images: &Path) -> io::Result<()> {
    if folder.join("merged").exists() {
        ImageStore::open(images).and_then(|store| store.unmount(folder)).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Tells a supervisor to end, and waits until it has, with all that it supervises.
pub(super) fn end_supervisor(folder: &SandboxFolder) -> io::Result<()> {
    let mut stream = socket::connect(&folder.socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = serde_json::to_vec(&Request::Shutdown)?;
    request.push(b'\n');
    stream.write_all(&request)?;
    // Its end closes the connection.
    let mut space = [0; 4096];
    while stream.read(&mut space)? > 0 {}
    Ok(())
}
