//! Without root: in a user namespace, in which the user is root over what is his own.
//!
//! `unshare(1)` makes it, with all the users that `/etc/subuid` gives him, and starts this program again inside. What Pods
//! need there is a cgroup that is his, which systemd gives whom it is asked by: nothing else on a machine may.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Error, Result, bail, ensure};
use memlet_cgroup::{Hierarchy, Version};
use memlet_policy::cgroup_names::Driver;
use rustix::fs::Access;

/// What is needed besides a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A cgroup below which others can be made, and who is to make them.
    Cgroup(Driver),
    /// Nothing: the files of images have owners, no processes.
    Images,
}

/// Says to the program inside where things are, unless the user did.
const CGROUP_ROOT: &str = "MEMLET_CGROUP_ROOT";
const RUN: &str = "MEMLET_RUN";
const DATA: &str = "MEMLET_DATA";

/// Starts this program again in a user namespace where it does not run as root; returns where it does.
///
/// # Errors
/// What is missing for that, and how to have it.
pub(crate) fn enter(needs: Needs) -> Result<()> {
    let user = rustix::process::getuid();
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut command = Command::new("unshare");
    if let Needs::Cgroup(driver) = needs {
        ensure!(
            driver == Driver::Cgroupfs,
            "without root memlet makes the cgroups itself, below its own: leave out --cgroup-driver systemd, or run it with sudo"
        );
        command.env(CGROUP_ROOT, own_cgroup()?);
    }
    has_other_users(user.as_raw())?;
    let places = [
        (RUN, runtime_folder(user.as_raw()).join("memlet")),
        (
            DATA,
            data_folder()
                .context("HOME is not set, so there is no folder for images; give one with --data")?,
        ),
    ];
    for (name, place) in places.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()) {
        command.env(name, place);
    }
    command.args(["--user", "--map-root-user", "--map-auto", "--mount", "--"]);
    command.arg(std::env::current_exe().context("this program's own file cannot be found")?);
    command.args(std::env::args_os().skip(1));
    // It returns only where it failed.
    Err(Error::new(command.exec()).context("unshare(1), of util-linux, cannot be run; run memlet with sudo"))
}

/// The cgroup in which this program was started, if it is the user's.
fn own_cgroup() -> Result<OsString> {
    const WAY_OUT: &str = "start memlet in one of your own (systemd-run --user --scope --property=Delegate=yes memlet …), \
                           or run it with sudo";
    let hierarchy = Hierarchy::detect()?;
    ensure!(
        hierarchy.version() == Version::V2,
        "without root Pods need cgroup v2, and this machine has v1: run memlet with sudo"
    );
    let Some(path) = hierarchy.own_path() else {
        bail!("this program's cgroup cannot be seen here: {WAY_OUT}")
    };
    let dir = hierarchy.dir(path);
    for file in ["cgroup.procs", "cgroup.subtree_control"] {
        let writable = rustix::fs::access(dir.join(file), Access::WRITE_OK).is_ok();
        ensure!(writable, "without root Pods need a cgroup of yours, and {path} is not: {WAY_OUT}");
    }
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    ensure!(
        controllers.split_whitespace().any(|controller| controller == "memory"),
        "the memory controller is not handed down to your cgroup {path}: as root, systemctl edit user@.service and set \
         Delegate=memory pids cpu; or run memlet with sudo"
    );
    Ok(path.as_str().into())
}

/// Images have files of many users, and pause is one: a namespace with the user alone does not do.
fn has_other_users(user: u32) -> Result<()> {
    let name = user_name(user);
    for (tool, file) in [("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")] {
        let ranges = fs::read_to_string(file).unwrap_or_default();
        let is_his = |owner: &str| owner == user.to_string() || Some(owner) == name.as_deref();
        let has_range = ranges.lines().any(|line| line.split(':').next().is_some_and(is_his));
        ensure!(
            has_range && is_installed(tool),
            "without root Pods need {tool} (Debian's package uidmap) and a range of further users for you in {file} \
             (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER), or run memlet with sudo"
        );
    }
    Ok(())
}

fn user_name(user: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    })
}

fn is_installed(tool: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(tool).is_file())
}

fn runtime_folder(user: u32) -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| format!("/run/user/{user}").into(), PathBuf::from)
}

fn data_folder() -> Option<PathBuf> {
    let home = || Some(Path::new(&std::env::var_os("HOME")?).join(".local/share"));
    Some(std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home)?.join("memlet"))
}
