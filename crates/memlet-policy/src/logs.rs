//! Where container logs are, and what rotated ones are called: kubelet's `legacy.go`, `helpers.go` and
//! `container_log_manager.go`. Only names: the lines and their writing are the runtime's.

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
}
