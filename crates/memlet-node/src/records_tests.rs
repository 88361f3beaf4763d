use std::fs;
use std::time::Duration;

use super::*;
use memlet_diagnosis::eviction::{Course, GraceStory, PodName};
use memlet_diagnosis::evidence::Victim;
use memlet_policy::eviction::{Kind, Rule, Signal};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn kill(pod: &str, second: i64) -> Record {
    Record::Kill(Box::new(KillRecord {
        at: at(second),
        subject: Subject {
            namespace: "default".into(),
            pod: pod.into(),
            pod_uid: "u".into(),
            container: "c".into(),
            container_id: second.to_string(),
            restart_count: 0,
        },
        victim: Victim::Main,
        level: None,
        report: None,
        container_memory: None,
        pod_memory: None,
        oom_score_adj: None,
        neighbours: vec![],
        missing: Vec::new(),
    }))
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().filter_map(|record| Some(record.subject()?.container_id.as_str())).collect()
}

#[test]
fn what_was_recorded_is_there_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records");
    assert_eq!(journal::read(&path).unwrap(), []);
    let mut journal = Journal::open(&path, at(0)).unwrap();
    journal.append(&kill("a", 1)).unwrap();
    journal.append(&kill("b", 2)).unwrap();
    drop(journal);
    let mut journal = Journal::open(&path, at(3)).unwrap();
    journal.append(&kill("a", 4)).unwrap();
    assert_eq!(journal::read(&path).unwrap(), [kill("a", 1), kill("b", 2), kill("a", 4)]);
}

#[test]
fn torn_and_foreign_lines_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), at(0)).unwrap();
    journal.append(&kill("a", 1)).unwrap();
    drop(journal);
    let (_, file) = fs::read_dir(folder.path()).unwrap().map(|it| (1, it.unwrap().path())).next().unwrap();
    let whole = fs::read(&file).unwrap();
    let torn = &whole[..whole.len() / 2];
    fs::write(&file, [&whole[..], b"\0\0\0\n{\"version\":99,\"news\":{}}\n", torn].concat()).unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let mut journal = Journal::open(folder.path(), at(2)).unwrap();
    journal.append(&kill("a", 3)).unwrap();
    assert_eq!(ids(&journal::read(folder.path()).unwrap()), ["1", "3"]);
}

#[test]
fn there_are_never_more_than_enough() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), at(0)).unwrap();
    for second in 0..2500 {
        journal.append(&kill("a", second)).unwrap();
    }
    let read = journal::read(folder.path()).unwrap();
    assert!((KEPT..=KEPT + 200).contains(&read.len()), "{}", read.len());
    let kept = kept(read, at(2500));
    assert_eq!((kept.len(), ids(&kept)[0], ids(&kept)[KEPT - 1]), (KEPT, "1500", "2499"));
    assert!(fs::read_dir(folder.path()).unwrap().count() <= 12);
}

#[test]
fn a_week_is_enough_and_a_clock_set_back_forgets_nothing() {
    const DAY: i64 = 24 * 60 * 60;
    assert!(is_kept(at(0), at(7 * DAY)));
    assert!(!is_kept(at(0), at(7 * DAY + 1)));
    assert!(is_kept(at(100 * DAY), at(0)));
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), at(0)).unwrap();
    journal.append(&kill("old", 0)).unwrap();
    drop(journal);
    let mut journal = Journal::open(folder.path(), at(DAY)).unwrap();
    journal.append(&kill("new", 6 * DAY)).unwrap();
    drop(journal);
    Journal::open(folder.path(), at(8 * DAY)).unwrap();
    assert_eq!(ids(&journal::read(folder.path()).unwrap()), [(6 * DAY).to_string()]);
}

#[test]
fn large_records_make_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path(), at(0)).unwrap();
    for second in 0..50 {
        let Record::Kill(mut large) = kill("a", second) else { unreachable!() };
        large.subject.pod = "x".repeat(1 << 20);
        journal.append(&Record::Kill(large)).unwrap();
    }
    let bytes: u64 =
        fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 40 << 20, "{bytes}");
    assert!(ids(&journal::read(folder.path()).unwrap()).contains(&"49"));
}

#[test]
fn memory_is_bounded_too() {
    let records = Records::in_memory();
    let now = Timestamp::now();
    for number in 0..=KEPT {
        let Record::Kill(mut kill) = kill("a", i64::try_from(number).unwrap()) else { unreachable!() };
        kill.at = now;
        records.add(Record::Kill(kill));
    }
    assert_eq!((records.all().len(), ids(&records.all())[0]), (KEPT, "1"));
    assert_eq!(records.of_pod("default", "b"), []);
}

fn eviction(uid: &str, second: i64, ended: Option<u64>) -> Record {
    let name = PodName { namespace: "default".into(), name: "hog".into(), uid: uid.into() };
    Record::Eviction(Box::new(Eviction {
        at: at(second),
        node: "node".into(),
        pod: name,
        containers: Vec::new(),
        pod_level_request: None,
        pod_level_limit: None,
        rule: Rule {
            signal: Signal::Memory,
            kind: Kind::Hard,
            threshold: Bytes::from_mib(100),
            minimum_reclaim: Bytes::ZERO,
        },
        available: Bytes::from_mib(90),
        capacity: Bytes::from_mib(1000),
        allocatable: None,
        left: Bytes::from_mib(90),
        growth: None,
        reclaim: None,
        grace: GraceStory::Given { grace: Duration::from_secs(2) },
        ranked: Vec::new(),
        candidates: 1,
        message: String::new(),
        course: Course { ended: ended.map(Duration::from_millis), ..Course::default() },
    }))
}

#[test]
fn an_eviction_is_as_it_was_told_last() {
    let begun = [eviction("a", 1, None), kill("a", 2), eviction("b", 3, None)];
    assert_eq!(kept(begun.to_vec(), at(9)), begun);
    let ended = [&begun[..], &[eviction("a", 1, Some(5))]].concat();
    assert_eq!(kept(ended, at(9)), [kill("a", 2), eviction("b", 3, None), eviction("a", 1, Some(5))]);
}

/// A record that is being written is there once, and one that waits for a slow disk is there too.
#[test]
fn what_waits_and_what_is_written_are_told_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::on_disk(folder.path()).unwrap();
    let now = Timestamp::now().as_second() - 1_700_000_000;
    let all = [kill("a", now), kill("b", now + 1), kill("c", now + 2)];
    records.add(all[0].clone());
    {
        // A disk that is slow: whoever comes meanwhile waits for nothing.
        let disk = records.0.disk.as_ref().unwrap();
        let mut writing = disk.journal.lock().unwrap();
        records.0.take(all[1].clone());
        records.0.take(all[2].clone());
        assert_eq!(records.all(), all);
        // Written, and not yet taken from those that wait.
        writing.append(&all[1]).unwrap();
        assert_eq!(records.all(), all);
        records.0.waiting().pop_front();
    }
    records.flush();
    assert_eq!((records.all(), records.0.waiting().len()), (all.to_vec(), 0));
    assert_eq!(Records::read(folder.path()).unwrap(), all);
}

#[test]
fn a_runtime_writes_for_who_must_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::on_disk(folder.path()).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread().build().unwrap();
    records.add_soon(kill("a", Timestamp::now().as_second() - 1_700_000_000), tokio.handle());
    assert_eq!(records.all().len(), 1);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while Records::read(folder.path()).unwrap().is_empty() {
        assert!(std::time::Instant::now() < deadline, "it is not written");
        tokio.block_on(tokio::task::yield_now());
        std::thread::sleep(Duration::from_millis(1));
    }
}
