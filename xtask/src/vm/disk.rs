//! The guests' disk: the program, its tests and what they call, at the same paths as on this machine, since a test
//! program was compiled with them. All guests read the same one; each has a scratch disk of its own over it.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::folder;
use super::kernels::MIRROR;
use super::programs::Programs;
use super::scenario::System;
use crate::command::{output_of, root, target};
use crate::tools::Tools;

/// What tests read of the checkout.
const CHECKOUT: [&str; 4] = ["README.md", "docs", "examples", "crates/memlet-oomlog/tests/fixtures"];

/// What tests call. What they call beside it is one of busybox's applets.
const TOOLS: [&str; 17] = [
    "busybox", "cat", "gzip", "ls", "mount", "setpriv", "sh", "skopeo", "sleep", "tail", "tr", "true",
    "umoci", "umount", "unshare", "xz", "zstd",
];

/// Folders that a system has.
const FOLDERS: [&str; 9] = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/local/bin", "var/tmp"];

/// The scratch disk's size. It is a file with holes, and nothing of it is kept.
const SCRATCH_MIB: u32 = 2048;

/// What debootstrap installs where systemd is to run, beside the least that there can be.
const SYSTEMD_PACKAGES: &str = "systemd,systemd-sysv,dbus,libpam-systemd,dbus-user-session,uidmap";

/// Runs the tests once the system is up.
const TESTS_UNIT: &str = "\
[Unit]
Description=Tests of memlet
After=dbus.socket systemd-logind.service

[Service]
Type=oneshot
ExecStart=/bin/busybox sh /run/init in_a_service
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
";

/// Units that take time, and that no test needs.
const MASKED: [&str; 8] = [
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "serial-getty@ttyS0.service",
    "getty.target",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
];

/// The disks, as files.
pub(crate) struct Disks {
    system: PathBuf,
    /// Where some guest wants it.
    systemd: Option<PathBuf>,
    pub(crate) scratch: PathBuf,
}

impl Disks {
    /// That which a guest with this system reads.
    pub(crate) fn of(&self, system: System) -> Result<&Path> {
        match system {
            System::Script => Ok(&self.system),
            System::Systemd => self.systemd.as_deref().context("no disk with systemd was made"),
        }
    }
}

/// Makes the disks; that with systemd only where it is wanted, since it takes most of a minute the first time.
pub(crate) fn make(programs: &Programs, tools: &Tools, with_systemd: bool) -> Result<Disks> {
    let staging = Staging(folder().join("root"));
    staging.make_empty()?;
    staging.fill(programs, tools)?;
    staging.add_busybox_applets()?;
    let system = folder().join("system.ext4");
    staging.write(&system)?;
    let systemd = if with_systemd { Some(make_systemd(&staging, programs, tools)?) } else { None };
    let scratch = folder().join("scratch.ext4");
    make_ext4(&scratch, u64::from(SCRATCH_MIB) << 20, None)?;
    Ok(Disks { system, systemd, scratch })
}

/// A small Debian of this machine's release, whose libraries are those that the programs were linked with.
fn make_systemd(staging: &Staging, programs: &Programs, tools: &Tools) -> Result<PathBuf> {
    let base = folder().join("debian");
    if !base.exists() {
        let unfinished = folder().join("debian.unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        println!("installing Debian with systemd for a guest");
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.arg("--variant=minbase").arg(format!("--include={SYSTEMD_PACKAGES}"));
        output_of(debootstrap.arg(codename()?).arg(&unfinished).arg(MIRROR))?;
        // A user with further users of his own, for what needs no root.
        output_of(Command::new("chroot").arg(&unfinished).args([
            "useradd",
            "--create-home",
            "--uid",
            "1000",
            "tester",
        ]))?;
        let _ = fs::remove_dir_all(unfinished.join("var/cache/apt"));
        let _ = fs::remove_dir_all(unfinished.join("var/lib/apt/lists"));
        fs::rename(&unfinished, &base)?;
    }
    output_of(Command::new("cp").arg("-a").arg(&base).arg(&staging.0))?;
    staging.fill(programs, tools)?;
    staging.add_file(Path::new("/bin/busybox"))?;
    let units = staging.0.join("etc/systemd/system");
    fs::write(units.join("memlet-tests.service"), TESTS_UNIT)?;
    let wanted = units.join("multi-user.target.wants");
    fs::create_dir_all(&wanted)?;
    symlink("/etc/systemd/system/memlet-tests.service", wanted.join("memlet-tests.service"))?;
    for unit in MASKED {
        let mask = units.join(unit);
        let _ = fs::remove_file(&mask);
        symlink("/dev/null", mask)?;
    }
    // Not the first boot, at which systemd would ask for a name, a language and a password.
    fs::write(staging.0.join("etc/machine-id"), "5f1d9a7e3b0c4d2e8a6f7b1c9d3e5a70\n")?;
    let file = folder().join("systemd.ext4");
    staging.write(&file)?;
    Ok(file)
}

/// The release of Debian that this machine runs.
fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.map(|name| name.trim_matches('"').to_owned()).context("/etc/os-release names no release of Debian")
}

/// The folder that becomes the disk.
struct Staging(PathBuf);

impl Staging {
    /// Adds the program, its tests, and what these call and read.
    fn fill(&self, programs: &Programs, tools: &Tools) -> Result<()> {
        for (program, place) in programs.all() {
            self.add_stripped(&program, &place)?;
        }
        for tool in TOOLS {
            self.add_program(&found(tool)?)?;
        }
        self.add_program(&tools.path("kubectl"))?;
        for name in CHECKOUT {
            self.add_tree(&root().join(name))?;
        }
        fs::create_dir_all(self.at(&target().join("tmp")))?;
        self.add_tree(Path::new("/etc/containers"))
    }

    /// Makes the disk of it, and forgets it.
    fn write(&self, disk: &Path) -> Result<()> {
        let size = self.size()?;
        make_ext4(disk, size + size / 4 + (16 << 20), Some(&self.0))?;
        Ok(fs::remove_dir_all(&self.0)?)
    }

    /// An empty system, with the links of this machine's merged /usr.
    fn make_empty(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => fs::create_dir_all(&self.0)?,
        }
        for folder in FOLDERS {
            fs::create_dir_all(self.0.join(folder))?;
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            let Ok(to) = fs::read_link(Path::new("/").join(link)) else { continue };
            fs::create_dir_all(self.0.join(&to))?;
            symlink(to, self.0.join(link))?;
        }
        fs::write(
            self.0.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        )?;
        fs::write(self.0.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
        Ok(fs::write(self.0.join("etc/hosts"), "127.0.0.1 localhost\n")?)
    }

    /// Where a path of this machine is in it.
    fn at(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Copies a file, through links, to its own path.
    fn add_file(&self, file: &Path) -> Result<()> {
        let to = self.at(file);
        if to.exists() {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("a file in no folder")?)?;
        fs::copy(file, &to).with_context(|| format!("cannot copy {} for the guests", file.display()))?;
        Ok(())
    }

    /// Copies a program with the libraries that it loads.
    fn add_program(&self, program: &Path) -> Result<()> {
        self.add_file(program)?;
        self.add_libraries(program)
    }

    /// Copies a program of ours to a place, without its symbols: some hundred MiB, which each run would copy again.
    fn add_stripped(&self, program: &Path, place: &Path) -> Result<()> {
        let to = self.at(place);
        fs::create_dir_all(to.parent().context("a program in no folder")?)?;
        output_of(Command::new("strip").arg("--strip-all").arg("-o").arg(to).arg(program))?;
        self.add_libraries(program)
    }

    fn add_libraries(&self, program: &Path) -> Result<()> {
        // It fails where there is nothing to load: a static program has no libraries.
        let Ok(listed) = output_of(Command::new("ldd").arg(program)) else { return Ok(()) };
        // "libc.so.6 => /lib/libc.so.6 (0x…)", and for the loader "/lib64/ld.so (0x…)".
        let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for path in paths {
            self.add_file(Path::new(path))?;
        }
        Ok(())
    }

    fn add_tree(&self, path: &Path) -> Result<()> {
        if !path.is_dir() {
            return self.add_file(path);
        }
        for entry in fs::read_dir(path)? {
            self.add_tree(&entry?.path())?;
        }
        Ok(())
    }

    /// A link for each applet that is not there as a program of its own.
    fn add_busybox_applets(&self) -> Result<()> {
        let bin = self.0.join("usr/local/bin");
        let applets = output_of(Command::new("busybox").arg("--list"))?;
        let taken =
            |name: &str| ["usr/bin", "usr/sbin", "bin"].iter().any(|it| self.0.join(it).join(name).exists());
        for name in applets.lines().filter(|name| !taken(name)) {
            symlink("/bin/busybox", bin.join(name))?;
        }
        self.add_file(Path::new("/bin/busybox"))
    }

    fn size(&self) -> Result<u64> {
        let listed = output_of(Command::new("du").arg("-sb").arg(&self.0))?;
        let bytes = listed.split_whitespace().next().and_then(|it| it.parse().ok());
        bytes.with_context(|| format!("du said {listed:?} of {}", self.0.display()))
    }
}

/// A file with a filesystem, filled from a folder. Guests only read it or forget what they wrote: no journal.
fn make_ext4(file: &Path, size: u64, from: Option<&Path>) -> Result<()> {
    let _ = fs::remove_file(file);
    fs::File::create(file)?.set_len(size)?;
    let mut command = Command::new(found("mkfs.ext4")?);
    command.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "root_owner=0:0"]);
    if let Some(folder) = from {
        command.arg("-d").arg(folder);
    }
    output_of(command.arg(file)).map(drop)
}

/// A program of this machine.
pub(crate) fn found(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|it| it.is_file());
    ensure!(found.is_some(), "the guests' tests need the program {name:?}, which is not in PATH; install it");
    found.context("looked at above")
}
