//! However a run ends, nothing is left: Ctrl-C, SIGTERM, SIGKILL and the next start.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, Ran, eater, finish, patience, processes_with};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("ending: Ctrl-C", || signalled(Signal::INT, 130)),
        test("ending: SIGTERM", || signalled(Signal::TERM, 143)),
        test("ending: SIGKILL, and the next start cleans up", killed),
        test("ending: SIGKILL, and the start of another place cleans up", killed_elsewhere),
        test("ending: a second run in the same place is refused", refused),
        test("ending: a reader that goes away", reader_gone),
    ]
}

/// The main process of a container in this house, by its name.
pub(crate) fn wait_for_container(house: &House, name: &str) -> Result<Pid, Failed> {
    let deadline = Instant::now() + patience(Duration::from_secs(20));
    let folder = house.folder.path().display().to_string();
    while Instant::now() < deadline {
        // Built-in workloads are forked from the supervisor, and have its command line.
        for pid in processes_with(&folder) {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if comm.trim() == name {
                return i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| "no pid".into());
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("no process {name} of this house").into())
}

pub(crate) fn pid_of(child: &Child) -> Result<Pid, Failed> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| "no pid".into())
}

/// Runs a manifest, and sends SIGINT as soon as standard output holds `text`; answers also how long the end took
/// from there.
pub(crate) fn interrupt_when(house: &House, manifest: &str, text: &str) -> Result<(Ran, Duration), Failed> {
    let file = house.write("pod.yaml", manifest)?;
    let mut child = house.command(&[file.to_str().expect("text")]).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut said = String::new();
    while !said.contains(text) {
        if stdout.read_line(&mut said)? == 0 {
            return Err(format!("it ended without saying {text:?}:\n{said}").into());
        }
    }
    let began = Instant::now();
    kill_process(pid_of(&child)?, Signal::INT)?;
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        let _ = stdout.read_to_string(&mut rest);
        rest
    });
    let ran = finish(child)?;
    Ok((Ran { stdout: said + &rest.join().unwrap_or_default(), ..ran }, began.elapsed()))
}

fn signalled(signal: Signal, code: i32) -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("pod.yaml", eater("16 0 --hold", "64Mi"))?;
    let child = house.command(&[file.to_str().expect("text")]).spawn()?;
    wait_for_container(&house, "memory-eater")?;
    let began = Instant::now();
    kill_process(pid_of(&child)?, signal)?;
    finish(child)?.exits(code);
    assert!(began.elapsed() < patience(Duration::from_secs(10)), "it took {:?}", began.elapsed());
    house.nothing_is_left()
}

/// Leaves a run behind as `kill -9` does; its container must live on.
fn leave_behind(house: &House) -> Result<Pid, Failed> {
    let file = house.write("left.yaml", eater("16 0 --hold", "64Mi"))?;
    let mut child = house.command(&[file.to_str().expect("text")]).spawn()?;
    let container = wait_for_container(house, "memory-eater")?;
    child.kill()?;
    child.wait()?;
    assert!(rustix::process::test_kill_process(container).is_ok(), "the container died with the daemon");
    Ok(container)
}

fn killed() -> Result<(), Failed> {
    let house = House::new()?;
    leave_behind(&house)?;
    house.run(&eater("8 0", "64Mi"), &[])?.exits(0);
    house.nothing_is_left()
}

fn killed_elsewhere() -> Result<(), Failed> {
    let house = House::new()?;
    leave_behind(&house)?;
    let file = house.write("pod.yaml", eater("8 0", "64Mi"))?;
    let root = format!("{}-elsewhere", house.root);
    finish(house.command_in(&root, &[file.to_str().expect("text")]).spawn()?)?.exits(0);
    house.nothing_is_left()
}

fn refused() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("pod.yaml", eater("16 0 --hold", "64Mi"))?;
    let child = house.command(&[file.to_str().expect("text")]).spawn()?;
    wait_for_container(&house, "memory-eater")?;
    let holder = format!("process {}", child.id());
    house.run(&eater("8 0", "64Mi"), &[])?.exits(2).complains(&holder).complains("--cgroup-root");
    kill_process(pid_of(&child)?, Signal::INT)?;
    finish(child)?.exits(130);
    house.nothing_is_left()
}

/// `memlet run … | head -1`
fn reader_gone() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("pod.yaml", eater("64 0", "128Mi"))?;
    let mut child = house.command(&[file.to_str().expect("text")]).spawn()?;
    drop(child.stdout.take());
    finish(child)?.exits(0);
    house.nothing_is_left()
}
