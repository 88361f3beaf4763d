//! Where container logs are, and what rotated ones are called: kubelet's `legacy.go`, `helpers.go` and
//! `container_log_manager.go`. Only names and which are there: the lines and their writing are the runtime's.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// kubelet's folder of Pod logs.
pub const POD_LOGS: &str = "/var/log/pods";
/// kubelet's folder of links to container logs, which log shippers read.
pub const CONTAINER_LINKS: &str = "/var/log/containers";
/// A file is rotated when it is larger than this many bytes (`containerLogMaxSize`, 10Mi).
pub const MAX_SIZE: memlet_bytes::Bytes = memlet_bytes::Bytes::from_mib(10);
/// So many files of a container are kept, the present one included (`containerLogMaxFiles`).
pub const MAX_FILES: usize = 5;

/// The longest name of a file on Linux's filesystems, in bytes.
const MAX_FILE_NAME: usize = 255;

/// The name of a Pod's folder: `<namespace>_<pod>_<uid>`.
pub fn pod_folder_name(namespace: &str, pod: &str, uid: &str) -> String {
    format!("{namespace}_{pod}_{uid}")
}

/// The log of one instance of a container, relative to its Pod's folder: `<container>/<restart count>.log`.
pub fn container_log_name(container: &str, restart_count: u32) -> PathBuf {
    Path::new(container).join(format!("{restart_count}.log"))
}

/// The log of one instance of a container, below `root` (on a node [`POD_LOGS`]).
pub fn container_log_path(
    root: &Path,
    namespace: &str,
    pod: &str,
    uid: &str,
    container: &str,
    restart_count: u32,
) -> PathBuf {
    root.join(pod_folder_name(namespace, pod, uid)).join(container_log_name(container, restart_count))
}

/// The restart count whose log `--previous` means; `None` for the first instance.
pub fn previous_instance(restart_count: u32) -> Option<u32> {
    restart_count.checked_sub(1)
}

/// The name of the link to a container's log: `<pod>_<namespace>_<container>-<id>.log`, cut to what a file name
/// may be long.
pub fn container_link_name(pod: &str, namespace: &str, container: &str, container_id: &str) -> String {
    const SUFFIX: &str = ".log";
    let name = format!("{pod}_{namespace}_{container}-{container_id}");
    let end = name.floor_char_boundary(MAX_FILE_NAME - SUFFIX.len());
    format!("{}{SUFFIX}", &name[..end])
}

/// The name of a log rotated at this time (UTC): `0.log.20261122-012345`. Its compressed form ends in `.gz`.
pub fn rotated_name(log_name: &str, at: Timestamp) -> String {
    format!("{log_name}.{}", at.strftime("%Y%m%d-%H%M%S"))
}

/// The files that a log at `path` was rotated into, oldest first, plain ones and compressed ones.
///
/// # Errors
/// The folder cannot be read.
pub fn rotated(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        if let Ok(other) = entry?.file_name().into_string()
            && is_rotated(&other, name)
        {
            names.push(other);
        }
    }
    names.sort_unstable();
    // One that is being compressed is there twice.
    names.dedup_by(|next, kept| next.strip_suffix(".gz") == Some(kept));
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Whether `other` is a name that the log `name` was rotated to.
pub fn is_rotated(other: &str, name: &str) -> bool {
    let stamp = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let stamp = stamp.map(|stamp| stamp.strip_suffix(".gz").unwrap_or(stamp));
    stamp.is_some_and(|stamp| {
        stamp.len() == "20261122-012345".len()
            && stamp.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            container_log_path(Path::new(POD_LOGS), "default", "memory-eater", "39ea", "eater", 3),
            Path::new("/var/log/pods/default_memory-eater_39ea/eater/3.log")
        );
        assert_eq!((previous_instance(0), previous_instance(3)), (None, Some(2)));
        assert_eq!(container_link_name("pod", "ns", "c", "c0ffee"), "pod_ns_c-c0ffee.log");
        let at: Timestamp = "2026-11-22T01:23:45Z".parse().unwrap();
        assert_eq!(rotated_name("0.log", at), "0.log.20261122-012345");
    }

    #[test]
    fn links_are_cut_to_a_file_name() {
        let link = container_link_name(&"p".repeat(253), "ns", "c", "c0ffee");
        assert_eq!((link.len(), link.ends_with("p.log")), (255, true));
        let just = container_link_name(&"p".repeat(251 - "_ns_c-c0ffee".len()), "ns", "c", "c0ffee");
        assert!(just.ends_with("_ns_c-c0ffee.log"), "{just}");
    }

    #[test]
    fn rotated_names_are_known() {
        for (name, is) in [
            ("0.log.20261122-012345", true),
            ("0.log.20261122-012345.gz", true),
            ("0.log.20261122-012345.tmp", false),
            ("0.log", false),
            ("10.log.20261122-012345", false),
            ("0.log.today", false),
        ] {
            assert_eq!(is_rotated(name, "0.log"), is, "{name}");
        }
    }
}
