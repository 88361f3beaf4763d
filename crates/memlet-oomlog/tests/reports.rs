//! Reports of real kills, recorded on Linux 6.18 with cgroup v1.

use std::time::Duration;

use memlet_bytes::Bytes;
use memlet_oomlog::{
    Amendment, Assembler, Choice, Collector, Constraint, Ending, Event, Level, Limit, Manner, Obstacle,
    Record, Report, Scope, WrittenTime,
};

const POD_LIMIT: &str = include_str!("fixtures/pod-limit.txt");
const NODE_LIMIT: &str = include_str!("fixtures/node-limit.txt");
const CONTAINER_LIMIT: &str = include_str!("fixtures/container-limit.txt");

/// The records of a `dmesg` text, numbered as `/dev/kmsg` would.
fn records(dmesg: &str) -> Vec<Record<'static>> {
    let mut records = Vec::new();
    for (sequence, line) in (1000..).zip(dmesg.lines()) {
        let (time, text) =
            line.strip_prefix('[').and_then(|line| line.split_once("] ")).expect("a dmesg line");
        records.push(Record {
            sequence: Some(sequence),
            since_boot: Some(Duration::from_secs_f64(time.trim().parse().expect("seconds"))),
            level: Some(Level::Info),
            facility: Some(0),
            continuation: Some(false),
            ..Record::of_text(text.to_owned())
        });
    }
    records
}

fn reports(records: &[Record<'_>]) -> Vec<Report> {
    let mut collector = Collector::default();
    for record in records {
        collector.push(record);
    }
    collector.finish()
}

fn events(assembler: &mut Assembler, record: &Record<'_>) -> Vec<Event> {
    assembler.push(record);
    std::iter::from_fn(|| assembler.next_event()).collect()
}

fn kernel(sequence: u64, text: &str) -> Record<'static> {
    Record {
        sequence: Some(sequence),
        facility: Some(0),
        continuation: Some(false),
        since_boot: Some(Duration::from_millis(sequence)),
        ..Record::of_text(text.to_owned())
    }
}

const KILLED: &str = "Memory cgroup out of memory: Killed process";
const SIZES: &str =
    "total-vm:8192kB, anon-rss:4096kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:16kB oom_score_adj:0";

#[test]
fn a_pods_limit() {
    let [report] = &reports(&records(POD_LIMIT))[..] else { panic!("one report") };
    assert!(report.complete, "{report:#?}");
    assert_eq!((report.scope, report.constraint.as_ref()), (Some(Scope::Memcg), Some(&Constraint::Memcg)));
    let pod = "/kubepods/burstable/podedd036eb-ce5b-498b-9de5-b31807153cff";
    let container = "26be0c6d0cf10eda3d1ce9170804516bbaf7b7e062767d8edea69849f12d1fe5";
    assert_eq!(report.oom_memcg.as_deref(), Some(pod));
    assert_eq!(report.task_memcg.as_deref(), Some(format!("{pod}/{container}").as_str()));
    assert_eq!(report.cpuset.as_deref(), Some(container));
    let memory = report.memory.unwrap();
    assert_eq!(
        (memory.usage, memory.limit, memory.failcnt),
        (Bytes::from_mib(64), Limit::Bytes(Bytes::from_mib(64)), Some(423))
    );
    assert_eq!(report.memory_swap.unwrap().limit, Limit::Unlimited);
    assert_eq!(report.kmem.unwrap().usage, Bytes::from_kib(520));
    assert_eq!(report.swap, None, "cgroup v1 has no such counter");
    assert_eq!((report.stats["total_rss"], report.stats["rss"], report.stats.len()), (66_576_384, 0, 42));
    let invoker = report.invoked_by.as_ref().unwrap();
    assert_eq!(
        (invoker.comm.as_str(), invoker.pid, invoker.uid, invoker.oom_score_adj),
        ("memhog", Some(861), Some(0), Some(998))
    );
    assert_eq!(report.kernel.as_deref(), Some("6.18.44-fc-v657"));
    assert_eq!(report.gfp.as_ref().unwrap().names.as_deref(), Some("GFP_HIGHUSER_MOVABLE"));
    assert_eq!((report.order, report.ending), (Some(0), Some(Ending::Killed)));
    let [victim] = &report.victims[..] else { panic!("one victim") };
    assert_eq!(
        (victim.pid, victim.comm.as_str(), victim.uid, victim.oom_score_adj),
        (861, "memhog", Some(0), Some(998))
    );
    assert_eq!(
        (victim.anon_rss, victim.pgtables),
        (Some(Bytes::from_kib(64896)), Some(Bytes::from_kib(168)))
    );
    assert_eq!(report.page_size, Some(Bytes::from_kib(4)));
    assert_eq!(
        report.tasks.iter().map(|task| task.comm.as_str()).collect::<Vec<_>>(),
        ["pause", "sh", "memhog"]
    );
    assert_eq!((report.call_trace.len(), report.call_trace[0].as_str()), (34, "Call Trace:"));
    assert_eq!((report.raw.start_line, report.raw.end_line), (1, 89));
    assert_eq!((report.raw.start_sequence, report.raw.end_sequence), (Some(1000), Some(1088)));
    assert_eq!(report.since_boot, Some(Duration::from_micros(3_515_115_400)));
}

#[test]
fn why_that_process() {
    let [pod] = &reports(&records(POD_LIMIT))[..] else { panic!("one report") };
    // rss 16367 + page tables 172032/4096 + 998 × (16384/1000).
    let ranking: Vec<_> = pod.ranking().iter().map(|ranked| (ranked.pid, ranked.points)).collect();
    assert_eq!(ranking, [(861, 16367 + 42 + 998 * 16), (848, 220 + 10 + 998 * 16), (815, 159 + 10)]);
    assert_eq!(pod.choice(), Choice::Agrees);

    let [node] = &reports(&records(NODE_LIMIT))[..] else { panic!("one report") };
    assert_eq!((node.complete, node.oom_memcg.as_deref(), node.tasks.len()), (true, Some("/kubepods"), 14));
    assert_eq!(node.choice_agrees(), Some(true));

    // Had the kernel taken another one, it would be told.
    let mut wrong = node.clone();
    wrong.victims[0].pid = 18757;
    wrong.chosen = None;
    assert_eq!(wrong.choice(), Choice::Disagrees { worst: 19344 });
    wrong.tasks.retain(|task| task.pid != 18757);
    assert_eq!(
        wrong.choice(),
        Choice::Unknown { why: Obstacle::NotListed },
        "the victim is not in the table"
    );

    let [container] = &reports(&records(CONTAINER_LIMIT))[..] else { panic!("one report") };
    assert_eq!((container.complete, container.choice_agrees()), (true, Some(true)));
}

#[test]
fn a_report_is_json_and_back() {
    for report in reports(&records(NODE_LIMIT)) {
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["constraint"], "CONSTRAINT_MEMCG");
        assert_eq!(json["memorySwap"]["limit"], "unlimited");
        assert_eq!(json["victims"][0]["anonRssBytes"], 1_043_584 * 1024);
        let back: Report = serde_json::from_value(json).unwrap();
        assert_eq!(back, report);
    }
}

#[test]
fn reports_follow_each_other() {
    let three = [POD_LIMIT, "\n", NODE_LIMIT, "\n", CONTAINER_LIMIT].concat();
    let lines: String = three.lines().filter(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect();
    let found: Vec<_> = reports(&records(&lines))
        .into_iter()
        .map(|report| (report.complete, report.victims[0].pid))
        .collect();
    assert_eq!(found, [(true, 861), (true, 19344), (true, 3011)]);
}

#[test]
fn the_report_comes_with_the_kill_line() {
    let records = records(POD_LIMIT);
    let (kill, before) = records.split_last().unwrap();
    let mut assembler = Assembler::default();
    for record in before {
        assert_eq!(events(&mut assembler, record), []);
    }
    assert!(assembler.is_amid_report());
    assert!(matches!(&events(&mut assembler, kill)[..], [Event::Finished(report)] if report.complete));
    assert!(!assembler.is_amid_report());
    assembler.flush();
    assert_eq!(assembler.next_event(), None);
}

#[test]
fn a_cgroup_killed_as_a_whole_amends_the_report() {
    let mut assembler = Assembler::default();
    let mut push = |sequence, text: &str| events(&mut assembler, &kernel(sequence, text));
    let [Event::Finished(report)] = &mut push(1, &format!("{KILLED} 42 (hog) {SIZES}"))[..] else {
        panic!("a report")
    };
    let id = report.id;
    let mut amended = |events: Vec<Event>| match <[Event; 1]>::try_from(events) {
        Ok([Event::Amended { report: of, amendment, line }]) if of == id => report.amend(amendment, line),
        other => panic!("{other:?}"),
    };
    amended(push(2, "Tasks in /pod/c are going to be killed due to memory.oom.group set"));
    amended(push(3, &format!("{KILLED} 41 (sh) {SIZES}")));
    assert_eq!(push(4, &format!("{KILLED} 42 (hog) {SIZES}")), [], "the first victim is named again");
    amended(push(5, "oom_reaper: reaped process 41 (sh), now anon-rss:0kB, file-rss:4kB, shmem-rss:0kB"));
    assert_eq!(report.group_kill.as_deref(), Some("/pod/c"));
    assert_eq!(report.victims.iter().map(|victim| victim.pid).collect::<Vec<_>>(), [42, 41]);
    assert_eq!(report.victims[1].reaped.unwrap().file_rss, Bytes::from_kib(4));
    // Long after, and with no header because of the rate limit: another kill.
    let [Event::Finished(next)] = &push(5000, &format!("{KILLED} 43 (x) {SIZES}"))[..] else {
        panic!("a report")
    };
    assert_ne!(next.id, id);
}

#[test]
fn kills_that_the_rate_limit_left_alone() {
    let records: Vec<_> =
        (1..=3).map(|sequence| kernel(sequence, &format!("{KILLED} 42 (hog) {SIZES}"))).collect();
    let found = reports(&records);
    assert_eq!(found.len(), 3, "the same pid again is another kill");
    assert!(found.iter().all(|report| !report.complete && report.scope == Some(Scope::Memcg)));
    let [report] = &reports(&[
        kernel(1, "oom_kill_process: 7 callbacks suppressed"),
        kernel(2, "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
        kernel(3, "memory: usage 64kB, limit 64kB, failcnt 9"),
        kernel(4, "Memory cgroup stats for /a:"),
        kernel(5, "Out of memory and no killable processes..."),
    ])[..] else {
        panic!("one report")
    };
    assert_eq!((report.suppressed_before, report.ending), (Some(7), Some(Ending::NoKillableProcess)));
    assert!(report.complete && report.victims.is_empty());
}

#[test]
fn a_panic_for_want_of_a_victim_is_of_that_report() {
    let records = [
        kernel(1, "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
        kernel(2, "Mem-Info:"),
        kernel(3, "Out of memory and no killable processes..."),
        kernel(4, "Kernel panic - not syncing: System is deadlocked on memory"),
    ];
    let [report] = &reports(&records)[..] else { panic!("one report") };
    assert_eq!((report.ending, report.victims.len()), (Some(Ending::Deadlock), 0));
    let [report] = &reports(&records[..3])[..] else { panic!("one report") };
    assert_eq!(report.ending, Some(Ending::NoKillableProcess));
}

#[test]
fn a_torn_line_is_mended() {
    let whole = records(POD_LIMIT);
    let at = whole.iter().position(|record| record.text.starts_with("oom-kill:")).unwrap();
    let text = whole[at].text.clone();
    for cut in ["cpuset=", "mems_allowed=", "oom_memcg=", "b31807153cff,", ",task_memcg=", ",task="]
        .map(|word| text.find(word).unwrap() + word.len())
    {
        // The kernel's pieces begin with a comma or a slash, or are the cpuset's name.
        let cut = if text[cut..].starts_with(['/', ',']) || text[..cut].ends_with("cpuset=") {
            cut
        } else {
            text[..cut].rfind(',').unwrap()
        };
        let mut torn = whole.clone();
        torn[at].text.to_mut().truncate(cut);
        let rest = Record {
            continuation: Some(true),
            ..Record { text: text[cut..].to_owned().into(), ..torn[at].clone() }
        };
        let noise =
            Record { text: "docker0: port 1(veth) entered disabled state".into(), ..torn[at].clone() };
        torn.splice(at + 1..=at, [noise, rest]);
        for (sequence, record) in (1000..).zip(&mut torn) {
            record.sequence = Some(sequence);
        }
        let [report] = &reports(&torn)[..] else { panic!("one report") };
        let [expected] = &reports(&whole)[..] else { panic!("one report") };
        assert!(report.complete, "cut after {:?}", &text[..cut]);
        assert_eq!(Report { raw: expected.raw, ..report.clone() }, *expected, "cut after {:?}", &text[..cut]);
    }
}

#[test]
fn a_piece_of_another_callers_line_is_not_joined() {
    let of = |sequence, caller: &str, continuation, text: &str| Record {
        caller: Some(caller.to_owned().into()),
        continuation: Some(continuation),
        ..kernel(sequence, text)
    };
    let opening = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=";
    let mut records = vec![
        of(1, "T7", false, opening),
        of(2, "T8", true, "/evil,task_memcg=/evil,task=x,pid=1,uid=0"),
        of(3, "T7", true, "/a,task_memcg=/a,task=hog,pid=42,uid=0"),
    ];
    let [report] = &reports(&records)[..] else { panic!("one report") };
    assert_eq!((report.oom_memcg.as_deref(), report.victims[0].pid), (Some("/a"), 42));
    // The rest never comes: nothing is made up.
    records.truncate(2);
    let [report] = &reports(&records)[..] else { panic!("one report") };
    assert_eq!((report.constraint.as_ref(), report.oom_memcg.as_ref()), (Some(&Constraint::Memcg), None));
    assert_eq!((report.scope, report.victims.len()), (Some(Scope::Memcg), 0));
}

#[test]
fn torn_statistics_and_group_lines_are_mended() {
    let piece = |sequence, text: &str| Record { continuation: Some(true), ..kernel(sequence, text) };
    let group = "Tasks in /pod/c are going to be killed due to memory.oom.group set";
    let heading = "Memory cgroup stats for /pod:";
    for (at_heading, at_group) in [(24, 9), (28, 15)] {
        let records = [
            kernel(1, "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
            kernel(2, "memory: usage 64kB, limit 64kB, failcnt 9"),
            kernel(3, &heading[..at_heading]),
            kernel(4, "docker0: port 1(veth) entered disabled state"),
            piece(5, &heading[at_heading..]),
            kernel(6, "total_rss 4096"),
            kernel(
                7,
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/pod,task_memcg=/pod/c,task=hog,pid=42,uid=0",
            ),
            kernel(8, &format!("{KILLED} 42 (hog) {SIZES}")),
            kernel(9, &group[..at_group]),
            kernel(10, "CPU: 3 UID: 0 PID: 1 Comm: other Not tainted 6.18.0 #1"),
            piece(11, &group[at_group..]),
        ];
        let [report] = &reports(&records)[..] else { panic!("one report") };
        assert_eq!((report.stats_for.as_deref(), report.stats.len()), (Some("/pod"), 1));
        assert_eq!((report.complete, report.group_kill.as_deref()), (true, Some("/pod/c")));
    }
}

#[test]
fn other_cpus_messages_do_not_break_a_report() {
    let whole = records(POD_LIMIT);
    let noise = [
        "WARNING: CPU: 1 PID: 9 at mm/x.c:1 x+0x1/0x2",
        "CPU: 1 UID: 0 PID: 9 Comm: other Tainted: G        W           6.0.0 #1",
        "Call Trace:",
        " </TASK>",
        "other: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL), nodemask=(null)",
        "Mem-Info:",
        "20000 pages RAM",
        "audit: type=1400 msg=audit(1.2:3): x",
        "x\ny",
    ];
    let [expected] = &reports(&whole)[..] else { panic!("one report") };
    for at in 1..whole.len() {
        let mut mixed = whole.clone();
        let since_boot = whole[at].since_boot;
        mixed.splice(at..at, noise.map(|text| Record { since_boot, ..kernel(0, text) }));
        for (sequence, record) in (1000..).zip(&mut mixed) {
            record.sequence = Some(sequence);
        }
        let [report] = &reports(&mixed)[..] else { panic!("one report, with noise at {at}") };
        // Before the memory block nothing tells whose stack it is.
        let (call_trace, kernel) = (expected.call_trace.clone(), expected.kernel.clone());
        let kernel = if at == 1 { report.kernel.clone() } else { kernel };
        assert_eq!(
            Report { raw: expected.raw, call_trace, ..report.clone() },
            Report { kernel, ..expected.clone() }
        );
    }
}

#[test]
fn a_kill_of_another_report_does_not_end_this_one() {
    let mut records = records(POD_LIMIT);
    let kill = records.len() - 1;
    // The number of a thread of the victim: its address space tells that it belongs here.
    records[kill].text = records[kill].text.replace("process 861 (memhog)", "process 863 (thread)").into();
    let [report] = &reports(&records)[..] else { panic!("one report") };
    assert_eq!(
        (report.complete, report.victims[0].pid, report.chosen.as_ref().unwrap().pid),
        (true, 863, 861)
    );
    assert_eq!(report.choice(), Choice::Agrees);
    // Another process: the end of this report is lost, and all but the end of the next.
    records[kill].text = records[kill].text.replace("total-vm:308232kB", "total-vm:1639432kB").into();
    let [cut, next] = &reports(&records)[..] else { panic!("two reports") };
    assert_eq!((cut.complete, cut.victims[0].pid, cut.victims[0].anon_rss), (false, 861, None));
    assert_eq!((next.complete, next.victims[0].pid, next.oom_memcg.as_deref()), (false, 863, None));
    // Nor does it when the numbers of the records tell that the choice is lost.
    records.drain(50..kill);
    let [cut, next] = &reports(&records)[..] else { panic!("two reports") };
    assert_eq!((cut.victims.len(), next.victims[0].pid, next.oom_memcg.as_deref()), (0, 863, None));
}

#[test]
fn a_lost_head_does_not_give_its_report_to_the_one_before() {
    // The first is cut in its table; the second begins with its statistics, or its table.
    let cut = |text: &str, from: &str, to: Option<&str>| -> Vec<Record<'static>> {
        let all = records(text);
        let find = |word: &str| all.iter().position(|record| record.text.starts_with(word)).unwrap();
        all[find(from)..to.map_or(all.len(), find)]
            .iter()
            .map(|record| Record { sequence: None, ..record.clone() })
            .collect()
    };
    let head = cut(POD_LIMIT, "memhog invoked", Some("oom-kill:"));
    for (from, stats_for) in [("Memory cgroup stats", Some("/kubepods")), ("Tasks state", None)] {
        let tail = cut(NODE_LIMIT, from, None);
        let [first, second] = &reports(&[&head[..], &tail].concat())[..] else { panic!("two reports") };
        assert_eq!((first.tasks.len(), first.victims.len()), (3, 0));
        assert!(first.stats_for.as_deref().is_some_and(|path| path.starts_with("/kubepods/burstable/")));
        assert_eq!(
            (second.stats_for.as_deref(), second.tasks.len(), second.victims[0].pid),
            (stats_for, 14, 19344)
        );
        assert!(!first.complete && !second.complete);
    }
}

#[test]
fn what_was_charged() {
    let [node] = &reports(&records(NODE_LIMIT))[..] else { panic!("one report") };
    let charged = node.charged().unwrap();
    assert_eq!(charged.kernel, Some(Bytes::from_kib(4060)));
    let all: Bytes = [charged.anon, charged.file, charged.shmem, charged.kernel].into_iter().flatten().sum();
    assert!(
        all <= node.memory.unwrap().usage && all.share_of(node.memory.unwrap().usage) > Some(0.99),
        "{charged:?}"
    );
}

#[test]
fn user_space_is_not_believed() {
    let mut forged = records(POD_LIMIT);
    for record in &mut forged {
        record.facility = Some(1);
    }
    assert_eq!(reports(&forged), []);
    // Nor can it spoil a real one that it writes into.
    let mut mixed = records(POD_LIMIT);
    let forgery = Record { facility: Some(1), ..Record::of_text(format!("{KILLED} 1 (init) {SIZES}")) };
    mixed.insert(60, forgery);
    let [report] = &reports(&mixed)[..] else { panic!("one report") };
    assert!(report.complete && report.victims[0].pid == 861);
}

#[test]
fn a_lost_record_makes_a_report_incomplete() {
    let mut records = records(POD_LIMIT);
    records.remove(70);
    let [report] = &reports(&records)[..] else { panic!("one report") };
    assert_eq!(
        (report.complete, report.dropped.records, report.choice()),
        (false, 1, Choice::Unknown { why: Obstacle::TableIncomplete })
    );
    assert_eq!(report.victims[0].pid, 861);
}

#[test]
fn a_victims_name_cannot_move_it_to_another_cgroup() {
    for comm in [",task=evil,pid=", "a) b (c", "", "x\ny", "1,uid=0"] {
        let renamed =
            POD_LIMIT.replace("task=memhog,", "task=<comm>,").replace("(memhog) total", "(<comm>) total");
        let mut records = records(&renamed);
        for record in &mut records {
            record.text = record.text.replace("<comm>", comm).into();
        }
        let [report] = &reports(&records)[..] else { panic!("one report") };
        assert_eq!((report.victims[0].comm.as_str(), report.victims[0].pid), (comm, 861));
        assert_eq!(report.chosen.as_ref().unwrap().comm, comm);
        assert!(
            report.task_memcg.as_deref().unwrap().ends_with("f12d1fe5"),
            "{comm:?}: {:?}",
            report.task_memcg
        );
    }
}

#[test]
fn amendments_for_nothing_are_dropped() {
    let mut report = reports(&records(POD_LIMIT)).remove(0);
    let before = report.clone();
    let left = memlet_oomlog::Reaped { anon_rss: Bytes::ZERO, file_rss: Bytes::ZERO, shmem_rss: Bytes::ZERO };
    report.amend(Amendment::Reaped { pid: 1, left }, 1);
    assert_eq!(report, before);
}

#[test]
fn a_whole_machine_out_of_memory() {
    let lines = [
        "x invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0",
        "Mem-Info:",
        "active_anon:1 inactive_anon:2 isolated_anon:0\n active_file:3 inactive_file:4 isolated_file:0",
        "Free swap  = 0kB",
        "Total swap = 4000kB",
        "20000 pages RAM",
        "0 pages HighMem/MovableOnly",
        "1000 pages reserved",
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name",
        "[      1]     0     1     2048     9000     9000        0         0    40960        0             0 init",
        "[      7]     0     7     2048     2000     2000        0         0    40960        0           300 small",
        "[      8]     0     8     2048     7000     7000        0         0    40960      600             0 large",
        "[      9]     0     9     2048     9000     9000        0         0    40960        0         -1000 spared",
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/x,task=small,pid=7,uid=0",
        "Out of memory: Killed process 7 (small) total-vm:8192kB, anon-rss:8000kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:300",
    ];
    let of = |lines: &[&str]| {
        reports(&(1..).zip(lines).map(|(sequence, text)| kernel(sequence, text)).collect::<Vec<_>>())
    };
    let [report] = &of(&lines)[..] else { panic!("one report") };
    assert!(report.complete);
    assert_eq!((report.scope, report.oom_memcg.as_deref()), (Some(Scope::System), None));
    // (20000 − 1000) pages of memory and 1000 of swap.
    assert_eq!(report.domain_pages(), Some(20_000));
    let ranking: Vec<_> = report.ranking().iter().map(|ranked| (ranked.pid, ranked.points)).collect();
    assert_eq!(ranking, [(7, 2000 + 10 + 300 * 20), (8, 7000 + 600 + 10)], "neither init nor who is spared");
    assert_eq!(report.choice(), Choice::Agrees);
    // Cut before the kill line, the choice is still known.
    let [cut] = &of(&lines[..lines.len() - 1])[..] else { panic!("one report") };
    assert_eq!(
        (cut.complete, cut.ending, cut.victims[0].pid, cut.victims[0].anon_rss),
        (false, None, 7, None)
    );
}

/// A log that was filtered, or goes on after another boot: lines far apart in time are not of one report.
#[test]
fn what_is_far_apart_is_not_joined() {
    let at = |seconds, text: &str| Record {
        since_boot: Some(Duration::from_secs(seconds)),
        ..Record::of_text(text.to_owned())
    };
    let group = "Tasks in /pod/c are going to be killed due to memory.oom.group set";
    let (first, second) = (format!("{KILLED} 42 (hog) {SIZES}"), format!("{KILLED} 41 (sh) {SIZES}"));
    let victims = |seconds| {
        let records = [at(100, &first), at(100, group), at(seconds, &second)];
        reports(&records).iter().map(|report| report.victims.len()).collect::<Vec<_>>()
    };
    assert_eq!((victims(100), victims(90_000), victims(5)), (vec![2], vec![1, 1], vec![1, 1]));
    let by = |clock: &'static str, text: &str| Record {
        time: Some(WrittenTime::new(Manner::Ctime, clock)),
        ..Record::of_text(text.to_owned())
    };
    let days = [
        by("Fri Nov 22 10:01:02 2024", &first),
        by("Fri Nov 22 10:01:02 2024", group),
        by("Sun Nov 24 10:01:02 2024", &second),
    ];
    assert_eq!(reports(&days).len(), 2);
    assert_eq!(reports(&days[..2])[0].raw.end_line, 2, "what was added stands among its lines");

    let header = "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0";
    let found =
        reports(&[at(100, header), at(100, "memory: usage 64kB, limit 64kB, failcnt 9"), at(4000, &first)]);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].victims.len(), found[1].memory), (0, None), "nobody knows which cgroup's that was");
}

/// A slow console writes each of a hundred members' lines after the last, and may have lost rows of the table.
#[test]
fn a_group_may_be_large_and_its_console_slow() {
    let at = |millis, text: &str| Record {
        since_boot: Some(Duration::from_millis(millis)),
        ..Record::of_text(text.to_owned())
    };
    let mut records = vec![
        at(0, "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"),
        at(0, "memory: usage 64kB, limit 64kB, failcnt 9"),
        at(0, "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"),
        at(0, "[     41]     0    41     2048     1000        0        0             0 hog"),
        at(0, &format!("{KILLED} 41 (hog) {SIZES}")),
        at(0, "Tasks in /pod/c are going to be killed due to memory.oom.group set"),
    ];
    records
        .extend((1..100).map(|member| at(20 * member, &format!("{KILLED} {} (hog) {SIZES}", 41 + member))));
    let found = reports(&records);
    // Those of whom the table says nothing are kills of their own.
    assert_eq!((found.len(), found[0].victims.len()), (100, 1));
    records.remove(3);
    let found = reports(&records);
    assert_eq!((found.len(), found[0].victims.len()), (1, 100));
}

/// A limit of memory and swap together says how much may be swapped, not how much swap there is.
#[test]
fn a_limit_with_swap_leaves_the_domain_open() {
    let lines = |swapped: u64, both: u64| {
        [
            "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0".to_owned(),
            "memory: usage 102400kB, limit 102400kB, failcnt 9".to_owned(),
            format!("memory+swap: usage {both}kB, limit 204800kB, failcnt 0"),
            "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name".to_owned(),
            format!("[      7]     0     7    20480    20000        0 {swapped:8}             0 java"),
            "[      8]     0     8    20480     1000        0        0           500 helper".to_owned(),
            "Memory cgroup out of memory: Killed process 7 (java) total-vm:81920kB, anon-rss:80000kB, file-rss:0kB, \
             shmem-rss:0kB, UID:0 pgtables:0kB oom_score_adj:0"
                .to_owned(),
        ]
    };
    let of = |lines: &[String]| {
        let records: Vec<_> = (1..).zip(lines).map(|(sequence, text)| kernel(sequence, text)).collect();
        let [report] = &reports(&records)[..] else { panic!("one report") };
        (report.domain_pages(), report.choice())
    };
    assert_eq!(of(&lines(0, 102_400)), (Some(25_600), Choice::Agrees), "as where there is no swap");
    assert_eq!(of(&lines(100, 204_800)), (Some(51_200), Choice::Agrees), "there may be little of it");
}

#[test]
fn a_follower_gets_a_report_once_it_has_ended() {
    let records = records(POD_LIMIT);
    let mut collector = Collector::default();
    let (table, rest) = records.split_at(records.len() / 2);
    for record in table {
        collector.push(record);
    }
    assert_eq!(collector.settle(), Vec::new());
    for record in rest {
        collector.push(record);
    }
    assert_eq!(collector.settle(), reports(&records));
    assert_eq!(collector.finish(), Vec::new());
}
