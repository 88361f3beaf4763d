//! Machines that lack something: each a clear error and exit code 2, or a run that says what it missed.
//!
//! Each is made by a mount namespace or capability set of the run's own; the machine itself is not touched.

use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use memlet_cgroup::{Cgroup, Hierarchy, Version};

use crate::house::{House, MEMLET, Ran, eater, finish};
use crate::{Test, test_with};

const NEEDS: &[&str] = &["unshare", "setpriv"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("environment: no memory controller", NEEDS, no_memory_controller),
        test_with("environment: a read-only cgroup filesystem", NEEDS, read_only_cgroups),
        // Where v2 holds the controller it cannot be taken away without touching the machine.
        test_with("environment: cgroup v2 without the memory controller", NEEDS, v2_without_memory)
            .only_on(Version::V1),
        test_with("environment: /dev/kmsg may not be read", NEEDS, no_kernel_log),
        test_with("environment: inside a container, whose cgroups begin with its own", NEEDS, in_a_container)
            .only_on(Version::V2),
    ]
}

/// Runs a small Pod in a mount namespace of its own, after `prepare` changed it.
fn run_in_namespace(house: &House, prepare: &str) -> Result<Ran, Failed> {
    let pod = house.write("pod.yaml", eater("8 0", "32Mi"))?;
    let folder = house.folder.path().display();
    let script = format!(
        "set -e\n{prepare}\nexec {MEMLET} run --cgroup-root {} --run-folder {folder}/run --data {folder}/data {}",
        house.root,
        pod.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).env("NO_COLOR", "1");
    finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn memory_mount() -> Result<String, Failed> {
    Ok(Hierarchy::detect()?.root().display().to_string())
}

fn no_memory_controller() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = run_in_namespace(&house, &format!("umount {}", memory_mount()?))?;
    ran.exits(2).complains("memory");
    assert!(ran.stderr.lines().count() <= 3, "{}", ran.stderr);
    house.nothing_is_left()
}

fn read_only_cgroups() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = run_in_namespace(&house, &format!("mount -o remount,bind,ro {}", memory_mount()?))?;
    ran.exits(2).complains("read-only");
    house.nothing_is_left()
}

/// As a container sees cgroups: its own is the root, and it is in it.
fn in_a_container() -> Result<(), Failed> {
    let house = House::new()?;
    let hierarchy = Hierarchy::detect()?;
    let own = Cgroup::create(&hierarchy, &house.root.join("container")?)?;
    let pod = house.write("pod.yaml", eater("300 0", "48Mi"))?;
    let folder = house.folder.path().display();
    let inside = format!(
        "umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec {MEMLET} run --run-folder {folder}/run \
         --data {folder}/data {}",
        pod.display()
    );
    let enter = format!(
        "echo $$ >{}/cgroup.procs && exec unshare --cgroup --mount sh -c '{inside}'",
        own.dir_path().display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &enter]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = finish(command.spawn()?)?;
    ran.exits(137).says("OOMKilled").says("the Pod's: usage 48Mi");
    hierarchy.remove_everywhere(&house.root)?;
    house.nothing_is_left()
}

/// A machine whose v1 hierarchy is gone, and whose v2 tree has no memory controller (v1 holds it).
fn v2_without_memory() -> Result<(), Failed> {
    let house = House::new()?;
    let prepare = "umount --recursive /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup";
    let ran = run_in_namespace(&house, prepare)?;
    ran.exits(2).complains("memory").complains("cgroup");
    house.nothing_is_left()
}

/// Without `CAP_SYSLOG`, where the kernel restricts its log. `kernel.dmesg_restrict` alone does not say: older kernels
/// let `CAP_SYS_ADMIN` read it as well. So it is tried.
fn no_kernel_log() -> Result<(), Failed> {
    let without_syslog = ["--bounding-set=-syslog", "--inh-caps=-syslog"];
    let mut open = Command::new("setpriv");
    open.args(without_syslog).args(["sh", "-c", ": </dev/kmsg"]).stderr(Stdio::null());
    let restricted = !open.status()?.success();
    let house = House::new()?;
    let pod = house.write("pod.yaml", eater("300 0", "48Mi"))?;
    let mut command = Command::new("setpriv");
    command.args(without_syslog).arg(MEMLET).arg("run");
    command.args(["--cgroup-root", house.root.as_str(), "--run-folder"]).arg(house.folder.path().join("run"));
    command.arg("--data").arg(house.folder.path().join("data")).arg(pod).env("NO_COLOR", "1");
    let ran = finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)?;
    ran.exits(137).says("c: OOMKilled");
    if restricted {
        ran.says("/dev/kmsg").says("CAP_SYSLOG");
    }
    house.nothing_is_left()
}
