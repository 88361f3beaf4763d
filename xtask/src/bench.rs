//! The figures promised in docs/promises.md, measured on the release build of this checkout.
//!
//! What is measured from outside is an upper bound: "first line seen" includes the way of that line through
//! log file and terminal; "verdict seen" includes this program's reading of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memlet_oomlog::kmsg::{Entry, Reader, Start};
use memlet_oomlog::line::Line;

use crate::command::{self, cargo, target};

/// Cgroups of the measurement's own, beside whatever runs on this machine.
const CGROUP_ROOT: &str = "/memlet-bench";

/// Measures everything `runs` times and prints median, least and most.
pub(crate) fn run(runs: usize) -> Result<()> {
    ensure!(runs > 0, "--runs must be at least 1");
    command::run(&mut cargo(&["build", "--release", "--package", "memlet"]))?;
    let folder = target().join("bench");
    fs::create_dir_all(&folder)?;
    let bench = Bench { memlet: target().join("release/memlet"), folder };
    let starts = (0..runs).map(|_| bench.start()).collect::<Result<Vec<_>>>()?;
    report("command to the container's first line seen", starts, "median <= 60 ms");
    let verdicts = (0..runs).map(|_| bench.verdict()).collect::<Result<Vec<_>>>()?;
    report("kernel's kill to the verdict seen", verdicts, "<= 50 ms");
    bench.memory()?;
    api()?;
    node(runs)?;
    race(runs)?;
    placements()?;
    logs()
}

/// How fast logs are read. The folder that `MEMLET_CORPUS` names has more kinds of them than this project's own fixtures.
pub(crate) fn logs() -> Result<()> {
    command::run(&mut cargo(&["bench", "--package", "memlet-oomlog", "--bench", "throughput"]))
}

/// What a node does with Pods, seen by an ordinary client.
pub(crate) fn node(runs: usize) -> Result<()> {
    command::run(&mut cargo(&["build", "--release", "--package", "memlet"]))?;
    let figures = ["run", "--release", "--package", "memlet", "--example", "node_figures", "--"];
    let folder = target().join("bench/node");
    fs::create_dir_all(&folder)?;
    command::run(cargo(&figures).arg(target().join("release/memlet")).arg(folder).arg(runs.to_string()))?;
    podman(runs)
}

/// The same acts by podman, where it is installed.
fn podman(runs: usize) -> Result<()> {
    if Command::new("podman").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!(
            "podman is not installed, so nothing is set beside it: apt-get install podman runc busybox-static"
        );
        return Ok(());
    }
    let folder = target().join("bench/podman");
    fs::create_dir_all(&folder)?;
    let figures = ["run", "--release", "--package", "memlet", "--example", "podman_figures", "--"];
    command::run(cargo(&figures).arg(folder).arg(runs.to_string()))
}

/// Eviction against the kernel's OOM killer.
pub(crate) fn race(tries: usize) -> Result<()> {
    command::run(&mut cargo(&["build", "--release", "--package", "memlet"]))?;
    let figures = ["run", "--release", "--package", "memlet", "--example", "race_figures", "--"];
    let folder = target().join("bench/race");
    fs::create_dir_all(&folder)?;
    command::run(cargo(&figures).arg(target().join("release/memlet")).arg(folder).arg(tries.to_string()))
}

/// How fast the scheduler decides, without containers.
pub(crate) fn placements() -> Result<()> {
    command::run(&mut cargo(&[
        "run",
        "--release",
        "--package",
        "memlet-scheduler",
        "--example",
        "placements",
    ]))
}

/// What the API server costs, on the disk of the target folder.
pub(crate) fn api() -> Result<()> {
    let figures = ["run", "--release", "--package", "memlet-apiserver", "--example", "figures", "--"];
    command::run(cargo(&figures).arg(target().join("bench/api")))
}

struct Bench {
    memlet: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// Starts `memlet run` with a Pod of the memory eater.
    fn run(&self, arguments: &str, limit: &str) -> Result<Memlet> {
        let arguments: Vec<_> = arguments.split_whitespace().map(|it| format!("{it:?}")).collect();
        let manifest = self.folder.join("pod.yaml");
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: bench}}\nspec:\n  restartPolicy: Never\n  containers:\n  \
             - name: eater\n    image: memlet.dev/memory-eater\n    args: [{}]\n    resources: {{limits: {{memory: {limit}}}}}\n",
            arguments.join(", ")
        );
        fs::write(&manifest, pod)?;
        Command::new(&self.memlet)
            .args(["run", "--cgroup-root", CGROUP_ROOT, "--run-folder"])
            .arg(self.folder.join("run"))
            .arg("--data")
            .arg(self.folder.join("data"))
            .arg(manifest)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map(Memlet)
            .context("memlet cannot be started")
    }

    /// From the command's start to the first line of the container.
    fn start(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut memlet = self.run("1 0 --spike", "64Mi")?;
        let seen = memlet.first_line("MB")?;
        memlet.end()?;
        Ok(seen - began)
    }

    /// From the kernel's record of the kill to the verdict.
    fn verdict(&self) -> Result<Duration> {
        // The kernel writes ten reports in five seconds at most; a kill without one cannot be dated.
        thread::sleep(Duration::from_millis(600));
        let mut kernel = Reader::open(Start::Now)?;
        let mut memlet = self.run("300 0", "64Mi")?;
        let seen = memlet.first_line("OOMKilled (exit code")?;
        let seen_since_boot = since_boot()?.checked_sub(seen.elapsed()).context("the clock went back")?;
        memlet.end()?;
        let killed = own_kill(&mut kernel)?;
        seen_since_boot.checked_sub(killed).context("the verdict came before the kill")
    }

    /// Private memory of `memlet run` and of its supervisor while a Pod runs.
    fn memory(&self) -> Result<()> {
        let mut memlet = self.run("8 0 --hold", "64Mi")?;
        memlet.first_line("MB")?;
        thread::sleep(Duration::from_millis(200));
        let supervisor = child_of(memlet.0.id(), "memlet-shim")?;
        println!("private memory of memlet run: {} KiB (<= 25600)", private_kib(memlet.0.id())?);
        println!("private memory of a supervisor: {} KiB (<= 2048)", private_kib(supervisor)?);
        memlet.interrupt()?;
        memlet.end()
    }
}

/// A `memlet run` that is ended whatever becomes of the measurement.
struct Memlet(Child);

impl Memlet {
    /// When a line that holds `text` came.
    fn first_line(&mut self, text: &str) -> Result<Instant> {
        let stdout = self.0.stdout.take().context("memlet has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            if line?.contains(text) {
                let seen = Instant::now();
                // The rest is read by a thread of its own, so that memlet never waits for a reader.
                thread::spawn(move || lines.for_each(drop));
                return Ok(seen);
            }
        }
        bail!("memlet ended without saying {text:?}")
    }

    fn interrupt(&self) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("memlet has no pid")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::INT)?)
    }

    fn end(&mut self) -> Result<()> {
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Memlet {
    /// In order, so that it leaves nothing behind; killed only where that takes too long.
    fn drop(&mut self) {
        let mut asked = None;
        while let Ok(None) = self.0.try_wait() {
            let asked = asked.get_or_insert_with(|| {
                // One ends its Pods, two at once; where it cannot be asked it is killed below.
                let _ = self.interrupt().and_then(|()| {
                    thread::sleep(Duration::from_millis(100));
                    self.interrupt()
                });
                Instant::now()
            });
            if asked.elapsed() > Duration::from_secs(5) {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// When the kernel killed the eater of this measurement, since boot. Others may be killed meanwhile: ours is told by
/// its name and its cgroup, which the line before the kill has.
fn own_kill(kernel: &mut Reader) -> Result<Duration> {
    let mut victim = None;
    while let Some(entry) = kernel.read_entry()? {
        let Entry::Record(record) = entry else { continue };
        match Line::parse(&record.text) {
            Some(Line::OomKill(chosen)) => {
                let ours =
                    chosen.task_memcg.is_some_and(|cgroup| cgroup.contains(&format!("{CGROUP_ROOT}/")));
                victim = chosen.pid.filter(|_| ours && chosen.task == Some("memory-eater"));
            }
            Some(Line::Killed(killed)) if victim == Some(killed.pid) => {
                return record.since_boot.context("the kernel's log has no times");
            }
            _ => {}
        }
    }
    bail!("the kernel's log holds no kill of a memory-eater below {CGROUP_ROOT}")
}

fn since_boot() -> Result<Duration> {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Ok(Duration::new(clock.tv_sec.try_into()?, clock.tv_nsec.try_into()?))
}

fn child_of(parent: u32, name: &str) -> Result<u32> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        if field("Name:") == Some(name) && field("PPid:").and_then(|it| it.parse().ok()) == Some(parent) {
            return Ok(pid);
        }
    }
    bail!("process {parent} has no child {name}")
}

fn private_kib(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

fn report(what: &str, mut times: Vec<Duration>, aim: &str) {
    times.sort();
    let (Some(least), Some(most)) = (times.first(), times.last()) else { return };
    let median = times[times.len() / 2];
    println!("{what}: median {median:.1?}, {least:.1?} to {most:.1?}, {} runs ({aim})", times.len());
}
