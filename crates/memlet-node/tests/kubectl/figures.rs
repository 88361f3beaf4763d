//! `kubectl top`: what Pods and nodes use; and the same as the node itself tells it.

use libtest_mimic::Failed;

use crate::Test;
use crate::bench::Bench;

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("top: Pods, containers and the node", top),
    ("proxy: the node's own server through the API server", proxy),
];

/// A container that computes, and one that holds 8 MiB.
fn top(bench: &Bench) -> Result<(), Failed> {
    let holds = "dd if=/dev/zero of=/dev/shm/held bs=1M count=8 2>/dev/null; sleep 1000";
    bench.create("p", "Never", &[("computes", "while :; do :; done"), ("holds", holds)]);
    bench.wait_running("p")?;
    std::thread::sleep(std::time::Duration::from_secs(3));
    let ran = bench.kubectl(&["top", "pod", "--containers", "--no-headers"]).exits(0);
    let rows: Vec<Vec<&str>> = ran.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |name: &str| rows.iter().find(|row| row[1] == name).cloned().unwrap_or_default();
    let number = |cell: &str, unit: &str| cell.trim_end_matches(unit).parse::<u64>().unwrap();
    let (computes, holds) = (of("computes"), of("holds"));
    assert!(number(computes[2], "m") > 50, "it computes: {ran:?}");
    assert!(number(holds[2], "m") < 50, "it sleeps: {ran:?}");
    assert!((8..16).contains(&number(holds[3], "Mi")), "it holds 8 MiB: {ran:?}");
    // The second question is answered for the time since the first.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let ran = bench.kubectl(&["top", "pod", "p", "--no-headers"]).exits(0);
    let row: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(row[0] == "p" && number(row[1], "m") > 50, "{ran:?}");
    let ran = bench.kubectl(&["top", "node", "--no-headers"]).exits(0);
    let row: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(row[0] == "node" && number(row[1], "m") > 50 && row[2].ends_with('%'), "{ran:?}");
    // It pretends to have less memory than the machine, so its Pods are what fills it.
    assert!((8..16).contains(&number(row[3], "Mi")) && row[4].ends_with('%'), "{ran:?}");
    bench.kubectl(&["top", "pod", "nobody"]).exits(1).complains("not found");
    let ran = bench.kubectl(&["get", "podmetrics.metrics.k8s.io", "p"]).exits(0);
    assert!(ran.stdout.starts_with("NAME   CPU"), "{ran:?}");
    Ok(())
}

fn proxy(bench: &Bench) -> Result<(), Failed> {
    bench.create("p", "Never", &[("main", "echo a line; sleep 1000")]);
    bench.wait_running("p")?;
    let raw = |path: &str| bench.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{path}")]);
    let ran = raw("node/proxy/stats/summary").exits(0);
    let summary: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(summary["node"]["nodeName"], "node", "{summary}");
    assert_eq!(summary["pods"][0]["podRef"]["name"], "p", "{summary}");
    let ran = raw("node:10250/proxy/metrics/resource").exits(0);
    assert!(ran.stdout.contains(r#"container_memory_working_set_bytes{container="main""#), "{ran:?}");
    let ran = raw("node/proxy/containerLogs/default/p/main?tailLines=1").exits(0);
    assert_eq!(ran.stdout, "a line\n");
    raw("node/proxy/nothing").exits(1).complains("NotFound");
    raw("other/proxy/stats/summary").exits(1).complains(r#"nodes "other" not found"#);
    Ok(())
}
