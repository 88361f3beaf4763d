//! The race of eviction against the kernel's OOM killer, and what watching costs, measured from outside.
//!
//! `race_figures MEMLET FOLDER [TRIES] [RATE…]`; `cargo xtask bench --race` calls it with the optimised program. Needs root.
//!
//! A node of 1 GiB keeps 100Mi free. A Pod without a request takes 880 MiB at once and goes on at a fixed rate, in huge
//! pages, heeding SIGTERM or not. Won: it is evicted, and the kernel has killed nobody. Times begin when a thread of this
//! program, which reads the usage all the time, first sees the threshold crossed.
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};
use memlet_diagnosis::eviction::{Eviction, GraceStory};
use memlet_node::{Record, Records};
use memlet_oomlog::kmsg::{Reader, Start};
use serde_json::json;

#[allow(dead_code, reason = "others need the rest")]
mod figures;
#[path = "figures/node.rs"]
mod node;

use figures::own_kill;
use node::{Bench, cpu_ticks};

const CGROUP_ROOT: &str = "/memlet-race-bench";
const NODE_MIB: u64 = 1024;
const THRESHOLD_MIB: u64 = 100;
const RATES: [u32; 9] = [5, 10, 20, 50, 100, 200, 500, 1000, 2000];
/// What the Pod takes at once: just below the threshold, and where others use some, as much less.
const FIRST_MIB: u32 = 880;
const FIRST_BESIDE_MIB: u32 = 600;
/// Pods that idle beside the race, and on each of two nodes while the cost of watching is measured; a node takes 110.
const IDLE: usize = 100;
/// How long the cost of watching is measured.
const MEASURED: Duration = Duration::from_mins(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, memlet, folder, rest @ ..] = &arguments[..] else {
        bail!("race_figures MEMLET FOLDER [TRIES] [RATE…]")
    };
    let tries: usize = rest.first().map_or(Ok(20), |tries| tries.parse())?;
    ensure!(tries > 0, "TRIES must be at least 1");
    let rates: Vec<u32> = rest.iter().skip(1).map(|rate| rate.parse()).collect::<Result<_, _>>()?;
    let rates = if rates.is_empty() { RATES.to_vec() } else { rates };
    let bench =
        Bench { memlet: PathBuf::from(memlet), folder: PathBuf::from(folder), cgroup_root: CGROUP_ROOT };
    races(&bench, &rates, tries).await?;
    watching(&bench).await
}

/// One node, one Pod after the other; then the same beside Pods that idle.
async fn races(bench: &Bench, rates: &[u32], tries: usize) -> Result<()> {
    let _ = fs::remove_dir_all(bench.folder.join("data"));
    let node = bench.node(&["--node-memory", "1Gi", "--eviction-pressure-transition-period", "1s"])?;
    let client = bench.client().await?;
    let race = Race { client, records: bench.folder.join("data/node/kills") };
    println!(
        "MiB/s  SIGTERM   won      crossing to first signal      to SIGKILL                    to dead                  grace"
    );
    for rate in rates {
        for ignores in [true, false] {
            race.tries(FIRST_MIB, *rate, ignores, tries).await?;
        }
    }
    race.calm().await?;
    run_idle(&race.client, IDLE).await?;
    println!("beside {IDLE} idle Pods:");
    race.tries(FIRST_BESIDE_MIB, 1000, true, tries).await?;
    drop(node);
    Ok(())
}

/// What watching costs while nothing happens.
async fn watching(bench: &Bench) -> Result<()> {
    let _ = fs::remove_dir_all(bench.folder.join("data"));
    let node = bench.node(&["--nodes", "2", "--node-memory", "1Gi"])?;
    run_idle(&bench.client().await?, 2 * IDLE).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let daemon = PathBuf::from(format!("/proc/{}", node.pid()));
    let threads = watching_threads(&daemon)?;
    let spent = || -> Result<(u64, u64)> {
        let of_threads = threads.iter().map(|thread| cpu_ticks(thread));
        Ok((of_threads.sum::<Result<u64>>()?, cpu_ticks(&daemon)?))
    };
    let (threads_before, all_before) = spent()?;
    tokio::time::sleep(MEASURED).await;
    let (threads_after, all_after) = spent()?;
    println!(
        "{} idle Pods on {} nodes for {MEASURED:?}: {:.3} % of a core in the watching threads, {:.3} % in the whole daemon \
         (<= 0.5 %)",
        2 * IDLE,
        threads.len(),
        percent(threads_after - threads_before),
        percent(all_after - all_before),
    );
    Ok(())
}

/// Starts so many Pods that do nothing, and waits until all run.
async fn run_idle(client: &kube::Client, count: usize) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for number in 0..count {
        pods.create(&PostParams::default(), &idle(number)).await?;
    }
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        let all = pods.list(&ListParams::default()).await?.items;
        let phase = |pod: &Pod| pod.status.clone().and_then(|status| status.phase);
        let running = all.iter().filter(|pod| phase(pod).as_deref() == Some("Running")).count();
        if running == count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "only {running} of {count} idle Pods run");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

struct Race {
    client: kube::Client,
    records: PathBuf,
}

/// One try.
struct Outcome {
    won: bool,
    signalled: Option<Duration>,
    killed: Option<Duration>,
    dead: Option<Duration>,
    grace: &'static str,
}

impl Race {
    async fn tries(&self, first: u32, rate: u32, ignores: bool, tries: usize) -> Result<()> {
        let mut outcomes = Vec::new();
        for _ in 0..tries {
            let outcome = loop {
                // One that is rejected has not raced.
                if let Some(outcome) = self.one(first, rate, ignores).await? {
                    break outcome;
                }
            };
            outcomes.push(outcome);
        }
        let won = outcomes.iter().filter(|outcome| outcome.won).count();
        let times = |of: fn(&Outcome) -> Option<Duration>| spread(outcomes.iter().filter_map(of).collect());
        let mut graces: Vec<_> = outcomes.iter().map(|outcome| outcome.grace).collect();
        graces.sort_unstable();
        graces.dedup();
        println!(
            "{rate:>5}  {:8}  {won:>2}/{tries:<2}    {:28}  {:28}  {:28}  {}",
            if ignores { "ignored" } else { "heeded" },
            times(|outcome| outcome.signalled),
            times(|outcome| outcome.killed),
            times(|outcome| outcome.dead),
            graces.join(", "),
        );
        Ok(())
    }

    /// `None` where the node, still under pressure from the last, did not take the Pod: its condition may be told a moment
    /// after a Pod's end.
    async fn one(&self, first: u32, rate: u32, ignores: bool) -> Result<Option<Outcome>> {
        let pods: Api<Pod> = Api::default_namespaced(self.client.clone());
        self.calm().await?;
        let watch = Crossing::watch()?;
        let pod = hog(first, rate, ignores);
        let name = pod.metadata.name.clone().unwrap_or_default();
        pods.create(&PostParams::default(), &pod).await?;
        let longest = Duration::from_secs(30 + u64::from(120 / rate.max(1)));
        let deadline = Instant::now() + longest;
        let over = loop {
            let pod = pods.get(&name).await.context("the get")?;
            let status = pod.status.unwrap_or_default();
            if matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
                break status;
            }
            ensure!(Instant::now() < deadline, "the Pod has neither been evicted nor killed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let ended = watch.end();
        if over.message.is_some_and(|message| message.contains("had condition")) {
            self.delete(&name).await?;
            return Ok(None);
        }
        let (crossed, oom_killed) = ended?;
        let eviction = self.eviction_of(&name).await?;
        self.delete(&name).await?;
        let won = over.reason.as_deref() == Some("Evicted") && !oom_killed;
        let Some(eviction) = eviction.filter(|_| won) else {
            return Ok(Some(Outcome { won, signalled: None, killed: None, dead: None, grace: "lost" }));
        };
        // `at` is the choice's moment, and the course counts from the notice just before: an upper bound.
        // A Pod that was dead within the milliseconds in which the reading thread did not run is measured from there.
        let crossed = crossed.unwrap_or(eviction.at);
        let since = |moment: Option<Duration>| {
            let at = eviction.at.checked_add(moment?).ok()?;
            Some(Duration::try_from(at.duration_since(crossed)).unwrap_or_default())
        };
        let course = eviction.course;
        Ok(Some(Outcome {
            won,
            signalled: since(course.signalled),
            killed: since(course.killed),
            dead: since(course.ended),
            grace: match eviction.grace {
                GraceStory::Given { .. } => "given",
                GraceStory::Skipped { .. } => "skipped",
                GraceStory::Cut { .. } => "cut",
            },
        }))
    }

    async fn delete(&self, pod: &str) -> Result<()> {
        let pods: Api<Pod> = Api::default_namespaced(self.client.clone());
        pods.delete(pod, &DeleteParams::default().grace_period(0)).await.context("the delete")?;
        while pods.get_opt(pod).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// It is written whole when the memory is free, which may be a little later.
    async fn eviction_of(&self, pod: &str) -> Result<Option<Eviction>> {
        for _ in 0..100 {
            let records = Records::read(&self.records)?;
            let found = records.into_iter().rev().find_map(|record| match record {
                Record::Eviction(it) if it.pod.name == pod && it.course.ended.is_some() => Some(*it),
                _ => None,
            });
            if found.is_some() {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(None)
    }

    /// Waits until the node is no longer under pressure, so that the next Pod is taken.
    async fn calm(&self) -> Result<()> {
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.client.clone());
        for _ in 0..500 {
            let node = nodes.list(&ListParams::default()).await?.items.pop().context("there is no node")?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let pressed = conditions.iter().any(|it| it.type_ == "MemoryPressure" && it.status == "True");
            let tainted = node.spec.and_then(|spec| spec.taints).unwrap_or_default();
            if !pressed && tainted.iter().all(|taint| !taint.key.ends_with("memory-pressure")) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the node stays under pressure")
    }
}

/// Ticks are hundredths of a second.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn percent(ticks: u64) -> f64 {
    ticks as f64 / MEASURED.as_secs_f64()
}

/// One of each node.
fn watching_threads(daemon: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for task in fs::read_dir(daemon.join("task"))? {
        let path = task?.path();
        // The kernel keeps 15 characters of a name.
        if fs::read_to_string(path.join("comm"))?.starts_with("memlet-pressure") {
            found.push(path);
        }
    }
    ensure!(!found.is_empty(), "the daemon has no thread that watches");
    Ok(found)
}

fn hog(first: u32, rate: u32, ignores: bool) -> Pod {
    let first = first.to_string();
    let mut arguments = vec!["4000", "1", "--first", &first, "--huge-pages", "--leak", "--rate"];
    let rate_text = rate.to_string();
    arguments.push(&rate_text);
    if ignores {
        arguments.push("--ignore-term");
    }
    let name = format!("hog-{rate}-{}", Timestamp::now().as_nanosecond() % 1_000_000_000);
    pod(&name, &arguments)
}

fn idle(number: usize) -> Pod {
    pod(&format!("idle-{number}"), &["1", "0", "--hold"])
}

fn pod(name: &str, arguments: &[&str]) -> Pod {
    let container = json!({ "name": "main", "image": "memlet.dev/memory-eater", "args": arguments });
    let manifest = json!({
        "metadata": { "name": name },
        "spec": { "restartPolicy": "Never", "containers": [container] },
    });
    serde_json::from_value(manifest).unwrap_or_default()
}

/// Median and worst.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) else {
        return "-".to_owned();
    };
    format!("{median:.1?} (worst {worst:.1?})")
}

/// Reads the usage of all Pods without a pause, until told to end.
struct Crossing {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Option<Timestamp>>>,
    kernel: Reader,
}

impl Crossing {
    fn watch() -> Result<Self> {
        let open = || -> Result<Cgroup> {
            let path: CgroupPath = format!("{CGROUP_ROOT}/kubepods").parse()?;
            Ok(Cgroup::open(&Hierarchy::detect()?, &path)?)
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (until, reads) = (stop.clone(), open()?);
        let thread = thread::spawn(move || -> Result<Option<Timestamp>> {
            // As what it measures, or it is late itself; where that may not be, it is late now and then.
            let _ = rustix::process::setpriority_process(None, -20);
            let crossing = memlet_bytes::Bytes::from_mib(NODE_MIB - THRESHOLD_MIB);
            while !until.load(Ordering::Relaxed) {
                let usage = reads.usage()?;
                // The working set of such a Pod is its usage but for a few pages.
                if usage > crossing {
                    return Ok(Some(Timestamp::now()));
                }
                // Near it, without a pause; before, there is nothing to see.
                let near = usage > memlet_bytes::Bytes::from_mib(NODE_MIB - 2 * THRESHOLD_MIB);
                thread::sleep(if near { Duration::from_micros(100) } else { Duration::from_millis(2) });
            }
            Ok(None)
        });
        Ok(Self { stop, thread, kernel: Reader::open(Start::Now)? })
    }

    /// When the threshold was crossed, and whether the kernel killed anybody.
    /// When the threshold was seen crossed, if it was, and whether the kernel killed.
    fn end(mut self) -> Result<(Option<Timestamp>, bool)> {
        self.stop.store(true, Ordering::Relaxed);
        let crossed = self.thread.join().map_err(|_| anyhow::anyhow!("the reading thread failed"))??;
        // That there is no kill is the answer that is hoped for.
        let killed = own_kill(&mut self.kernel, CGROUP_ROOT).is_ok();
        Ok((crossed, killed))
    }
}
