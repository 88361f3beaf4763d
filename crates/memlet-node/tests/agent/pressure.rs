//! A node short of memory: who goes, who stays, and what is told. Also for kernels of cgroup v2, where the level that tells
//! is a brake as well.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Version};
use memlet_diagnosis::eviction::{Eviction, GraceStory};
use memlet_node::Record;
use serde_json::json;

use super::{Bench, ending, phase, run, run_with, shell};

pub(super) const TESTS: [(&str, fn()); 5] = [
    ("the_largest_goes_before_the_kernel_kills", the_largest_goes_before_the_kernel_kills),
    ("who_is_slow_may_end_by_itself", who_is_slow_may_end_by_itself),
    ("a_burst_in_its_grace_ends_it", a_burst_in_its_grace_ends_it),
    ("nobody_critical_goes_and_the_kernel_chooses", nobody_critical_goes_and_the_kernel_chooses),
    (ASKED_BACK, page_cache_goes_before_any_pod),
];

/// What is asked back is seen only on cgroup v1: on v2 the kernel drops page cache at the brake, unasked.
pub(super) const ASKED_BACK: &str = "page_cache_goes_before_any_pod";

fn evictions(bench: &Bench) -> Vec<Eviction> {
    let records = bench.agent.records().all().into_iter();
    records
        .filter_map(|record| match record {
            Record::Eviction(eviction) => Some(*eviction),
            _ => None,
        })
        .collect()
}

/// The record is whole when the memory is free, the status is written when the container has ended.
async fn eviction(bench: &Bench) -> Eviction {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(eviction) = evictions(bench).pop().filter(|eviction| eviction.course.ended.is_some()) {
            return eviction;
        }
        assert!(Instant::now() < deadline, "there is no record of the eviction");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn memory_pressure(bench: &Bench) -> String {
    let node = Api::<Node>::all(bench.client.clone()).get("node").await.unwrap();
    let conditions = node.status.unwrap().conditions.unwrap();
    conditions.into_iter().find(|condition| condition.type_ == "MemoryPressure").unwrap().status
}

fn the_largest_goes_before_the_kernel_kills() {
    run(true, async |bench| {
        bench.create("idle", shell("exec sleep 100", None)).await;
        bench.until("idle", phase("Running")).await;
        let mut hog = shell("exec tail /dev/zero", None);
        hog["restartPolicy"] = json!("Always");
        bench.create("hog", hog).await;
        let hog = bench.until("hog", phase("Failed")).await;
        let status = hog.status.clone().unwrap();
        assert_eq!(status.reason.as_deref(), Some("Evicted"));
        let message = status.message.unwrap();
        assert!(
            message
                .starts_with("The node was low on resource: memory. Threshold quantity: 100Mi, available: ")
                && message.ends_with("Ki, request is 0, has larger consumption of memory. "),
            "{message:?}"
        );
        let disruption = &status.conditions.unwrap()[0];
        assert_eq!(disruption.type_, "DisruptionTarget");
        assert_eq!(disruption.reason.as_deref(), Some("TerminationByKubelet"));
        assert_eq!(disruption.message.as_ref(), Some(&message));
        assert!(bench.agent.kill_records().is_empty(), "the kernel came first");
        let told = bench.events("hog").await;
        assert!(told.contains(&format!("Evicted {message}")), "{told:?}");
        let of_node = bench.events("node").await;
        assert!(
            of_node.contains(&"EvictionThresholdMet Attempting to reclaim memory".to_owned()),
            "{of_node:?}"
        );
        assert_eq!(memory_pressure(&bench).await, "True");
        bench.until("idle", phase("Running")).await;
        let eviction = eviction(&bench).await;
        assert_eq!((eviction.pod.name.as_str(), eviction.candidates), ("hog", 2));
        assert_eq!(eviction.ranked[1].pod.name, "idle");
        let given = matches!(eviction.grace, GraceStory::Given { .. });
        // The brake of cgroup v2 may slow it down so much that there is time for a grace, which tail heeds.
        assert!(!given || bench.config.hierarchy.version() == Version::V2, "{eviction:#?}");
        assert_eq!(ending(&hog), ("Error".to_owned(), if given { 143 } else { 137 }));
        // It stays as it is: whoever made it makes another.
        tokio::time::sleep(Duration::from_millis(300)).await;
        bench.until("hog", phase("Failed")).await;
        assert_eq!(evictions(&bench).len(), 1, "one was enough");
        bench.finish().await;
    });
}

/// Writes so much at once, and then a little more every now and then.
const DRIP: &str =
    "head -c 92000000 /dev/zero; for i in $(seq 40); do head -c 1000000 /dev/zero; sleep 0.1; done";

fn who_is_slow_may_end_by_itself() {
    run(true, async |bench| {
        // tail keeps what has no line end: from just above the threshold on it grows so slowly that there is time.
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let script = format!("mkfifo {0}; ({DRIP}) > {0} & exec tail -n 1 {0}", pipe.display());
        bench.create("slow", shell(&script, None)).await;
        let slow = bench.until("slow", phase("Failed")).await;
        assert_eq!(slow.status.as_ref().unwrap().reason.as_deref(), Some("Evicted"));
        assert_eq!(ending(&slow), ("Error".to_owned(), 143), "it was asked, and ended by itself");
        let eviction = eviction(&bench).await;
        assert!(matches!(eviction.grace, GraceStory::Given { .. }), "{eviction:#?}");
        assert!(bench.agent.kill_records().is_empty());
        bench.finish().await;
    });
}

fn a_burst_in_its_grace_ends_it() {
    run(true, async |bench| {
        // It takes the request to end for the time to take all there is.
        let script = format!("trap 'exec tail /dev/zero' TERM; ({DRIP}) | tail -n 1 & wait");
        bench.create("burst", shell(&script, None)).await;
        let burst = bench.until("burst", phase("Failed")).await;
        assert_eq!(burst.status.as_ref().unwrap().reason.as_deref(), Some("Evicted"));
        assert_eq!(ending(&burst), ("Error".to_owned(), 137));
        let eviction = eviction(&bench).await;
        // The brake of cgroup v2 may hold the burst, and then there is time for all of the grace.
        let is_braked = bench.config.hierarchy.version() == Version::V2;
        let cut = matches!(eviction.grace, GraceStory::Cut { .. });
        assert!(cut || is_braked && eviction.course.killed.is_some(), "{eviction:#?}");
        assert!(bench.agent.kill_records().is_empty(), "the kernel came first");
        bench.finish().await;
    });
}

fn nobody_critical_goes_and_the_kernel_chooses() {
    run(true, async |bench| {
        let mut critical = shell("exec tail /dev/zero", None);
        critical["priorityClassName"] = json!("system-cluster-critical");
        bench.create("critical", critical).await;
        let critical = bench.until("critical", phase("Failed")).await;
        assert_eq!(ending(&critical), ("OOMKilled".to_owned(), 137));
        assert_eq!(critical.status.as_ref().unwrap().reason, None);
        assert!(evictions(&bench).is_empty());
        let of_node = bench.events("node").await;
        assert!(of_node.iter().any(|event| event.contains("no Pod may be evicted")), "{of_node:?}");
        bench.finish().await;
    });
}

fn page_cache_goes_before_any_pod() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = folder.path().join("cache");
    run_with(
        true,
        |config| config.memory = Some(Bytes::from_mib(300)),
        async |bench| {
            // Read twice, the pages are on the active list, and count as used. (busybox knows no M.)
            let script = format!(
                "head -c 272629760 /dev/zero > {0}; for i in 1 2 3 4 5 6; do cat {0} > /dev/null; done; exec sleep 100",
                file.display()
            );
            bench.create("reader", shell(&script, None)).await;
            let deadline = Instant::now() + Duration::from_mins(1);
            loop {
                let of_node = bench.events("node").await;
                if of_node.iter().any(|event| event.starts_with("ReclaimedPageCache ")) {
                    break;
                }
                let kubepods = bench.config.cgroup_root.join("kubepods").unwrap();
                let kubepods = Cgroup::open(&bench.config.hierarchy, &kubepods);
                let stat = kubepods.and_then(|kubepods| kubepods.stat()).unwrap();
                assert!(Instant::now() < deadline, "no page cache was asked back: {of_node:?}, {stat:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bench.until("reader", phase("Running")).await;
            assert_eq!(memory_pressure(&bench).await, "False", "{:#?}", bench.events("node").await);
            assert!(evictions(&bench).is_empty() && bench.agent.kill_records().is_empty());
            bench.finish().await;
        },
    );
}
