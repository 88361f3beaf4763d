//! One guest, from the start of qemu to its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::disk::Disks;
use super::initramfs::Guest;
use super::kernels::Kernel;
use super::scenario::{Scenario, Swap};
use super::{folder, logs};

/// All that qemu can emulate, but for two things. Without the first newer kernels crash while they boot: qemu 7.2 spoils
/// the flags of a 16-byte exchange on a machine with one processor. Without the second a page is found in four steps, not five.
const PROCESSOR: &str = "max,cx16=off,la57=off";

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a guest left behind.
pub(crate) struct Ended {
    /// From the start of qemu to the first word of the guest's tests.
    pub(crate) boot: Option<Duration>,
    pub(crate) wall: Duration,
    /// It did not end by itself.
    pub(crate) hung: bool,
    /// What its tests said.
    pub(crate) results: String,
    /// What its kernel said.
    pub(crate) console: PathBuf,
}

/// Boots a guest and waits for its end.
pub(crate) fn run(guest: &Guest<'_>, disks: &Disks) -> Result<Ended> {
    let scenario = guest.scenario;
    let files = Files::new(scenario)?;
    guest.write(&files.initramfs)?;
    let began = Instant::now();
    let mut qemu = files.start(scenario, guest.kernel, disks)?;
    let mut boot = None;
    let mut hung = false;
    while qemu.try_wait()?.is_none() {
        if boot.is_none() && fs::metadata(&files.results).is_ok_and(|it| it.len() > 0) {
            boot = Some(began.elapsed());
        }
        if began.elapsed() > scenario.patience {
            hung = true;
            qemu.kill()?;
            qemu.wait()?;
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    let wall = began.elapsed();
    let results = String::from_utf8_lossy(&fs::read(&files.results).unwrap_or_default()).into_owned();
    files.remove_what_is_large();
    Ok(Ended { boot, wall, hung, results, console: files.console })
}

/// The files of one guest.
struct Files {
    initramfs: PathBuf,
    swap: Option<PathBuf>,
    console: PathBuf,
    results: PathBuf,
    errors: PathBuf,
}

impl Files {
    fn new(scenario: &Scenario) -> Result<Self> {
        let guests = folder().join("guests");
        fs::create_dir_all(&guests)?;
        fs::create_dir_all(logs())?;
        let log = |ending: &str| logs().join(format!("{}.{ending}", scenario.name));
        let swap = match scenario.swap {
            Swap::Disk(mib) => {
                let file = guests.join(format!("{}.swap", scenario.name));
                File::create(&file)?.set_len(u64::from(mib) << 20)?;
                Some(file)
            }
            Swap::None | Swap::Zram(_) => None,
        };
        let initramfs = guests.join(format!("{}.cpio", scenario.name));
        let files =
            Self { initramfs, swap, console: log("console"), results: log("results"), errors: log("qemu") };
        for old in [&files.console, &files.results, &files.errors] {
            let _ = fs::remove_file(old);
        }
        Ok(files)
    }

    fn start(&self, scenario: &Scenario, kernel: &Kernel, disks: &Disks) -> Result<Child> {
        // qemu is ended with this program, however that ends.
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            PROCESSOR,
        ]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-smp", &scenario.cpus.to_string(), "-m", &scenario.memory_mib.to_string()]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&self.initramfs);
        // A guest that panics ends, and with it qemu.
        let words = format!("console=ttyS0 panic=-1 {}", scenario.command_line);
        command.args(["-append", words.trim_end()]);
        command.arg("-chardev").arg(format!("file,id=console,path={}", self.console.display()));
        command.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        command.arg("-chardev").arg(format!("file,id=results,path={}", self.results.display()));
        command.args(["-device", "virtserialport,chardev=results,name=memlet.results"]);
        disk(&mut command, "system", disks.of(scenario.system)?, "readonly=on");
        // What is written goes to a file that qemu deletes at once.
        disk(&mut command, "scratch", &disks.scratch, "snapshot=on");
        if let Some(swap) = &self.swap {
            disk(&mut command, "swap", swap, "readonly=off");
        }
        command.env("TMPDIR", folder().join("guests")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&self.errors)?);
        command.spawn().context("qemu cannot be started (setpriv qemu-system-x86_64)")
    }

    fn remove_what_is_large(&self) {
        let _ = fs::remove_file(&self.initramfs);
        if let Some(swap) = &self.swap {
            let _ = fs::remove_file(swap);
        }
        if fs::metadata(&self.errors).is_ok_and(|it| it.len() == 0) {
            let _ = fs::remove_file(&self.errors);
        }
    }
}

fn disk(command: &mut Command, name: &str, file: &Path, how: &str) {
    let drive = format!("file={},if=none,id={name},format=raw,cache=unsafe,{how}", file.display());
    command.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={name}")]);
}
