//! How fast Pods are placed, in memory: `cargo run --release --package memlet-scheduler --example placements`.
//!
//! A generated cluster of 5,000 nodes is filled with Pods one by one, as a scheduler that writes nothing would: read the
//! object, find the best node, count the Pod there. One thread, timed by what it had of the processor, so that others on
//! the machine do not count.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::error::Error;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use memlet_scheduler::{Cluster, Placement, Preemption, place, preempt, shortfall};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

const NODES: usize = 5_000;
const ZONES: usize = 5;
const PODS: usize = 50_000;
/// Pods of one Deployment have the same labels.
const REPLICAS: usize = 50;
/// Pods whose rules are about other Pods are placed in smaller numbers: each takes longer.
const RULED: usize = 5_000;
const WANTED_RATE: f64 = 20_000.0;

/// What is special about a Pod.
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    NodeAffinity,
    Spread,
    AntiAffinity,
}

fn main() -> Outcome<()> {
    println!(
        "{NODES} nodes in {ZONES} zones; {} of them have a taint that makes them the last choice",
        NODES / 10
    );
    println!("{:<66} {:>12} {:>12}", "", "placements/s", "each");
    let nothing = resident()?;
    let mut cluster = nodes()?;
    let empty = resident()?;
    let first = fill(&mut cluster, Kind::Plain, 0..PODS)?;
    let full = resident()?;
    line("50,000 Pods with requests (aim: >= 20,000/s)", PODS, first);
    let rest = fill(&mut cluster, Kind::Plain, PODS..10 * PODS)?;
    line("450,000 more, ten times as many in all", 9 * PODS, rest);
    let fullest = resident()?;
    for (kind, what) in [
        (Kind::NodeAffinity, "with required and preferred node affinity"),
        (Kind::Spread, "spread over zones (DoNotSchedule)"),
        (Kind::AntiAffinity, "far from each other by host name"),
    ] {
        let mut cluster = nodes()?;
        fill(&mut cluster, Kind::Plain, 0..PODS)?;
        let took = fill(&mut cluster, kind, PODS..PODS + RULED)?;
        line(&format!("beside 50,000 Pods: {what}"), RULED, took);
    }
    line("too large for any node: the reasons of all, and the message", 200, refuse(&mut cluster, 200)?);
    let each = |bytes: u64, pods: usize| bytes / u64::try_from(pods).unwrap_or(1).max(1);
    println!("a placed Pod takes {} bytes of memory", each(full.saturating_sub(empty), PODS));
    println!("and {} bytes when there are ten times as many", each(fullest.saturating_sub(empty), 10 * PODS));
    println!("a node takes {} bytes", each(empty.saturating_sub(nothing), NODES));
    let rate = rate(PODS, first);
    if rate < WANTED_RATE {
        println!("{rate:.0} placements/s are fewer than promised");
    }
    Ok(())
}

fn line(what: &str, pods: usize, took: Duration) {
    println!("{what:<66} {:>12.0} {:>9.1} µs", rate(pods, took), 1e6 / rate(pods, took));
}

#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(pods: usize, took: Duration) -> f64 {
    pods as f64 / took.as_secs_f64()
}

fn nodes() -> Outcome<Cluster> {
    let mut cluster = Cluster::default();
    for index in 0..NODES {
        cluster.set_node(&node(index)?);
    }
    Ok(cluster)
}

fn node(index: usize) -> Outcome<Node> {
    let name = format!("node-{index:05}");
    let taint = json!([{"key": "spot", "effect": "PreferNoSchedule"}]);
    let taints = if index % 10 == 9 { taint } else { json!([]) };
    let labels = json!({
        "kubernetes.io/hostname": name,
        "topology.kubernetes.io/zone": format!("zone-{}", index % ZONES),
        "kubernetes.io/arch": "amd64",
        "disk": if index.is_multiple_of(2) { "ssd" } else { "hdd" },
    });
    let allocatable = json!({"cpu": "32", "memory": "128Gi", "pods": "256", "ephemeral-storage": "100Gi"});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": allocatable},
    }))?)
}

fn pod(index: usize, kind: Kind) -> Outcome<Pod> {
    let app = format!("app-{}", index / REPLICAS);
    let memory = [128, 256, 512, 1024][index % 4];
    let requests = json!({"cpu": format!("{}m", [50, 100, 250][index % 3]), "memory": format!("{memory}Mi")});
    let mut spec =
        json!({"containers": [{"name": "main", "image": "app", "resources": {"requests": requests}}]});
    add_rules(&mut spec, kind, &app);
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": format!("{app}-{index:06}"), "namespace": format!("team-{}", index / REPLICAS % 20),
            "uid": format!("00000000-0000-4000-8000-{index:012}"),
            "labels": {"app": app, "pod-template-hash": format!("{:x}", index / REPLICAS)},
        },
        "spec": spec,
    }))?)
}

fn add_rules(spec: &mut Value, kind: Kind, app: &str) {
    let selector = json!({"matchLabels": {"app": app}});
    match kind {
        Kind::Plain => {}
        Kind::NodeAffinity => {
            let term = |key: &str, value: &str| json!({"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]});
            spec["affinity"] = json!({"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term("disk", "ssd")]},
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 10, "preference": term("topology.kubernetes.io/zone", "zone-1")},
                ],
            }});
        }
        Kind::Spread => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
            }]);
        }
        Kind::AntiAffinity => {
            let term = json!({"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"});
            spec["affinity"] =
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        }
    }
}

/// Places Pods. The objects are made in batches that are not counted, as a watch would bring them.
fn fill(cluster: &mut Cluster, kind: Kind, indices: std::ops::Range<usize>) -> Outcome<Duration> {
    const BATCH: usize = 1_000;
    let mut took = Duration::ZERO;
    let mut start = 0;
    for first in indices.clone().step_by(BATCH) {
        let batch: Vec<Pod> =
            (first..indices.end.min(first + BATCH)).map(|index| pod(index, kind)).collect::<Outcome<_>>()?;
        let begun = processor_time();
        for pod in &batch {
            let facts = cluster.read(pod);
            match place(cluster, &facts, &mut start) {
                Placement::On(node) => cluster.put(&facts, &node),
                Placement::Nowhere(_) => return Err("the generated cluster is too small".into()),
            }
        }
        took += processor_time().saturating_sub(begun);
    }
    Ok(took)
}

/// Asks for Pods that are too large for any node.
fn refuse(cluster: &mut Cluster, pods: usize) -> Outcome<Duration> {
    let mut large = pod(0, Kind::Plain)?;
    let requests = json!({"requests": {"memory": "200Gi"}});
    if let Some(spec) = &mut large.spec {
        spec.containers[0].resources = serde_json::from_value(requests)?;
    }
    let begun = processor_time();
    for _ in 0..pods {
        let facts = cluster.read(&large);
        let Placement::Nowhere(nowhere) = place(cluster, &facts, &mut 0) else {
            return Err("there is room for a Pod that is larger than its node".into());
        };
        let Preemption::Helpless(text) = preempt(cluster, &facts, &nowhere, 0) else {
            return Err("somebody could be sent away".into());
        };
        assert!(shortfall(cluster, &facts, &nowhere, Some(&text)).contains("5000 Insufficient memory"));
    }
    Ok(processor_time().saturating_sub(begun))
}

/// What this thread has had of the processor so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// What this process holds of real memory.
fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("VmRSS is empty")?.parse()?;
    Ok(kib << 10)
}
