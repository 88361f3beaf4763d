//! Ring 3: Debian's kernels, booted by qemu without any help of this machine's processor, with Memlet inside.
//!
//! A guest reads its programs from a disk that all share (`disk`), begins with an archive of its own (`initramfs`) and
//! reports over a port of its own, so that what its kernel says stays apart (`machine`). Which guests there are, and
//! what runs in them, is data (`scenario`).

mod coverage;
mod disk;
mod initramfs;
mod kernels;
mod machine;
mod modules;
mod programs;
mod report;
mod scenario;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::coverage::Coverage;
use self::disk::Disks;
use self::initramfs::Guest;
use self::kernels::Kernel;
use self::machine::Ended;
use self::programs::Programs;
use self::report::Results;
use self::scenario::{Scenario, System};
use crate::command::target;
use crate::tools::{self, Tools};

/// As many as keep two processors busy.
const AT_ONCE: usize = 2;
/// How much of its console a guest that fails is shown with; the file has all of it.
const CONSOLE_TAIL: usize = 25;

/// Which part of the ring.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Only guests with this kernel: old, stable or new
    #[arg(long)]
    kernel: Option<String>,
    /// Only this guest; may be given several times
    #[arg(long)]
    scenario: Vec<String>,
    /// Only tests whose names hold this, whatever the scenarios say
    #[arg(long)]
    filter: Option<String>,
    /// List the guests
    #[arg(long)]
    list: bool,
}

/// A folder of the ring's own.
fn folder() -> PathBuf {
    target().join("vm")
}

/// What guests said, kept until the next time.
fn logs() -> PathBuf {
    folder().join("logs")
}

/// Boots the guests, and fails if anything in them did.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<_> = scenario::ALL.iter().filter(|scenario| options.wants(scenario)).collect();
    if options.list {
        for scenario in chosen {
            println!("{}", scenario.description());
        }
        return Ok(());
    }
    ensure!(!chosen.is_empty(), "no guest has this name and kernel; --list shows all");
    let _alone = alone()?;
    let tools = tools::install_for_guests()?;
    let ring = Ring {
        kernels: fetch(&chosen)?,
        programs: programs::build()?,
        tools,
        filter: options.filter.as_deref(),
    };
    let with_systemd = chosen.iter().any(|scenario| scenario.system == System::Systemd);
    let disks = disk::make(&ring.programs, &ring.tools, with_systemd)?;
    println!(
        "\n{:<22} {:<22} {:>6} {:>7} {:>7} {:>7} {:>7}",
        "guest", "kernel", "boot", "passed", "ignored", "failed", "wall"
    );
    let guests: VecDeque<_> = chosen.iter().copied().enumerate().collect();
    let guests = Mutex::new(guests);
    let ended = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(chosen.len()) {
            scope.spawn(|| {
                while let Some((place, scenario)) = next(&guests) {
                    let outcome = ring.boot(scenario, &disks);
                    ended.lock().unwrap_or_else(PoisonError::into_inner).push((place, outcome));
                }
            });
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(place, _)| *place);
    conclude(ended.into_iter().map(|(_, outcome)| outcome), options)
}

/// Disks and logs have one name each, so the ring runs once at a time; the lock goes with the file.
fn alone() -> Result<File> {
    fs::create_dir_all(folder())?;
    let path = folder().join("lock");
    let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let held = lock.try_lock();
    ensure!(held.is_ok(), "another vm-test is at work in {}; wait for its end", folder().display());
    Ok(lock)
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

impl Options {
    fn wants(&self, scenario: &Scenario) -> bool {
        self.kernel.as_deref().is_none_or(|kernel| kernel == scenario.kernel.name)
            && (self.scenario.is_empty() || self.scenario.iter().any(|name| name == scenario.name))
    }

    /// Nothing was left out.
    fn is_whole(&self) -> bool {
        self.kernel.is_none() && self.scenario.is_empty() && self.filter.is_none()
    }
}

fn fetch(chosen: &[&Scenario]) -> Result<Vec<(&'static str, Kernel)>> {
    let mut kernels: Vec<(&'static str, Kernel)> = Vec::new();
    for scenario in chosen {
        if !kernels.iter().any(|(name, _)| *name == scenario.kernel.name) {
            kernels.push((scenario.kernel.name, scenario.kernel.fetch()?));
        }
    }
    Ok(kernels)
}

/// What all guests have in common.
struct Ring<'a> {
    kernels: Vec<(&'static str, Kernel)>,
    programs: Programs,
    tools: Tools,
    filter: Option<&'a str>,
}

/// What is known of a guest at its end.
struct Outcome {
    scenario: &'static Scenario,
    results: Results,
    /// What was wrong with it, its failed tests aside.
    wrong: Option<String>,
}

impl Ring<'_> {
    /// Boots one guest, and says in a line how it went.
    fn boot(&self, scenario: &'static Scenario, disks: &Disks) -> Result<Outcome> {
        let kernel = self.kernels.iter().find(|(name, _)| *name == scenario.kernel.name);
        let (_, kernel) = kernel.with_context(|| format!("{} was not fetched", scenario.kernel.name))?;
        let guest =
            Guest { scenario, kernel, programs: &self.programs, tools: &self.tools, filter: self.filter };
        let ended = machine::run(&guest, disks).with_context(|| format!("the guest {}", scenario.name))?;
        let results = Results::read(&ended.results);
        let console = String::from_utf8_lossy(&fs::read(&ended.console).unwrap_or_default()).into_owned();
        let wrong = results.wrong_with(scenario, &console, ended.hung);
        println!("{}", line(scenario, kernel, &results, &ended));
        for figure in &results.figures {
            println!("  {figure}");
        }
        for (test, said) in results.failed() {
            println!("  FAILED {}: {}\n{}", test.program, test.name, indented(said));
        }
        if let Some(wrong) = &wrong {
            println!(
                "  WRONG {wrong}; the end of {}:\n{}",
                ended.console.display(),
                indented(&tail(&console))
            );
        }
        Ok(Outcome { scenario, results, wrong })
    }
}

fn line(scenario: &Scenario, kernel: &Kernel, results: &Results, ended: &Ended) -> String {
    let boot = ended.boot.map_or_else(|| "none".into(), |boot| format!("{:.1} s", boot.as_secs_f64()));
    format!(
        "{:<22} {:<22} {boot:>6} {:>7} {:>7} {:>7} {:>5} s",
        scenario.name,
        kernel.release.trim_end_matches("-cloud-amd64"),
        results.passed(),
        results.ignored(),
        results.failed().count(),
        ended.wall.as_secs()
    )
}

fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_TAIL)..].join("\n")
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}\n")).collect()
}

/// Says what ran where, and whether all is well.
fn conclude(outcomes: impl Iterator<Item = Result<Outcome>>, options: &Options) -> Result<()> {
    let (mut coverage, mut failed) = (Coverage::default(), Vec::new());
    for outcome in outcomes {
        let outcome = outcome?;
        coverage.add(outcome.scenario.name, &outcome.results);
        if outcome.wrong.is_some() || outcome.results.failed().next().is_some() {
            failed.push(outcome.scenario.name);
        }
    }
    let table = logs().join("what-ran-where.txt");
    fs::write(&table, coverage.table())?;
    let nowhere = coverage.nowhere();
    println!("\n{} tests passed in a guest; which one in which: {}", coverage.somewhere(), table.display());
    for test in &nowhere {
        println!("  passed in no guest: {test}");
    }
    ensure!(
        failed.is_empty(),
        "guests failed: {}; their logs are in {}",
        failed.join(", "),
        logs().display()
    );
    if options.is_whole() && !nowhere.is_empty() {
        bail!("every test must pass in at least one guest: give one of them what the tests above need");
    }
    Ok(())
}
