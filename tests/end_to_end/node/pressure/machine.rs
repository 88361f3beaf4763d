//! A node that is the whole machine: its own memory runs short, by its Pods or by others.
//!
//! On a machine of its own, virtual and without swap.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use libtest_mimic::Failed;
use memlet_bytes::Bytes;

use super::{Eater, is_running, names};
use crate::machine::Machine;
use crate::node::{Node, ended};
use crate::{Test, test_with};

pub(crate) fn tests() -> Vec<Test> {
    // One test, since there is one machine to fill.
    let both = || by_a_pod().and_then(|()| by_others());
    vec![
        test_with("pressure: a machine that its Pods fill, or others", &["kubectl"], both)
            .only_in(Machine::Expendable),
    ]
}

const NODE: [&str; 2] =
    ["--eviction-hard=memory.available<300Mi", "--eviction-pressure-transition-period=0s"];

/// What the kernel says can be had, in MiB.
fn available() -> Result<u64, Failed> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let available = Bytes::of_proc(&meminfo, "MemAvailable").expect("every kernel since 3.14 tells it");
    Ok(available.get() >> 20)
}

/// A node with a Pod that asks for what it has.
fn node() -> Result<Node, Failed> {
    let node = Node::start_with(&NODE)?;
    node.run_all(&[Eater::holding("modest", 20).requesting("40Mi")])?;
    Ok(node)
}

fn modest_runs_on(node: &Node) -> Result<(), Failed> {
    let modest = node.get("pod/modest")?;
    assert!(is_running(&modest) && ended(&modest).is_none(), "{modest:#}");
    assert_eq!(names(&node.evictions()?), ["hog"]);
    node.kernel_killed_nobody();
    Ok(())
}

fn by_a_pod() -> Result<(), Failed> {
    let node = node()?;
    // If nobody stopped it, the machine would have something left: nothing here is to be lost.
    let hog = Eater::new("hog", &format!("{} 0 --rate 100 --hold", available()? - 150));
    node.create(&hog.manifest())?;
    let pod = node.evicted("hog")?;
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    let available = message
        .split_once("Threshold quantity: 300Mi, available: ")
        .and_then(|(_, rest)| rest.split_once("Ki."));
    let available: u64 = available.ok_or("no amount in the message")?.0.parse()?;
    // The kernel's killer would come at next to nothing.
    assert!((150 << 10..300 << 10).contains(&available), "{message}");
    let eviction = node.eviction_of("hog")?;
    assert_eq!(eviction["rule"]["signal"], "memory.available", "{eviction:#}");
    modest_runs_on(&node)?;
    node.pressure_is("memlet", "False")?;
    node.end()
}

/// Nobody outside of Pods can be evicted: the Pod goes that uses most above its request.
fn by_others() -> Result<(), Failed> {
    let node = node()?;
    node.run_all(&[Eater::holding("hog", 700)])?;
    node.usage_reaches(720)?;
    // In memory, and no page cache that could be dropped.
    let path = Path::new("/dev/shm").join(format!("memlet-test-{}", std::process::id()));
    let mut file = fs::File::create(&path)?;
    // With what the hog gives back the threshold is met no longer, whatever kubectl takes meanwhile.
    let mebibyte = vec![1; 1 << 20];
    for _ in 0..available()? - 300 + 40 {
        file.write_all(&mebibyte)?;
    }
    node.evicted("hog")?;
    modest_runs_on(&node)?;
    let explained = node.memlet(&["explain", "node/memlet"])?;
    assert!(explained.exits(0).stdout.contains("default/hog"), "{}", explained.stdout);
    fs::remove_file(&path)?;
    node.pressure_is("memlet", "False")?;
    node.end()
}
