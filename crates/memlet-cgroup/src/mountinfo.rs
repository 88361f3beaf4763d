//! The text of `/proc/self/mountinfo` and `/proc/self/cgroup`, as far as cgroups need it. See proc(5), cgroups(7).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mounted cgroup filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// `major:minor`: the same for all mounts of one hierarchy.
    pub(crate) device: String,
    /// Which directory of the hierarchy is seen at the mount point.
    pub(crate) root: PathBuf,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// What it holds.
    pub(crate) kind: MountKind,
    read_only: bool,
}

/// What a cgroup filesystem holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// cgroup v1, with its mount options: controllers (`memory`), names (`name=systemd`) and flags (`rw`).
    V1(Vec<String>),
    /// cgroup2.
    V2,
}

impl Mount {
    pub(crate) fn has_v1_controller(&self, controller: &str) -> bool {
        matches!(&self.kind, MountKind::V1(options) if options.iter().any(|option| option == controller))
    }
}

/// The cgroup filesystems, one mount for each hierarchy: the one that shows most of it, writable if there is one.
pub(crate) fn cgroup_mounts(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(parse_line) {
        match mounts.iter_mut().find(|known| known.device == mount.device) {
            Some(known) if better(&mount, known) => *known = mount,
            Some(_) => {}
            None => mounts.push(mount),
        }
    }
    mounts
}

fn better(mount: &Mount, known: &Mount) -> bool {
    let rank = |mount: &Mount| (mount.root.components().count(), mount.read_only);
    rank(mount) < rank(known)
}

/// `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:1 - cgroup cgroup rw,memory`; `None` for other filesystems.
fn parse_line(line: &str) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let (device, root, point, options) = (mount.next()?, mount.next()?, mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, super_options) = (filesystem.next()?, filesystem.nth(1).unwrap_or_default());
    let kind = match kind {
        "cgroup" => MountKind::V1(super_options.split(',').map(str::to_owned).collect()),
        "cgroup2" => MountKind::V2,
        _ => return None,
    };
    let read_only = [options, super_options].iter().any(|options| options.split(',').any(|o| o == "ro"));
    Some(Mount { device: device.to_owned(), root: unescape(root), point: unescape(point), kind, read_only })
}

/// Space, tab, newline and backslash are written as `\040` and so on.
fn unescape(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let code = escaped.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The place of a process in the hierarchy of `controller` (`None`: cgroup2), from its `/proc/<pid>/cgroup`.
pub(crate) fn own_place<'a>(proc_cgroup: &'a str, controller: Option<&str>) -> Option<&'a str> {
    proc_cgroup.lines().find_map(|line| {
        let (id, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let found = match controller {
            Some(wanted) => controllers.split(',').any(|controller| controller == wanted),
            None => id == "0" && controllers.is_empty(),
        };
        found.then_some(path)
    })
}

/// `place` as seen through a mount that shows the hierarchy from `root` down; `None` where it lies outside.
pub(crate) fn seen_through(place: &str, root: &Path) -> Option<String> {
    let rest = Path::new(place).strip_prefix(root).ok()?;
    Some(format!("/{}", rest.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /elsewhere ro,relatime - cgroup cgroup rw,memory
36 31 0:32 / /sys/fs/cgroup/my\\040memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn one_mount_for_each_hierarchy_the_widest_view() {
        let mounts = cgroup_mounts(BOTH);
        assert_eq!(
            mounts.iter().map(|mount| mount.point.to_str().unwrap()).collect::<Vec<_>>(),
            ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/my memory", "/sys/fs/cgroup/unified"]
        );
        assert_eq!(
            mounts.iter().map(|mount| mount.has_v1_controller("memory")).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert!(mounts[0].has_v1_controller("cpuacct"));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        for line in ["", "-", " - cgroup", "1 2 3 - cgroup x rw", "1 2 0:1 / - cgroup2 x rw"] {
            assert_eq!(cgroup_mounts(line), [], "{line:?}");
        }
    }

    #[test]
    fn finds_the_own_place() {
        let text = "9:name=systemd:/\n4:memory,hugetlb:/a:b/c\n0::/u.slice\n";
        assert_eq!(own_place(text, Some("memory")), Some("/a:b/c"));
        assert_eq!(own_place(text, Some("cpu")), None);
        assert_eq!(own_place(text, None), Some("/u.slice"));
        assert_eq!(own_place("", None), None);
    }

    #[test]
    fn a_place_is_seen_through_its_mount() {
        for (place, root, seen) in [
            ("/", "/", Some("/")),
            ("/a/b", "/", Some("/a/b")),
            ("/docker/abc/x", "/docker/abc", Some("/x")),
            ("/docker/abc", "/docker/abc", Some("/")),
            ("/docker/abcd", "/docker/abc", None),
            ("/other", "/docker/abc", None),
        ] {
            assert_eq!(seen_through(place, Path::new(root)).as_deref(), seen, "{place} {root}");
        }
    }
}
