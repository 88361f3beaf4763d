//! A Pod's volumes: folders, memory, paths of the machine, and files that the API tells; and where containers see them.
//!
//! Kinds that are not done yet are refused at admission. What is done here blocks for moments (mkdir, mount),
//! so callers run it off the async thread.

mod atomic; // files that change all at once
pub(crate) mod payload; // which files
mod sub_path; // places within a volume

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_cri::v1::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HostPathVolumeSource, PodSpec, Volume, VolumeMount,
};
use memlet_bytes::Bytes;
use memlet_policy::cgroup_limits;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::environment;
use payload::{Context, Files};

/// What a `hostPath` must be, or is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostPathType {
    Unchecked,
    DirectoryOrCreate,
    Directory,
    FileOrCreate,
    File,
    Socket,
    CharDevice,
    BlockDevice,
}

impl HostPathType {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" => Self::Unchecked,
            "DirectoryOrCreate" => Self::DirectoryOrCreate,
            "Directory" => Self::Directory,
            "FileOrCreate" => Self::FileOrCreate,
            "File" => Self::File,
            "Socket" => Self::Socket,
            "CharDevice" => Self::CharDevice,
            "BlockDevice" => Self::BlockDevice,
            _ => return None,
        })
    }
}

/// A volume that cannot be had: the message of the event `FailedMount`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(
        "MountVolume.SetUp failed for volume {volume:?} : hostPath type check failed: {path} is not {expected}"
    )]
    WrongType { volume: String, path: String, expected: &'static str },
    #[error("MountVolume.SetUp failed for volume {volume:?} : cannot {action} {}: {source}", path.display())]
    Io { volume: String, action: &'static str, path: PathBuf, source: io::Error },
    #[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
    Contents { volume: String, reason: String },
    #[error("failed to prepare subPath for volumeMount {volume:?}: {reason}")]
    SubPath { volume: String, reason: String },
}

/// One volume as it is to be made.
#[derive(Clone, Debug, PartialEq)]
enum Plan {
    Folder {
        path: PathBuf,
        group: Option<u32>,
    },
    Memory {
        path: PathBuf,
        size: Bytes,
        group: Option<u32>,
    },
    Host {
        path: PathBuf,
        kind: HostPathType,
    },
    /// Files that the API tells; in memory where there is a size.
    Projected {
        path: PathBuf,
        size: Option<Bytes>,
        group: Option<u32>,
        volume: Box<Volume>,
    },
}

impl Plan {
    fn path(&self) -> &Path {
        match self {
            Self::Folder { path, .. }
            | Self::Memory { path, .. }
            | Self::Host { path, .. }
            | Self::Projected { path, .. } => path,
        }
    }
}

/// The volumes of one Pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Volumes {
    plans: Vec<(String, Plan)>,
    folder: PathBuf,
}

impl Volumes {
    /// Plans a Pod's volumes below its folder.
    pub(crate) fn plan(spec: &PodSpec, folder: &Path, allocatable: Bytes, pod_limit: Option<Bytes>) -> Self {
        let group = spec.security_context.as_ref().and_then(|context| context.fs_group);
        let group = group.and_then(|group| u32::try_from(group).ok());
        let plan = |volume: &Volume| {
            let plan = if let Some(host_path) = &volume.host_path {
                plan_host_path(host_path)
            } else if payload::is_projected(volume) {
                let path = folder.join("volumes").join(payload::folder(volume)).join(&volume.name);
                let size = payload::is_in_memory(volume).then_some(allocatable);
                Plan::Projected { path, size, group, volume: Box::new(volume.clone()) }
            } else {
                let path = folder.join("volumes/kubernetes.io~empty-dir").join(&volume.name);
                plan_empty_dir(volume.empty_dir.as_ref(), path, group, allocatable, pod_limit)
            };
            (volume.name.clone(), plan)
        };
        let plans = spec.volumes.iter().flatten().map(plan).collect();
        Self { plans, folder: folder.to_owned() }
    }

    /// Makes them all. What exists already is left as it is.
    pub(crate) fn set_up(&self) -> Result<(), VolumeError> {
        for (name, plan) in &self.plans {
            let failed = |action: &'static str, source: io::Error| VolumeError::Io {
                volume: name.clone(),
                action,
                path: plan.path().to_owned(),
                source,
            };
            match plan {
                Plan::Folder { path, group } => {
                    make_folder(path, *group).map_err(|error| failed("make folder", error))?;
                }
                Plan::Memory { path, size, group }
                | Plan::Projected { path, size: Some(size), group, .. } => {
                    fs::create_dir_all(path).map_err(|error| failed("make folder", error))?;
                    if !is_mount_point(path) {
                        mount_tmpfs(path, *size).map_err(|error| failed("mount tmpfs on", error))?;
                    }
                    make_folder(path, *group).map_err(|error| failed("open up", error))?;
                }
                Plan::Projected { path, size: None, group, .. } => {
                    make_folder(path, *group).map_err(|error| failed("make folder", error))?;
                }
                Plan::Host { path, kind } => set_up_host_path(name, path, *kind)?,
            }
        }
        Ok(())
    }

    /// Whether any volume shows what the API tells.
    pub(crate) fn has_projected(&self) -> bool {
        self.plans.iter().any(|(_, plan)| matches!(plan, Plan::Projected { .. }))
    }

    /// The files of those volumes, by the volume's name, or what is wrong with it.
    pub(crate) fn files(&self, context: Context<'_>) -> BTreeMap<String, Result<Files, VolumeError>> {
        let files = self.plans.iter().filter_map(|(name, plan)| {
            let Plan::Projected { volume, .. } = plan else { return None };
            let files = payload::files(volume, context);
            let files = files.map_err(|reason| VolumeError::Contents { volume: name.clone(), reason });
            Some((name.clone(), files))
        });
        files.collect()
    }

    /// Has the volume of this name show these files.
    pub(crate) fn show(&self, name: &str, files: &Files) -> Result<(), VolumeError> {
        let plan = self.plans.iter().find(|(plan, _)| plan == name);
        let Some((_, Plan::Projected { path, group, .. })) = plan else { return Ok(()) };
        atomic::write(path, files, *group).map(drop).map_err(|source| VolumeError::Io {
            volume: name.to_owned(),
            action: "write",
            path: path.clone(),
            source,
        })
    }

    /// Where a container sees its volumes; `variables` are those of its environment.
    pub(crate) fn mounts(
        &self,
        container: &Container,
        variables: &[(String, String)],
    ) -> Result<Vec<Mount>, VolumeError> {
        let mounts = container.volume_mounts.iter().flatten().enumerate();
        mounts
            .map(|(index, mount)| {
                let point = self.folder.join("volume-subpaths").join(&mount.name).join(&container.name);
                self.mount(mount, variables, &point.join(index.to_string()))
            })
            .collect()
    }

    /// `point` is where a place within the volume is mounted, to be mounted from there.
    fn mount(
        &self,
        mount: &VolumeMount,
        variables: &[(String, String)],
        point: &Path,
    ) -> Result<Mount, VolumeError> {
        let Some((_, plan)) = self.plans.iter().find(|(name, _)| *name == mount.name) else {
            let reason = "the Pod has no volume of this name".to_owned();
            return Err(VolumeError::SubPath { volume: mount.name.clone(), reason });
        };
        let below = match mount.sub_path_expr.as_deref().filter(|path| !path.is_empty()) {
            Some(expression) => Some(expanded(&mount.name, expression, variables)?),
            None => mount.sub_path.clone().filter(|path| !path.is_empty()),
        };
        let host_path = match below {
            None => plan.path().to_owned(),
            Some(below) => {
                let refused = |reason| VolumeError::SubPath { volume: mount.name.clone(), reason };
                let opened = sub_path::open(plan.path(), Path::new(&below)).map_err(refused)?;
                sub_path::mount(&opened, point)
                    .map_err(|error| refused(format!("{}: {error}", point.display())))?;
                point.to_owned()
            }
        };
        // What the API tells is not for containers to change.
        let is_told = matches!(plan, Plan::Projected { .. });
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => MountPropagation::PropagationBidirectional,
            _ => MountPropagation::PropagationPrivate,
        };
        Ok(Mount {
            container_path: mount.mount_path.clone(),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: is_told || mount.read_only == Some(true),
            propagation: propagation.into(),
            ..Mount::default()
        })
    }

    /// Unmounts and removes all that was made; the machine's own paths stay.
    pub(crate) fn tear_down(&self) -> io::Result<()> {
        remove_pod_folder(&self.folder)
    }
}

fn plan_host_path(volume: &HostPathVolumeSource) -> Plan {
    let kind = HostPathType::named(volume.type_.as_deref().unwrap_or_default());
    // Unknown types are refused at admission.
    Plan::Host { path: PathBuf::from(&volume.path), kind: kind.unwrap_or(HostPathType::Unchecked) }
}

fn plan_empty_dir(
    volume: Option<&EmptyDirVolumeSource>,
    path: PathBuf,
    group: Option<u32>,
    allocatable: Bytes,
    pod_limit: Option<Bytes>,
) -> Plan {
    match volume {
        Some(volume) if cgroup_limits::is_memory_backed(volume) => {
            let size = cgroup_limits::memory_volume_size(volume, allocatable, pod_limit);
            Plan::Memory { path, size, group }
        }
        _ => Plan::Folder { path, group },
    }
}

/// Open to every user, as an emptyDir is; with the Pod's `fsGroup` it belongs to that.
fn make_folder(path: &Path, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    std::os::unix::fs::chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// With `noswap` where the kernel has it (6.3), so that it stays in memory as it says.
fn mount_tmpfs(path: &Path, size: Bytes) -> io::Result<()> {
    let flags = MountFlags::empty();
    let mount = |options: String| {
        let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, options.as_c_str()).map_err(io::Error::from)
    };
    let options = format!("size={},mode=0777", size.get());
    mount(format!("{options},noswap")).or_else(|_| mount(options))
}

/// A folder on another device than its parent.
fn is_mount_point(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::symlink_metadata(path).ok().map(|metadata| metadata.dev());
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn set_up_host_path(volume: &str, path: &Path, kind: HostPathType) -> Result<(), VolumeError> {
    let failed =
        |action, source| VolumeError::Io { volume: volume.to_owned(), action, path: path.to_owned(), source };
    let found = fs::metadata(path).ok().map(|metadata| metadata.file_type());
    let wrong = |expected| {
        Err(VolumeError::WrongType { volume: volume.to_owned(), path: path.display().to_string(), expected })
    };
    let check = |is: Option<bool>, expected| if is == Some(true) { Ok(()) } else { wrong(expected) };
    match kind {
        HostPathType::Unchecked if found.is_none() => {
            // As container runtimes do with a bind mount's missing source.
            fs::create_dir_all(path).map_err(|error| failed("make folder", error))
        }
        HostPathType::Unchecked => Ok(()),
        HostPathType::DirectoryOrCreate if found.is_none() => {
            fs::create_dir_all(path).map_err(|error| failed("make folder", error))
        }
        HostPathType::FileOrCreate if found.is_none() => {
            fs::write(path, "").map_err(|error| failed("make file", error))
        }
        HostPathType::Directory | HostPathType::DirectoryOrCreate => {
            check(found.map(|it| it.is_dir()), "a directory")
        }
        HostPathType::File | HostPathType::FileOrCreate => check(found.map(|it| it.is_file()), "a file"),
        HostPathType::Socket => check(found.map(|it| it.is_socket()), "a socket file"),
        HostPathType::CharDevice => check(found.map(|it| it.is_char_device()), "a character device"),
        HostPathType::BlockDevice => check(found.map(|it| it.is_block_device()), "a block device"),
    }
}

/// A `subPathExpr` with the container's variables in it; one that is not there is an error.
fn expanded(volume: &str, expression: &str, variables: &[(String, String)]) -> Result<String, VolumeError> {
    let is_missing = Cell::new(false);
    let path = environment::expand(expression, |name| {
        let found = variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        is_missing.set(is_missing.get() || found.is_none());
        found
    });
    let refused = |reason: String| VolumeError::SubPath { volume: volume.to_owned(), reason };
    if is_missing.get() {
        return Err(refused(format!("missing value for {expression:?}")));
    }
    path.map_err(|error| refused(error.to_string()))
}

/// Unmounts everything below a Pod's folder and removes it; a missing one is fine.
pub(crate) fn remove_pod_folder(folder: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for point in mount_points_below(&mounts, folder) {
        match rustix::mount::unmount(&point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Unmounted by someone else meanwhile.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The mount points below `folder`, the last mounted first.
fn mount_points_below(mountinfo: &str, folder: &Path) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(folder))
        .collect();
    points.reverse();
    points
}

/// The kernel writes blanks and the like in octal.
fn unescape(point: &str) -> String {
    let mut out = Vec::with_capacity(point.len());
    let bytes = point.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| point.get(at + 1..at + 4)).flatten();
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            at += 4;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
#[path = "volumes_tests.rs"]
mod tests;
