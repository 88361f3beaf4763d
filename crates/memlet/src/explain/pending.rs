//! Why a Pod waits for a node: the arithmetic of each, what holds it, and the smallest change that would place the Pod.
//!
//! The scheduler's own rules judge ([`explain_placement`]); here their numbers are put together with what is really used,
//! which does not count for placement and is what a request should be measured by. Pure but for [`Cluster::read`].

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use memlet_bytes::Bytes;
use memlet_policy::fit::Demand;
use memlet_policy::phase;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{self, MEMORY};
use memlet_policy::taints::is_of_condition;
use memlet_scheduler::{Misfit, NodeVerdict, Reason, explain_placement};
use serde::Serialize;
use serde_json::Value;

use crate::view::table::aligned;

/// Everything that placement depends on, and what is used.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    namespaces: Vec<Namespace>,
    /// Memory in use, by namespace and name of the Pod; empty where nobody measures it.
    used: BTreeMap<(String, String), Bytes>,
}

impl Cluster {
    /// Asks the API for it.
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let all = ListParams::default();
        let nodes = Api::<Node>::all(client.clone()).list(&all).await?.items;
        let pods = Api::<Pod>::all(client.clone()).list(&all).await?.items;
        let namespaces = Api::<Namespace>::all(client.clone()).list(&all).await?.items;
        // A cluster without the metrics API has no answer, which is no reason to say nothing.
        let used = match http::Request::get("/apis/metrics.k8s.io/v1beta1/pods").body(Vec::new()) {
            Ok(request) => {
                client.request::<Value>(request).await.map(|metrics| used(&metrics)).unwrap_or_default()
            }
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { nodes, pods, namespaces, used })
    }
}

fn used(metrics: &Value) -> BTreeMap<(String, String), Bytes> {
    let of_pod = |pod: &Value| {
        let name = |field: &str| pod["metadata"][field].as_str().map(str::to_owned);
        let containers = pod["containers"].as_array()?.iter();
        let amounts = containers.filter_map(|it| it["usage"]["memory"].as_str()?.parse::<Quantity>().ok());
        Some(((name("namespace")?, name("name")?), amounts.map(|amount| amount.bytes()).sum()))
    };
    metrics["items"].as_array().into_iter().flatten().filter_map(of_pod).collect()
}

/// Why a Pod waits.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pending {
    /// The scheduler's own words, where it has said any.
    pub(crate) message: Option<String>,
    pub(crate) nodes: Vec<NodeView>,
    /// What would place it, the smallest change first.
    pub(crate) changes: Vec<String>,
}

/// What one node has to say.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeView {
    pub(crate) name: String,
    /// The scheduler's reasons, and what else would speak against it.
    pub(crate) reasons: Vec<String>,
    pub(crate) resources: Vec<ResourceView>,
    /// Memory that its Pods use now, in bytes.
    pub(crate) used_memory: Option<Bytes>,
    /// The Pods that hold its memory by their requests, the largest first.
    pub(crate) holders: Vec<Holder>,
    /// Less important Pods that would have to go, as `namespace/name`.
    pub(crate) victims: Option<Vec<String>>,
}

/// One resource of a node, in bytes, thousandths of processors, or numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ResourceView {
    pub(crate) resource: String,
    pub(crate) wanted: u64,
    pub(crate) allocatable: u64,
    pub(crate) requested: u64,
    pub(crate) free: u64,
    pub(crate) missing: u64,
}

/// A Pod that holds memory of a node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Holder {
    pub(crate) pod: String,
    pub(crate) requests: Bytes,
    pub(crate) uses: Option<Bytes>,
    pub(crate) priority: i32,
}

/// Whether this is about a Pod that has no node and wants one.
pub(crate) fn is_pending(pod: &Pod) -> bool {
    node_of(pod).is_none() && !phase::is_over(pod) && pod.metadata.deletion_timestamp.is_none()
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

/// Judges.
pub(crate) fn judge(pod: &Pod, cluster: &Cluster) -> Pending {
    let verdicts = explain_placement(pod, &cluster.nodes, &cluster.pods, &cluster.namespaces);
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let scheduled = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled");
    let message = scheduled.and_then(|condition| condition.message.clone());
    let gated =
        pod.spec.as_ref().is_some_and(|spec| spec.scheduling_gates.as_ref().is_some_and(|it| !it.is_empty()));
    let nodes: Vec<_> = verdicts.iter().map(|verdict| node_view(verdict, cluster)).collect();
    let changes = if gated {
        vec!["take its scheduling gates away: it waits for nothing else to begin".to_owned()]
    } else {
        changes(pod, cluster, &verdicts, &nodes)
    };
    Pending { message, nodes, changes }
}

fn node_view(verdict: &NodeVerdict, cluster: &Cluster) -> NodeView {
    let is_there = |pod: &&Pod| node_of(pod) == Some(&verdict.node) && !phase::is_over(pod);
    let there: Vec<&Pod> = cluster.pods.iter().filter(is_there).collect();
    let uses = |pod: &Pod| cluster.used.get(&(pod.namespace().unwrap_or_default(), pod.name_any())).copied();
    let mut holders: Vec<Holder> = there
        .iter()
        .map(|pod| Holder {
            pod: full_name(pod),
            requests: Demand::of_pod(pod).memory,
            uses: uses(pod),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
        })
        .filter(|holder| holder.requests > Bytes::ZERO)
        .collect();
    holders.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.pod.cmp(&b.pod)));
    let resources = verdict.resources.iter().map(|row| ResourceView {
        resource: row.resource.to_string(),
        wanted: row.wanted,
        allocatable: row.allocatable,
        requested: row.requested,
        free: row.free(),
        missing: row.missing(),
    });
    NodeView {
        name: verdict.node.clone(),
        reasons: verdict.reasons.iter().chain(&verdict.besides).map(reason_text).collect(),
        resources: resources.collect(),
        used_memory: there.iter().map(|pod| uses(pod)).sum(),
        holders,
        victims: verdict.victims.as_ref().map(|victims| {
            victims.iter().map(|victim| format!("{}/{}", victim.key.namespace, victim.key.name)).collect()
        }),
    }
}

fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Upstream's reason, with what it leaves out.
fn reason_text(reason: &Reason) -> String {
    match reason {
        Reason::UntoleratedTaint { key, value, effect } => {
            let value = if value.is_empty() { String::new() } else { format!("={value}") };
            format!("untolerated taint {key}{value}:{effect}")
        }
        Reason::HostPort { port, protocol } => format!("port {port}/{protocol} is taken"),
        Reason::Spread { key, skew, max_skew } => {
            format!("too many Pods of its kind by {key}: {skew} ahead, {max_skew} allowed")
        }
        Reason::NoSpreadLabel { key } => format!("no label {key}, by which Pods are to be spread"),
        Reason::Unschedulable => "cordoned".to_owned(),
        other => other.to_string().replace("node(s) ", ""),
    }
}

/// The one row that is short, where nothing else speaks against the node.
fn short_of_memory_alone(verdict: &NodeVerdict) -> Option<&Misfit> {
    let all: Vec<_> = verdict.reasons.iter().chain(&verdict.besides).collect();
    match all[..] {
        [Reason::Insufficient(misfit)] if &*misfit.resource == MEMORY => Some(misfit),
        _ => None,
    }
}

/// What would place the Pod.
fn changes(pod: &Pod, cluster: &Cluster, verdicts: &[NodeVerdict], views: &[NodeView]) -> Vec<String> {
    if let Some(fits) = verdicts.iter().find(|verdict| verdict.fits()) {
        return vec![format!("nothing: it fits {} now, and will be bound in a moment", fits.node)];
    }
    let mut changes = Vec::new();
    let both = verdicts.iter().zip(views);
    let short = both.filter_map(|(verdict, view)| Some((view, short_of_memory_alone(verdict)?)));
    let nearest = short.min_by_key(|(_, misfit)| misfit.missing());
    if let Some((view, misfit)) = nearest {
        changes.extend(lower_request(pod, view, misfit));
        changes.extend(give_up(view, misfit));
    }
    let with_victims = verdicts.iter().filter_map(|verdict| Some((verdict, verdict.victims.as_ref()?)));
    let fewest =
        with_victims.filter(|(_, victims)| !victims.is_empty()).min_by_key(|(_, victims)| victims.len());
    if let Some((verdict, victims)) = fewest {
        let names: Vec<_> = victims
            .iter()
            .map(|victim| {
                format!("{}/{} (priority {})", victim.key.namespace, victim.key.name, victim.priority)
            })
            .collect();
        changes.push(format!("send less important Pods away from {}: {}", verdict.node, names.join(", ")));
    }
    changes.extend(larger_node(pod, cluster));
    for verdict in verdicts {
        let others: Vec<_> = verdict.reasons.iter().chain(&verdict.besides).collect();
        if let [only] = others[..] {
            changes.extend(mend(verdict, only));
        }
    }
    changes
}

/// Another request, of the container that has the largest.
fn lower_request(pod: &Pod, node: &NodeView, misfit: &Misfit) -> Option<String> {
    let (free, missing) = (Bytes::new(misfit.free()), misfit.missing());
    if free == Bytes::ZERO {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let largest = spec
        .containers
        .iter()
        .filter_map(|it| Some((&it.name, resources::memory_request(it)?)))
        .max_by_key(|(_, bytes)| *bytes);
    let (name, from) = largest?;
    if from.get() <= missing {
        return Some(format!(
            "lower its requests for memory to {} in all: so much is free on {}",
            exact(free),
            node.name
        ));
    }
    let to = exact(Bytes::new(from.get() - missing));
    Some(format!(
        "lower requests.memory of {name} from {} to {to}: so much is free on {}",
        exact(from),
        node.name
    ))
}

/// What others hold without using it.
fn give_up(node: &NodeView, misfit: &Misfit) -> Option<String> {
    let idle = |holder: &&Holder| {
        holder.uses.is_some_and(|uses| holder.requests.get().saturating_sub(uses.get()) >= misfit.missing())
    };
    let holder = node.holders.iter().find(idle)?;
    let (requests, uses) = (exact(holder.requests), holder.uses?);
    let lower = exact(Bytes::new(holder.requests.get() - misfit.missing()));
    Some(format!(
        "lower the request of {} on {} from {requests} to {lower}: it uses {uses} now (a Pod's request is changed by making it \
         anew)",
        holder.pod, node.name
    ))
}

/// A node that is large enough, with as much set aside as on those that there are.
fn larger_node(pod: &Pod, cluster: &Cluster) -> Option<String> {
    let wanted = Demand::of_pod(pod).memory;
    let aside = cluster.nodes.iter().filter_map(|node| {
        let status = node.status.as_ref()?;
        let memory = |of: Option<_>| Some(resources::amount(of, MEMORY)?.bytes());
        Some(memory(status.capacity.as_ref())?.saturating_sub(memory(status.allocatable.as_ref())?))
    });
    let aside = aside.min().unwrap_or(Bytes::ZERO);
    if wanted == Bytes::ZERO {
        return None;
    }
    let least = Bytes::from_mib((wanted + aside).get().div_ceil(1 << 20));
    Some(format!("add a node of at least {}: memlet node add NAME --memory {0}", exact(least)))
}

/// What would make this node do, where one thing speaks against it.
fn mend(verdict: &NodeVerdict, reason: &Reason) -> Option<String> {
    let node = &verdict.node;
    match reason {
        Reason::Unschedulable => Some(format!("let Pods on {node} again: kubectl uncordon {node}")),
        Reason::UntoleratedTaint { key, effect, .. } if is_of_condition(key, effect) => Some(format!(
            "{node} takes the taint {key}:{effect} away by itself when that is over; see kubectl describe node {node}, or \
             tolerate the taint in the Pod"
        )),
        Reason::UntoleratedTaint { key, effect, .. } => Some(format!(
            "tolerate the taint {key}:{effect} in the Pod, or take it from {node}: kubectl taint node {node} {key}:{effect}-"
        )),
        _ => None,
    }
}

/// As a manifest says it.
fn exact(amount: Bytes) -> String {
    Quantity::from_bytes(amount).to_string()
}

/// The findings for people.
pub(crate) fn text(pending: &Pending) -> String {
    let mut text = String::new();
    if let Some(message) = &pending.message {
        text.push_str(&format!("  scheduler  {message}\n"));
    }
    let rows: Vec<_> = pending.nodes.iter().flat_map(rows).collect();
    if !rows.is_empty() {
        let head = ["NODE", "RESOURCE", "WANTED", "ALLOCATABLE", "REQUESTED", "FREE", "MISSING", "USED NOW"];
        text.push('\n');
        text.push_str(&table(&std::iter::once(head.map(str::to_owned)).chain(rows).collect::<Vec<_>>()));
        text.push_str("\n  Requests decide, not use: what Pods use now does not count here.\n");
    }
    for node in &pending.nodes {
        for reason in node.reasons.iter().filter(|reason| !reason.starts_with("Insufficient")) {
            text.push_str(&format!("  {}: {reason}\n", node.name));
        }
    }
    let holders: Vec<_> =
        pending.nodes.iter().flat_map(|node| node.holders.iter().map(move |it| (node, it))).collect();
    if !holders.is_empty() {
        let head = ["NODE", "HELD BY", "REQUESTS", "USES NOW", "PRIORITY"];
        let row = |(node, holder): &(&NodeView, &Holder)| {
            [
                node.name.clone(),
                holder.pod.clone(),
                exact(holder.requests),
                holder.uses.map_or_else(|| "-".to_owned(), |uses| uses.to_string()),
                holder.priority.to_string(),
            ]
        };
        let shown = holders.iter().take(MOST_HOLDERS).map(row);
        text.push('\n');
        text.push_str(&table(&std::iter::once(head.map(str::to_owned)).chain(shown).collect::<Vec<_>>()));
        if holders.len() > MOST_HOLDERS {
            text.push_str(&format!("  and {} more\n", holders.len() - MOST_HOLDERS));
        }
    }
    for (number, change) in pending.changes.iter().enumerate() {
        let word = if number == 0 { "\n  change     " } else { "  or         " };
        text.push_str(&format!("{word}{change}\n"));
    }
    text
}

/// More are for `-o json`.
const MOST_HOLDERS: usize = 20;

fn rows(node: &NodeView) -> Vec<[String; 8]> {
    let row = |resource: &ResourceView| {
        let amount = |number: u64| match resource.resource.as_str() {
            "memory" | "ephemeral-storage" => exact(Bytes::new(number)),
            "cpu" => format!("{number}m"),
            _ => number.to_string(),
        };
        let used = node.used_memory.filter(|_| resource.resource == MEMORY);
        [
            node.name.clone(),
            resource.resource.clone(),
            amount(resource.wanted),
            amount(resource.allocatable),
            amount(resource.requested),
            amount(resource.free),
            if resource.missing == 0 { "-".to_owned() } else { amount(resource.missing) },
            used.map_or_else(|| "-".to_owned(), |used| used.to_string()),
        ]
    };
    let told = |resource: &&ResourceView| resource.resource == MEMORY || resource.missing > 0;
    node.resources.iter().filter(told).map(row).collect()
}

/// Indented, as everything here.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let rows: Vec<_> = rows.iter().map(|row| &row[..]).collect();
    aligned(&rows).lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
