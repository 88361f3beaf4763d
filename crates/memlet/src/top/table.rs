//! It as text: a table of the nodes, and one of their Pods with their containers. Pure.

use memlet_bytes::Bytes;

use super::gather::{NodeUsage, PodUsage, Usage};
use super::held::{Held, Left};
use super::thresholds;
use crate::view::table::aligned;

/// Both tables; Pods of one namespace only, where one is named.
pub(crate) fn text(usage: &Usage, namespace: Option<&str>) -> String {
    let nodes = nodes(&usage.nodes);
    let mut pods: Vec<(&NodeUsage, &PodUsage)> =
        usage.nodes.iter().flat_map(|node| node.pods.iter().map(move |pod| (node, pod))).collect();
    pods.retain(|(_, pod)| namespace.is_none_or(|namespace| pod.namespace == namespace));
    // Of several nodes: the largest first, wherever it is.
    pods.sort_by_key(|(_, pod)| std::cmp::Reverse(pod.held.working_set));
    if pods.is_empty() {
        let place = namespace.map(|namespace| format!(" of the namespace {namespace}")).unwrap_or_default();
        return format!("{nodes}\nno Pod{place} has a cgroup now\n");
    }
    format!("{nodes}\n{}", pods_table(&pods, usage.nodes.len() > 1))
}

fn nodes(nodes: &[NodeUsage]) -> String {
    let head = [
        "NODE",
        "PODS",
        "WORKING SET",
        "RSS",
        "CACHE",
        "ACTIVE",
        "REQUESTS",
        "LIMITS",
        "FOR PODS",
        "ALLOCATABLE",
        "LEFT",
        "OF",
        "EVICTS BELOW",
    ];
    let rows = nodes.iter().map(|node| {
        let [working_set, rss, cache, active] = figures(&node.held);
        let [left, of] = left(node.left);
        vec![
            node.name.clone(),
            node.pods.len().to_string(),
            working_set,
            rss,
            cache,
            active,
            node.requests.to_string(),
            or(node.limits, "not all"),
            or(node.limit, "no limit"),
            node.allocatable.to_string(),
            left,
            of,
            node.eviction_thresholds.as_deref().map_or_else(|| "-".to_owned(), thresholds::in_words),
        ]
    });
    lines(&head, rows)
}

fn pods_table(pods: &[(&NodeUsage, &PodUsage)], with_nodes: bool) -> String {
    let head = [
        "NAMESPACE",
        "POD",
        "CONTAINER",
        "QOS",
        "WORKING SET",
        "RSS",
        "CACHE",
        "ACTIVE",
        "REQUEST",
        "LIMIT",
        "LEFT",
        "OF",
        "NODE",
    ];
    let head = if with_nodes { &head[..] } else { &head[..head.len() - 1] };
    let rows = pods.iter().flat_map(|(node, pod)| {
        let row =
            |container: &str, qos: &str, held: &Held, [request, limit]: [String; 2], of: Option<Left>| {
                let [working_set, rss, cache, active] = figures(held);
                let [left, of] = left(of);
                let mut cells = vec![
                    pod.namespace.clone(),
                    pod.name.clone(),
                    container.to_owned(),
                    qos.to_owned(),
                    working_set,
                    rss,
                    cache,
                    active,
                    request,
                    limit,
                    left,
                    of,
                ];
                cells.extend(with_nodes.then(|| node.name.clone()));
                cells
            };
        let whole = row(
            "(Pod)",
            &pod.qos_class,
            &pod.held,
            [pod.request.to_string(), or(pod.limit, "none")],
            pod.left,
        );
        let containers = pod.containers.iter().map(move |container| {
            let amounts = [or(container.request, "none"), or(container.limit, "none")];
            row(&container.name, "", &container.held, amounts, container.left)
        });
        std::iter::once(whole).chain(containers).collect::<Vec<_>>()
    });
    lines(head, rows)
}

fn lines(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    aligned(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn figures(held: &Held) -> [String; 4] {
    [held.working_set, held.rss, held.page_cache, held.active_file].map(|amount| or(amount, "-"))
}

fn left(left: Option<Left>) -> [String; 2] {
    left.map_or_else(
        || ["-".to_owned(), "-".to_owned()],
        |left| [left.bytes.to_string(), left.of.word().to_owned()],
    )
}

fn or(amount: Option<Bytes>, otherwise: &str) -> String {
    amount.map_or_else(|| otherwise.to_owned(), |amount| amount.to_string())
}

#[cfg(test)]
mod tests {
    use memlet_policy::eviction::Signal;

    use super::super::sample;
    use super::*;

    #[test]
    fn a_node_with_two_pods() {
        insta::assert_snapshot!(text(&sample::usage(), None), @r"
        NODE     PODS   WORKING SET   RSS     CACHE   ACTIVE   REQUESTS   LIMITS    FOR PODS   ALLOCATABLE   LEFT    OF     EVICTS BELOW
        memlet   2      824Mi         804Mi   60Mi    20Mi     128Mi      not all   1Gi        924Mi         200Mi   node   100Mi

        NAMESPACE   POD      CONTAINER   QOS          WORKING SET   RSS     CACHE   ACTIVE   REQUEST   LIMIT   LEFT    OF
        lab         hog      (Pod)       BestEffort   613Mi         601Mi   52Mi    12Mi     0B        none    200Mi   node
        lab         hog      main                     612Mi         600Mi   52Mi    12Mi     none      none    200Mi   node
        default     steady   (Pod)       Burstable    169Mi         161Mi   8Mi     8Mi      128Mi     256Mi   87Mi    Pod
        default     steady   server                   104Mi         100Mi   4Mi     4Mi      64Mi      128Mi   24Mi    container
        default     steady   side                     64Mi          60Mi    4Mi     4Mi      64Mi      128Mi   64Mi    container
        ");
    }

    #[test]
    fn the_pods_of_one_namespace() {
        let table = text(&sample::usage(), Some("lab"));
        assert!(!table.contains("steady") && table.contains("hog"), "{table}");
        assert!(text(&sample::usage(), Some("x")).ends_with("no Pod of the namespace x has a cgroup now\n"));
    }

    #[test]
    fn a_soft_threshold_is_one_too() {
        let mut usage = sample::usage();
        let soft = sample::threshold(Signal::Memory, 300, Some(90));
        usage.nodes[0].eviction_thresholds.as_mut().unwrap().push(soft);
        let rows = |usage: &Usage| -> Vec<String> {
            text(usage, None)
                .lines()
                .take(2)
                .map(|row| row.rsplit("   ").next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(rows(&usage), ["EVICTS BELOW", "100Mi, 300Mi for 90 s"]);
        usage.nodes[0].eviction_thresholds = None;
        assert_eq!(rows(&usage), ["EVICTS BELOW", "-"], "not known");
    }

    #[test]
    fn of_several_nodes() {
        let mut usage = sample::usage();
        let other = NodeUsage { name: "other".to_owned(), pods: Vec::new(), ..usage.nodes[0].clone() };
        usage.nodes.push(other);
        let table = text(&usage, None);
        assert_eq!(table.matches("   memlet\n").count(), 5, "{table}");
    }
}
