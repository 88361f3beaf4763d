//! What a guest boots from: a small first filesystem with the modules it needs to find its disks, and a disk with the
//! programs to run, at the same paths as here, since test programs have paths compiled in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::kernel::Kernel;
use super::programs::Programs;
use crate::command::{output, root, target};

/// What runs first: finds the disks and the cgroups that the scenario wants.
const INIT: &str = include_str!("init.sh");
/// What runs then: the tests of the plan.
const GUEST: &str = include_str!("guest.sh");

/// Modules in any order: what another one needs is tried before it, round after round. Not every kernel has each as
/// a module, or at all.
const MODULES: [&str; 15] = [
    "virtio",
    "virtio_ring",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
    "overlay",
    "zsmalloc",
    "lzo",
    "lzo-rle",
    "lzo_compress",
    "842_compress",
    "842_decompress",
    "lz4_compress",
    "zram",
];

/// Programs of this machine that tests call, where they are there; a test that lacks one says so.
const CALLED: [&str; 8] = ["skopeo", "umoci", "kubectl", "xz", "zstd", "head", "tail", "cat"];

/// Files of the checkout that tests read.
const READ: [&str; 2] = ["examples", "crates"];

/// The first filesystem of `kernel`.
pub(crate) fn first_filesystem(kernel: &Kernel) -> Result<PathBuf> {
    let stage = fresh_folder(&format!("initramfs-{}", kernel.suite.name()))?;
    for folder in ["bin", "proc", "sys", "dev", "programs", "scratch", "root", "modules"] {
        fs::create_dir_all(stage.join(folder))?;
    }
    fs::copy("/bin/busybox", stage.join("bin/busybox")).context("busybox-static is not installed")?;
    write_program(&stage.join("init"), INIT)?;
    let found = output(Command::new("find").arg(&kernel.modules).args(["-name", "*.ko*"]))?;
    for module in found.lines().map(Path::new) {
        let file = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = file.split(".ko").next().unwrap_or_default();
        if !MODULES.contains(&name) {
            continue;
        }
        let to = stage.join("modules").join(format!("{name}.ko"));
        match module.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => unpack("xz", module, &to)?,
            Some("zst") => unpack("zstd", module, &to)?,
            _ => drop(fs::copy(module, &to)?),
        }
    }
    let archive = stage.with_extension("cpio");
    pack(&stage, &archive)?;
    Ok(archive)
}

/// A first filesystem that begins with `base` and holds the plan of one scenario.
pub(crate) fn with_plan(base: &Path, name: &str, plan: &str) -> Result<PathBuf> {
    let stage = fresh_folder(&format!("plan-{name}"))?;
    fs::write(stage.join("plan"), plan)?;
    let archive = stage.with_extension("cpio");
    pack(&stage, &archive)?;
    // The kernel unpacks one behind the other.
    let both = [fs::read(base)?, fs::read(&archive)?].concat();
    fs::write(&archive, both)?;
    Ok(archive)
}

/// The disk with the programs.
pub(crate) fn programs_disk(programs: &Programs, search_path: &std::ffi::OsStr) -> Result<PathBuf> {
    let stage = fresh_folder("programs")?;
    for folder in ["proc", "sys", "dev", "run", "tmp", "root", "etc", "var/tmp", "var/lib", "sbin", "usr/bin"]
    {
        fs::create_dir_all(stage.join(folder))?;
    }
    fs::copy("/bin/busybox", stage.join("usr/bin/busybox"))?;
    symlink("usr/bin", stage.join("bin"))?;
    for applet in output(Command::new("busybox").arg("--list"))?.lines() {
        let link = stage.join("usr/bin").join(applet);
        if applet != "busybox" {
            symlink("busybox", &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
    }
    fs::write(
        stage.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    )?;
    fs::write(stage.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    copy_tree(Path::new("/etc/containers"), &stage)?;
    write_program(&stage.join("sbin/guest"), GUEST)?;
    let mut libraries = BTreeSet::new();
    for name in CALLED {
        if let Some(program) =
            std::env::split_paths(search_path).map(|folder| folder.join(name)).find(|it| it.exists())
        {
            let at = stage.join("usr/bin").join(name);
            let _ = fs::remove_file(&at);
            fs::copy(fs::canonicalize(&program)?, &at)?;
            libraries.extend(libraries_of(&program)?);
        }
    }
    for program in programs.all() {
        let at = inside(&stage, program);
        fs::create_dir_all(at.parent().context("a program is in a folder")?)?;
        // Symbols are of no use there, and each guest holds the program in memory.
        output(Command::new("objcopy").arg("--strip-all").arg(program).arg(&at))?;
        libraries.extend(libraries_of(program)?);
    }
    for library in libraries {
        let at = inside(&stage, &library);
        fs::create_dir_all(at.parent().context("a library is in a folder")?)?;
        fs::copy(fs::canonicalize(&library)?, at)?;
    }
    for folder in READ {
        copy_tree(&root().join(folder), &stage)?;
    }
    disk("programs", "640M", Some(&stage))
}

/// An ext4 disk, with the files of `content` or none.
pub(crate) fn disk(name: &str, size: &str, content: Option<&Path>) -> Result<PathBuf> {
    let at = target().join("vm").join(format!("{name}.ext4"));
    let _ = fs::remove_file(&at);
    let mut command = Command::new("/sbin/mkfs.ext4");
    command.args(["-q", "-F", "-m", "0", "-O", "^has_journal"]);
    if let Some(content) = content {
        command.arg("-d").arg(content);
    }
    output(command.arg(&at).arg(size)).context("e2fsprogs makes the disks; install it")?;
    Ok(at)
}

fn fresh_folder(name: &str) -> Result<PathBuf> {
    let folder = target().join("vm/stage").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn write_program(at: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(at, text)?;
    Ok(fs::set_permissions(at, fs::Permissions::from_mode(0o755))?)
}

fn unpack(program: &str, from: &Path, to: &Path) -> Result<()> {
    let unpacked = Command::new(program).arg("-dc").arg(from).output()?;
    anyhow::ensure!(unpacked.status.success(), "{} cannot be unpacked by {program}", from.display());
    Ok(fs::write(to, unpacked.stdout)?)
}

/// Packs a folder as the kernel takes it.
fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let script = "find . | busybox cpio -o -H newc 2>/dev/null";
    let packed = Command::new("sh").args(["-c", script]).current_dir(folder).output()?;
    anyhow::ensure!(
        packed.status.success() && !packed.stdout.is_empty(),
        "{} cannot be packed",
        folder.display()
    );
    Ok(fs::write(archive, packed.stdout)?)
}

/// The place of an absolute path below `stage`.
fn inside(stage: &Path, path: &Path) -> PathBuf {
    stage.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy_tree(from: &Path, stage: &Path) -> Result<()> {
    let to = inside(stage, from);
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(&to)?;
    output(Command::new("cp").arg("-a").arg("--no-target-directory").arg(from).arg(&to))?;
    Ok(())
}

/// The shared libraries of a program, and what loads them.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    // A program without any is no failure.
    let listed = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}
