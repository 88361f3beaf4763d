//! Pods of a folder: they run while their file is there, and show in the API.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::{Bench, container, phase, run_with, shell};

pub(crate) const TESTS: [(&str, fn()); 3] = [
    ("a_file_makes_a_pod_and_nothing_else_ends_it", a_file_makes_a_pod_and_nothing_else_ends_it),
    ("a_bad_file_is_told_and_the_others_run", a_bad_file_is_told_and_the_others_run),
    ("a_pod_has_no_more_than_its_time", a_pod_has_no_more_than_its_time),
];

fn write(folder: &Path, file: &str, text: &str) -> PathBuf {
    let path = folder.join(file);
    std::fs::write(&path, text).unwrap();
    path
}

fn manifest(name: &str, script: &str) -> String {
    let mut spec = shell(script, Some("16Mi"));
    spec["terminationGracePeriodSeconds"] = json!(2);
    spec["restartPolicy"] = json!("Always");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

fn annotation(pod: &Pod, name: &str) -> String {
    pod.metadata.annotations.clone().unwrap()[&format!("kubernetes.io/config.{name}")].clone()
}

/// Waits until the API has such a Pod.
async fn there(bench: &Bench, name: &str, what: impl Fn(&Pod) -> bool) -> Pod {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let pod = bench.pods().get_opt(name).await.unwrap();
        if let Some(pod) = pod.clone().filter(&what) {
            return pod;
        }
        assert!(Instant::now() < deadline, "still {pod:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn gone(bench: &Bench, name: &str) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while bench.pods().get_opt(name).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "{name} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn a_file_makes_a_pod_and_nothing_else_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let first = write(&place, "web.json", &manifest("web", "exec sleep 100"));
    run_with(
        true,
        |config| config.static_pods = Some(place.clone()),
        async |bench| {
            let pod = there(&bench, "web-node", phase("Running")).await;
            let hash = annotation(&pod, "hash");
            assert_eq!(
                (annotation(&pod, "mirror"), annotation(&pod, "source")),
                (hash.clone(), "file".to_owned())
            );
            assert_ne!(pod.metadata.uid.as_ref(), Some(&hash), "the object has a uid of the API's own");
            let owner = &pod.metadata.owner_references.as_ref().unwrap()[0];
            assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Node", "node"));
            assert_eq!(
                pod.spec.as_ref().unwrap().dns_policy.as_deref(),
                Some("ClusterFirst"),
                "it has the defaults"
            );
            assert!(bench.config.state.join("pods").join(&hash).exists());
            let pid = bench.runtime.pid("main").unwrap();
            // Deleted, politely and not: it is there again, and runs as it did.
            for params in [DeleteParams::default(), DeleteParams::default().grace_period(0)] {
                let old = bench.pods().get("web-node").await.unwrap().metadata.uid;
                bench.pods().delete("web-node", &params).await.unwrap();
                let again =
                    there(&bench, "web-node", |pod| pod.metadata.uid != old && phase("Running")(pod)).await;
                assert_eq!((container(&again).restart_count, again.metadata.deletion_timestamp), (0, None));
                assert_eq!(bench.runtime.pid("main"), Some(pid));
            }
            // Another Pod in its place.
            let old = bench.pods().get("web-node").await.unwrap();
            write(&place, "web.json", &manifest("web", "exec sleep 200"));
            let other =
                |pod: &Pod| annotation(pod, "hash") != annotation(&old, "hash") && phase("Running")(pod);
            there(&bench, "web-node", other).await;
            assert_ne!(bench.runtime.pid("main"), Some(pid));
            std::fs::remove_file(first).unwrap();
            gone(&bench, "web-node").await;
            assert_eq!(bench.runtime.leftovers(), 0);
            bench.finish().await;
        },
    );
}

fn a_bad_file_is_told_and_the_others_run() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let bad = write(&place, "bad.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: [");
    let refused = write(&place, "refused.json", &manifest("Refused!", "exit 0"));
    write(&place, "good.json", &manifest("good", "exec sleep 100"));
    let twin = write(&place, "twin.json", &manifest("good", "exec sleep 100"));
    run_with(
        true,
        |config| config.static_pods = Some(place.clone()),
        async |bench| {
            let good = there(&bench, "good-node", phase("Running")).await;
            // The files after it are read right after it.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let told = bench.events("node").await.join("\n");
            for (file, reason) in [
                (&bad, "is no YAML or JSON document: "),
                (&refused, "the API server refuses it: "),
                (&twin, "has a Pod of the same name"),
            ] {
                let lines = || told.lines().filter(|line| line.starts_with("InvalidStaticPod"));
                let line = lines().find(|line| line.contains(&file.display().to_string()));
                assert!(line.is_some_and(|line| line.contains(reason)), "{}: {told}", file.display());
            }
            // A file that goes bad ends nothing.
            write(&place, "good.json", "{");
            tokio::time::sleep(Duration::from_millis(300)).await;
            let still = bench.pods().get("good-node").await.unwrap();
            assert_eq!(still.metadata.uid, good.metadata.uid);
            bench.finish().await;
        },
    );
}

fn a_pod_has_no_more_than_its_time() {
    run_with(
        true,
        |_| {},
        async |bench| {
            let mut spec = shell("trap 'exit 0' TERM; while :; do sleep 0.05; done", None);
            spec["activeDeadlineSeconds"] = json!(1);
            spec["restartPolicy"] = json!("Always");
            bench.create("busy", spec).await;
            bench.until("busy", phase("Running")).await;
            let pod = bench.until("busy", phase("Failed")).await;
            let status = pod.status.clone().unwrap();
            assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
            let message = "Pod was active on the node longer than the specified deadline";
            assert_eq!(status.message.as_deref(), Some(message));
            assert_eq!(crate::ending(&pod), ("Completed".to_owned(), 0), "it was asked to end");
            assert_eq!(container(&pod).restart_count, 0);
            let events = bench.events("busy").await;
            assert!(events.contains(&format!("DeadlineExceeded {message}")), "{events:?}");
            bench.finish().await;
        },
    );
}
