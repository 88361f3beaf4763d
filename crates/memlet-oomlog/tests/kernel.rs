//! The running kernel: real kills in a cgroup of the test's own, read from `/dev/kmsg`.
//!
//! Where that is not possible the tests are reported as ignored and say why; with `REQUIRE_KERNEL=1`, which CI
//! sets, they fail instead.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use memlet_bytes::Bytes;
use memlet_oomlog::kmsg::{Entry, Reader, Start, wall_clock};
use memlet_oomlog::{Assembler, Ending, Event, Limit, Report, Scope};

const LIMIT: Bytes = Bytes::from_mib(16);

fn main() -> ExitCode {
    let missing = missing();
    let required = std::env::var_os("REQUIRE_KERNEL").is_some_and(|value| value == "1");
    if let Some(why) = missing.as_deref() {
        let _ = writeln!(io::stderr(), "tests of the running kernel cannot run here: {why}");
    }
    let trial = |name: &str, test: fn() -> Result<(), Failed>| {
        let (ignored, why) = (missing.is_some() && !required, missing.clone());
        Trial::test(name, move || why.map_or_else(test, |why| Err(why.into()))).with_ignored_flag(ignored)
    };
    let trials = vec![
        trial("a_kill_is_reported_at_once_and_whole", a_kill_is_reported_at_once_and_whole),
        trial("hostile_names_are_read_as_they_are", hostile_names_are_read_as_they_are),
        trial("what_user_space_writes_is_no_report", what_user_space_writes_is_no_report),
        trial("the_log_is_read_from_any_place", the_log_is_read_from_any_place),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Why these tests cannot run here.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    if let Err(error) = Reader::open(Start::Now) {
        return Some(error.to_string());
    }
    Group::new("probe").err().map(|error| format!("no memory cgroup can be made: {error}"))
}

fn a_kill_is_reported_at_once_and_whole() -> Result<(), Failed> {
    let kill = kill_whole("/bin/sh", &["-c", "exec tail /dev/zero"], "kill")?;
    let report = &kill.report;
    let victim = &report.victims[0];
    assert_eq!(kill.status.signal(), Some(9));
    assert_eq!(
        (victim.comm.as_str(), victim.uid, victim.oom_score_adj),
        ("tail", Some(0), Some(kill.oom_score_adj))
    );
    assert_eq!(report.ending, Some(Ending::Killed));
    assert_eq!(report.scope, Some(Scope::Memcg));
    assert_eq!(report.oom_memcg.as_deref(), Some(kill.group.as_str()));
    assert_eq!(report.task_memcg.as_deref(), Some(format!("{}/inner", kill.group).as_str()));
    let memory = report.memory.expect("the counter of the limit");
    assert_eq!(memory.limit, Limit::Bytes(LIMIT));
    assert!(
        memory.failcnt > Some(0) && memory.usage <= LIMIT && memory.usage > Bytes::from_mib(8),
        "{memory:?}"
    );
    assert!(victim.anon_rss.expect("its size") > Bytes::from_mib(8), "{victim:?}");
    assert_eq!(report.invoked_by.as_ref().and_then(|by| by.pid), Some(victim.pid));
    assert_eq!(report.page_size.map(Bytes::get), u64::try_from(rustix::param::page_size()).ok());
    assert_eq!(report.kernel.as_deref(), rustix::system::uname().release().to_str().ok());
    assert!(report.complete, "{report:#?}");
    assert_eq!(report.choice_agrees(), Some(true), "{:?}", report.ranking());
    assert!(!report.stats.is_empty());
    // No timer is waited for; a second is what a busy machine may take.
    assert!(
        kill.after_death < Duration::from_secs(1),
        "the report came {:?} after the death",
        kill.after_death
    );
    if let Some(killed) = report.killed_since_boot {
        let latency = kill.seen_since_boot.saturating_sub(killed);
        let _ = writeln!(io::stderr(), "the report was read {latency:?} after the kernel wrote it");
    }
    Ok(())
}

fn hostile_names_are_read_as_they_are() -> Result<(), Failed> {
    let folder = std::env::temp_dir().join(format!("memlet-test-{}-names", std::process::id()));
    fs::create_dir_all(&folder)?;
    let tail =
        ["/usr/bin/tail", "/bin/tail"].iter().find(|path| Path::new(path).exists()).ok_or("no tail")?;
    let outcome =
        ["a) b (c", ",task=a,pid=1", "x\ny", "x: Killed proc", "日\\x41"].iter().try_for_each(|name| {
            let program = folder.join(name);
            symlink(tail, &program)?;
            let kill = kill_whole(&program.to_string_lossy(), &["/dev/zero"], "names")?;
            let report = &kill.report;
            assert_eq!(report.victims[0].comm, *name);
            assert_eq!(report.invoked_by.as_ref().map(|by| by.comm.as_str()), Some(*name));
            assert_eq!(report.chosen.as_ref().map(|chosen| chosen.comm.as_str()), Some(*name));
            assert_eq!(report.task(kill.pid).map(|task| task.comm.as_str()), Some(*name));
            assert_eq!(report.task_memcg.as_deref(), Some(format!("{}/inner", kill.group).as_str()));
            Ok(())
        });
    fs::remove_dir_all(&folder)?;
    outcome
}

fn what_user_space_writes_is_no_report() -> Result<(), Failed> {
    let mut reader = Reader::open(Start::Now)?;
    let name = format!("forged-{}", std::process::id());
    let line = format!(
        "<3>Memory cgroup out of memory: Killed process 1 ({name}) total-vm:8kB, anon-rss:4kB, file-rss:0kB, \
         shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0\n"
    );
    fs::OpenOptions::new().write(true).open("/dev/kmsg")?.write_all(line.as_bytes())?;
    let mut assembler = Assembler::default();
    while reader.wait(Some(Duration::from_secs(10)))? {
        while let Some(entry) = reader.read_entry()? {
            let Entry::Record(record) = entry else { continue };
            assembler.push(&record);
            if record.text.contains(&name) {
                assert!(!record.is_from_kernel(), "{record:?}");
                assembler.flush();
                let is_forged = |report: &Report| report.victims.iter().any(|victim| victim.comm == name);
                let forged = std::iter::from_fn(|| assembler.next_event())
                    .any(|event| matches!(event, Event::Finished(report) if is_forged(&report)));
                assert!(!forged);
                let age = wall_clock(record.since_boot.expect("its time")).elapsed().unwrap_or_default();
                assert!(age < Duration::from_secs(20), "written {age:?} ago");
                return Ok(());
            }
        }
    }
    Err("the written record never came".into())
}

fn the_log_is_read_from_any_place() -> Result<(), Failed> {
    let mut sequences = Vec::new();
    let mut reader = Reader::open(Start::Oldest)?;
    while let Some(entry) = reader.read_entry()? {
        if let Entry::Record(record) = entry {
            sequences.extend(record.sequence);
        }
    }
    assert!(sequences.is_sorted_by(|one, next| one < next));
    let middle = sequences[sequences.len() / 2];
    let mut after = Reader::open(Start::After(middle))?;
    let first = after.read_entry()?;
    assert!(
        matches!(&first, Some(Entry::Record(record)) if record.sequence == Some(middle + 1)),
        "{first:?}"
    );
    Ok(())
}

struct Kill {
    report: Report,
    pid: i32,
    oom_score_adj: i16,
    status: ExitStatus,
    group: String,
    /// From the moment that the death was seen by its parent; zero when the report was there first.
    after_death: Duration,
    /// By the clock that the kernel's log goes by, or nearly so.
    seen_since_boot: Duration,
}

/// A kill with its whole report. The kernel withholds reports when there are more than ten in five seconds on the
/// whole machine, whoever causes them; then it is tried again.
fn kill_whole(program: &str, arguments: &[&str], name: &str) -> Result<Kill, Failed> {
    let mut kill = kill(program, arguments, name)?;
    for _ in 0..3 {
        if kill.report.invoked_by.is_some() {
            break;
        }
        thread::sleep(Duration::from_secs(6));
        kill = self::kill(program, arguments, name)?;
    }
    Ok(kill)
}

fn kill(program: &str, arguments: &[&str], name: &str) -> Result<Kill, Failed> {
    let group = Group::new(name)?;
    let mut reader = Reader::open(Start::Now)?;
    let mut assembler = Assembler::default();
    let child = group.run(program, arguments)?;
    let pid = i32::try_from(child.id())?;
    let oom_score_adj = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse()?;
    let death = thread::spawn(move || {
        let mut child = child;
        child.wait().map(|status| (status, Instant::now()))
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        reader.wait(Some(deadline.saturating_duration_since(Instant::now())))?;
        reader.read_into(&mut assembler)?;
        while let Some(event) = assembler.next_event() {
            if let Event::Finished(report) = event
                && report.victims.iter().any(|victim| victim.pid == pid)
            {
                let seen = Instant::now();
                let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                let seen_since_boot = Duration::try_from(clock).unwrap_or_default();
                let (status, died) = death.join().expect("the waiting thread")?;
                let after_death = seen.saturating_duration_since(died);
                return Ok(Kill {
                    report: *report,
                    pid,
                    oom_score_adj,
                    status,
                    group: group.name(),
                    after_death,
                    seen_since_boot,
                });
            }
        }
    }
    Err(format!("no report of the kill of {pid} within 20 s").into())
}

/// A memory cgroup with [`LIMIT`], and one without a limit inside; removed on drop with all that runs in it.
struct Group {
    root: &'static Path,
    path: PathBuf,
}

impl Group {
    fn new(name: &str) -> io::Result<Self> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let v2 = Path::new("/sys/fs/cgroup");
        let is_v2 = !v1.join("memory.limit_in_bytes").exists();
        let root = if is_v2 { v2 } else { v1 };
        let path = root.join(format!("memlet-test-{}-oomlog-{name}", std::process::id()));
        if is_v2 {
            fs::write(root.join("cgroup.subtree_control"), "+memory")?;
        }
        fs::create_dir(&path)?;
        let group = Self { root, path };
        let limit = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(group.path.join(limit), LIMIT.get().to_string())?;
        if is_v2 {
            // Where there is swap the kill would wait for it to fill.
            let swap = group.path.join("memory.swap.max");
            if swap.exists() {
                fs::write(swap, "0")?;
            }
            fs::write(group.path.join("cgroup.subtree_control"), "+memory")?;
        }
        fs::create_dir(group.path.join("inner"))?;
        Ok(group)
    }

    /// As the kernel's report names it.
    fn name(&self) -> String {
        format!("/{}", self.path.strip_prefix(self.root).expect("below the root").display())
    }

    /// Runs a program inside: a shell enters the cgroup and becomes the program.
    fn run(&self, program: &str, arguments: &[&str]) -> io::Result<Child> {
        Command::new("/bin/sh")
            .args(["-c", "echo $$ > \"$0\" && exec \"$@\""])
            .arg(self.path.join("inner/cgroup.procs"))
            .arg(program)
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .spawn()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..200 {
            let procs = fs::read_to_string(self.path.join("inner/cgroup.procs")).unwrap_or_default();
            for pid in procs.lines().filter_map(|line| rustix::process::Pid::from_raw(line.parse().ok()?)) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let inner = fs::remove_dir(self.path.join("inner"));
            if fs::remove_dir(&self.path).is_ok() || inner.is_err() && !self.path.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
