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

/// What a report of `stats` and `counters` at the limit of a container of docker's says.
fn of_docker(counters: &str, rest: &str) -> Report {
    const ID: &str = "2e088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50";
    only(&format!(
        "web invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n\
         Task in /docker/{ID} killed as a result of limit of /docker/{ID}\n\
         {counters}{rest}\
         Memory cgroup out of memory: Killed process 7 (web) total-vm:8000kB, anon-rss:4000kB, file-rss:0kB\n"
    ))
}

/// The limit that ran out is named, and that one is to be raised: raising another does not help.
#[test]
fn limits_other_than_that_of_memory() {
    let memory = "memory: usage 51200kB, limit 102400kB, failcnt 0\n";
    let unlimited = "limit 9007199254740988kB, failcnt 0\n";
    let kmem = of_docker(
        memory,
        &format!("memory+swap: usage 51200kB, {unlimited}kmem: usage 10240kB, limit 10240kB, failcnt 41\n"),
    );
    let explanation = explain(&kmem);
    assert!(
        explanation.summary.ends_with("reached its limit of 10Mi for kernel memory"),
        "{}",
        explanation.summary
    );
    let remedy = explanation.remedy.unwrap();
    assert!(remedy.text.contains("memory.kmem.limit_in_bytes") && remedy.commands.is_empty(), "{remedy:?}");

    let both = of_docker(
        memory,
        &format!("memory+swap: usage 204800kB, limit 204800kB, failcnt 41\nkmem: usage 0kB, {unlimited}"),
    );
    let explanation = explain(&both);
    assert!(
        explanation.summary.ends_with("reached its limit of 200Mi for memory and swap together"),
        "{}",
        explanation.summary
    );
    let remedy = explanation.remedy.unwrap();
    assert!(remedy.text.contains("200Mi → 320Mi"), "{remedy:?}");
    assert!(remedy.commands[0].starts_with("docker update --memory-swap 335544320 2e088f"), "{remedy:?}");

    // Without swap for the container both limits are the same, and follow the one that people set.
    let no_swap = of_docker(memory, "memory+swap: usage 102400kB, limit 102400kB, failcnt 41\n");
    assert!(
        explain(&no_swap).remedy.unwrap().commands[0].contains("--memory 167772160 --memory-swap 167772160")
    );

    let policy = of_docker(&format!("memory: usage 51200kB, {unlimited}"), "");
    let policy = Report { call_trace: vec![" bpf_out_of_memory+0x6f/0xd0".to_owned()], ..policy };
    let explanation = explain(&policy);
    assert!(
        explanation.summary.contains("a BPF program found the memory of Docker container 2e088fe462e2 short"),
        "{}",
        explanation.summary
    );
    assert!(explanation.remedy.unwrap().text.starts_with("no limit was hit"));
    let unexplained = explain(&of_docker(&format!("memory: usage 51200kB, {unlimited}"), ""));
    assert!(unexplained.summary.ends_with("which has no memory limit by the log"), "{}", unexplained.summary);
    assert_eq!(unexplained.remedy, None);
}

/// Up to Linux 5.2 the figures stand cgroup by cgroup. Where those of some are not in the log, nothing follows for the
/// whole.
#[test]
fn statistics_of_a_part_are_not_told_as_the_whole() {
    let stats = "Memory cgroup stats for /docker/x: cache:1024KB rss:10240KB rss_huge:0KB mapped_file:0KB swap:0KB \
                 inactive_anon:0KB active_anon:0KB inactive_file:0KB active_file:0KB unevictable:0KB\n";
    let part = of_docker("memory: usage 102400kB, limit 102400kB, failcnt 5\n", stats);
    assert!(page(&part).contains("charged  the log tells of 11Mi of 100Mi only"), "{}", page(&part));
    assert_eq!(json(&part)["charged"], Value::Null);
    let whole = of_docker("memory: usage 12288kB, limit 12288kB, failcnt 5\n", stats);
    assert!(page(&whole).contains("charged  10Mi anonymous"), "{}", page(&whole));
    assert_eq!(json(&whole)["charged"]["anonBytes"], 10 << 20);
}

#[test]
fn a_score_is_told_of_the_one_that_had_it() {
    let killed = "Out of memory: Kill process 12562 (node) score 786 or sacrifice child\n\
                  Killed process 12573 (node) total-vm:660944kB, anon-rss:76872kB, file-rss:0kB\n";
    let report = only(killed);
    assert!(
        page(&report).contains("gave pid 12562 (node) a score of 786, and killed a child or thread of it")
    );
    let document = json(&report);
    assert_eq!(
        (&document["victims"][0]["score"], &document["victims"][0]["scoredPid"]),
        (&786.into(), &12562.into())
    );
}

/// Linux 4.19 and older: the child dies, the parent scored.
#[test]
fn the_highest_score_is_the_parent_s_where_a_child_died_for_it() {
    let log = "worker invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n\
               memory: usage 8000kB, limit 8000kB, failcnt 9\n\
               [1] [ pid ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n\
               [1] [  501]     0   501     3000     2000        0        0             0 worker\n\
               [1] [  502]     0   502     3000       20        0        0             0 worker-child\n\
               Memory cgroup out of memory: Kill process 501 (worker) score 900 or sacrifice child\n\
               Killed process 502 (worker-child) total-vm:12000kB, anon-rss:80kB, file-rss:0kB, shmem-rss:0kB\n";
    let page = page(&only(log));
    assert!(
        page.contains("the highest score of 2 processes: worker 7.8Mi; next: worker-child 80Ki"),
        "{page}"
    );
    assert!(page.contains("pid 501 (worker), score 900, and killed a child"), "{page}");
}

#[test]
fn reports_without_a_kill_are_not_counted_as_kills() {
    let mut summary = memlet_diagnosis::log::Summary::default();
    let none = "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\nMem-Info:\n\
                Out of memory and no killable processes...\n";
    let killed =
        "Out of memory: Killed process 7 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB\n";
    for report in reports(&format!("{killed}{none}")) {
        summary.add(&report, &explain(&report));
    }
    assert_eq!(summary.groups()[0].remark().unwrap(), "2 reports in this log, 1 of them with a kill");
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
