//! What stands in the files of cgroup v2 while a Pod runs: limits, brakes, protection.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use memlet_cgroup::Version;

use crate::endings::wait_for_container;
use crate::house::{House, eater, finish, patience};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    vec![test("memory files: a Burstable Pod under MemoryQoS", burstable).only_on(Version::V2)]
}

fn burstable() -> Result<(), Failed> {
    const MIB: u64 = 1 << 20;
    let house = House::new()?;
    let limit = "limits: {memory: 96Mi}";
    let pod = eater("16 0 --hold", "96Mi").replace(limit, &format!("{limit}, requests: {{memory: 32Mi}}"));
    let file = house.write("pod.yaml", pod)?;
    let rules = ["--memory-qos", "--memory-reservation-policy", "TieredReservation"];
    let child = house.command(&[&rules[..], &[file.to_str().expect("text")]].concat()).spawn()?;
    let main = wait_for_container(&house, "memory-eater")?;
    let container = cgroup_of(main.as_raw_nonzero().get())?;
    let [pod, tier, kubepods] =
        [1, 2, 3].map(|level| container.ancestors().nth(level).unwrap_or(Path::new("/")));
    for (group, file, value) in [
        (container.as_path(), "memory.max", 96 * MIB),
        // 32Mi + 0.9 × (96Mi − 32Mi), in whole pages.
        (&container, "memory.high", (32 * MIB + 64 * MIB * 9 / 10) / 4096 * 4096),
        (&container, "memory.low", 32 * MIB),
        (&container, "memory.min", 0),
        (&container, "memory.oom.group", 1),
        (pod, "memory.max", 96 * MIB),
        (pod, "memory.low", 32 * MIB),
        // A kill at the Pod's limit takes the container of its victim, not the Pod.
        (pod, "memory.oom.group", 0),
        (tier, "memory.low", 32 * MIB),
        (kubepods, "memory.min", 32 * MIB),
    ] {
        let path = group.join(file);
        assert_eq!(fs::read_to_string(&path)?.trim(), value.to_string(), "{}", path.display());
    }
    rustix::process::kill_process(main, rustix::process::Signal::KILL)?;
    finish(child)?.exits(137);
    house.nothing_is_left()
}

/// The folder of a process's cgroup, as soon as it is that of a container.
fn cgroup_of(pid: i32) -> Result<PathBuf, Failed> {
    let until = Instant::now() + patience(Duration::from_secs(2));
    loop {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("it is not on cgroup v2")?;
        if path.contains("kubepods") {
            return Ok(Path::new("/sys/fs/cgroup").join(path));
        }
        if Instant::now() > until {
            return Err(format!("it stays in {path}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}
