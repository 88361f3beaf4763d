//! Readers of what `memlet run` says: slow ones, ones that stop reading, and containers that say a lot.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Signal, kill_process};

use crate::endings::pid_of;
use crate::house::{House, finish, patience};
use crate::images::{SHELL, import_busybox};
use crate::{Test, test_with};

const NEEDS: &[&str] = &["busybox", "umoci", "skopeo"];

/// What docs/promises.md allows `memlet run`, in KiB.
const MOST_MEMORY: u64 = 25 * 1024;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("reader: one that does not read keeps no run alive", NEEDS, deaf),
        test_with("reader: one that does not read is not waited for after Ctrl-C", NEEDS, deaf_at_the_end),
        test_with("reader: a slow one gets every line, in order", NEEDS, slow),
        test_with("reader: a container that says a lot costs no memory", NEEDS, chatty),
    ]
}

/// A Pod of one shell script.
fn script(script: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    \
         image: {SHELL}\n    command: [sh, -c, '{script}']\n"
    )
}

fn with_script(text: &str) -> Result<(House, std::process::Child), Failed> {
    let house = House::new()?;
    import_busybox(&house)?;
    let file = house.write("pod.yaml", script(text))?;
    let child = house.command(&[file.to_str().expect("text")]).spawn()?;
    Ok((house, child))
}

/// Waits until the pipe is full: nothing has been added to what is in it for a while.
fn wait_until_full(pipe: &impl std::os::fd::AsFd) -> Result<(), Failed> {
    let deadline = Instant::now() + patience(Duration::from_secs(20));
    let mut before = 0;
    while Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(300));
        let now = rustix::io::ioctl_fionread(pipe)?;
        if now > 32 * 1024 && now == before {
            return Ok(());
        }
        before = now;
    }
    Err(format!("the pipe holds {before} bytes only").into())
}

/// `memlet run … | less`, not scrolled; the container does not heed SIGTERM.
fn deaf() -> Result<(), Failed> {
    let (house, mut child) = with_script("trap \"\" TERM; while :; do echo and on and on and on; done")?;
    let stdout = child.stdout.take().expect("stdout is piped");
    wait_until_full(&stdout)?;
    let began = Instant::now();
    kill_process(pid_of(&child)?, Signal::INT)?;
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait()?.is_none(), "one Ctrl-C gives the container its 30 s");
    kill_process(pid_of(&child)?, Signal::INT)?;
    finish(child)?.exits(130).complains("nobody reads");
    assert!(began.elapsed() < patience(Duration::from_secs(8)), "it took {:?}", began.elapsed());
    drop(stdout);
    house.nothing_is_left()
}

/// The container ends by itself, and then nobody reads the rest.
fn deaf_at_the_end() -> Result<(), Failed> {
    let (house, mut child) = with_script("yes | head -c 1000000")?;
    let stdout = child.stdout.take().expect("stdout is piped");
    wait_until_full(&stdout)?;
    assert!(child.try_wait()?.is_none(), "a reader is waited for while nobody minds");
    let began = Instant::now();
    kill_process(pid_of(&child)?, Signal::INT)?;
    finish(child)?.exits(130);
    assert!(began.elapsed() < patience(Duration::from_secs(6)), "it took {:?}", began.elapsed());
    drop(stdout);
    house.nothing_is_left()
}

fn slow() -> Result<(), Failed> {
    let (house, mut child) = with_script("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done")?;
    let mut stdout = child.stdout.take().expect("stdout is piped");
    wait_until_full(&stdout)?;
    let reader = std::thread::spawn(move || {
        let (mut text, mut piece) = (Vec::new(), [0; 16 * 1024]);
        while let Ok(count @ 1..) = stdout.read(&mut piece) {
            text.extend_from_slice(&piece[..count]);
            std::thread::sleep(Duration::from_millis(20));
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    finish(child)?.exits(0);
    let text = reader.join().unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<_> = (0..20_000).map(|number| format!("line {number}")).collect();
    assert!(lines == expected, "{} lines of {}", lines.len(), expected.len());
    let (last, ended) = (text.find("line 19999\n"), text.find("-- c ended: Completed"));
    assert!(last.is_some() && last < ended && text.contains("\nc: Completed"), "{last:?} {ended:?}");
    house.nothing_is_left()
}

/// 100 MB of lines make 200 MB of log, written faster than it is read.
fn chatty() -> Result<(), Failed> {
    let house = House::new()?;
    import_busybox(&house)?;
    let file =
        house.write("pod.yaml", script("yes 0123456789012345678901234567890123456789 | head -c 100m"))?;
    let child = house.command(&[file.to_str().expect("text")]).stdout(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        let mut most = 0;
        while let Some(peak) = peak_of(&status) {
            most = most.max(peak);
            std::thread::sleep(Duration::from_millis(10));
        }
        most
    });
    finish(child)?.exits(0);
    let most = watcher.join().unwrap_or_default();
    assert!(most > 0 && most <= MOST_MEMORY, "{most} KiB");
    house.nothing_is_left()
}

/// The most private memory that a process has had, in KiB: `None` once it has ended.
fn peak_of(status: &str) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}
