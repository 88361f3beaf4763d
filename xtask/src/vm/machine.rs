//! Boots a guest by qemu, without hardware support, and waits for its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::image;
use super::kernel::Kernel;
use super::programs::Programs;
use super::scenario::Scenario;
use crate::command::target;

/// What a guest left.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// All that its kernel wrote to the console.
    pub(crate) console: String,
    /// All that its plan wrote.
    pub(crate) told: String,
    pub(crate) wall: Duration,
    /// It did not end by itself.
    pub(crate) hung: bool,
}

/// How much longer a test takes there than on a machine of its own: nothing is executed by hardware.
const SLOWNESS: u32 = 12;

/// Boots `scenario` and waits until it has powered off, panicked, or run out of patience.
pub(crate) fn boot(
    scenario: &Scenario,
    kernel: &Kernel,
    base: &Path,
    programs_disk: &Path,
    programs: &Programs,
    filter: Option<&str>,
) -> Result<Outcome> {
    let logs = target().join("vm/logs");
    fs::create_dir_all(&logs)?;
    let [console, told] = ["console", "told"].map(|kind| logs.join(format!("{}.{kind}", scenario.name)));
    let plan = plan(scenario, programs, filter)?;
    let first = image::with_plan(base, scenario.name, &plan)?;
    let mut disks = vec![image::disk(&format!("scratch-{}", scenario.name), "3G", None)?];
    if let Some(mib) = scenario.swap_mib {
        disks.push(image::disk(&format!("swap-{}", scenario.name), &format!("{mib}M"), None)?);
    }
    let mut qemu = qemu(scenario, kernel, &first, [&console, &told]);
    drive(&mut qemu, programs_disk, true);
    for disk in &disks {
        drive(&mut qemu, disk, false);
    }
    let began = Instant::now();
    let guest = qemu.spawn().context("qemu-system-x86_64 cannot be started")?;
    let hung = !wait(guest, scenario.patience)?;
    for disk in disks {
        fs::remove_file(disk)?;
    }
    let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""));
    Ok(Outcome { console: read(&console)?, told: read(&told)?, wall: began.elapsed(), hung })
}

fn qemu(scenario: &Scenario, kernel: &Kernel, first: &Path, serial: [&PathBuf; 2]) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-display",
        "none",
        "-no-reboot",
        "-machine",
        "pc",
        "-cpu",
        "max",
        "-smp",
        "1",
    ]);
    qemu.args(["-accel", "tcg,thread=multi,tb-size=256"]);
    qemu.arg("-m").arg(format!("{}M", scenario.memory_mib));
    qemu.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(first);
    qemu.arg("-append").arg(format!(
        "console=ttyS0 loglevel=4 panic=-1 mitigations=off audit=0 {}",
        scenario.kernel_arguments
    ));
    for file in serial {
        qemu.arg("-serial").arg(format!("file:{}", file.display()));
    }
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    qemu
}

fn drive(qemu: &mut Command, disk: &Path, is_shared: bool) {
    let shared = if is_shared { ",readonly=on,file.locking=off" } else { "" };
    qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,cache=unsafe{shared}", disk.display()));
}

/// What `guest.sh` is to do.
fn plan(scenario: &Scenario, programs: &Programs, filter: Option<&str>) -> Result<String> {
    let mut plan =
        format!("export REQUIRE_KERNEL=1 MEMLET_SLOWNESS={SLOWNESS} MEMLET_GUEST={}\n", scenario.has);
    for step in scenario.set_up {
        plan += &format!("{step}\n");
    }
    for run in scenario.runs {
        let program = programs.test(run.program)?.display();
        let filters: Vec<&str> = match filter {
            Some(filter) => vec![filter],
            None if run.filters.is_empty() => vec![""],
            None => run.filters.to_vec(),
        };
        for filter in filters {
            plan +=
                &format!("run {} {program} --format json --test-threads 1 {}\n", run.program, quoted(filter));
        }
    }
    Ok(plan)
}

fn quoted(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Whether the guest ended by itself.
fn wait(mut guest: Child, patience: Duration) -> Result<bool> {
    let until = Instant::now() + patience;
    loop {
        if guest.try_wait()?.is_some() {
            return Ok(true);
        }
        if Instant::now() >= until {
            guest.kill()?;
            guest.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
