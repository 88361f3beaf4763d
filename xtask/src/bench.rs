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
    bench.memory()
}

struct Bench {
    memlet: PathBuf,
    folder: PathBuf,
}

impl Bench {
    /// Starts `memlet run` with a Pod of the memory eater.
    fn run(&self, arguments: &str, limit: &str) -> Result<Child> {
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
            .context("memlet cannot be started")
    }

    /// From the command's start to the first line of the container.
    fn start(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut memlet = self.run("1 0 --spike", "64Mi")?;
        let seen = first_line(&mut memlet, "MB")?;
        memlet.wait()?;
        Ok(seen - began)
    }

    /// From the kernel's record of the kill to the verdict.
    fn verdict(&self) -> Result<Duration> {
        let mut kernel = Reader::open(Start::Now)?;
        let mut memlet = self.run("300 0", "64Mi")?;
        let seen = first_line(&mut memlet, "OOMKilled (exit code")?;
        let seen_since_boot = since_boot()?.checked_sub(seen.elapsed()).context("the clock went back")?;
        memlet.wait()?;
        while let Some(entry) = kernel.read_entry()? {
            let Entry::Record(record) = entry else { continue };
            if let (Some(Line::Killed(_)), Some(at)) = (Line::parse(&record.text), record.since_boot) {
                return seen_since_boot.checked_sub(at).context("the verdict came before the kill");
            }
        }
        bail!("the kernel's log holds no kill")
    }

    /// Private memory of `memlet run` and of its supervisor while a Pod runs.
    fn memory(&self) -> Result<()> {
        let mut memlet = self.run("8 0 --hold", "64Mi")?;
        first_line(&mut memlet, "MB")?;
        thread::sleep(Duration::from_millis(200));
        let supervisor = child_of(memlet.id(), "memlet-shim")?;
        println!("private memory of memlet run: {} KiB (<= 25600)", private_kib(memlet.id())?);
        println!("private memory of a supervisor: {} KiB (<= 2048)", private_kib(supervisor)?);
        let interrupt = rustix::process::Signal::INT;
        let pid = i32::try_from(memlet.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("memlet has no pid")?, interrupt)?;
        memlet.wait()?;
        Ok(())
    }
}

/// When a line that holds `text` came.
fn first_line(memlet: &mut Child, text: &str) -> Result<Instant> {
    let stdout = memlet.stdout.take().context("memlet has no output")?;
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
