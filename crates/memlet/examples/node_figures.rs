//! The figures of `memlet node`, measured from outside with an ordinary client over TLS: starts, Pods, kills, memory, cost.
//!
//! `node_figures MEMLET FOLDER [RUNS]`; `cargo xtask bench --node` calls it with the optimised program. Needs root.
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use memlet_oomlog::kmsg::{Reader, Start};
use serde_json::json;

mod figures;
#[path = "figures/node.rs"]
mod node;

use figures::{own_kill, report, since_boot};
use node::{Bench, Node, cpu_ticks};

/// Cgroups of the measurement's own.
const CGROUP_ROOT: &str = "/memlet-node-bench";
/// Pods that are started together.
const MANY: usize = 100;
/// As many as the recorded figures of others are about.
const FEWER: usize = 30;
/// Clients that create objects at the same time, and for how long.
const CLIENTS: usize = 8;
const CREATING: Duration = Duration::from_secs(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, memlet, folder, rest @ ..] = &arguments[..] else { bail!("node_figures MEMLET FOLDER [RUNS]") };
    let runs: usize = rest.first().map_or(Ok(20), |runs| runs.parse())?;
    ensure!(runs > 0, "RUNS must be at least 1");
    let bench =
        Bench { memlet: PathBuf::from(memlet), folder: PathBuf::from(folder), cgroup_root: CGROUP_ROOT };
    let bench = Figures(bench);
    bench.starts(runs.min(10)).await?;
    let node = bench.0.node(&[])?;
    let client = bench.0.client().await?;
    idle("idle daemon", &node, "<= 30 MiB, <= 0.3 %").await?;
    bench.pods(&client, runs).await?;
    bench.kills(&client, runs).await?;
    bench.placements(&client, runs).await?;
    bench.many(&client, &node).await?;
    bench.creations().await?;
    drop(node);
    Ok(())
}

struct Figures(Bench);

impl Figures {
    /// Cold starts: nothing is there but the program.
    async fn starts(&self, runs: usize) -> Result<()> {
        let (mut ready, mut first) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let _ = std::fs::remove_dir_all(self.0.folder.join("data"));
            let began = Instant::now();
            let node = self.0.node(&[])?;
            ready.push(began.elapsed());
            let client = self.0.client().await?;
            run(&client, &pod("first", "8 0 --hold")).await?;
            first.push(began.elapsed());
            drop(node);
        }
        report("cold start to ready", ready, "<= 300 ms");
        report("cold start to the first Pod Running", first, "<= 1 s");
        Ok(())
    }

    async fn pods(&self, client: &kube::Client, runs: usize) -> Result<()> {
        let mut times = Vec::new();
        for number in 0..runs {
            let pod = pod(&format!("one-{number}"), "8 0 --hold");
            let began = Instant::now();
            run(client, &pod).await?;
            times.push(began.elapsed());
            delete_all(client).await?;
        }
        report("a Pod created to Running, one at a time", times, "median <= 60 ms");
        Ok(())
    }

    /// From the kernel's record of a kill to the state that a watch tells.
    async fn kills(&self, client: &kube::Client, runs: usize) -> Result<()> {
        let mut times = Vec::new();
        for number in 0..runs {
            // The kernel writes ten reports in five seconds at most; a kill without one cannot be dated.
            tokio::time::sleep(Duration::from_millis(600)).await;
            let mut kernel = Reader::open(Start::Now)?;
            let mut eater = pod(&format!("eater-{number}"), "300 0");
            eater.spec.get_or_insert_default().restart_policy = Some("Never".to_owned());
            create_and_wait(client, &[eater], is_killed).await?;
            let seen = since_boot()?;
            times.push(
                seen.checked_sub(own_kill(&mut kernel, CGROUP_ROOT)?)
                    .context("it was seen before it happened")?,
            );
            delete_all(client).await?;
        }
        report("the kernel's kill to the state in a watch", times, "median <= 50 ms");
        Ok(())
    }

    /// From a Pod's creation to its binding, and from a place that comes free to that of a Pod that waits for it.
    async fn placements(&self, client: &kube::Client, runs: usize) -> Result<()> {
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
        let node = nodes.list(&ListParams::default()).await?.items.pop().context("there is no node")?;
        let allocatable = node.status.and_then(|status| status.allocatable?.remove("memory"));
        let allocatable = allocatable.context("the node tells no memory")?;
        let (mut created, mut freed) = (Vec::new(), Vec::new());
        for number in 0..runs {
            let name = format!("all-{number}");
            let mut all = pod(&name, "8 0 --hold");
            request(&mut all, &allocatable);
            let mut waits = pod(&format!("waits-{number}"), "8 0 --hold");
            request(&mut waits, &allocatable);
            let began = Instant::now();
            create_and_wait(client, &[all], is_bound).await?;
            created.push(began.elapsed());
            create_and_wait(client, std::slice::from_ref(&waits), is_unschedulable).await?;
            let api: Api<Pod> = Api::default_namespaced(client.clone());
            let revision = api.list(&ListParams::default().limit(1)).await?.metadata.resource_version;
            let mut changes =
                api.watch(&WatchParams::default(), &revision.unwrap_or_default()).await?.boxed();
            let began = Instant::now();
            api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            loop {
                match changes.try_next().await?.context("the watch ended")? {
                    WatchEvent::Modified(pod)
                        if pod.metadata.name == waits.metadata.name && is_bound(&pod) =>
                    {
                        break;
                    }
                    _ => {}
                }
            }
            freed.push(began.elapsed());
            delete_all(client).await?;
        }
        report("a Pod created to bound", created, "median <= 5 ms");
        report("a place freed to the waiting Pod bound", freed, "<= 10 ms");
        Ok(())
    }

    async fn many(&self, client: &kube::Client, node: &Node<'_>) -> Result<()> {
        let all: Vec<Pod> = (0..MANY).map(|number| pod(&format!("many-{number}"), "1 0 --hold")).collect();
        let began = Instant::now();
        create_and_wait(client, &all, is_running).await?;
        println!("{MANY} Pods at once, all Running: {:.2?} (<= 5 s)", began.elapsed());
        delete_all(client).await?;
        let began = Instant::now();
        create_and_wait(client, &all[..FEWER], is_running).await?;
        println!("{FEWER} Pods at once, all Running: {:.2?}", began.elapsed());
        delete_all(client).await?;
        create_and_wait(client, &all, is_running).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        idle(&format!("daemon with {MANY} Pods"), node, "<= 80 MiB, <= 2 %").await?;
        delete_all(client).await
    }
}

impl Figures {
    /// Pods that nobody starts, created over TLS into durable storage by clients with a connection each, on this machine.
    async fn creations(&self) -> Result<()> {
        let began = Instant::now();
        let creating = (0..CLIENTS).map(async |client| {
            let pods: Api<Pod> = Api::default_namespaced(self.0.client().await?);
            let mut created = 0_usize;
            while began.elapsed() < CREATING {
                let mut pod = pod(&format!("idle-{client}-{created}"), "1");
                pod.spec.get_or_insert_default().scheduler_name = Some("nobody".to_owned());
                pods.create(&PostParams::default(), &pod).await?;
                created += 1;
            }
            anyhow::Ok(created)
        });
        let created: usize = futures::future::try_join_all(creating).await?.into_iter().sum();
        #[expect(clippy::cast_precision_loss, reason = "some ten thousand")]
        let rate = created as f64 / began.elapsed().as_secs_f64();
        println!("Pods created over TLS by {CLIENTS} clients of one core: {rate:.0}/s");
        delete_all(&self.0.client().await?).await
    }
}

/// Private memory, and the share of a core over ten seconds.
async fn idle(what: &str, node: &Node<'_>, aim: &str) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(10);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, pid) = (cpu_ticks(&proc(node.pid()))?, node.pid());
    tokio::time::sleep(WATCHED).await;
    let ticks = cpu_ticks(&proc(pid))? - before;
    #[expect(clippy::cast_precision_loss, reason = "a percentage of a few ticks")]
    let share = ticks as f64 / rustix::param::clock_ticks_per_second() as f64 / WATCHED.as_secs_f64() * 100.0;
    println!("{what}: {} KiB private memory, {share:.2} % of a core ({aim})", private_kib(pid)?);
    Ok(())
}

fn pod(name: &str, arguments: &str) -> Pod {
    let arguments: Vec<_> = arguments.split(' ').collect();
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "memlet.dev/memory-eater:1", "args": arguments,
                "resources": {"requests": {"memory": "1Mi"}, "limits": {"memory": "64Mi"}},
            }],
        },
    });
    serde_json::from_value(pod).unwrap_or_default()
}

/// Requests so much memory, and has no limit.
fn request(pod: &mut Pod, memory: &k8s_openapi::apimachinery::pkg::api::resource::Quantity) {
    for container in &mut pod.spec.get_or_insert_default().containers {
        let resources = container.resources.get_or_insert_default();
        resources.limits = None;
        resources.requests = Some([("memory".to_owned(), memory.clone())].into());
    }
}

fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.reason.as_deref() == Some("Unschedulable"))
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn is_killed(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.reason.as_deref())
        .any(|reason| reason == "OOMKilled")
}

async fn run(client: &kube::Client, pod: &Pod) -> Result<()> {
    create_and_wait(client, std::slice::from_ref(pod), is_running).await
}

/// Creates the Pods, eight at a time, and waits until a watch has shown each as wanted.
async fn create_and_wait(client: &kube::Client, pods: &[Pod], wanted: fn(&Pod) -> bool) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let revision =
        api.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default();
    let mut changes = api.watch(&WatchParams::default(), &revision).await?.boxed();
    let parameters = PostParams::default();
    let creations = futures::stream::iter(pods).map(|pod| api.create(&parameters, pod));
    let creating = creations.buffer_unordered(8).try_collect::<Vec<_>>();
    let waiting = async {
        let mut left: std::collections::BTreeSet<_> =
            pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
        while !left.is_empty() {
            let change = tokio::time::timeout(Duration::from_mins(1), changes.try_next()).await?;
            match change?.context("the watch ended")? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) if wanted(&pod) => {
                    left.remove(pod.metadata.name.as_deref().unwrap_or_default());
                }
                WatchEvent::Error(error) => bail!("the watch failed: {error:?}"),
                _ => {}
            }
        }
        Ok(())
    };
    let (all, seen) = tokio::join!(creating, waiting);
    all?;
    seen
}

async fn delete_all(client: &kube::Client) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    api.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
    while !api.list(&ListParams::default()).await?.items.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What a deleted Pod was is cleared away beside.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

fn private_kib(pid: u32) -> Result<u64> {
    let rollup = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

fn proc(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}
