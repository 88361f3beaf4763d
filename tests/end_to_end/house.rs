//! A house of its own for each test: run folder, data folder and cgroup root, all of which must be gone or
//! empty at its end.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use memlet_cgroup::{CgroupPath, Hierarchy, Version};
use memlet_policy::cgroup_names::{CgroupNames, Driver};
use serde_json::Value;

/// The program under test.
pub(crate) const MEMLET: &str = env!("CARGO_BIN_EXE_memlet");

/// Longer than any run of a test takes: a run that hangs is ended and fails its test.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long that is on this machine. One that is emulated is many times slower than the one that tests are written
/// for, and `MEMLET_TEST_PATIENCE` says how many times.
pub(crate) fn patience(on_a_machine_of_its_own: Duration) -> Duration {
    let times = std::env::var("MEMLET_TEST_PATIENCE").ok().and_then(|times| times.parse().ok());
    on_a_machine_of_its_own * times.unwrap_or(1)
}

/// What a machine lacks for tests that need these programs, if anything.
pub(crate) fn what_is_missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    if let Err(error) = Hierarchy::detect() {
        return Some(format!("a memory cgroup: {error}"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &&&str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    let missing = programs.iter().find(|program| !found(program));
    missing.map(|program| (*program).to_owned())
}

/// This machine's cgroup version.
pub(crate) fn version() -> Option<Version> {
    Hierarchy::detect().ok().map(|hierarchy| hierarchy.version())
}

/// The checkout.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/memlet lies in it").to_owned()
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Fails unless the exit code is this one.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless standard output holds this.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails if standard output holds this.
    #[track_caller]
    pub(crate) fn says_not(&self, text: &str) -> &Self {
        assert!(!self.stdout.contains(text), "{text:?} in stdout:\n{}", self.stdout);
        self
    }

    /// Fails unless standard error holds this.
    #[track_caller]
    pub(crate) fn complains(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "no {text:?} in stderr:\n{}", self.stderr);
        self
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Result<Value, Failed> {
        serde_json::from_str(&self.stdout)
            .map_err(|error| format!("{error} in:\n{}\nstderr:\n{}", self.stdout, self.stderr).into())
    }
}

/// A test's own place.
pub(crate) struct House {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) root: CgroupPath,
    hierarchy: Hierarchy,
}

impl House {
    /// A new one.
    pub(crate) fn new() -> Result<Self, Failed> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = format!("/memlet-test-{}-{number}", std::process::id()).parse()?;
        Ok(Self { folder: tempfile::tempdir()?, root, hierarchy: Hierarchy::detect()? })
    }

    /// `memlet run` in this house, with further arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_in(self.root.as_str(), arguments)
    }

    /// The same in another cgroup root, with the house's folders.
    pub(crate) fn command_in(&self, root: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(MEMLET);
        command
            .arg("run")
            .args(driver_arguments())
            .args(["--cgroup-root", root, "--run-folder"])
            .arg(self.folder.path().join("run"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a manifest given as text.
    pub(crate) fn run(&self, manifest: &str, arguments: &[&str]) -> Result<Ran, Failed> {
        let file = self.write("pod.yaml", manifest)?;
        let arguments = [arguments, &[file.to_str().expect("temporary paths are text")]].concat();
        finish(self.command(&arguments).spawn()?)
    }

    /// Runs a manifest from standard input.
    pub(crate) fn run_stdin(&self, manifest: &[u8]) -> Result<Ran, Failed> {
        let mut child = self.command(&["-"]).stdin(Stdio::piped()).spawn()?;
        child.stdin.take().expect("stdin is piped").write_all(manifest)?;
        finish(child)
    }

    /// `memlet image` with the house's store.
    pub(crate) fn image(&self, arguments: &[&str]) -> Result<Ran, Failed> {
        let mut command = Command::new(MEMLET);
        command.arg("image").arg("--data").arg(self.folder.path().join("data")).args(arguments);
        finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// Writes a file into the house.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf, Failed> {
        let path = self.folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    /// The cgroup of its root, which systemd's manner calls otherwise.
    pub(crate) fn group(&self) -> CgroupPath {
        CgroupNames::new(driver()).below(self.root.as_str()).root().parse().expect("a path of a path")
    }

    /// Fails if anything is left: processes, cgroups, mounts, files.
    pub(crate) fn nothing_is_left(&self) -> Result<(), Failed> {
        for mount in self.hierarchy.mount_points() {
            let cgroup = mount.join(self.group().as_str().trim_start_matches('/'));
            assert!(!cgroup.exists(), "left: {}", cgroup.display());
        }
        let ours = self.folder.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mounts: Vec<_> = mounts.lines().filter(|line| line.contains(&ours)).collect();
        assert!(mounts.is_empty(), "left mounts: {mounts:?}");
        let run = self.folder.path().join("run");
        let files: Vec<_> =
            fs::read_dir(&run).into_iter().flatten().flatten().map(|file| file.path()).collect();
        assert!(files.is_empty(), "left files: {files:?}");
        let processes: Vec<_> = processes_with(&ours);
        assert!(processes.is_empty(), "left processes: {processes:?}");
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // A test that failed must not disturb the next: kill what its cgroup still holds, and remove it.
        if let Ok(cgroup) = memlet_cgroup::Cgroup::open(&self.hierarchy, &self.group()) {
            let _ = cgroup.kill_all();
        }
        for pid in processes_with(&self.folder.path().display().to_string()) {
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.hierarchy.remove_everywhere(&self.group());
        // Those that were made last lie in the others.
        for place in mounts_in(self.folder.path()).iter().rev() {
            let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Where something is mounted in this folder, in the order in which it was.
fn mounts_in(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    places.map(PathBuf::from).filter(|place| place.starts_with(folder)).collect()
}

/// Who is to make the cgroups here: systemd in guests that have it.
pub(crate) fn driver() -> Driver {
    match std::env::var("MEMLET_TEST_CGROUP_DRIVER").as_deref() {
        Ok("systemd") => Driver::Systemd,
        _ => Driver::Cgroupfs,
    }
}

pub(crate) fn driver_arguments() -> &'static [&'static str] {
    match driver() {
        Driver::Cgroupfs => &[],
        Driver::Systemd => &["--cgroup-driver", "systemd"],
    }
}

/// Processes whose command line names something in this folder; all of them are of this test's making.
pub(crate) fn processes_with(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != std::process::id() && String::from_utf8_lossy(&line).contains(folder)
    })
    .collect()
}

/// Waits for a run to end, reading all that it says.
pub(crate) fn finish(mut child: Child) -> Result<Ran, Failed> {
    let reader = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stream.map(|mut stream| stream.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let stdout = reader(child.stdout.take().map(|it| Box::new(it) as _));
    let stderr = reader(child.stderr.take().map(|it| Box::new(it) as _));
    let deadline = Instant::now() + patience(PATIENCE);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            let said = stdout.join().unwrap_or_default();
            return Err(format!(
                "memlet does not end; it said:\n{said}{}",
                stderr.join().unwrap_or_default()
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ok(Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) })
}

/// A Pod with one memory eater.
pub(crate) fn eater(arguments: &str, limit: &str) -> String {
    let arguments: Vec<_> = arguments.split_whitespace().map(|it| format!("\"{it}\"")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    \
         image: memlet.dev/memory-eater\n    args: [{}]\n    resources: {{limits: {{memory: {limit}}}}}\n",
        arguments.join(", ")
    )
}
