//! Machines of a kind that the one at hand is not: without the memory controller, with swap, or to be run out of memory
//! as a whole. A virtual machine of `cargo xtask vm-test` is each of them, which also sees that none is left out.

use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use memlet_cgroup::{Error, Hierarchy};

use crate::endings::wait_for_container;
use crate::house::{House, MEMLET, checkout, eater, finish};
use crate::{Test, test};

/// What a machine has to be for a test that says something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    /// cgroup v2 is there, its memory controller is not.
    WithoutMemoryController,
    /// It can swap.
    Swapping,
    /// A virtual one without swap: nobody else loses anything when its memory runs out.
    Expendable,
    /// A virtual one on which systemd runs.
    Systemd,
    /// A virtual one, whose root may do all that a node's may.
    Guest,
    /// cgroup v1 has a freezer, which holds processes so that no signal ends them.
    Freezing,
}

/// Where that is mounted.
pub(crate) const FREEZER: &str = "/sys/fs/cgroup/freezer";

impl Machine {
    /// Why this machine is none, if so.
    pub(crate) fn is_not(self) -> Option<&'static str> {
        let (is_one, otherwise) = match self {
            Self::WithoutMemoryController => {
                (missing_controller().is_some(), "this machine has a memory controller")
            }
            Self::Swapping => (swap_kib() > 0, "this machine has no swap"),
            Self::Systemd => (
                is_guest() && std::path::Path::new("/run/systemd/system").is_dir(),
                "this machine is not virtual, or systemd does not run on it",
            ),
            Self::Guest => (is_guest(), "this machine is not virtual, and its root may not do all"),
            Self::Freezing => (
                std::path::Path::new(FREEZER).join("cgroup.procs").exists(),
                "this machine has no freezer of cgroup v1",
            ),
            Self::Expendable => (is_guest() && swap_kib() == 0, "this machine's memory must not run out"),
        };
        (!is_one).then_some(otherwise)
    }
}

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("machine: memory controller missing", without_controller)
            .only_in(Machine::WithoutMemoryController),
        test("machine: swap does not hold what is over a container's limit", no_swap_for_containers)
            .only_in(Machine::Swapping),
        test("machine: swap holds a Burstable container's share", within_its_share)
            .only_in(Machine::Swapping),
        test("machine: swap beyond a container's share is not had", beyond_its_share)
            .only_in(Machine::Swapping),
        test(
            "machine: a Guaranteed container has oom_score_adj -997, pause -998, memlet -999, and its files",
            scores,
        )
        .only_in(Machine::Guest),
        test("machine: out of memory as a whole, the hog is told from bystanders", out_of_memory)
            .only_in(Machine::Expendable),
    ]
}

fn is_guest() -> bool {
    std::env::var("MEMLET_TEST_MACHINE").is_ok_and(|machine| machine == "guest")
}

fn swap_kib() -> u64 {
    let figures = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = figures.lines().find_map(|line| line.strip_prefix("SwapTotal:"));
    total.and_then(|total| total.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn missing_controller() -> Option<Error> {
    Hierarchy::detect()
        .err()
        .filter(|error| matches!(error, Error::NotDelegated { .. } | Error::MemoryDisabled { .. }))
}

/// One error, which names the way out: outside of a delegated group, or on the kernel's command line.
fn without_controller() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let pod = folder.path().join("pod.yaml");
    std::fs::write(&pod, eater("8 0", "32Mi"))?;
    let mut command = Command::new(MEMLET);
    command.arg("run").arg("--run-folder").arg(folder.path().join("run"));
    command.arg("--data").arg(folder.path().join("data")).arg(&pod).env("NO_COLOR", "1");
    let ran = finish(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)?;
    let way_out = match missing_controller() {
        Some(Error::NotDelegated { .. }) => "cgroup.subtree_control of the group above",
        _ => "boot with cgroup_enable=memory",
    };
    ran.exits(2).complains("memory controller").complains(way_out);
    assert!(ran.stderr.lines().count() <= 3, "{}", ran.stderr);
    Ok(())
}

/// As kubelet's `NoSwap`: the machine could hold it, the container is killed all the same. A second container
/// has no limit, so that the Pod has none which would be full first.
fn no_swap_for_containers() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers:\n  \
               - {name: eater, image: memlet.dev/memory-eater, args: ['200', '0'], resources: {limits: {memory: 48Mi}}}\n  \
               - {name: free, image: memlet.dev/memory-eater, args: ['1', '0']}\n";
    let document = house.run(pod, &["-o", "json"])?.exits(137).json()?;
    let record = &document["killRecords"][0];
    assert_eq!((&record["level"], &record["victim"]), (&"container".into(), &"main".into()), "{record:#}");
    let swapped = record["containerMemory"]["swap"].as_u64();
    assert!(swapped.is_none_or(|swapped| swapped == 0), "{record:#}");
    house.nothing_is_left()
}

/// The example of a container that swaps. It requests 60Mi of a node of 512Mi and is limited to 64Mi: of 256 to 512Mi
/// of swap its share is 30 to 60Mi.
fn swapping(megabytes: &str) -> Result<String, Failed> {
    let example = checkout().join("examples/4-pod-and-oom-killer/swap.yaml");
    Ok(std::fs::read_to_string(example)?.replace("[\"80\"", &format!("[\"{megabytes}\"")))
}

const LIMITED_SWAP: [&str; 4] = ["--swap-behavior", "LimitedSwap", "--node-memory", "512Mi"];

fn within_its_share() -> Result<(), Failed> {
    let house = House::new()?;
    house.run(&swapping("80")?, &LIMITED_SWAP)?.exits(0).says("Completed");
    house.run(&swapping("80")?, &LIMITED_SWAP[2..])?.exits(137).says("swapper: OOMKilled");
    house.nothing_is_left()
}

fn beyond_its_share() -> Result<(), Failed> {
    let house = House::new()?;
    house.run(&swapping("300")?, &LIMITED_SWAP)?.exits(137).says("swapper: OOMKilled");
    house.nothing_is_left()
}

fn scores() -> Result<(), Failed> {
    let house = House::new()?;
    let limit = "limits: {memory: 64Mi}";
    let guaranteed = eater("16 0 --hold", "64Mi").replace(limit, "limits: {memory: 64Mi, cpu: 100m}");
    let file = house.write("pod.yaml", guaranteed)?;
    let mut command = house.command(&[file.to_str().expect("text")]);
    let few = rustix::process::Rlimit { current: Some(512), maximum: Some(1024) };
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few)?;
    let child = command.spawn();
    rustix::process::setrlimit(rustix::process::Resource::Nofile, before)?;
    let child = child?;
    let main = wait_for_container(&house, "memory-eater")?;
    let pause = wait_for_container(&house, "pause")?;
    let supervisor = parent_of(main.as_raw_nonzero().get())?;
    for (pid, score) in [
        (main.as_raw_nonzero().get(), "-997"),
        (pause.as_raw_nonzero().get(), "-998"),
        (i32::try_from(child.id())?, "-999"),
        (supervisor, "-999"),
    ] {
        let had = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
        assert_eq!(had.trim(), score, "process {pid}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", main.as_raw_nonzero()))?;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).ok_or("no limit of files")?;
    let files: Vec<_> = files.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(files, ["1048576", "1048576"], "as many as with other runtimes, whatever the caller has");
    rustix::process::kill_process(main, rustix::process::Signal::KILL)?;
    finish(child)?.exits(137);
    house.nothing_is_left()
}

fn parent_of(pid: i32) -> Result<i32, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).ok_or("no parent")?;
    Ok(parent.trim().parse()?)
}

/// No limit was hit: the kernel reports `CONSTRAINT_NONE`.
fn out_of_memory() -> Result<(), Failed> {
    let house = House::new()?;
    let pods = "apiVersion: v1\nkind: Pod\nmetadata: {name: hog}\nspec:\n  restartPolicy: Never\n  containers:\n  \
                - {name: hog, image: memlet.dev/memory-eater, args: ['4000', '0']}\n---\n\
                apiVersion: v1\nkind: Pod\nmetadata: {name: limited}\nspec:\n  restartPolicy: Never\n  containers:\n  \
                - {name: limited, image: memlet.dev/memory-eater, args: ['8', '0.7'], \
                resources: {limits: {memory: 48Mi, cpu: 100m}}}\n";
    let arguments = ["-o", "json", "--eviction-hard", "memory.available<0%"];
    let document = house.run(pods, &arguments)?.exits(137).json()?;
    let records = document["killRecords"].as_array().ok_or("no records")?;
    assert_eq!(records.len(), 1, "{records:#?}");
    let record = &records[0];
    assert_eq!(
        (&record["level"], &record["subject"]["container"]),
        (&"machine".into(), &"hog".into()),
        "{record:#}"
    );
    let reason = |pod: usize| {
        &document["pods"][pod]["status"]["containerStatuses"][0]["state"]["terminated"]["reason"]
    };
    assert_eq!((reason(0), reason(1)), (&"OOMKilled".into(), &"Completed".into()), "{:#}", document["pods"]);
    house.nothing_is_left()
}
