//! Verdicts on evictions, as people read them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use memlet_bytes::Bytes;
use memlet_diagnosis::Topic;
use memlet_diagnosis::eviction::{
    ContainerShare, Course, Eviction, GraceStory, PodName, Ranked, Reclaim, explain, text,
};
use memlet_diagnosis::render::Style;
use memlet_policy::eviction::{Candidate, Kind, Rule, Signal};

const MIB: fn(u64) -> Bytes = Bytes::from_mib;

fn pod(name: &str) -> PodName {
    PodName { namespace: "lab".to_owned(), name: name.to_owned(), uid: format!("uid-of-{name}") }
}

fn ranked(name: &str, usage: u64, request: u64, priority: i32) -> Ranked {
    let candidate = Candidate { usage: MIB(usage), request: MIB(request), priority, critical: false };
    Ranked { pod: pod(name), candidate }
}

fn container(name: &str, usage: u64, request: u64, limit: Option<u64>) -> ContainerShare {
    ContainerShare {
        name: name.to_owned(),
        usage: MIB(usage),
        request: MIB(request),
        limit: limit.map(MIB),
        is_init: false,
    }
}

/// A hog on a node of 1 GiB, beside one that keeps to its request and one that does not.
fn hog() -> Eviction {
    Eviction {
        at: "2026-03-01T10:00:00Z".parse().unwrap(),
        node: "memlet".to_owned(),
        pod: pod("hog"),
        containers: vec![container("main", 620, 64, None)],
        pod_level_request: None,
        pod_level_limit: None,
        rule: Rule {
            signal: Signal::AllocatableMemory,
            kind: Kind::Hard,
            threshold: MIB(100),
            minimum_reclaim: Bytes::ZERO,
        },
        available: MIB(68),
        capacity: Bytes::from_gib(1),
        allocatable: None,
        left: MIB(70),
        growth: Some(1 << 30),
        reclaim: None,
        grace: GraceStory::Skipped { grace: Duration::from_secs(2), left: Duration::from_millis(68) },
        ranked: vec![ranked("hog", 620, 64, 0), ranked("greedy", 186, 100, 0), ranked("steady", 150, 200, 0)],
        candidates: 3,
        message: "The node was low on resource: memory. ".to_owned(),
        course: Course {
            signalled: Some(Duration::from_micros(2_300)),
            killed: Some(Duration::from_micros(2_300)),
            ended: Some(Duration::from_millis(41)),
            available_after: Some(MIB(688)),
        },
    }
}

fn told(eviction: &Eviction) -> String {
    text(&explain(eviction), Style::default())
}

#[test]
fn a_hog() {
    insta::assert_snapshot!(told(&hog()), @r"
    Evicted: node memlet was low on memory (2026-03-01 10:00:00Z)
      short    68Mi of the 1Gi for all Pods was available, less than 100Mi (allocatableMemory.available,
               hard threshold). It was being used up by 1Gi a second: 68 ms until the kernel would have
               killed
      used     in the order of eviction: lab/hog 620Mi (request 64Mi), lab/greedy 186Mi (request 100Mi),
               lab/steady 150Mi (request 200Mi)
      chosen   first of 3 Pods: it was 556Mi above its request, lab/greedy, the next, 86Mi above its
               request
      grace    2 s to end in order, skipped: at that pace the kernel would have killed within 68 ms
      took     killed after 2.3 ms, ended after 41 ms, since the threshold was seen crossed; then 688Mi
               was available
      change   requests.memory of main 64Mi → 640Mi (it used 620Mi), so that it is placed where that
               much is free. With 535Mi or more, lab/greedy would have gone first. main has no limit:
               with one of 960Mi, say, it would meet its own limit before the node's if it goes on
               growing
               spec:
                 containers:
                 - name: main
                   resources:
                     requests: {memory: 640Mi}
    ");
}

#[test]
fn grace_was_cut_and_cache_was_not_enough() {
    let eviction = Eviction {
        rule: Rule {
            kind: Kind::Soft { after: Duration::from_secs(90) },
            signal: Signal::Memory,
            ..hog().rule
        },
        growth: Some(0),
        reclaim: Some(Reclaim {
            from: vec![pod("hog"), pod("greedy")],
            wanted: MIB(32),
            reclaimed: MIB(12),
            took: Duration::from_micros(3_100),
            given_up: false,
        }),
        grace: GraceStory::Cut {
            grace: Duration::from_secs(30),
            after: Duration::from_millis(1_500),
            left: Duration::from_millis(800),
        },
        course: Course {
            signalled: Some(Duration::from_millis(4)),
            killed: Some(Duration::from_millis(1_504)),
            ..Course::default()
        },
        ..hog()
    };
    insta::assert_snapshot!(told(&eviction), @r"
    Evicted: node memlet was low on memory (2026-03-01 10:00:00Z)
      short    68Mi of the node's 1Gi was available, less than 100Mi (memory.available, soft threshold,
               met for 90 s)
      used     in the order of eviction: lab/hog 620Mi (request 64Mi), lab/greedy 186Mi (request 100Mi),
               lab/steady 150Mi (request 200Mi)
      chosen   first of 3 Pods: it was 556Mi above its request, lab/greedy, the next, 86Mi above its
               request
      cache    page cache was asked back first, from 2 Pods: 12Mi of 32Mi came in 3.1 ms, which was not
               enough
      grace    30 s to end in order, cut after 1.5 s: it went on using memory, and the kernel would have
               killed within 800 ms
      took     told to end after 4.0 ms, killed after 1.5 s, since the threshold was seen crossed; it
               had not ended when this was recorded
      change   requests.memory of main 64Mi → 640Mi (it used 620Mi), so that it is placed where that
               much is free. With 535Mi or more, lab/greedy would have gone first. main has no limit:
               with one of 960Mi, say, it would meet its own limit before the node's if it goes on
               growing
               spec:
                 containers:
                 - name: main
                   resources:
                     requests: {memory: 640Mi}
    ");
}

/// Of page cache nothing is said but what was measured: it may have come and be in use again, and what came of an asking
/// that was not waited for is not known.
#[test]
fn page_cache_came_back_and_was_not_the_end_of_it() {
    let asked = |reclaimed, given_up| {
        let took = Duration::from_millis(12);
        let reclaim = Reclaim { from: vec![pod("hog")], wanted: MIB(32), reclaimed, took, given_up };
        let verdict = explain(&Eviction { reclaim: Some(reclaim), ..hog() });
        verdict.facts.into_iter().find(|fact| fact.topic == Topic::Cache).unwrap().text
    };
    insta::assert_snapshot!(asked(MIB(40), false), @"page cache was asked back first, from lab/hog: 40Mi came in 12 ms, of 32Mi that was needed; and yet only 68Mi was available when the Pod was chosen");
    insta::assert_snapshot!(asked(MIB(32), false), @"page cache was asked back first, from lab/hog: 32Mi came in 12 ms, of 32Mi that was needed; and yet only 68Mi was available when the Pod was chosen");
    insta::assert_snapshot!(asked(MIB(31), false), @"page cache was asked back first, from lab/hog: 31Mi of 32Mi came in 12 ms, which was not enough");
    insta::assert_snapshot!(asked(Bytes::ZERO, true), @"32Mi of page cache was asked back first, from lab/hog; it was not waited for after 12 ms, since memory was used up too fast");
}

#[test]
fn a_higher_request_takes_a_higher_limit_along() {
    let eviction = Eviction {
        containers: vec![container("side", 20, 20, Some(32)), container("main", 300, 64, Some(320))],
        ranked: vec![ranked("hog", 320, 84, 0), ranked("important", 700, 50, 1000)],
        candidates: 2,
        ..hog()
    };
    insta::assert_snapshot!(told(&eviction), @r"
    Evicted: node memlet was low on memory (2026-03-01 10:00:00Z)
      short    68Mi of the 1Gi for all Pods was available, less than 100Mi (allocatableMemory.available,
               hard threshold). It was being used up by 1Gi a second: 68 ms until the kernel would have
               killed
      used     in the order of eviction: lab/hog 320Mi (request 84Mi), lab/important 700Mi (request
               50Mi)
      chosen   first of 2 Pods: its priority 0 is lower than 1000 of lab/important, the next
      grace    2 s to end in order, skipped: at that pace the kernel would have killed within 68 ms
      took     killed after 2.3 ms, ended after 41 ms, since the threshold was seen crossed; then 688Mi
               was available
      change   requests.memory of main 64Mi → 300Mi (it used 300Mi), so that it is placed where that
               much is free. With 300Mi or more, lab/important would have gone first
               spec:
                 containers:
                 - name: main
                   resources:
                     requests: {memory: 300Mi}
    ");
}

/// What one container used is not asked of another.
#[test]
fn of_many_containers_each_has_its_own_advice() {
    let eviction = Eviction {
        containers: vec![
            container("side", 200, 64, Some(128)),
            container("main", 300, 0, None),
            container("idle", 10, 32, None),
        ],
        ranked: vec![ranked("hog", 512, 96, 0), ranked("steady", 150, 100, 0)],
        candidates: 2,
        ..hog()
    };
    let remedy = explain(&eviction).remedy;
    insta::assert_snapshot!(remedy.text, @"requests.memory of main none → 300Mi (it used 300Mi), of side 64Mi → 200Mi, and limits.memory 200Mi with it (it used 200Mi), so that it is placed where that much is free. With 463Mi or more in all, lab/steady would have gone first. main has no limit: with one of 480Mi, say, it would meet its own limit before the node's if it goes on growing");
    let patch = remedy.patch.unwrap();
    insta::assert_snapshot!(patch.yaml, @r"
    spec:
      containers:
      - name: main
        resources:
          requests: {memory: 300Mi}
      - name: side
        resources:
          requests: {memory: 200Mi}
          limits: {memory: 200Mi}
    ");
    let further: Vec<_> = patch.further.iter().map(|numbers| (&*numbers.container, numbers.limit)).collect();
    assert_eq!(further, [("side", Some(MIB(200)))]);
    // Where the Pod requests memory as a whole, its containers' requests do not count.
    let whole = Eviction { pod_level_request: Some(MIB(96)), ..eviction };
    let remedy = explain(&whole).remedy;
    assert_eq!(remedy.patch, None);
    insta::assert_snapshot!(remedy.text, @"spec.resources.requests.memory 96Mi → 512Mi (the Pod used 512Mi). With 463Mi or more, lab/steady would have gone first. main has no limit: with one of 480Mi, say, it would meet its own limit before the node's if it goes on growing");
    // Its limit as a whole is that of the container without one, and no less than what it requests.
    let limited = Eviction {
        pod_level_limit: Some(MIB(508)),
        ranked: vec![ranked("hog", 505, 96, 0), ranked("steady", 150, 100, 0)],
        ..whole
    };
    insta::assert_snapshot!(explain(&limited).remedy.text, @"spec.resources.requests.memory 96Mi → 512Mi, and limits.memory 512Mi with it (the Pod used 505Mi). With 456Mi or more, lab/steady would have gone first");
}

#[test]
fn it_kept_to_its_request_and_was_the_least_important() {
    let mut eviction = Eviction {
        containers: vec![container("main", 100, 200, Some(200))],
        ranked: vec![ranked("hog", 100, 200, -10), ranked("steady", 150, 200, 0)],
        candidates: 2,
        ..hog()
    };
    insta::assert_snapshot!(told(&eviction), @r"
    Evicted: node memlet was low on memory (2026-03-01 10:00:00Z)
      short    68Mi of the 1Gi for all Pods was available, less than 100Mi (allocatableMemory.available,
               hard threshold). It was being used up by 1Gi a second: 68 ms until the kernel would have
               killed
      used     in the order of eviction: lab/hog 100Mi (request 200Mi), lab/steady 150Mi (request 200Mi)
      chosen   first of 2 Pods: its priority -10 is lower than 0 of lab/steady, the next
      grace    2 s to end in order, skipped: at that pace the kernel would have killed within 68 ms
      took     killed after 2.3 ms, ended after 41 ms, since the threshold was seen crossed; then 688Mi
               was available
      change   it used no more than the 200Mi that it requested, and no request would have put another
               before it: lab/steady has priority 0. Make room otherwise: fewer Pods on the node, limits
               for those that use more than they request, or more memory reserved for what runs outside
               Pods
    ");
    // A critical one that stood before it was passed over, and is no other to go.
    let mut system = ranked("system", 900, 10, 2_000_001_000);
    system.candidate.critical = true;
    eviction.ranked = vec![system, ranked("hog", 100, 200, -10)];
    let told = told(&eviction);
    assert!(
        told.contains("the only Pod that may be evicted. Critical, and so passed over: lab/system"),
        "{told}"
    );
    assert!(told.contains("no other Pod may be evicted"), "{told}");
}

#[test]
fn no_node_of_this_size_would_do() {
    let eviction = Eviction {
        containers: vec![container("main", 1000, 0, None)],
        ranked: vec![ranked("hog", 1000, 0, 0)],
        candidates: 1,
        ..hog()
    };
    insta::assert_snapshot!(told(&eviction), @r"
    Evicted: node memlet was low on memory (2026-03-01 10:00:00Z)
      short    68Mi of the 1Gi for all Pods was available, less than 100Mi (allocatableMemory.available,
               hard threshold). It was being used up by 1Gi a second: 68 ms until the kernel would have
               killed
      used     in the order of eviction: lab/hog 1000Mi (request none)
      chosen   the only Pod that may be evicted
      grace    2 s to end in order, skipped: at that pace the kernel would have killed within 68 ms
      took     killed after 2.3 ms, ended after 41 ms, since the threshold was seen crossed; then 688Mi
               was available
      change   it used 1000Mi of 1Gi, and no Pod on a node of this size may request more than 924Mi. It
               needs a larger node, or to use less; with a limit it meets its own before the node's. No
               request would have put another before it: no other Pod may be evicted
    ");
}

/// Whatever the order was: with the request that is named somebody else would have been first, with a mebibyte less not.
#[test]
fn the_request_that_spares_is_the_smallest() {
    let eviction = hog();
    let verdict = explain(&eviction);
    let patch = verdict.remedy.patch.unwrap();
    assert!(patch.request.unwrap() >= MIB(620), "{patch:?}");
    assert!(
        verdict.remedy.text.contains("With 535Mi or more, lab/greedy would have gone first"),
        "{}",
        verdict.remedy.text
    );
}

#[test]
fn the_document_reads_back() {
    let verdict = explain(&hog());
    let json = serde_json::to_string(&verdict).unwrap();
    assert_eq!(serde_json::from_str::<memlet_diagnosis::eviction::EvictionVerdict>(&json).unwrap(), verdict);
}
