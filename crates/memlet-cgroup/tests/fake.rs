//! Every file of both versions in a fake tree: what is there is read, what is missing is `None`, what is
//! broken is an error. What only a kernel can do (kill, refuse, remove) is in `kernel.rs`.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Error, Hierarchy, Limit, Pid, Version};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct Tree {
    dir: TempDir,
    version: Version,
}

impl Tree {
    /// A mounted memory controller with one group, `/a`, which has the files a kernel gives every group.
    fn new(version: Version) -> Self {
        let tree = Self { dir: tempfile::tempdir().unwrap(), version };
        fs::create_dir_all(tree.group()).unwrap();
        tree.file("../cgroup.controllers", "cpu memory pids\n")
            .file("../cgroup.subtree_control", "cpu memory pids\n");
        tree.file("cgroup.procs", "").file("memory.stat", "").file("memory.limit_in_bytes", "-1");
        tree
    }

    fn group(&self) -> PathBuf {
        self.dir.path().join("sys/fs/cgroup/memory/a")
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        fs::write(self.group().join(name), text).unwrap();
        self
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.group().join(name)).unwrap()
    }

    fn mountinfo(&self) -> &'static str {
        match self.version {
            Version::V1 => "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            Version::V2 => "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup2 cgroup2 rw\n",
        }
    }

    fn hierarchy(&self) -> Hierarchy {
        Hierarchy::detect_from(self.mountinfo(), self.dir.path()).unwrap()
    }

    fn open(&self) -> Cgroup {
        Cgroup::open(&self.hierarchy(), &path("/a")).unwrap()
    }
}

fn path(text: &str) -> CgroupPath {
    text.parse().unwrap()
}

/// `tmp`'s own name differs from run to run.
fn shown(error: &Error, root: &Path) -> String {
    error.to_string().replace(root.to_str().unwrap(), "")
}

mod detection {
    use super::*;

    fn detect(mountinfo: &str, root: &Path) -> Result<Hierarchy, Error> {
        Hierarchy::detect_from(mountinfo, root)
    }

    #[test]
    fn v1_wins_where_both_are_mounted() {
        let tree = Tree::new(Version::V1);
        let both =
            format!("41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n{}", tree.mountinfo());
        let found = detect(&both, tree.dir.path()).unwrap();
        assert_eq!((found.version(), found.root()), (Version::V1, tree.group().parent().unwrap()));
        assert_eq!(found.mount_points().count(), 2);
        assert_eq!(found.own_path(), None, "there is no /proc/self/cgroup in this tree");
    }

    #[test]
    fn own_path_is_as_seen_through_the_mount() {
        for (version, proc_cgroup, root, own) in [
            (Version::V1, "4:memory:/x/y\n0::/z\n", "/", Some("/x/y")),
            (Version::V1, "4:memory:/x/y\n", "/x", Some("/y")),
            (Version::V1, "4:memory:/x/y\n", "/other", None),
            (Version::V2, "0::/\n", "/", Some("/")),
            (Version::V2, "0::/../outside\n", "/", None),
        ] {
            let tree = Tree::new(version);
            fs::create_dir_all(tree.dir.path().join("proc/self")).unwrap();
            fs::write(tree.dir.path().join("proc/self/cgroup"), proc_cgroup).unwrap();
            let mountinfo = tree.mountinfo().replace(" / /sys", &format!(" {root} /sys"));
            let found = detect(&mountinfo, tree.dir.path()).unwrap();
            assert_eq!(found.own_path().map(CgroupPath::as_str), own, "{proc_cgroup:?} {root}");
        }
    }

    #[test]
    fn says_what_is_missing_and_the_way_out() {
        let tree = Tree::new(Version::V2);
        let root = tree.dir.path();
        insta::assert_snapshot!(detect("", root).unwrap_err(), @"no memory controller: neither a cgroup v1 memory hierarchy nor cgroup2 is mounted; mount one (mount -t cgroup2 none /sys/fs/cgroup), or give this container the host's /sys/fs/cgroup");
        tree.file("../cgroup.controllers", "cpu pids\n");
        insta::assert_snapshot!(shown(&detect(tree.mountinfo(), root).unwrap_err(), root), @"the kernel offers no memory controller: /sys/fs/cgroup/memory/cgroup.controllers does not list it; boot with cgroup_enable=memory, and without cgroup_disable=memory");
        tree.file("../cgroup.type", "domain\n");
        insta::assert_snapshot!(shown(&detect(tree.mountinfo(), root).unwrap_err(), root), @"the memory controller is not delegated to /sys/fs/cgroup/memory: its cgroup.controllers does not list it; outside, write +memory to the cgroup.subtree_control of the group above (systemd: Delegate=yes)");
        fs::remove_file(tree.group().join("../cgroup.controllers")).unwrap();
        assert!(matches!(detect(tree.mountinfo(), root), Err(Error::Io { .. })));
    }
}

mod creation {
    use super::*;

    #[test]
    fn v2_hands_memory_down_once() {
        let tree = Tree::new(Version::V2);
        Cgroup::create(&tree.hierarchy(), &path("/a")).unwrap();
        assert_eq!(tree.text("../cgroup.subtree_control"), "cpu memory pids\n", "nothing to hand down");
        tree.file("../cgroup.subtree_control", "cpu pids\n");
        Cgroup::create(&tree.hierarchy(), &path("/a")).unwrap();
        assert_eq!(tree.text("../cgroup.subtree_control"), "+memory");
    }

    #[test]
    fn v2_hands_down_what_a_container_s_runtime_limits_by() {
        let tree = Tree::new(Version::V2);
        for (enabled, written) in [("cpu memory\n", "+pids"), ("memory pids\n", "+cpu")] {
            tree.file("../cgroup.subtree_control", enabled);
            Cgroup::create(&tree.hierarchy(), &path("/a")).unwrap();
            assert_eq!(tree.text("../cgroup.subtree_control"), written);
        }
    }

    #[test]
    fn what_has_no_memory_files_is_no_memory_group_and_is_not_left_behind() {
        for version in [Version::V1, Version::V2] {
            let tree = Tree::new(version);
            tree.file("cgroup.subtree_control", "memory pids\n");
            let refused = Cgroup::create(&tree.hierarchy(), &path("/a/b"));
            assert!(matches!(refused, Err(Error::NoMemoryFiles { .. })), "{refused:?}");
            assert!(!tree.group().join("b").exists());
            assert!(tree.group().exists(), "what was there before stays");
        }
    }

    #[test]
    fn a_group_that_is_not_there_is_gone() {
        let tree = Tree::new(Version::V1);
        let error = Cgroup::open(&tree.hierarchy(), &path("/b")).unwrap_err();
        assert!(error.is_gone());
        insta::assert_snapshot!(error, @"cgroup /b does not exist, or no longer; it has to be created first");
    }
}

mod limits {
    use super::*;

    #[test]
    fn are_read_and_written_in_each_version() {
        for (version, file, none) in
            [(Version::V1, "memory.limit_in_bytes", "-1"), (Version::V2, "memory.max", "max")]
        {
            let tree = Tree::new(version);
            tree.file(file, "67108864\n");
            let group = tree.open();
            assert_eq!(group.limit().unwrap(), Limit::Bytes(Bytes::from_mib(64)));
            group.set_limit(Limit::Max).unwrap();
            assert_eq!((tree.text(file).as_str(), group.limit().unwrap()), (none, Limit::Max));
            group.set_limit(Limit::Bytes(Bytes::from_mib(1))).unwrap();
            assert_eq!(tree.text(file), "1048576");
            tree.file(file, "many\n");
            assert!(matches!(group.limit(), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn v1_prints_no_limit_as_a_large_number() {
        let tree = Tree::new(Version::V1);
        tree.file("memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(tree.open().limit().unwrap(), Limit::Max);
    }

    #[test]
    fn swap_is_the_sum_on_v1_and_alone_on_v2() {
        let swap = Limit::Bytes(Bytes::from_mib(16));
        let tree = Tree::new(Version::V1);
        tree.file("memory.limit_in_bytes", "67108864\n");
        assert!(!tree.open().set_swap_limit(swap).unwrap(), "no swap accounting");
        tree.file("memory.memsw.limit_in_bytes", "-1");
        assert!(tree.open().set_swap_limit(swap).unwrap());
        assert_eq!(tree.text("memory.memsw.limit_in_bytes"), (80 * MIB).to_string());

        let tree = Tree::new(Version::V2);
        assert!(!tree.open().set_swap_limit(swap).unwrap());
        tree.file("memory.swap.max", "max");
        assert!(tree.open().set_swap_limit(swap).unwrap());
        assert_eq!(tree.text("memory.swap.max"), (16 * MIB).to_string());
    }

    #[test]
    fn both_limits_at_once() {
        let [memory, swap] = [64, 0].map(|mib| Limit::Bytes(Bytes::from_mib(mib)));
        let tree = Tree::new(Version::V1);
        tree.file("memory.limit_in_bytes", "1048576").file("memory.memsw.limit_in_bytes", "1048576");
        assert!(tree.open().set_limits(memory, swap).unwrap());
        assert_eq!(tree.text("memory.limit_in_bytes"), (64 * MIB).to_string());
        assert_eq!(tree.text("memory.memsw.limit_in_bytes"), (64 * MIB).to_string());

        let tree = Tree::new(Version::V2);
        tree.file("memory.max", "max");
        assert!(!tree.open().set_limits(memory, swap).unwrap(), "no swap file");
        assert_eq!(tree.text("memory.max"), (64 * MIB).to_string());
    }

    #[test]
    fn brakes_and_protection_are_of_v2() {
        let (min, low) = (Bytes::from_mib(2), Bytes::from_mib(3));
        let high = Limit::Bytes(Bytes::from_mib(9));
        let tree = Tree::new(Version::V1);
        assert!(!tree.open().set_high(high).unwrap() && !tree.open().set_protection(min, low).unwrap());
        assert!(!tree.group().join("memory.high").exists());
        let tree = Tree::new(Version::V2);
        tree.file("memory.high", "max").file("memory.min", "0").file("memory.low", "0");
        assert!(tree.open().set_high(high).unwrap() && tree.open().set_protection(min, low).unwrap());
        let written = ["memory.high", "memory.min", "memory.low"].map(|file| tree.text(file));
        assert_eq!(written, [9 * MIB, 2 * MIB, 3 * MIB].map(|bytes| bytes.to_string()));
        tree.open().set_high(Limit::Max).unwrap();
        assert_eq!(tree.text("memory.high"), "max");
    }

    #[test]
    fn the_limit_of_swap_is_read_on_v2() {
        assert_eq!(Tree::new(Version::V1).open().swap_limit().unwrap(), None);
        let tree = Tree::new(Version::V2);
        assert_eq!(tree.open().swap_limit().unwrap(), None, "swap is not accounted");
        tree.file("memory.swap.max", "max\n");
        assert_eq!(tree.open().swap_limit().unwrap(), Some(Limit::Max));
        tree.file("memory.swap.max", "0\n");
        assert_eq!(tree.open().swap_limit().unwrap(), Some(Limit::Bytes(Bytes::ZERO)));
    }

    #[test]
    fn reclaim_asks_for_an_amount_on_v2_and_for_all_on_v1() {
        let tree = Tree::new(Version::V1);
        tree.file("memory.usage_in_bytes", "5\n").file("memory.force_empty", "");
        assert_eq!(tree.open().reclaim(Bytes::from_mib(1)).unwrap(), Some(Bytes::ZERO));
        assert_eq!(tree.text("memory.force_empty"), "0");
        let tree = Tree::new(Version::V2);
        tree.file("memory.current", "5\n");
        assert_eq!(tree.open().reclaim(Bytes::from_mib(1)).unwrap(), None, "before Linux 5.19");
        tree.file("memory.reclaim", "");
        assert_eq!(tree.open().reclaim(Bytes::from_mib(1)).unwrap(), Some(Bytes::ZERO));
        assert_eq!(tree.text("memory.reclaim"), MIB.to_string());
    }

    #[test]
    fn pressure_is_of_v2() {
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let tree = Tree::new(Version::V1);
        assert_eq!(tree.file("memory.pressure", text).open().pressure().unwrap(), None);
        let tree = Tree::new(Version::V2);
        assert_eq!(tree.open().pressure().unwrap(), None, "not compiled in, or turned off");
        let pressure = tree.file("memory.pressure", text).open().pressure().unwrap().unwrap();
        assert_eq!(pressure.some.total, Duration::from_micros(12));
        tree.file("memory.pressure", "some\n");
        assert!(matches!(tree.open().pressure(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn oom_group_is_of_v2() {
        let tree = Tree::new(Version::V1);
        assert!(!tree.file("memory.oom.group", "0").open().set_oom_group(true).unwrap());
        assert_eq!(tree.text("memory.oom.group"), "0");
        let tree = Tree::new(Version::V2);
        assert!(!tree.open().set_oom_group(true).unwrap(), "before Linux 4.19");
        assert!(tree.file("memory.oom.group", "0").open().set_oom_group(true).unwrap());
        assert_eq!(tree.text("memory.oom.group"), "1");
    }
}

mod figures {
    use super::*;

    #[test]
    fn usage_is_always_there() {
        for (version, file) in [(Version::V1, "memory.usage_in_bytes"), (Version::V2, "memory.current")] {
            let tree = Tree::new(version);
            let group = tree.open();
            let missing = group.usage().unwrap_err();
            assert!(matches!(missing, Error::Io { .. }) && !missing.is_gone(), "{missing:?}");
            tree.file(file, "4096\n");
            assert_eq!(group.usage().unwrap(), Bytes::new(4096));
            tree.file(file, "-5\n");
            insta::allow_duplicates! {
                insta::assert_snapshot!(
                    shown(&group.usage().unwrap_err(), tree.dir.path()).replace(file, "FILE"), @r#"cannot understand "-5" in /sys/fs/cgroup/memory/a/FILE; please report it with the kernel's version"#);
            }
        }
    }

    #[test]
    fn peak_and_failcnt_may_be_missing() {
        let tree = Tree::new(Version::V1);
        let group = tree.open();
        assert_eq!((group.peak().unwrap(), group.failcnt().unwrap()), (None, None));
        tree.file("memory.max_usage_in_bytes", "9\n").file("memory.failcnt", "3\n");
        assert_eq!((group.peak().unwrap(), group.failcnt().unwrap()), (Some(Bytes::new(9)), Some(3)));

        let tree = Tree::new(Version::V2);
        let group = tree.open();
        assert_eq!((group.peak().unwrap(), group.failcnt().unwrap()), (None, None));
        tree.file("memory.peak", "9\n")
            .file("memory.events.local", "max 3\n")
            .file("memory.events", "max 8\n");
        assert_eq!((group.peak().unwrap(), group.failcnt().unwrap()), (Some(Bytes::new(9)), Some(3)));
        tree.file("memory.peak", "\n");
        assert!(matches!(group.peak(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn v1_stat_is_of_the_subtree() {
        let tree = Tree::new(Version::V1);
        tree.file(
            "memory.stat",
            "cache 1\nrss 2\ninactive_file 3\ntotal_cache 10\ntotal_rss 20\ntotal_shmem 5\n\
             total_mapped_file 6\ntotal_inactive_file 30\ntotal_active_file 7\n",
        );
        let group = tree.open();
        let stat = group.stat().unwrap();
        let figures =
            [stat.file, stat.anon, stat.shmem, stat.mapped_file, stat.inactive_file, stat.active_file];
        assert_eq!(figures, [10, 20, 5, 6, 30, 7].map(|bytes| Some(Bytes::new(bytes))));
        assert_eq!([stat.kernel, stat.slab, stat.pgtables, stat.kernel_stack, stat.swap], [None; 5]);
        assert_eq!(stat.raw["rss"], 2);
        assert_eq!(stat.working_set(Bytes::new(100)), Some(Bytes::new(70)));
        assert_eq!(stat.working_set(Bytes::new(10)), Some(Bytes::ZERO), "never below zero");
        tree.file("memory.kmem.usage_in_bytes", "8\n");
        assert_eq!(group.stat().unwrap().kernel, Some(Bytes::new(8)));
    }

    #[test]
    fn v2_stat() {
        let tree = Tree::new(Version::V2);
        tree.file(
            "memory.stat",
            "anon 1\nfile 2\nkernel 3\nkernel_stack 4\npagetables 5\nshmem 6\nfile_mapped 7\n\
             inactive_file 8\nactive_file 9\nslab 10\n",
        )
        .file("memory.swap.current", "11\n")
        .file("memory.current", "50\n");
        let group = tree.open();
        let s = group.stat().unwrap();
        let figures = [s.anon, s.file, s.kernel, s.kernel_stack, s.pgtables, s.shmem, s.mapped_file];
        assert_eq!(figures, [1, 2, 3, 4, 5, 6, 7].map(|bytes| Some(Bytes::new(bytes))));
        let figures = [s.inactive_file, s.active_file, s.slab, s.swap];
        assert_eq!(figures, [8, 9, 10, 11].map(|bytes| Some(Bytes::new(bytes))));
        assert_eq!(group.working_set().unwrap(), Some(Bytes::new(42)));
    }

    #[test]
    fn absent_keys_are_none_and_broken_lines_errors() {
        for version in [Version::V1, Version::V2] {
            let tree = Tree::new(version);
            let stat = tree.open().stat().unwrap();
            assert_eq!(stat, memlet_cgroup::Stat::default());
            assert_eq!(stat.working_set(Bytes::new(1)), None);
            for broken in ["anon\n", "anon x\n", "anon -1\n"] {
                let result = tree.file("memory.stat", broken).open().stat();
                assert!(matches!(result, Err(Error::Malformed { .. })), "{broken:?}");
            }
        }
    }

    #[test]
    fn stat_longer_than_a_page() {
        let tree = Tree::new(Version::V2);
        let mut lines: Vec<String> = (0..2000).map(|n| format!("some_long_key_{n} {n}")).collect();
        lines.push("anon 77\n".to_owned());
        let text = lines.join("\n");
        assert!(text.len() > 4 * 4096);
        let stat = tree.file("memory.stat", &text).open().stat().unwrap();
        assert_eq!((stat.raw.len(), stat.anon), (2001, Some(Bytes::new(77))));
    }

    #[test]
    fn events_of_v1() {
        let tree = Tree::new(Version::V1);
        assert_eq!(tree.open().events().unwrap(), memlet_cgroup::Events::default());
        tree.file("memory.oom_control", "oom_kill_disable 0\nunder_oom 1\noom_kill 2\n");
        let events = tree.open().events().unwrap();
        assert_eq!((events.oom_kill, events.under_oom), (Some(2), Some(true)));
        assert_eq!((events.oom, events.max, events.oom_kill_hierarchical), (None, None, None));
        tree.file("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
        assert_eq!(tree.open().events().unwrap().oom_kill, None, "before Linux 4.13");
        tree.file("memory.oom_control", "oom_kill many\n");
        assert!(matches!(tree.open().events(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn events_of_v2_own_and_hierarchical_apart() {
        let tree = Tree::new(Version::V2);
        tree.file("memory.events", "low 1\nhigh 2\nmax 30\noom 40\noom_kill 50\noom_group_kill 60\n");
        let events = tree.open().events().unwrap();
        assert_eq!((events.oom_kill, events.oom_kill_hierarchical), (None, Some(50)), "before Linux 5.2");
        tree.file("memory.events.local", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n");
        let e = tree.open().events().unwrap();
        assert_eq!([e.low, e.high, e.max, e.oom, e.oom_kill, e.oom_group_kill], [1, 2, 3, 4, 5, 6].map(Some));
        let hierarchical =
            [e.max_hierarchical, e.oom_hierarchical, e.oom_kill_hierarchical, e.oom_group_kill_hierarchical];
        assert_eq!(hierarchical, [30, 40, 50, 60].map(Some));
        assert_eq!(e.under_oom, None);
    }

    #[test]
    fn a_snapshot_never_fails() {
        let tree = Tree::new(Version::V2);
        tree.file("memory.current", "5\n").file("memory.max", "max\n").file("memory.stat", "anon broken\n");
        let group = tree.open();
        insta::assert_snapshot!(serde_json::to_string(&group.snapshot()).unwrap(), @r#"{"path":"/a","usage":5,"limit":"max"}"#);
        fs::remove_dir_all(tree.group()).unwrap();
        let gone = group.snapshot();
        let text = serde_json::to_string(&gone).unwrap();
        insta::assert_snapshot!(text, @r#"{"path":"/a"}"#);
        assert_eq!(serde_json::from_str::<memlet_cgroup::Snapshot>(&text).unwrap(), gone);
    }

    #[test]
    fn a_group_made_again_is_not_the_old_one() {
        let tree = Tree::new(Version::V1);
        tree.file("memory.usage_in_bytes", "1\n");
        let old = tree.open();
        fs::rename(tree.group(), tree.group().with_file_name("kept")).unwrap();
        fs::create_dir(tree.group()).unwrap();
        tree.file("cgroup.procs", "").file("memory.limit_in_bytes", "0").file("memory.usage_in_bytes", "2\n");
        let new = tree.open();
        assert_ne!(old.id(), new.id());
        assert_eq!((old.usage().unwrap(), new.usage().unwrap()), (Bytes::new(1), Bytes::new(2)));
        fs::remove_dir_all(tree.group().with_file_name("kept")).unwrap();
        assert!(old.usage().unwrap_err().is_gone() && !old.is_alive());
        assert!(new.is_alive());
    }
}

mod processes {
    use super::*;

    #[test]
    fn are_listed_once_and_in_order() {
        let tree = Tree::new(Version::V1);
        fs::create_dir_all(tree.group().join("b/c")).unwrap();
        tree.file("cgroup.procs", "30\n4\n30\n")
            .file("b/cgroup.procs", "5\n")
            .file("b/c/cgroup.procs", "6\n");
        let group = tree.open();
        assert_eq!(group.processes().unwrap(), [4, 30].map(Pid::from));
        assert_eq!(group.processes_recursive().unwrap(), [4, 5, 6, 30].map(Pid::from));
        tree.file("cgroup.procs", "4\nx\n");
        assert!(matches!(group.processes(), Err(Error::Malformed { .. })));
    }

    #[test]
    fn of_another_pid_namespace_have_no_number_but_count() {
        let tree = Tree::new(Version::V2);
        let group = tree.file("cgroup.procs", "0\n0\n").open();
        assert_eq!(group.processes().unwrap(), []);
        assert!(!group.wait_empty(Duration::from_millis(5)).unwrap());
        tree.file("cgroup.procs", "");
        assert!(group.wait_empty(Duration::ZERO).unwrap());
        fs::create_dir(tree.group().join("b")).unwrap();
        tree.file("b/cgroup.procs", "0\n");
        assert!(!group.wait_empty(Duration::ZERO).unwrap(), "there is one in the group below");
    }

    #[test]
    fn join_by_the_file_of_the_version() {
        for (version, file) in [(Version::V1, "tasks"), (Version::V2, "cgroup.procs")] {
            let tree = Tree::new(version);
            let group = tree.file(file, "").open();
            group.join_current_thread().unwrap();
            assert_eq!(tree.text(file), "0");
            group.add(Pid::from(7)).unwrap();
            assert_eq!(tree.text("cgroup.procs"), "7");
        }
    }

    #[test]
    fn a_group_with_the_caller_inside_is_not_killed() {
        for version in [Version::V1, Version::V2] {
            let tree = Tree::new(version);
            let group = tree.file("cgroup.procs", &format!("{}\n", Pid::current())).open();
            tree.file("cgroup.kill", "");
            assert!(matches!(group.kill_all(), Err(Error::Refused { .. })));
            assert_eq!(tree.text("cgroup.kill"), "");
        }
    }
}

mod removal {
    use super::*;

    #[test]
    fn never_of_everything() {
        let tree = Tree::new(Version::V1);
        insta::assert_snapshot!(tree.hierarchy().remove_everywhere(&CgroupPath::root()).unwrap_err(), @"refusing to remove cgroup /: it is the root of everything");
        let root = {
            tree.file("../memory.limit_in_bytes", "-1");
            Cgroup::open(&tree.hierarchy(), &CgroupPath::root()).unwrap()
        };
        assert!(matches!(root.remove(), Err(Error::Refused { .. })));
        tree.hierarchy().remove_everywhere(&path("/not/there")).unwrap();
    }
}

mod watching {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    #[test]
    fn v2_tells_of_a_change_of_memory_events() {
        let tree = Tree::new(Version::V2);
        let watch = tree.file("memory.events", "oom_kill 0\n").open().watch_oom().unwrap();
        let readable = |milliseconds: i64| {
            let mut fds = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
            let timeout = Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
            poll(&mut fds, Some(&timeout)).unwrap() == 1
        };
        assert!(!readable(20));
        assert_eq!(watch.drain().unwrap(), 0);
        tree.file("memory.events", "oom_kill 1\n");
        assert!(readable(500));
        assert!(watch.drain().unwrap() >= 1);
        assert_eq!((watch.drain().unwrap(), readable(20)), (0, false));
    }

    #[test]
    fn v1_registers_an_eventfd() {
        let tree = Tree::new(Version::V1);
        tree.file("memory.oom_control", "").file("cgroup.event_control", "");
        let watch = tree.open().watch_oom().unwrap();
        let text = tree.text("cgroup.event_control");
        let fds: Vec<i32> = text.split(' ').map(|fd| fd.parse().unwrap()).collect();
        assert_eq!(fds[0], std::os::fd::AsRawFd::as_raw_fd(&watch));
        let watched = fs::read_link(format!("/proc/self/fd/{}", fds[1])).unwrap();
        assert_eq!(watched, tree.group().join("memory.oom_control"));
        assert_eq!(watch.drain().unwrap(), 0);
    }
}
