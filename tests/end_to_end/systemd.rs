//! Under systemd, which owns the tree of cgroups: Pods as its slices and containers as its scopes, and memlet as a service
//! that was given a part of the tree.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};

use crate::endings::wait_for_container;
use crate::house::{House, MEMLET, eater, finish, patience};
use crate::images::{self, SHELL};
use crate::machine::Machine;
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("systemd: Pods are slices, containers scopes, and a reload changes no limit", slices_and_scopes)
            .only_in(Machine::Systemd),
        test("systemd: a service that delegates its group runs Pods below it", in_a_service)
            .only_in(Machine::Systemd),
        test("systemd: what a killed run left is swept by the next", swept).only_in(Machine::Systemd),
        test("systemd: without root, in a cgroup of the user's own", rootless).only_in(Machine::Systemd),
        test("systemd: without root and without such a cgroup, the way out is named", no_own_cgroup)
            .only_in(Machine::Systemd),
    ]
}

fn systemctl(arguments: &[&str]) -> Result<String, Failed> {
    let answer =
        Command::new("systemctl").args(["--no-pager", "--plain", "--no-legend"]).args(arguments).output()?;
    Ok(String::from_utf8(answer.stdout)?)
}

/// The units below the house's root that systemd knows.
fn units(house: &House) -> Result<Vec<String>, Failed> {
    let slice = house.group().name().trim_end_matches(".slice").to_owned();
    let listed = systemctl(&["list-units", "--all", "--full"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<String> = names.filter(|name| name.contains(&slice)).map(str::to_owned).collect();
    let scopes = systemctl(&["list-units", "--all", "--full", "cri-containerd-*.scope"])?;
    names.extend(scopes.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())));
    Ok(names)
}

fn cgroup_of(process: rustix::process::Pid) -> Result<CgroupPath, Failed> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.as_raw_nonzero()))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).ok_or("it is in no cgroup")?;
    Ok(path.parse()?)
}

fn slices_and_scopes() -> Result<(), Failed> {
    let house = House::new()?;
    let hierarchy = Hierarchy::detect()?;
    let file = house.write("pod.yaml", eater("8 0 --hold", "48Mi"))?;
    let mut run = house.command(&["--keep-running"]).arg(&file).spawn()?;
    let process = wait_for_container(&house, "memory-eater")?;
    let container = cgroup_of(process)?;
    let scope = container.parent().ok_or("a container at the top")?;
    let pod = scope.parent().ok_or("a scope at the top")?;
    let slice = pod.name().strip_suffix(".slice").ok_or("the Pod is no slice")?;
    assert!(slice.contains("-kubepods-burstable-pod"), "{pod}");
    let limits = || -> Result<_, Failed> {
        let limit = |path| Cgroup::open(&hierarchy, path)?.limit();
        Ok((limit(&pod)?.to_string(), limit(&container)?.to_string()))
    };
    let before = limits()?;
    assert_eq!(before.1, "48Mi");
    let shown = systemctl(&["show", "--property=MemoryMax,ControlGroup", pod.name()])?;
    assert!(shown.contains(&format!("MemoryMax={}", 48 << 20)), "{shown}");
    assert!(shown.contains(&format!("ControlGroup={pod}")), "{shown}");
    let shown = systemctl(&["show", "--property=Delegate,Slice", scope.name()])?;
    assert!(shown.contains("Delegate=yes") && shown.contains(&format!("Slice={}", pod.name())), "{shown}");
    systemctl(&["daemon-reload"])?;
    assert_eq!(limits()?, before, "systemd writes its own again when it is reloaded");
    rustix::process::kill_process(rustix::process::Pid::from_child(&run), rustix::process::Signal::INT)?;
    run.wait()?;
    house.nothing_is_left()?;
    assert_eq!(units(&house)?, Vec::<String>::new());
    Ok(())
}

/// With nothing but its own group, as a unit file gives it with `Delegate=yes`.
fn in_a_service() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = house.write("pod.yaml", eater("300 0", "48Mi"))?;
    let unit = format!("memlet-test-{}.service", std::process::id());
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--wait", "--pipe", "--collect", "--property=Delegate=yes"]);
    command.arg(format!("--unit={unit}")).arg(MEMLET).arg("run");
    command.args(["--cgroup-root", &format!("/system.slice/{unit}"), "--run-folder"]);
    command
        .arg(house.folder.path().join("run"))
        .arg("--data")
        .arg(house.folder.path().join("data"))
        .arg(&pod);
    let ran = finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)?;
    ran.exits(137).says("OOMKilled");
    house.nothing_is_left()
}

fn swept() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("pod.yaml", eater("8 0 --hold", "48Mi"))?;
    let mut run = house.command(&["--keep-running"]).arg(&file).spawn()?;
    wait_for_container(&house, "memory-eater")?;
    run.kill()?;
    run.wait()?;
    house.run(&eater("8 0", "48Mi"), &[])?.exits(0);
    house.nothing_is_left()?;
    assert_eq!(units(&house)?, Vec::<String>::new());
    Ok(())
}

/// A command of the guest's user.
fn as_user(words: &[&str]) -> Command {
    let mut command = Command::new("runuser");
    command
        .args(["--user", "tester", "--", "env", "HOME=/home/tester", "XDG_RUNTIME_DIR=/run/user/1000"])
        .args(words);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `memlet run` in a group that the user's systemd made for it.
fn in_own_cgroup(file: &std::path::Path) -> Command {
    let mut command = as_user(&["systemd-run", "--user", "--quiet", "--wait", "--pipe", "--collect"]);
    command.args(["--property=Delegate=yes", MEMLET, "run"]).arg(file);
    command
}

/// What a user of a machine with systemd types, who may not even read the kernel's log.
fn rootless() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let file = folder.path().join("pod.yaml");
    fs::write(&file, eater("300 0", "48Mi"))?;
    assert!(Command::new("loginctl").args(["enable-linger", "tester"]).status()?.success());
    let until = Instant::now() + patience(Duration::from_secs(20));
    while !std::path::Path::new("/run/user/1000/bus").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    finish(in_own_cgroup(&file).spawn()?)?.exits(137).says("OOMKilled").says("48Mi").says("/dev/kmsg");
    // An image, whose files have owners. umoci lets only its user read what it makes.
    let layout = images::layout()?;
    let mut import = as_user(&[MEMLET, "image", "import"]);
    finish(import.arg(layout).args(["--tag", SHELL]).spawn()?)?.exits(2).complains("Permission denied");
    assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(layout).status()?.success());
    let mut import = as_user(&[MEMLET, "image", "import"]);
    import.arg(layout).args(["--tag", SHELL]);
    finish(import.spawn()?)?.exits(0).says("imported");
    let shell = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers:\n  \
                 - {name: c, image: 'busybox:test', securityContext: {runAsUser: 7}, command: [sh, -c, 'echo user $(id -u)']}\n";
    fs::write(&file, shell)?;
    finish(in_own_cgroup(&file).spawn()?)?.exits(0).says("user 7");
    let left = as_user(&["find", "/run/user/1000/memlet", "-mindepth", "1"]).output()?;
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    Ok(())
}

fn no_own_cgroup() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let file = folder.path().join("pod.yaml");
    fs::write(&file, eater("8 0", "48Mi"))?;
    let ran = finish(as_user(&[MEMLET, "run"]).arg(&file).spawn()?)?;
    ran.exits(2).complains("systemd-run --user").complains("sudo");
    assert!(ran.stderr.lines().count() <= 3, "{}", ran.stderr);
    Ok(())
}
