//! What holds for any input: no panic, bounded memory, and a cut costs at most the report that is cut.

use memlet_oomlog::{Assembler, Bounds, Collector, Line, Record, Report};
use proptest::prelude::*;

const LOG: &str =
    concat!(include_str!("fixtures/pod-limit.txt"), "\n", include_str!("fixtures/node-limit.txt"), "\n");

/// Lines without their times, so that nothing but the text tells what belongs together.
fn lines() -> Vec<&'static str> {
    LOG.lines().filter_map(|line| Some(line.split_once("] ")?.1)).collect()
}

fn reports<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Report> {
    let mut collector = Collector::default();
    for line in lines {
        collector.push(&Record::of_text(line));
    }
    collector.finish()
}

/// A report without where it stood, to compare readings of the same text at other places.
fn placeless(mut report: Report) -> Report {
    (report.id, report.raw) = Default::default();
    report
}

/// Pieces of real lines, and anything between them.
fn texts() -> impl Strategy<Value = String> {
    let real = (prop::sample::select(lines()), any::<prop::sample::Index>(), any::<prop::sample::Index>())
        .prop_map(|(line, from, to)| {
            let boundary = |index: prop::sample::Index| line.floor_char_boundary(index.index(line.len() + 1));
            let (from, to) = (boundary(from), boundary(to));
            line[from.min(to)..from.max(to)].to_owned()
        });
    let word = prop::sample::select(vec![
        "oom-kill:constraint=",
        ",oom_memcg=",
        ",task_memcg=",
        ",task=",
        ",pid=1",
        ",uid=0",
        ",cpuset=",
        ",mems_allowed=",
        " invoked oom-killer: ",
        "gfp_mask=0x",
        "Killed process 1 (",
        ") total-vm:",
        "1kB",
        "[  pid  ] uid tgid name",
        "[ 1] 1 1",
        "Tasks in ",
        "Memory cgroup stats for ",
        "/",
        ":",
        "\n",
        " ",
        "-",
        "99999999999999999999",
        "日",
        "CPU: 0 PID: 1 Comm: ",
    ]);
    let piece = prop_oneof![4 => real, 4 => word.prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_record_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::parse_kmsg(&bytes);
        let with_header = [b"6,1,1,-;", &bytes[..]].concat();
        prop_assert!(Record::parse_kmsg(&with_header).is_ok());
    }

    #[test]
    fn no_text_panics(texts in prop::collection::vec((texts(), any::<Option<bool>>(), 0u64..40), 0..40)) {
        let mut collector = Collector::default();
        for (text, continuation, sequence) in &texts {
            let _ = Line::parse(text);
            collector.push(&Record { sequence: Some(*sequence), continuation: *continuation, ..Record::of_text(text.as_str()) });
        }
        for report in collector.finish() {
            let _ = (report.choice(), report.ranking(), serde_json::to_string(&report).unwrap());
        }
    }

    #[test]
    fn a_cut_costs_at_most_the_report_that_is_cut(at in any::<prop::sample::Index>()) {
        let lines = lines();
        let whole: Vec<_> = reports(lines.iter().copied()).into_iter().map(placeless).collect();
        prop_assert_eq!(whole.len(), 2);
        let at = at.index(lines.len() + 1);
        let [head, tail] = [&lines[..at], &lines[at..]].map(|part| {
            reports(part.iter().copied()).into_iter().filter(|report| report.complete).map(placeless).collect::<Vec<_>>()
        });
        // Each report that the cut does not go through is found whole on its side.
        let first_ends = lines.iter().position(|line| line.contains("Killed process")).unwrap() + 1;
        let second_begins = lines.iter().rposition(|line| line.contains("invoked oom-killer")).unwrap();
        prop_assert_eq!(head.first() == whole.first(), at >= first_ends);
        prop_assert_eq!(tail.last() == whole.last(), at <= second_begins);
        // And a cut makes up no report: at most one more, incomplete, on either side.
        let all: usize = [&lines[..at], &lines[at..]].into_iter().map(|part| reports(part.iter().copied()).len()).sum();
        prop_assert!(all <= 3);
    }

    #[test]
    fn lines_lost_from_the_middle_mix_no_two_reports(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>()) {
        let lines = lines();
        let (from, to) = (from.index(lines.len() + 1), to.index(lines.len() + 1));
        let (from, to) = (from.min(to), from.max(to));
        let left = lines[..from].iter().chain(&lines[to..]).copied();
        for report in reports(left) {
            let pids: Vec<_> = report.victims.iter().map(|victim| victim.pid).collect();
            let of_node = report.oom_memcg.as_deref() == Some("/kubepods");
            prop_assert!(pids.len() <= 1);
            if report.task(861).is_some() {
                prop_assert_ne!(report.stats_for.as_deref(), Some("/kubepods"));
            }
            // Without the choice and the numbers of the records, nothing tells whose kill line it is.
            if report.chosen.is_some() && report.oom_memcg.is_some() && !pids.is_empty() {
                prop_assert_eq!(pids[0], if of_node { 19344 } else { 861 });
            }
        }
    }

    #[test]
    fn two_logs_after_each_other_are_the_reports_of_both(noise in prop::collection::vec(texts(), 0..10)) {
        let lines = lines();
        let alone = reports(noise.iter().map(String::as_str)).len();
        let together: Vec<_> =
            reports(noise.iter().map(String::as_str).chain(lines.iter().copied())).into_iter().map(placeless).collect();
        let real: Vec<_> = reports(lines.iter().copied()).into_iter().map(placeless).collect();
        prop_assert_eq!(together.len(), alone + 2);
        // What the noise says of suppressed reports goes to the next one.
        prop_assert_eq!(&together[alone + 1], &real[1]);
    }
}

#[test]
fn an_endless_report_is_bounded_and_what_was_dropped_is_counted() {
    let bounds = Bounds { tasks: 10, victims: 3, stats: 5, call_trace: 7 };
    let mut assembler = Assembler::with_bounds(bounds);
    let mut push = |text: &str| assembler.push(&Record::of_text(text));
    push("x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0");
    push("Call Trace:");
    for _ in 0..1000 {
        push(&"? frame".repeat(1000));
    }
    push("memory: usage 4kB, limit 4kB, failcnt 1");
    push("Memory cgroup stats for /a:");
    for key in 0..1000 {
        push(&format!("key_{key} 1"));
    }
    push("[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name");
    for pid in 0..1000 {
        push(&format!(
            "[{pid:7}]     0 {pid:5}        1        1     4096        0             0 {}",
            "n".repeat(9000)
        ));
    }
    push(
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/a,task_memcg=/a,task=n,pid=5,uid=0",
    );
    let sizes = "total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0";
    push(&format!("Memory cgroup out of memory: Killed process 5 (n) {sizes}"));
    let Some(memlet_oomlog::Event::Finished(report)) = assembler.next_event() else { panic!("no report") };
    assert!(!report.complete);
    assert_eq!((report.tasks.len(), report.dropped.tasks), (10, 990));
    assert_eq!((report.stats.len(), report.call_trace.len(), report.dropped.lines), (5, 7, 995 + 994));
    assert!(serde_json::to_string(&report).unwrap().len() < 10_000);
}
