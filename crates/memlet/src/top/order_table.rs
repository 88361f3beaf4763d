//! Who would be killed and who would be evicted, side by side.

use memlet_bytes::Bytes;
use memlet_cgroup::Hierarchy;
use memlet_diagnosis::render::printable;
use serde::Serialize;

use super::evictions::{self, Evictable};
use super::gather::NodeUsage;
use super::held::Owner;
use super::processes::{self, Candidate, KillOrder};
use crate::view::table::aligned;

/// Both orders of one node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Orders {
    pub(crate) node: String,
    pub(crate) kill_order: KillOrder,
    pub(crate) eviction_order: Vec<Evictable>,
}

impl Orders {
    /// As they are now.
    pub(crate) fn of(node: &NodeUsage, hierarchy: &Hierarchy) -> Self {
        let (of, total) = processes::domain(node);
        let page_size = Bytes::new(rustix::param::page_size() as u64);
        Self {
            node: node.name.clone(),
            kill_order: processes::order(&processes::processes(node, hierarchy), of, total, page_size),
            eviction_order: evictions::order(node),
        }
    }
}

/// The tables of all nodes, the first `most` rows of each; in so many columns, if that is known.
pub(crate) fn text(all: &[Orders], most: usize, width: Option<usize>) -> String {
    let blocks = all.iter().map(|orders| block(orders, most, width));
    blocks.collect::<Vec<_>>().join("\n")
}

fn block(orders: &Orders, most: usize, width: Option<usize>) -> String {
    let order = &orders.kill_order;
    let what = match order.of {
        Owner::Machine => format!("the machine's memory and swap, {}, run out", order.total),
        _ => format!("its limit for all Pods, {}, runs out", order.total),
    };
    let title = format!("node {}, where {what}:\n", orders.node);
    title + &both(orders, most, width)
}

/// Both tables of a node, without a title.
pub(crate) fn both(orders: &Orders, most: usize, width: Option<usize>) -> String {
    beside(&kills(&orders.kill_order, most), &evictable(&orders.eviction_order, most), width)
}

/// The processes alone.
fn kills(order: &KillOrder, most: usize) -> String {
    let head = ["THE KERNEL KILLS", "PID", "OF", "POINTS", "BECAUSE"].map(str::to_owned);
    let mut rows = vec![head];
    rows.extend(
        order.processes.iter().take(most).enumerate().map(|(place, candidate)| kill(place, candidate)),
    );
    finished(&rows, order.processes.len().saturating_sub(most), "process", "processes")
}

fn kill(place: usize, candidate: &Candidate) -> [String; 5] {
    let process = &candidate.process;
    let container = process.container.as_deref().unwrap_or("sandbox");
    let points = match u64::try_from(candidate.points) {
        Ok(points) => Bytes::new(points).to_string(),
        Err(_) => format!("−{}", Bytes::new(candidate.points.unsigned_abs())),
    };
    [
        format!("{}. {}", place + 1, printable(&process.name)),
        process.pid.to_string(),
        format!("{}/{} {container}", process.namespace, process.pod),
        points,
        candidate.why.clone(),
    ]
}

/// The Pods alone.
fn evictable(order: &[Evictable], most: usize) -> String {
    let mut rows = vec![["THE NODE EVICTS", "USES", "BECAUSE"].map(str::to_owned)];
    rows.extend(order.iter().take(most).enumerate().map(|(place, pod)| {
        let place = if pod.candidate.critical { "-".to_owned() } else { format!("{}.", place + 1) };
        [format!("{place} {}/{}", pod.namespace, pod.pod), pod.candidate.usage.to_string(), pod.why.clone()]
    }));
    finished(&rows, order.len().saturating_sub(most), "Pod", "Pods")
}

fn finished<const N: usize>(rows: &[[String; N]], more: usize, one: &str, many: &str) -> String {
    let mut table = aligned(&rows.iter().map(<[String; N]>::as_slice).collect::<Vec<_>>());
    if rows.len() == 1 {
        table.push_str("nobody\n");
    }
    if more > 0 {
        table.push_str(&format!("and {more} more {}\n", if more == 1 { one } else { many }));
    }
    table
}

/// What stands between two tables.
const GAP: &str = "   |   ";

/// Two tables beside each other where there is room, else one below the other.
fn beside(left: &str, right: &str, width: Option<usize>) -> String {
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    let first = widest(left);
    if width.is_some_and(|width| first + GAP.len() + widest(right) > width) {
        return format!("{left}\n{right}");
    }
    let (mut left, mut right) = (left.lines(), right.lines());
    let mut text = String::new();
    loop {
        let (one, other) = (left.next(), right.next());
        if one.is_none() && other.is_none() {
            return text;
        }
        let line = format!("{:first$}{GAP}{}", one.unwrap_or_default(), other.unwrap_or_default());
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::processes::Process;
    use super::super::sample;
    use super::*;

    fn orders() -> Orders {
        let process = |pid, name: &str, pod: &str, container: Option<&str>, mib, oom_score_adj| Process {
            pid,
            name: name.to_owned(),
            namespace: "default".to_owned(),
            pod: pod.to_owned(),
            container: container.map(str::to_owned),
            rss: Bytes::from_mib(mib),
            swap: Bytes::ZERO,
            page_tables: Bytes::ZERO,
            oom_score_adj,
        };
        let all = [
            process(300, "pause", "hog", None, 1, -998),
            process(301, "server", "steady", Some("server"), 100, 939),
            process(302, "ma\u{1b}in", "hog", Some("main"), 600, 1000),
        ];
        let node = &sample::usage().nodes[0];
        Orders {
            node: "memlet".to_owned(),
            kill_order: processes::order(&all, Owner::Node, Bytes::from_gib(1), Bytes::new(4096)),
            eviction_order: evictions::order(node),
        }
    }

    #[test]
    fn side_by_side() {
        insta::assert_snapshot!(text(&[orders()], 10, None), @r"
        node memlet, where its limit for all Pods, 1Gi, runs out:
        THE KERNEL KILLS   PID   OF                      POINTS      BECAUSE                     |   THE NODE EVICTS     USES    BECAUSE
        1. ma�in           302   default/hog main        1.5Gi       600Mi held + 1000‰ of 1Gi   |   1. lab/hog          613Mi   613Mi above a request of nothing
        2. server          301   default/steady server   1.0Gi       100Mi held + 939‰ of 1Gi    |   2. default/steady   169Mi   41Mi above its request of 128Mi
        3. pause           300   default/hog sandbox     −1020.3Mi   1Mi held − 998‰ of 1Gi      |
        ");
    }

    #[test]
    fn below_each_other_where_it_is_narrow() {
        insta::assert_snapshot!(text(&[orders()], 1, Some(80)), @r"
        node memlet, where its limit for all Pods, 1Gi, runs out:
        THE KERNEL KILLS   PID   OF                 POINTS   BECAUSE
        1. ma�in           302   default/hog main   1.5Gi    600Mi held + 1000‰ of 1Gi
        and 2 more processes

        THE NODE EVICTS   USES    BECAUSE
        1. lab/hog        613Mi   613Mi above a request of nothing
        and 1 more Pod
        ");
    }

    #[test]
    fn on_a_node_without_pods() {
        let kill_order = processes::order(&[], Owner::Machine, Bytes::from_gib(8), Bytes::new(4096));
        let orders = Orders { node: "n".to_owned(), kill_order, eviction_order: Vec::new() };
        insta::assert_snapshot!(text(&[orders], 10, None), @r"
        node n, where the machine's memory and swap, 8Gi, run out:
        THE KERNEL KILLS   PID   OF   POINTS   BECAUSE   |   THE NODE EVICTS   USES   BECAUSE
        nobody                                           |   nobody
        ");
    }
}
