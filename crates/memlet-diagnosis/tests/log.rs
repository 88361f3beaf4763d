//! Whole reports, from the lines of a log to the pages that people and programs read.

use memlet_diagnosis::log::document::ReportDocument;
use memlet_diagnosis::log::{Level, explain, markdown, text};
use memlet_diagnosis::render::Style;
use memlet_oomlog::{Collector, Record, Report};
use serde_json::Value;

fn reports(log: &str) -> Vec<Report> {
    let mut collector = Collector::default();
    for line in log.lines() {
        let text = line.split_once("] ").filter(|_| line.starts_with('[')).map_or(line, |(_, text)| text);
        collector.push(&Record::of_text(text));
    }
    collector.finish()
}

fn only(log: &str) -> Report {
    let mut reports = reports(log);
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

fn page(report: &Report) -> String {
    text::report(report, &explain(report), Some("kern.log"), Style::default(), 10)
}

fn json(report: &Report) -> Value {
    let explanation = explain(report);
    let document = ReportDocument::new(report, &explanation, Some("kern.log"));
    serde_json::to_value(document).expect("the document is plain data")
}

const POD: &str = include_str!("../../memlet-oomlog/tests/fixtures/pod-limit.txt");
const NODE: &str = include_str!("../../memlet-oomlog/tests/fixtures/node-limit.txt");
const PODMAN: &str = include_str!("../../memlet-oomlog/tests/fixtures/container-limit.txt");

#[test]
fn a_pod_s_limit() {
    insta::assert_snapshot!(page(&only(POD)));
}

#[test]
fn all_pods_of_a_node() {
    insta::assert_snapshot!(page(&only(NODE)));
}

#[test]
fn a_container_of_podman_s() {
    insta::assert_snapshot!(page(&only(PODMAN)));
}

#[test]
fn markdown_to_paste() {
    let report = only(POD);
    insta::assert_snapshot!(markdown::report(&report, &explain(&report), Some("kern_1.log"), 10));
}

#[test]
fn the_document_has_its_names() {
    let document = json(&only(POD));
    for (key, value) in [
        ("invokedBy", "memhog"),
        ("constraint", "CONSTRAINT_MEMCG"),
        ("scope", "memcg"),
        ("level", "pod"),
        ("ending", "killed"),
    ] {
        assert_eq!(document[key], value, "{key}");
    }
    assert_eq!(document["usageBytes"], 64 << 20);
    assert_eq!(document["limitBytes"], 64 << 20);
    assert_eq!(document["unlimited"], false);
    assert_eq!(document["failcnt"], 423);
    assert_eq!(document["memorySwap"]["limitBytes"], Value::Null);
    assert_eq!(document["memorySwap"]["unlimited"], true);
    assert_eq!(document["swap"], Value::Null);
    assert_eq!(document["kubernetes"]["qosClass"], "Burstable");
    assert_eq!(document["kubernetes"]["podUid"], "edd036eb-ce5b-498b-9de5-b31807153cff");
    assert_eq!(
        document["kubernetes"]["runtime"],
        Value::Null,
        "a path of the cgroupfs driver does not name it"
    );
    assert_eq!(document["victims"][0]["anonRssBytes"], 64896 << 10);
    assert_eq!(document["victims"][0]["score"], Value::Null, "this kernel prints none");
    assert_eq!(document["victims"][0]["badnessPages"], 16367 + 42 + 998 * 16);
    assert_eq!(document["tasks"].as_array().unwrap().len(), 3);
    assert_eq!(document["tasks"][2]["rssBytes"], 16367 * 4096);
    assert_eq!(document["tasks"][2]["rssPages"], 16367);
    assert_eq!(document["choiceAgrees"], true);
    assert_eq!(document["complete"], true);
    assert_eq!(document["raw"]["file"], "kern.log");
    assert_eq!(document["allocation"]["gfpMask"], "GFP_HIGHUSER_MOVABLE");
    assert_eq!(document["explanation"]["facts"][1]["topic"], "limit");
    assert!(document["explanation"]["remedy"]["text"].as_str().unwrap().contains("96Mi"));
}

/// What is not in the log is null, and every key is there.
#[test]
fn a_kill_line_alone() {
    let line = "Memory cgroup out of memory: Killed process 42 (hog) total-vm:67880kB, anon-rss:65280kB, \
                file-rss:988kB, shmem-rss:0kB, UID:0 pgtables:164kB oom_score_adj:0";
    let report = only(line);
    let (short, whole) = (json(&report), json(&only(POD)));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&short), keys(&whole));
    for key in
        ["level", "oomMemcg", "usageBytes", "limitBytes", "unlimited", "failcnt", "invokedBy", "choiceAgrees"]
    {
        assert_eq!(short[key], Value::Null, "{key}");
    }
    assert_eq!(short["complete"], false);
    insta::assert_snapshot!(page(&report));
}

#[test]
fn hostile_names_reach_no_terminal() {
    let hostile = POD.replace("memhog", "a\u{1b}[2J\u{7}\u{202e}b");
    let report = only(&hostile);
    assert_eq!(report.victims[0].comm, "a\u{1b}[2J\u{7}\u{202e}b");
    let explanation = explain(&report);
    for page in [page(&report), markdown::report(&report, &explanation, None, 10)] {
        assert!(!page.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{page:?}");
    }
    assert_eq!(
        json(&report)["victims"][0]["comm"],
        "a\u{1b}[2J\u{7}\u{202e}b",
        "programs get what was there"
    );
}

#[test]
fn levels_of_the_fixtures() {
    for (log, level) in [(POD, Level::Pod), (NODE, Level::NodeAllocatable), (PODMAN, Level::Container)] {
        assert_eq!(explain(&only(log)).level, Some(level));
    }
}

#[test]
fn a_summary_of_several() {
    let mut summary = memlet_diagnosis::log::Summary::default();
    for log in [POD, NODE, POD, POD] {
        let report = only(log);
        summary.add(&report, &explain(&report));
    }
    insta::assert_snapshot!(text::summary(&summary, Style::default()));
    insta::assert_snapshot!(markdown::summary(&summary));
}

/// Real logs of all ages and sources, in a folder that is not part of the project: nothing panics, and every page is
/// printable.
#[test]
fn whatever_a_log_holds() {
    let Some(folder) = std::env::var_os("MEMLET_CORPUS") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for report in reports(&String::from_utf8_lossy(&bytes)) {
            let page = page(&report);
            assert!(!page.contains(|c: char| c.is_control() && c != '\n'), "{}", path.display());
            json(&report);
        }
    }
}
