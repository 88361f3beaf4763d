//! Who filled a node, as against who was killed for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "shared with tests that use more of it")]
mod evidence;

use evidence::*;
use memlet_bytes::Bytes;
use memlet_diagnosis::evidence::{KillRecord, Level, NamedProcess, PodMemory};
use memlet_diagnosis::{Evidence, Topic, cause, judge};

fn neighbour(pod: &str, mib: u64, request: u64, limit: Option<u64>) -> PodMemory {
    PodMemory {
        namespace: "default".into(),
        pod: pod.into(),
        pod_uid: pod.into(),
        request: Bytes::from_mib(request),
        limit: limit.map(Bytes::from_mib),
        working_set: Bytes::from_mib(mib),
        largest: Some(NamedProcess { pid: 19_344, comm: "database".into() }),
    }
}

/// A small Pod killed on a full node, where these others were.
fn killed_beside(neighbours: Vec<PodMemory>) -> Evidence {
    let large = Process { pid: 19_344, anon: 230_896, file: 47, shmem: 0, adj: 100, name: "database" };
    let small = Process { anon: 20_000, adj: 1000, ..EATER };
    let kernel = Kernel {
        oom_memcg: Some("/kubepods"),
        limit: Bytes::from_gib(1),
        processes: &[PAUSE, large, small],
        victim: small,
        ..Kernel::default()
    };
    let record = KillRecord { neighbours, ..kill(Level::NodeAllocatable, &kernel) };
    let request = Some(Bytes::from_mib(10));
    Evidence { request, limit: None, pod_limit: None, kills: vec![record], ..pod_2() }
}

fn holders_and_change(evidence: &Evidence) -> String {
    let verdict = judge(evidence);
    let holders = verdict.facts.iter().find(|fact| fact.topic == Topic::Holders).map(|fact| &fact.text);
    format!("{}\n{}", holders.unwrap(), verdict.remedy.unwrap().text)
}

#[test]
fn it_was_whoever_held_most_above_its_request() {
    let hog = || vec![neighbour("database", 902, 100, None), neighbour("within", 90, 100, None)];
    insta::assert_snapshot!(holders_and_change(&killed_beside(hog())), @r"
    most above its request by Pod default/database (pid 19344, database), which lives on: 902Mi, with 100Mi requested; the one killed held 78.6Mi, with 10Mi requested
    Pod default/database filled the node, and has no limit: give it one (limits.memory), so that it meets its own before the node's. For memory-eater, requests.memory 10Mi → 80Mi (it held 78.6Mi): the more is requested, the lower its oom_score_adj, and the later it is killed
    ");
    let limited = killed_beside(vec![neighbour("database", 902, 100, Some(1000))]);
    insta::assert_snapshot!(judge(&limited).remedy.unwrap().text, @"Pod default/database filled the node within its limit of 1000Mi: lower that, or let it request what it holds, 960Mi, so that it is placed where that much is free. For memory-eater, requests.memory 10Mi → 80Mi (it held 78.6Mi): the more is requested, the lower its oom_score_adj, and the later it is killed");
    let record = &killed_beside(hog()).kills[0];
    insta::assert_snapshot!(cause(record, Bytes::from_mib(10)).unwrap(), @"Pod default/database held most above its request: 902Mi, with 100Mi requested (pid 19344, database)");
}

#[test]
fn whoever_has_what_was_set_aside_for_it_was_not() {
    let within = killed_beside(vec![neighbour("database", 902, 950, Some(1000))]);
    insta::assert_snapshot!(holders_and_change(&within), @r"
    902.1Mi by pid 19344 (database), which lives on; the one killed held 78.6Mi. No other Pod held more above its request
    memory-eater has no limit and held most above its request, 78.6Mi: limits.memory 120Mi (78.6Mi × 1.5, rounded up) makes it meet its own limit before the node's, and the equal request keeps that much free for it
    ");
    assert_eq!(cause(&within.kills[0], Bytes::from_mib(10)), None);
}

#[test]
fn records_from_before_neighbours_were_read_are_understood() {
    let record = &killed_beside(vec![neighbour("database", 902, 100, None)]).kills[0];
    let mut written = serde_json::to_value(record).unwrap();
    assert_eq!(serde_json::from_value::<KillRecord>(written.clone()).unwrap(), *record);
    written.as_object_mut().unwrap().remove("neighbours").unwrap();
    assert_eq!(serde_json::from_value::<KillRecord>(written).unwrap().neighbours, []);
}
