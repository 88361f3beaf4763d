//! What only a kernel can show: limits that kill, refusals, notifications, removal.
//!
//! Works below a folder of its own in the memory hierarchy, with at most 64 MiB at a time, and leaves nothing
//! behind. Where there is no writable memory controller every test is reported as ignored with the reason; with
//! `REQUIRE_KERNEL=1` that is a failure.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::exit,
    clippy::unwrap_used,
    reason = "a test program and its helper"
)]

use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Error, Hierarchy, Limit, Pid, UsageWatch, Version};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const LIMIT: Limit = Limit::Bytes(Bytes::from_mib(32));

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // This program is also the process in the group: `JOIN <path> <program> …` and `HOLD <MiB>`.
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "JOIN", path, program, rest @ ..] => join_and_exec(path, program, rest),
        [_, "HOLD", mib] => hold(mib.parse().expect("a number of MiB")),
        _ => {}
    }

    let unavailable = Sandbox::new("probe").err();
    let required = std::env::var("REQUIRE_KERNEL").is_ok_and(|value| value == "1");
    if let Some(reason) = &unavailable {
        eprintln!("NOT RUN: the kernel tests of memlet-cgroup: {reason}");
        if required {
            eprintln!("REQUIRE_KERNEL=1 makes that a failure");
            return ExitCode::FAILURE;
        }
    }
    let trial = |name: &str, test: fn(&Sandbox)| {
        let label = name.to_owned();
        Trial::test(name, move || {
            test(&Sandbox::new(&label)?);
            Ok(())
        })
        .with_ignored_flag(unavailable.is_some())
    };
    let mut options = Arguments::from_args();
    options.test_threads = Some(1); // so that at most one limit's worth of memory is in use
    let trials = vec![
        trial("crossing_the_limit_kills_once_and_is_counted", crossing_the_limit_kills_once_and_is_counted),
        trial("staying_below_the_limit_kills_nobody", staying_below_the_limit_kills_nobody),
        trial("a_kill_counts_where_the_victim_was", a_kill_counts_where_the_victim_was),
        trial("a_watch_fires_on_oom_and_only_then", a_watch_fires_on_oom_and_only_then),
        trial("a_level_that_is_crossed_is_told_at_once", a_level_that_is_crossed_is_told_at_once),
        trial("whom_the_kernel_tells_of_a_limit_above", whom_the_kernel_tells_of_a_limit_above),
        trial("figures_of_a_process_that_holds_memory", figures_of_a_process_that_holds_memory),
        trial("a_limit_below_usage", a_limit_below_usage),
        trial("limits_go_up_and_down_together", limits_go_up_and_down_together),
        trial("page_cache_is_reclaimed_on_demand", page_cache_is_reclaimed_on_demand),
        trial("brakes_and_pressure_of_v2", brakes_and_pressure_of_v2),
        trial("limits_read_back", limits_read_back),
        trial("kill_all_and_remove_leave_nothing", kill_all_and_remove_leave_nothing),
        trial("a_group_made_again_is_not_the_old_one", a_group_made_again_is_not_the_old_one),
        trial("remove_everywhere_spares_the_living_and_takes_the_rest", remove_everywhere),
        trial("a_removal_of_what_is_not_empty_is_refused", a_removal_of_what_is_not_empty_is_refused),
        trial("a_removal_waits_for_what_is_ending", a_removal_waits_for_what_is_ending),
        trial("v2_takes_no_process_above_a_leaf", v2_takes_no_process_above_a_leaf),
        trial("members_are_moved_and_waited_for", members_are_moved_and_waited_for),
    ];
    libtest_mimic::run(&options, trials).exit_code()
}

/// A folder of this test's own; what is in it dies and goes with it, also when the test panics.
struct Sandbox {
    hierarchy: Hierarchy,
    path: CgroupPath,
}

impl Sandbox {
    fn new(name: &str) -> Result<Self, Error> {
        let hierarchy = Hierarchy::detect()?;
        let path = CgroupPath::root().join(&format!("memlet-test-{}-{name}", Pid::current()))?;
        let sandbox = Self { hierarchy, path };
        let group = Cgroup::create(&sandbox.hierarchy, &sandbox.path)?;
        group.set_limit(Limit::Bytes(Bytes::from_mib(256)))?;
        Ok(sandbox)
    }

    fn group(&self, below: &str) -> Cgroup {
        Cgroup::create(&self.hierarchy, &self.path.join(below).unwrap()).unwrap()
    }

    fn v1(&self) -> bool {
        self.hierarchy.version() == Version::V1
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Ok(group) = Cgroup::open(&self.hierarchy, &self.path) {
            group.kill_all().map_or_else(|error| eprintln!("left running: {error}"), drop);
        }
        if let Err(error) = self.hierarchy.remove_everywhere(&self.path) {
            // A second panic would end the whole program before the other tests.
            assert!(std::thread::panicking(), "left behind: {error}");
            eprintln!("left behind: {error}");
        }
    }
}

/// Starts `program` in the group: a process with one thread joins, then becomes the program.
fn start(group: &Cgroup, program: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["JOIN", group.path().as_str()])
        .args(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A process in the group that holds `mib` MiB of anonymous memory until its stdin closes.
fn holder(group: &Cgroup, mib: u64) -> Child {
    let me = std::env::current_exe().unwrap();
    let mut child = start(group, &[me.to_str().unwrap(), "HOLD", &mib.to_string()]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    child
}

fn join_and_exec(path: &str, program: &str, rest: &[&str]) -> ! {
    let group = Cgroup::open(&Hierarchy::detect().unwrap(), &path.parse().unwrap()).unwrap();
    group.join_current_thread().unwrap();
    let error = Command::new(program).args(rest).exec();
    panic!("cannot become {program}: {error}");
}

fn hold(mib: usize) -> ! {
    // Written to, so that every page is there.
    let memory = vec![1_u8; mib << 20];
    println!("held");
    let _ = io::stdin().read(&mut [0]);
    std::hint::black_box(&memory);
    std::process::exit(0);
}

/// `tail` keeps what has no line end: so many bytes of anonymous memory.
fn fill(group: &Cgroup, mib: u64) -> std::process::ExitStatus {
    let mut child = start(group, &["sh", "-c", "exec 2> /dev/null; tail -n 1 > /dev/null; exit $?"]);
    // Written from outside: a writer in the group needs memory for the pipe, and where the killed one has not
    // given back its own yet, the kernel kills once more.
    let mut stdin = child.stdin.take().unwrap();
    let _ = io::copy(&mut io::repeat(0).take(mib << 20), &mut stdin);
    drop(stdin);
    child.wait().unwrap()
}

fn readable(watch: impl AsFd, timeout: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::try_from(timeout).unwrap())).unwrap() == 1
}

fn crossing_the_limit_kills_once_and_is_counted(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    group.set_limit(LIMIT).unwrap();
    assert_eq!(group.events().unwrap().oom_kill, Some(0));
    assert_eq!(fill(&group, 64).code(), Some(137), "the shell says that tail was killed");
    assert_eq!(group.events().unwrap().oom_kill, Some(1));
    let snapshot = group.snapshot();
    assert_eq!((snapshot.oom_kills, snapshot.limit), (Some(1), Some(LIMIT)));
    assert!(snapshot.failcnt.unwrap() > 0);
    let peak = snapshot.peak.unwrap();
    // What a dying process still needs is charged beyond the limit (the forced charges of mm/memcontrol.c).
    let most = LIMIT.bytes().unwrap() + Bytes::from_mib(1);
    assert!(peak > Bytes::from_mib(30) && peak <= most, "{peak:?}");
    if !sandbox.v1() {
        let events = group.events().unwrap();
        assert_eq!(events.oom_kill_hierarchical, Some(1));
        assert!(events.oom.unwrap() >= 1 && events.max.unwrap() >= 1, "{events:?}");
    }
}

fn staying_below_the_limit_kills_nobody(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    group.set_limit(LIMIT).unwrap();
    assert_eq!(fill(&group, 8).code(), Some(0));
    assert_eq!(group.events().unwrap().oom_kill, Some(0));
    let peak = group.peak().unwrap().unwrap();
    assert!(peak > Bytes::from_mib(8) && Limit::Bytes(peak) < LIMIT, "{peak}");
}

fn a_kill_counts_where_the_victim_was(sandbox: &Sandbox) {
    let (above, victim, sibling) = (sandbox.group("a"), sandbox.group("a/b"), sandbox.group("a/c"));
    above.set_limit(LIMIT).unwrap();
    assert_eq!(fill(&victim, 64).code(), Some(137));
    let kills = [&above, &victim, &sibling].map(|group| group.events().unwrap().oom_kill);
    assert_eq!(kills, [Some(0), Some(1), Some(0)]);
    let hits = [&above, &victim].map(|group| group.failcnt().unwrap());
    assert!(hits[0] > Some(0), "the limit was the one above");
    assert_eq!(hits[1], Some(0));
    if !sandbox.v1() {
        assert_eq!(above.events().unwrap().oom_kill_hierarchical, Some(1));
    }
}

fn a_watch_fires_on_oom_and_only_then(sandbox: &Sandbox) {
    let (group, other) = (sandbox.group("a"), sandbox.group("other"));
    group.set_limit(LIMIT).unwrap();
    let (watch, others) = (group.watch_oom().unwrap(), other.watch_oom().unwrap());
    assert_eq!(fill(&group, 8).code(), Some(0));
    assert!(!readable(&watch, Duration::from_millis(50)));
    assert_eq!(fill(&group, 64).code(), Some(137));
    assert!(readable(&watch, Duration::from_secs(2)));
    assert!(watch.drain().unwrap() >= 1);
    assert_eq!(watch.drain().unwrap(), 0);
    assert!(!readable(&others, Duration::from_millis(50)), "a group beside it is not told");
}

fn a_level_that_is_crossed_is_told_at_once(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    group.set_limit(Limit::Bytes(Bytes::from_mib(64))).unwrap();
    let again = || sandbox.group("a");
    let mut watch = UsageWatch::start(again(), Limit::Bytes(Bytes::from_mib(24))).unwrap();
    let mut below = holder(&group, 12);
    assert!(!readable(&watch, Duration::from_millis(100)), "half of it is not there yet");
    let mut above = holder(&group, 16);
    assert!(readable(&watch, Duration::from_millis(100)), "usage {}", group.usage().unwrap());
    watch.drain().unwrap();
    // Another level, above what is used now.
    watch.set_level(Limit::Bytes(Bytes::from_mib(40))).unwrap();
    assert!(!readable(&watch, Duration::from_millis(100)));
    let mut more = holder(&group, 16);
    assert!(readable(&watch, Duration::from_millis(100)), "usage {}", group.usage().unwrap());
    if !sandbox.v1() {
        assert!(
            std::fs::read_to_string(group.dir_path().join("memory.high")).unwrap().starts_with("41943040")
        );
        drop(watch);
        assert_eq!(std::fs::read_to_string(group.dir_path().join("memory.high")).unwrap(), "max\n");
    }
    for holder in [&mut below, &mut above, &mut more] {
        holder.kill().unwrap();
        holder.wait().unwrap();
    }
}

fn whom_the_kernel_tells_of_a_limit_above(sandbox: &Sandbox) {
    let (above, victim, sibling) = (sandbox.group("a"), sandbox.group("a/b"), sandbox.group("a/c"));
    above.set_limit(LIMIT).unwrap();
    let [above, of_victim, of_sibling] = [&above, &victim, &sibling].map(|group| group.watch_oom().unwrap());
    assert_eq!(fill(&victim, 64).code(), Some(137));
    assert!(readable(&above, Duration::from_secs(2)) && readable(&of_victim, Duration::from_secs(2)));
    // v1 tells the whole subtree, so a watch alone proves no kill (mem_cgroup_oom_notify).
    assert_eq!(readable(&of_sibling, Duration::from_millis(50)), sandbox.v1());
    assert_eq!(sibling.events().unwrap().oom_kill, Some(0));
}

fn figures_of_a_process_that_holds_memory(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    let mut child = holder(&group, 16);
    let (usage, stat) = (group.usage().unwrap(), group.stat().unwrap());
    let anon = stat.anon.unwrap();
    assert!(anon >= Bytes::from_mib(15) && anon < Bytes::from_mib(24), "{anon}");
    assert!(usage >= anon && group.peak().unwrap().unwrap() >= usage);
    assert!(stat.kernel.unwrap() > Bytes::ZERO);
    assert!(!stat.raw.is_empty());
    let working_set = group.working_set().unwrap().unwrap();
    assert!(working_set <= group.peak().unwrap().unwrap() && working_set >= anon, "{working_set}");
    drop(child.stdin.take());
    child.wait().unwrap();
}

fn a_limit_below_usage(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    group.set_limit(LIMIT).unwrap();
    let mut child = holder(&group, 16);
    let low = Limit::Bytes(Bytes::from_mib(4));
    let result = group.set_limit(low);
    if sandbox.v1() {
        let error = result.unwrap_err();
        let Error::LimitBelowUsage { usage: Some(usage), limit, .. } = &error else { panic!("{error:?}") };
        assert!(*usage > Bytes::from_mib(15) && *limit == low);
        assert_eq!(group.limit().unwrap(), LIMIT, "it stays as it was");
        assert_eq!(group.events().unwrap().oom_kill, Some(0));
        drop(child.stdin.take());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    } else {
        result.unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9), "v2 takes the limit and kills");
        assert_eq!(group.events().unwrap().oom_kill, Some(1));
    }
}

fn limits_go_up_and_down_together(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    let none = Limit::Bytes(Bytes::ZERO);
    let Ok(swap_is_counted) = group.set_limits(LIMIT, none) else {
        panic!("{:?}", group.set_limits(LIMIT, none))
    };
    let higher = Limit::Bytes(Bytes::from_mib(64));
    if sandbox.v1() && swap_is_counted {
        let refused = group.set_limit(higher);
        assert!(matches!(refused, Err(Error::LimitsOutOfOrder { .. })), "{refused:?}");
    }
    for limit in [higher, LIMIT, Limit::Max, LIMIT] {
        group.set_limits(limit, none).unwrap();
        assert_eq!(group.limit().unwrap(), limit);
    }
}

fn page_cache_is_reclaimed_on_demand(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    let file = std::env::temp_dir().join(format!("memlet-cgroup-cache-{}", std::process::id()));
    let write =
        format!("dd if=/dev/zero of={} bs=1M count=16 conv=fsync 2>/dev/null; echo; cat", file.display());
    let mut child = start(&group, &["sh", "-c", &write]);
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let stat = group.stat().unwrap();
    let reclaimed = group.reclaim(Bytes::from_mib(12)).unwrap().expect("any kernel since 5.19 can");
    drop(child.stdin.take());
    child.wait().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(stat.file.unwrap() >= Bytes::from_mib(15), "{stat:?}");
    if stat.shmem.unwrap() >= Bytes::from_mib(15) {
        // The folder is a tmpfs: there is nothing behind it to which pages could go.
        assert!(reclaimed < Bytes::from_mib(4), "{reclaimed} of {stat:?}");
    } else {
        assert!(reclaimed >= Bytes::from_mib(8), "{reclaimed} of {stat:?}");
    }
}

fn brakes_and_pressure_of_v2(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    let high = Limit::Bytes(Bytes::from_mib(8));
    assert_eq!(group.set_high(high).unwrap(), !sandbox.v1());
    assert_eq!(group.set_protection(Bytes::from_mib(1), Bytes::from_mib(2)).unwrap(), !sandbox.v1());
    if sandbox.v1() {
        assert_eq!(group.pressure().unwrap(), None);
        return;
    }
    let mut child = holder(&group, 16);
    assert!(group.events().unwrap().high.unwrap() > 0, "it was slowed down, and lives");
    if let Some(pressure) = group.pressure().unwrap() {
        assert!(pressure.some.total > Duration::ZERO, "{pressure:?}");
    }
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn limits_read_back(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    assert_eq!(group.limit().unwrap(), Limit::Max, "a new group has none");
    for limit in [LIMIT, Limit::Max] {
        group.set_limit(limit).unwrap();
        assert_eq!(group.limit().unwrap(), limit);
    }
    assert_eq!(group.set_oom_group(true).unwrap(), !sandbox.v1());
    assert_eq!(group.stat().unwrap().swap.is_some(), group.set_swap_limit(Limit::Max).unwrap());
}

fn kill_all_and_remove_leave_nothing(sandbox: &Sandbox) {
    let (above, below, beside) = (sandbox.group("a"), sandbox.group("a/b"), sandbox.group("a/c"));
    let mut children: Vec<Child> = (0..3).map(|_| holder(&below, 1)).collect();
    // Grandchildren that ignore what they can.
    let mut shell = start(&beside, &["sh", "-c", "trap '' TERM; sleep 100 & sleep 100 & echo held; wait"]);
    BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    assert_eq!(above.processes_recursive().unwrap().len(), 6);

    let started = Instant::now();
    let killed = above.kill_all().unwrap();
    assert_eq!(killed.len(), 6, "{killed:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(above.processes_recursive().unwrap(), []);
    children.push(shell);
    for mut child in children {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    assert_eq!(above.kill_all().unwrap(), [], "nobody left to kill");
    let dir = above.dir_path().to_path_buf();
    below.remove().unwrap();
    beside.remove().unwrap();
    above.remove().unwrap();
    assert!(!dir.exists());
}

fn a_group_made_again_is_not_the_old_one(sandbox: &Sandbox) {
    let old = sandbox.group("a");
    let watch = old.watch_oom().unwrap();
    sandbox.group("a").remove().unwrap();
    assert!(!old.is_alive());
    let new = sandbox.group("a");
    assert_ne!(old.id(), new.id());
    for gone in [old.usage().unwrap_err(), old.stat().unwrap_err(), old.set_limit(LIMIT).unwrap_err()] {
        assert!(gone.is_gone(), "{gone:?}");
    }
    for gone in [old.processes_recursive().unwrap_err(), old.join_current_thread().unwrap_err()] {
        assert!(gone.is_gone(), "{gone:?}");
    }
    assert!(old.peak().unwrap_err().is_gone() && old.events().unwrap_err().is_gone());
    assert_eq!(old.snapshot().usage, None);
    assert_eq!(new.limit().unwrap(), Limit::Max);
    old.remove().unwrap();
    assert!(new.is_alive(), "removing the old one leaves the new one alone");
    drop(watch);
}

fn remove_everywhere(sandbox: &Sandbox) {
    let hierarchy = &sandbox.hierarchy;
    let group = sandbox.group("a/b");
    // What a container runtime leaves on v1: the same path in every hierarchy.
    let below = |path: &CgroupPath| path.as_str().trim_start_matches('/').to_owned();
    let dirs: Vec<_> = hierarchy.mount_points().map(|mount| mount.join(below(group.path()))).collect();
    for dir in &dirs {
        std::fs::create_dir_all(dir).unwrap();
    }
    let mut child = holder(&group, 1);
    let path = group.path().parent().unwrap();
    let error = hierarchy.remove_everywhere(&path).unwrap_err();
    let Error::Busy { pid, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*pid, Some(Pid::from(child.id())), "{error}");
    assert!(error.to_string().contains(&format!("process {} (kernel", child.id())), "{error}");
    assert!(group.is_alive() && child.try_wait().unwrap().is_none(), "the living are spared");

    drop(child.stdin.take());
    child.wait().unwrap();
    hierarchy.remove_everywhere(&path).unwrap();
    for dir in dirs {
        assert!(!dir.exists() && !dir.parent().unwrap().exists(), "{}", dir.display());
    }
    hierarchy.remove_everywhere(&path).unwrap();
}

fn a_removal_of_what_is_not_empty_is_refused(sandbox: &Sandbox) {
    let group = sandbox.group("a");
    let mut child = holder(&group, 1);
    let (dir, error) = (group.dir_path().to_path_buf(), group.remove().unwrap_err());
    assert!(matches!(&error, Error::Busy { pid: Some(pid), .. } if pid.get() == child.id()), "{error:?}");
    drop(child.stdin.take());
    // Right after the end is seen, the kernel may still count it as a member: that is waited for.
    child.wait().unwrap();
    sandbox.group("a").remove().unwrap();
    assert!(!dir.exists());
}

fn a_removal_waits_for_what_is_ending(sandbox: &Sandbox) {
    let ends_soon = |group: &Cgroup| {
        let mut child = holder(group, 1);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(child.stdin.take());
            child.wait().unwrap();
        })
    };
    let group = sandbox.group("a");
    let ending = ends_soon(&group);
    group.remove().unwrap();
    ending.join().unwrap();

    let group = sandbox.group("b");
    let ending = ends_soon(&group);
    sandbox.hierarchy.remove_everywhere(group.path()).unwrap();
    ending.join().unwrap();
    assert!(!group.is_alive());
}

fn v2_takes_no_process_above_a_leaf(sandbox: &Sandbox) {
    let (above, leaf) = (sandbox.group("a"), sandbox.group("a/b"));
    let mut child = holder(&leaf, 1);
    let moved = above.add(Pid::from(child.id()));
    if sandbox.v1() {
        moved.unwrap();
    } else {
        assert!(matches!(moved, Err(Error::NotALeaf { .. })), "{moved:?}");
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

fn members_are_moved_and_waited_for(sandbox: &Sandbox) {
    let (from, to) = (sandbox.group("from"), sandbox.group("to"));
    let mut child = holder(&from, 1);
    let pid = Pid::from(child.id());
    assert_eq!(from.processes().unwrap(), [pid], "it joined by itself");
    to.add(pid).unwrap();
    assert_eq!((from.processes().unwrap(), to.processes().unwrap()), (vec![], vec![pid]));
    assert!(from.wait_empty(Duration::ZERO).unwrap());
    assert!(!to.wait_empty(Duration::from_millis(20)).unwrap());
    drop(child.stdin.take());
    assert!(to.wait_empty(Duration::from_secs(2)).unwrap());
    child.wait().unwrap();
    let error = to.add(pid).unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && !error.is_gone(), "no such process: {error:?}");
}
