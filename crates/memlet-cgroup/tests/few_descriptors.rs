//! A process that has no descriptors left takes nobody for ended whom it cannot hold. In a program of its own, since the
//! limit is that of all its threads.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use memlet_cgroup::{Cgroup, Hierarchy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CHILDREN: usize = 30;
/// Some children can be held, and not all.
const FREE: u64 = 14;

#[test]
fn whoever_cannot_be_held_has_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("sys/fs/cgroup/a");
    fs::create_dir_all(&group).unwrap();
    fs::write(dir.path().join("sys/fs/cgroup/cgroup.controllers"), "memory\n").unwrap();
    fs::write(group.join("memory.stat"), "").unwrap();
    let mountinfo = "35 31 0:32 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let hierarchy = Hierarchy::detect_from(mountinfo, dir.path()).unwrap();
    let mut children: Vec<Child> = (0..CHILDREN).map(|_| sleeper()).collect();
    let list: String = children.iter().map(|child| format!("{}\n", child.id())).collect();
    fs::write(group.join("cgroup.procs"), list).unwrap();
    let group = Cgroup::open(&hierarchy, &"/a".parse().unwrap()).unwrap();

    let most = getrlimit(Resource::Nofile);
    let next = u64::try_from(fs::File::open(dir.path()).unwrap().as_raw_fd()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(next + FREE), ..most }).unwrap();
    let mut seen = group.residents().unwrap();
    let held = seen.descriptors().count();
    // What is killed is there no `cgroup.kill` for: one by one.
    let mut killed = group.kill_now().unwrap();
    setrlimit(Resource::Nofile, most).unwrap();

    assert!(held < CHILDREN, "{held} of {CHILDREN}: not few enough to tell");
    assert!(!seen.is_empty() && !seen.forget_ended(), "none was waited for yet");
    for child in &mut children {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    assert!(seen.forget_ended() && seen.is_empty(), "{seen:?}");
    assert!(killed.forget_ended(), "{killed:?}");
}

/// Ends after a while by itself, so that a failed test leaves nobody.
fn sleeper() -> Child {
    Command::new("sleep").arg("20").stdin(Stdio::null()).spawn().unwrap()
}
