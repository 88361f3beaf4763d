//! One row per way to end: the evidence, the outcome, and the text a user reads.

mod evidence;

use evidence::*;
use memlet_bytes::Bytes;
use memlet_cgroup::Limit;
use memlet_diagnosis::evidence::{Exit, KillRecord, Level, OomScoreAdj, Subject, Victim};
use memlet_diagnosis::render::{self, Style};
use memlet_diagnosis::{Evidence, Outcome, Topic, judge, summary};
use memlet_oomlog::{Collector, Record};

fn text(evidence: &Evidence) -> String {
    render::text(&judge(evidence), Style::default())
}

fn outcome(evidence: &Evidence) -> Outcome {
    judge(evidence).outcome
}

#[test]
fn the_pod_limit_equals_the_containers() {
    let evidence = pod_2();
    assert_eq!(outcome(&evidence), Outcome::OomKilled { level: Some(Level::Pod) });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the Pod's: usage 128Mi, limit 128Mi, failcnt 412 (cgroup
               /kubepods/burstable/pod65a49b87-b4ca…). The container's limit is the same, but pause
               counts against the Pod's too, which is full first
      killed   pid 869 (memory-eater), the main process: 127.3Mi anonymous, 572Ki of files, 0 shared
      chosen   highest score of 2 processes, memory-eater 245.3Mi (128.0Mi held + 939‰ of 128Mi); next:
               pause, which oom_score_adj -998 protects. oom_score_adj 939: Burstable, 1000 − 1000 ×
               123Mi / 2041888Ki
      charged  127.2Mi anonymous, 720Ki kernel, 0 tmpfs or shared, 0 page cache (always dropped first)
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault (do_anonymous_page), which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it
               is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 192Mi}
    ");
}

#[test]
fn the_containers_own_limit() {
    let kernel =
        Kernel { oom_memcg: Some(&format!("{POD}/{CONTAINER}")), processes: &[EATER], ..Kernel::default() };
    let evidence = Evidence {
        request: Some(Bytes::from_mib(128)),
        score: Some(burstable(Bytes::from_mib(128))),
        pod_limit: None,
        kills: vec![KillRecord {
            oom_score_adj: Some(OomScoreAdj { wanted: 936, actual: Some(939) }),
            ..kill(Level::Container, &kernel)
        }],
        ..pod_2()
    };
    assert_eq!(outcome(&evidence), Outcome::OomKilled { level: Some(Level::Container) });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the container's own: usage 128Mi, limit 128Mi, failcnt 412 (cgroup
               /kubepods/burstable/pod65a49b87-b4ca…/59a7026fb18544e8…)
      killed   pid 869 (memory-eater), the main process: 127.3Mi anonymous, 572Ki of files, 0 shared
      chosen   the only process there that the kernel may kill. oom_score_adj 939, where the rules give
               936: Burstable, 1000 − 1000 × 128Mi / 2041888Ki (to lower it takes CAP_SYS_RESOURCE,
               which root lacks here)
      charged  127.2Mi anonymous, 720Ki kernel, 0 tmpfs or shared, 0 page cache (always dropped first)
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault (do_anonymous_page), which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it
               is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     requests: {memory: 192Mi}
                     limits: {memory: 192Mi}
    ");
}

#[test]
fn what_waited_for_memory_is_told_where_it_took_long() {
    let after = |stalled: Option<u64>| {
        let mut evidence = pod_2();
        let end = evidence.end.as_mut().expect("it ended");
        let container = end.container.as_mut().expect("with counters");
        container.stalled = stalled.map(std::time::Duration::from_millis);
        let written = serde_json::to_value(&*container).expect("plain data");
        assert_eq!(written["stalledMicros"].as_u64(), stalled.map(|millis| millis * 1000));
        assert_eq!(serde_json::from_value::<memlet_cgroup::Snapshot>(written).expect("the same"), *container);
        text(&evidence)
    };
    assert!(after(Some(3240)).contains("stalled  processes of this container had waited 3.2 s for memory"));
    for (told, short) in [(after(Some(40)), "40 ms"), (after(None), "nothing")] {
        assert!(!told.contains("stalled"), "{short}");
    }
}

#[test]
fn a_sibling_filled_the_pods_limit() {
    let hog = Process { pid: 901, anon: 40_000, file: 200, shmem: 0, adj: 600, name: "sidecar" };
    let small = Process { anon: 20_000, adj: 999, ..EATER };
    let kernel = Kernel {
        limit: Bytes::from_mib(240),
        processes: &[PAUSE, hog, small],
        victim: small,
        ..Kernel::default()
    };
    let record = KillRecord {
        container_memory: Some(memlet_cgroup::Snapshot {
            peak: Some(Bytes::from_mib(79)),
            ..snapshot(&format!("{POD}/{CONTAINER}"), Limit::Bytes(Bytes::from_mib(128)), 0, 1)
        }),
        oom_score_adj: Some(OomScoreAdj { wanted: 999, actual: Some(999) }),
        ..kill(Level::Pod, &kernel)
    };
    let evidence = Evidence {
        request: None,
        score: None,
        pod_limit: Some(Bytes::from_mib(240)),
        kills: vec![record],
        ..pod_2()
    };
    assert_eq!(outcome(&evidence), Outcome::OomKilled { level: Some(Level::Pod) });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the Pod's: usage 240Mi, limit 240Mi, failcnt 412 (cgroup
               /kubepods/burstable/pod65a49b87-b4ca…). It is shared by all containers of the Pod
      killed   pid 869 (memory-eater), the main process: 78.1Mi anonymous, 572Ki of files, 0 shared
      chosen   highest score of 3 processes, memory-eater 316.8Mi (78.8Mi held + 999‰ of 240Mi); next:
               sidecar 300.1Mi (157.1Mi held + 600‰ of 240Mi). oom_score_adj 999
      holders  157.0Mi by pid 901 (sidecar), which lives on; the one killed held 78.6Mi. This container
               never held more than 79Mi of its own 128Mi
      charged  127.2Mi anonymous, 720Ki kernel, 0 tmpfs or shared, 0 page cache (always dropped first)
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault (do_anonymous_page), which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   the Pod's limit of 240Mi is shared: pid 901 (sidecar) held 157.0Mi, more than the process
               that was killed. Raise the limit of the container that it belongs to, and so the Pod's,
               or let it use less; memory-eater stayed below its own limit
    ");
}

#[test]
fn it_filled_the_pods_limit_itself() {
    let other = Process { pid: 901, anon: 3_000, file: 200, shmem: 0, adj: 939, name: "sidecar" };
    let kernel =
        Kernel { processes: &[PAUSE, other, EATER], limit: Bytes::from_mib(144), ..Kernel::default() };
    let evidence =
        Evidence { pod_limit: Some(Bytes::from_mib(144)), kills: vec![kill(Level::Pod, &kernel)], ..pod_2() };
    let remedy = judge(&evidence).remedy.unwrap();
    assert_eq!(remedy.patch.unwrap().limit, Some(Bytes::from_mib(192)));
    insta::assert_snapshot!(remedy.text, @"the Pod's limit of 144Mi is the sum of its containers', and memory-eater held most: limits.memory 128Mi → 192Mi (× 1.5, rounded up) raises both. The true need is not known");
    let unlimited = judge(&Evidence { limit: None, ..evidence }).remedy.unwrap();
    assert_eq!(unlimited.patch, None);
    insta::assert_snapshot!(unlimited.text, @"the Pod's limit of 144Mi is too small for its containers together, and memory-eater, which has none of its own, held most: raise the Pod's, or give memory-eater a limit so that it meets its own first");
}

#[test]
fn the_node_was_full_and_this_was_the_hog() {
    let hog = Process { pid: 19_344, anon: 260_896, file: 47, shmem: 0, adj: 1000, name: "memhog2" };
    let idle = Process { pid: 18_894, anon: 0, file: 60, shmem: 0, adj: 998, name: "sleep" };
    let kernel = Kernel {
        oom_memcg: Some("/kubepods"),
        limit: Bytes::from_gib(1),
        failcnt: 2605,
        kmem: Bytes::from_kib(4060),
        charged: [Bytes::new(1_069_494_272), Bytes::new(90_112), Bytes::ZERO],
        processes: &[PAUSE, idle, hog],
        victim: hog,
        group: &[],
    };
    let record = KillRecord {
        oom_score_adj: Some(OomScoreAdj { wanted: 1000, actual: Some(1000) }),
        ..kill(Level::NodeAllocatable, &kernel)
    };
    let evidence = Evidence {
        qos_class: "BestEffort".into(),
        score: Some(best_effort()),
        request: None,
        limit: None,
        pod_limit: None,
        node_memory: Bytes::from_gib(1),
        kills: vec![record],
        ..pod_2()
    };
    assert_eq!(outcome(&evidence), Outcome::OomKilled { level: Some(Level::NodeAllocatable) });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the node's, for all Pods together: usage 1Gi, limit 1Gi, failcnt 2605 (cgroup /kubepods).
               No limit of this container's own was hit
      killed   pid 19344 (memhog2), the main process: 1019.1Mi anonymous, 188Ki of files, 0 shared
      chosen   highest score of 3 processes, memhog2 1.9Gi (1019.4Mi held + 1000‰ of 1Gi); next: sleep
               1021.7Mi (408Ki held + 998‰ of 1Gi). oom_score_adj 1000: the Pod is BestEffort
      holders  1019.3Mi by pid 19344 (memhog2), the one killed; next is pid 815 (pause) with 636Ki
      charged  1019.9Mi anonymous, 3.9Mi kernel, 0 tmpfs or shared, 88Ki page cache (always dropped
               first)
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault (do_anonymous_page), which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   memory-eater has no limit and held 1019.3Mi of the 1Gi that this node has for all Pods:
               it needs a larger node, or to use less. With a limit below 1Gi it would meet its own
               limit, not its neighbours
    ");

    // With room above what it held, a number can be named.
    let roomy = Evidence { node_memory: Bytes::from_gib(4), ..evidence.clone() };
    let patch = judge(&roomy).remedy.unwrap().patch.unwrap();
    assert_eq!((patch.request, patch.limit), (Some(Bytes::from_mib(1536)), Some(Bytes::from_mib(1536))));

    // With a limit above the node, it is the sum of limits that is too large.
    let limited = Evidence {
        request: Some(Bytes::from_mib(128)),
        limit: Some(Bytes::from_gib(2)),
        node_memory: Bytes::from_gib(4),
        ..evidence
    };
    let remedy = judge(&limited).remedy.unwrap();
    insta::assert_snapshot!(remedy.text, @"the limits on this node, or Pods without one, allow more than its 4Gi: requests.memory 128Mi → 1Gi (it held 1019.3Mi), so that it is placed where that much is free; or lower its limit of 2Gi");
    assert_eq!(remedy.patch.unwrap().request, Some(Bytes::from_mib(1024)));
}

#[test]
fn the_node_was_full_and_another_was_the_hog() {
    let hog = Process { pid: 19_344, anon: 230_896, file: 47, shmem: 0, adj: 100, name: "database" };
    let small = Process { anon: 20_000, adj: 1000, ..EATER };
    let kernel = Kernel {
        oom_memcg: Some("/kubepods"),
        limit: Bytes::from_gib(1),
        processes: &[PAUSE, hog, small],
        victim: small,
        ..Kernel::default()
    };
    let record = KillRecord {
        oom_score_adj: Some(OomScoreAdj { wanted: 1000, actual: Some(1000) }),
        ..kill(Level::NodeAllocatable, &kernel)
    };
    let evidence = Evidence {
        qos_class: "BestEffort".into(),
        score: Some(best_effort()),
        request: None,
        limit: None,
        pod_limit: None,
        node_memory: Bytes::from_gib(1),
        kills: vec![record],
        ..pod_2()
    };
    let remedy = judge(&evidence).remedy.unwrap();
    assert_eq!(remedy.patch.as_ref().unwrap().request, Some(Bytes::from_mib(80)));
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the node's, for all Pods together: usage 1Gi, limit 1Gi, failcnt 412 (cgroup /kubepods).
               No limit of this container's own was hit
      killed   pid 869 (memory-eater), the main process: 78.1Mi anonymous, 572Ki of files, 0 shared
      chosen   highest score of 3 processes, memory-eater 1.0Gi (78.8Mi held + 1000‰ of 1Gi); next:
               database 1004.6Mi (902.2Mi held + 100‰ of 1Gi). oom_score_adj 1000: the Pod is BestEffort
      holders  902.1Mi by pid 19344 (database), which lives on; the one killed held 78.6Mi
      charged  127.2Mi anonymous, 720Ki kernel, 0 tmpfs or shared, 0 page cache (always dropped first)
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault (do_anonymous_page), which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   pid 19344 (database) held 902.1Mi, and lives on: lower that one's limit, or give it one.
               For memory-eater, requests.memory none → 80Mi (it held 78.6Mi): the more is requested,
               the lower its oom_score_adj, and the later it is killed
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     requests: {memory: 80Mi}
    ");
}

#[test]
fn the_whole_machine_was_full() {
    let kernel = Kernel { oom_memcg: None, limit: Bytes::from_mib(256), ..Kernel::default() };
    let evidence =
        Evidence { limit: None, pod_limit: None, kills: vec![kill(Level::Machine, &kernel)], ..pod_2() };
    assert_eq!(outcome(&evidence), Outcome::OomKilled { level: Some(Level::Machine) });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    none: the whole machine ran out of memory. No cgroup's limit was hit
      killed   pid 869 (memory-eater), the main process: 127.3Mi anonymous, 572Ki of files, 0 shared
      chosen   highest score of 2 processes, memory-eater 366.4Mi (128.0Mi held + 939‰ of 256Mi); next:
               pause, which oom_score_adj -998 protects. oom_score_adj 939: Burstable, 1000 − 1000 ×
               123Mi / 2041888Ki
      holders  127.8Mi by pid 869 (memory-eater), the one killed; next is pid 815 (pause) with 636Ki
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault (do_anonymous_page), which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   memory-eater has no limit and held most, 127.8Mi: limits.memory 192Mi (127.8Mi × 1.5,
               rounded up) makes it meet its own limit before the node's, and the equal request keeps
               that much free for it. The node's limit for all Pods did not stop it before the machine
               was full: reserve more memory for what runs outside Pods
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     requests: {memory: 192Mi}
                     limits: {memory: 192Mi}
    ");
}

#[test]
fn a_cgroup_that_no_manifest_limits() {
    let kernel = Kernel { oom_memcg: Some("/kubepods/burstable"), ..Kernel::default() };
    let evidence = Evidence { kills: vec![kill(Level::QosClass, &kernel)], ..pod_2() };
    let verdict = judge(&evidence);
    assert_eq!(verdict.remedy.as_ref().unwrap().patch, None);
    insta::assert_snapshot!(verdict.remedy.unwrap().text, @"the limit of cgroup /kubepods/burstable ran out, and no manifest sets that one: raise it where it is set");
}

#[test]
fn a_child_was_killed_and_the_main_process_went_on() {
    let hog = Process { pid: 861, anon: 31_900, name: "worker", ..EATER };
    let main = Process { pid: 848, anon: 0, file: 220, name: "sh", ..EATER };
    let kernel = Kernel { processes: &[PAUSE, main, hog], victim: hog, ..Kernel::default() };
    let kills = vec![child(Level::Pod, &kernel)];
    for (name, ended, reason, expected) in [
        ("runs on", None, None, Outcome::Running),
        ("exit 0", Some(Exit::Code(0)), Some("OOMKilled"), Outcome::Completed),
        ("exit 3", Some(Exit::Code(3)), Some("OOMKilled"), Outcome::Failed { code: 3 }),
        ("a shell passes it on", Some(Exit::Code(137)), None, Outcome::Failed { code: 137 }),
        ("kill -9 later", Some(Exit::Signal(9)), None, Outcome::KilledByOther { signal: 9 }),
    ] {
        let evidence = Evidence {
            end: ended.map(|exit| end(exit, 1)),
            reason: reason.map(str::to_owned),
            kills: kills.clone(),
            ..pod_2()
        };
        let verdict = judge(&evidence);
        assert_eq!(verdict.outcome, expected, "{name}");
        assert_eq!(verdict.children.len(), 1, "{name}");
        assert_eq!(verdict.children[0].pid, Some(861), "{name}");
        assert!(verdict.remedy.is_some(), "{name}: the child was short of memory");
        match name {
            "runs on" => insta::assert_snapshot!(text(&evidence), @r"
            memory-eater: running; the OOM killer killed 1 child process
              child    killed: pid 861 (worker), not the main process, at the Pod's limit 128Mi: usage 128Mi,
                       anon 124.6Mi, file 572Ki
              change   limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it
                       is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak
                       spec:
                         containers:
                         - name: memory-eater
                           resources:
                             limits: {memory: 192Mi}
            "),
            "exit 0" => insta::assert_snapshot!(text(&evidence), @r"
            memory-eater: Completed (exit code 0); the OOM killer killed 1 child process
              status   says OOMKilled, but the main process ended by itself with code 0; some runtimes say so of
                       every container near a kill
              child    killed: pid 861 (worker), not the main process, at the Pod's limit 128Mi: usage 128Mi,
                       anon 124.6Mi, file 572Ki
              change   limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it
                       is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak
                       spec:
                         containers:
                         - name: memory-eater
                           resources:
                             limits: {memory: 192Mi}
            "),
            "a shell passes it on" => {
                insta::assert_snapshot!(verdict.facts[0].text, @"none: the main process ended by itself with code 137. Shells do so when their last child died by SIGKILL");
            }
            "kill -9 later" => insta::assert_snapshot!(text(&evidence), @r"
            memory-eater: Error (exit code 137: SIGKILL, not by the OOM killer); the OOM killer killed 1 child process
              signal   SIGKILL, but not out of memory: the kernel counted 1 OOM kill in this container, and each
                       is accounted for below. Others send it at the end of a grace period (a Pod deleted or
                       evicted, a liveness probe that failed), by hand (kill -9), or from within the container;
                       the Pod's events may tell
              logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
              child    killed: pid 861 (worker), not the main process, at the Pod's limit 128Mi: usage 128Mi,
                       anon 124.6Mi, file 572Ki
              change   limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it
                       is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak
                       spec:
                         containers:
                         - name: memory-eater
                           resources:
                             limits: {memory: 192Mi}
            "),
            _ => {
                insta::assert_snapshot!(verdict.headline, @"Error (exit code 3); the OOM killer killed 1 child process");
            }
        }
    }
}

#[test]
fn many_children_are_counted() {
    let kills = vec![child(Level::Pod, &Kernel::default()); 5];
    let evidence = Evidence { kills, ..ended(Exit::Code(0)) };
    let verdict = judge(&evidence);
    assert_eq!(verdict.children.len(), 5);
    let text = text(&evidence);
    assert_eq!(text.matches("killed: pid").count(), 3);
    assert!(text.contains("and 2 more"), "{text}");
}

#[test]
fn the_whole_container_is_killed_at_once() {
    let main = Process { pid: 848, anon: 0, file: 220, name: "sh", ..EATER };
    let kernel = Kernel { processes: &[PAUSE, main, EATER], group: &[main], ..Kernel::default() };
    let evidence = Evidence { kills: vec![kill(Level::Pod, &kernel)], ..pod_2() };
    let verdict = judge(&evidence);
    let killed = verdict.facts.iter().find(|fact| fact.topic == Topic::Killed).unwrap();
    insta::assert_snapshot!(killed.text, @"pid 869 (memory-eater): 127.3Mi anonymous, 572Ki of files, 0 shared; and with it the whole container (1 other process), as memory.oom.group asks");
}

#[test]
fn sigkill_from_outside_is_not_out_of_memory() {
    let evidence = ended(Exit::Signal(9));
    assert_eq!(outcome(&evidence), Outcome::KilledByOther { signal: 9 });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: Error (exit code 137: SIGKILL, not by the OOM killer)
      signal   SIGKILL, but not out of memory: the kernel counted no OOM kill in this container. Others
               send it at the end of a grace period (a Pod deleted or evicted, a liveness probe that
               failed), by hand (kill -9), or from within the container; the Pod's events may tell
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
    ");
    // Whatever the runtime's reason claims.
    let claimed = Evidence { reason: Some("OOMKilled".into()), ..evidence };
    assert_eq!(outcome(&claimed), Outcome::KilledByOther { signal: 9 });
    let status = judge(&claimed).facts.into_iter().find(|fact| fact.topic == Topic::Status).unwrap();
    insta::assert_snapshot!(status.text, @"says OOMKilled, but no kill that the kernel counted was of the main process");
}

#[test]
fn sigkill_without_counters_is_unknown() {
    let mut evidence = ended(Exit::Signal(9));
    evidence.end.as_mut().unwrap().container = None;
    assert_eq!(outcome(&evidence), Outcome::KilledByUnknown { signal: 9 });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: Error (exit code 137: SIGKILL, by whom is not known)
      signal   SIGKILL, and whether the OOM killer sent it is not known: its counter could not be read
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      missing  the cgroup's counter of OOM kills: it was not read before the cgroup was removed, or this
               kernel has none (Linux 4.13)
    ");
}

#[test]
fn without_the_kernels_log_the_counters_decide() {
    let record = KillRecord {
        victim: Victim::Unknown,
        level: None,
        report: None,
        missing: vec![no_kernel_log()],
        ..kill(Level::Pod, &Kernel::default())
    };
    let evidence = Evidence { kills: vec![record], ..pod_2() };
    // The container's limit was never hit, the Pod's was.
    assert_eq!(outcome(&evidence), Outcome::OomKilled { level: Some(Level::Pod) });
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the Pod's: peak 128Mi, limit 128Mi, failcnt 412 (cgroup
               /kubepods/burstable/pod65a49b87-b4ca…). The container's limit is the same, but pause
               counts against the Pod's too, which is full first
      killed   1 process in this container, and the main process died by SIGKILL; no more is known
               without the kernel's report
      chosen   oom_score_adj 939: Burstable, 1000 − 1000 × 123Mi / 2041888Ki
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault, which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it
               is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 192Mi}
      missing  /dev/kmsg: permission denied; run as root, or with CAP_SYSLOG
    ");

    for (container, pod, level) in [
        (Some(7), Some(0), Some(Level::Container)),
        (Some(0), Some(7), Some(Level::Pod)),
        (Some(0), Some(0), None),
        (Some(7), Some(7), None),
        (None, Some(7), None),
        (Some(7), None, None),
    ] {
        let mut evidence = Evidence { kills: vec![], ..evidence.clone() };
        let end = evidence.end.as_mut().unwrap();
        end.container.as_mut().unwrap().failcnt = container;
        end.pod.as_mut().unwrap().failcnt = pod;
        assert_eq!(outcome(&evidence), Outcome::OomKilled { level }, "{container:?} {pod:?}");
    }
}

#[test]
fn what_the_counter_counts_may_all_be_children() {
    let children = vec![child(Level::Pod, &Kernel::default()); 2];
    for (counted, expected) in
        [(2, Outcome::KilledByOther { signal: 9 }), (3, Outcome::OomKilled { level: Some(Level::Pod) })]
    {
        let evidence =
            Evidence { end: Some(end(Exit::Signal(9), counted)), kills: children.clone(), ..pod_2() };
        assert_eq!(outcome(&evidence), expected, "{counted} counted");
        assert_eq!(judge(&evidence).children.len(), 2);
    }
}

#[test]
fn a_record_of_the_main_process_cannot_outweigh_wait() {
    // A main process that ended with a code was not killed: the record must be of another.
    let evidence = Evidence { end: Some(end(Exit::Code(0), 1)), ..pod_2() };
    assert_eq!(outcome(&evidence), Outcome::Completed);
    assert_eq!(judge(&evidence).children.len(), 1);
}

#[test]
fn ends_that_have_nothing_to_do_with_memory() {
    for (exit, expected) in [
        (Exit::Code(0), Outcome::Completed),
        (Exit::Code(1), Outcome::Failed { code: 1 }),
        (Exit::Signal(11), Outcome::KilledByOther { signal: 11 }),
        (Exit::Signal(15), Outcome::KilledByOther { signal: 15 }),
    ] {
        let evidence = ended(exit);
        let verdict = judge(&evidence);
        assert_eq!(verdict.outcome, expected);
        assert_eq!(verdict.outcome.exit_code(), Some(exit.code()));
        assert_eq!(verdict.remedy, None, "{exit:?}");
        match exit {
            Exit::Code(0) => {
                insta::assert_snapshot!(text(&evidence), @"memory-eater: Completed (exit code 0)");
            }
            Exit::Code(_) => insta::assert_snapshot!(text(&evidence), @"memory-eater: Error (exit code 1)"),
            Exit::Signal(11) => insta::assert_snapshot!(text(&evidence), @r"
            memory-eater: Error (exit code 139: SIGSEGV)
              signal   SIGSEGV: an access to an address it does not have: a fault in the program itself; the OOM
                       killer sends SIGKILL only
              logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
            "),
            Exit::Signal(_) => insta::assert_snapshot!(text(&evidence), @r"
            memory-eater: Error (exit code 143: SIGTERM)
              signal   SIGTERM: somebody asked it to stop, and it ended at once; the OOM killer sends SIGKILL
                       only
              logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
            "),
        }
    }
}

#[test]
fn too_small_to_start_anything() {
    let evidence = Evidence {
        request: Some(Bytes::from_kib(64)),
        limit: Some(Bytes::from_kib(64)),
        pod_limit: Some(Bytes::from_kib(64)),
        reason: Some("StartError".into()),
        message: Some("the container's first process was killed before it could run the program".into()),
        end: Some(end(Exit::Code(128), 1)),
        kills: vec![],
        ..pod_2()
    };
    assert_eq!(
        outcome(&evidence),
        Outcome::StartFailed { reason: Some("StartError".into()), code: Some(128) }
    );
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: did not start (StartError)
      start    the container's first process was killed before it could run the program
      killed   1 process by the OOM killer before the program began
      change   limits.memory 64Ki → 16Mi: the kernel killed what was to become the container before its
               program began
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     requests: {memory: 16Mi}
                     limits: {memory: 16Mi}
    ");
    // However the runtime's first process ended, the container did not run, and no signal of its own ended it.
    let killed = Evidence { end: Some(end(Exit::Signal(9), 1)), ..evidence.clone() };
    assert_eq!(judge(&killed).facts, judge(&evidence).facts);
    // A start that failed for another reason gets no advice about memory.
    let image = Evidence {
        limit: Some(Bytes::from_mib(128)),
        reason: Some("ErrImagePull".into()),
        message: Some("image x:1 is not in the store; import it with `memlet image import`".into()),
        end: None,
        ..evidence
    };
    insta::assert_snapshot!(text(&image), @r"
    memory-eater: did not start (ErrImagePull)
      start    image x:1 is not in the store; import it with `memlet image import`
    ");
}

/// Pause without its protection (root without `CAP_SYS_RESOURCE`), killed at the Pod's limit.
fn pause_killed(limit: Bytes) -> KillRecord {
    let pause = Process { adj: 0, file: 60, ..PAUSE };
    let shell = Process { pid: 830, anon: 20, file: 30, adj: 0, name: "sh", ..EATER };
    let kernel = Kernel { limit, processes: &[pause, shell], victim: pause, ..Kernel::default() };
    let record = kill(Level::Pod, &kernel);
    KillRecord {
        subject: Subject { container: "pause".into(), container_id: "5a".into(), ..subject() },
        victim: Victim::Sandbox,
        oom_score_adj: Some(OomScoreAdj { wanted: -998, actual: Some(0) }),
        ..record
    }
}

#[test]
fn the_kernel_killed_the_pods_pause_process() {
    let limit = Bytes::from_kib(500);
    let record = pause_killed(limit);
    insta::assert_snapshot!(summary(&record), @"pause: kernel killed pid 815 (pause), the Pod's pause process, at the Pod's limit 500Ki: usage 500Ki, anon 0B, file 240Ki");
    let evidence = Evidence {
        limit: Some(limit),
        pod_limit: Some(limit),
        reason: Some("Error".into()),
        kills: vec![record],
        ..ended(Exit::Signal(9))
    };
    assert_eq!(outcome(&evidence), Outcome::KilledByOther { signal: 9 });
    assert!(judge(&evidence).children.is_empty());
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: Error (exit code 137: SIGKILL, because the kernel's OOM killer killed the Pod's pause process)
      signal   SIGKILL by the container runtime: the kernel's OOM killer killed the Pod's pause process
               at the Pod's limit, and the Pod's containers end with it. The kernel did not kill this
               container's main process itself
      limit    the Pod's: usage 500Ki, limit 500Ki, failcnt 412 (cgroup
               /kubepods/burstable/pod65a49b87-b4ca…). The container's limit is the same, but pause
               counts against the Pod's too, which is full first
      killed   pid 815 (pause), the Pod's pause process: 0 anonymous, 240Ki of files, 0 shared
      chosen   highest score of 2 processes, pause 408Ki; next: sh 368Ki. oom_score_adj 0, where the
               rules give -998 (to lower it takes CAP_SYS_RESOURCE, which root lacks here)
      charged  127.2Mi anonymous, 720Ki kernel, 0 tmpfs or shared, 0 page cache (always dropped first)
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   limits.memory 500Ki → 16Mi (the least to start with). The true need is not known, only
               that it is above 500Ki: it was still asking. If 16Mi runs out too, look for a leak
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 16Mi}
    ");

    // Without the kernel's report.
    let mut silent = evidence.clone();
    silent.kills[0] = KillRecord {
        level: None,
        report: None,
        oom_score_adj: None,
        missing: vec![no_kernel_log()],
        ..silent.kills[0].clone()
    };
    silent.end.as_mut().unwrap().pod.as_mut().unwrap().failcnt = Some(7);
    insta::assert_snapshot!(text(&silent), @r"
    memory-eater: Error (exit code 137: SIGKILL, because the kernel's OOM killer killed the Pod's pause process)
      signal   SIGKILL by the container runtime: the kernel's OOM killer killed the Pod's pause process
               at the Pod's limit, and the Pod's containers end with it. The kernel did not kill this
               container's main process itself
      limit    the Pod's: peak 128Mi, limit 128Mi, failcnt 7 (cgroup
               /kubepods/burstable/pod65a49b87-b4ca…). The container's limit is the same, but pause
               counts against the Pod's too, which is full first
      killed   the Pod's pause process; no more is known without the kernel's report
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   limits.memory 500Ki → 16Mi (the least to start with). The true need is not known, only
               that it is above 500Ki: it was still asking. If 16Mi runs out too, look for a leak
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 16Mi}
      missing  /dev/kmsg: permission denied; run as root, or with CAP_SYSLOG
    ");

    // The container's own counter decides whether its main process was killed, and where it cannot be read nobody does.
    let mut uncounted = evidence.clone();
    uncounted.end.as_mut().unwrap().container = None;
    assert_eq!(outcome(&uncounted), Outcome::KilledByUnknown { signal: 9 });
    assert!(text(&uncounted).contains("the Pod's pause process"));
    let own = Evidence { end: Some(end(Exit::Signal(9), 1)), ..evidence.clone() };
    assert_eq!(outcome(&own), Outcome::OomKilled { level: Some(Level::Pod) });

    // Another's, or long before: not the cause.
    let mut other = evidence.clone();
    other.kills[0].subject.pod_uid = "another".into();
    let mut before = evidence.clone();
    before.kills[0].at = at() - jiff::SignedDuration::from_secs(60);
    for unrelated in [other, before] {
        let verdict = judge(&unrelated);
        assert_eq!((verdict.children.len(), &verdict.remedy), (0, &None));
        assert_eq!(verdict.headline, "Error (exit code 137: SIGKILL, not by the OOM killer)");
    }
    let code = Evidence { end: Some(end(Exit::Code(1), 0)), ..evidence };
    assert_eq!(judge(&code).headline, "Error (exit code 1)");
}

#[test]
fn what_was_to_become_the_container_is_no_child_of_it() {
    let limit = Some(Bytes::from_kib(500));
    let launcher = Process { pid: 840, anon: 90, file: 20, name: "memlet", ..EATER };
    let kernel =
        Kernel { limit: Bytes::from_kib(500), processes: &[launcher], victim: launcher, ..Kernel::default() };
    let mut killed = kill(Level::Pod, &kernel);
    killed.subject.container_id = "of-the-first-try".into();
    let failed = Evidence {
        limit,
        pod_limit: limit,
        reason: Some("StartError".into()),
        message: Some("container init was OOM-killed".into()),
        end: None,
        kills: vec![killed.clone(), killed.clone()],
        ..pod_2()
    };
    assert!(judge(&failed).children.is_empty());
    insta::assert_snapshot!(text(&failed), @r"
    memory-eater: did not start (StartError)
      start    container init was OOM-killed
      killed   2 processes by the OOM killer before the program began: the last pid 840 (memlet) at the
               Pod's limit 500Ki: usage 500Ki, anon 360Ki, file 80Ki
      change   limits.memory 500Ki → 16Mi: the kernel killed what was to become the container before its
               program began
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 16Mi}
    ");
    let no_sandbox = Evidence { kills: vec![pause_killed(Bytes::from_kib(500))], ..failed.clone() };
    insta::assert_snapshot!(text(&no_sandbox), @r"
    memory-eater: did not start (StartError)
      start    container init was OOM-killed
      killed   pid 815 (pause), the Pod's pause process, at the Pod's limit 500Ki: usage 500Ki, anon 0B,
               file 240Ki; without it no container of the Pod can start
      change   limits.memory 500Ki → 16Mi: the kernel killed the Pod's pause process, without which no
               container starts
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 16Mi}
    ");
    // A later try ran, and somebody killed it: the record of the first does not make that an OOM kill.
    let later = Evidence { kills: vec![killed], ..ended(Exit::Signal(9)) };
    assert_eq!(outcome(&later), Outcome::KilledByOther { signal: 9 });
    let fact = judge(&later).facts.into_iter().find(|fact| fact.topic == Topic::Killed).unwrap();
    insta::assert_snapshot!(fact.text, @"1 process by the OOM killer before the program began: pid 840 (memlet) at the Pod's limit 500Ki: usage 500Ki, anon 360Ki, file 80Ki");
    // The status has the runtime's name before the id.
    let mut status = pod_2();
    status.subject.container_id = format!("memlet://{CONTAINER}");
    assert_eq!(outcome(&status), Outcome::OomKilled { level: Some(Level::Pod) });
}

#[test]
fn nobody_says_how_it_ended() {
    let evidence = Evidence {
        reason: Some("Unknown".into()),
        message: Some("the supervisor ended without saying how the container did".into()),
        end: None,
        kills: vec![],
        ..pod_2()
    };
    let verdict = judge(&evidence);
    assert_eq!((&verdict.outcome, verdict.outcome.exit_code()), (&Outcome::Unknown, None));
    assert_eq!(serde_json::to_string(&verdict.outcome).unwrap(), r#"{"kind":"unknown"}"#);
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: ended, how is not known (no exit code)
      status   the supervisor ended without saying how the container did. So its exit code is not known,
               nor whether a signal ended it, nor who sent that
    ");
    // A kill that the kernel reported is told, as no child's.
    let killed = Evidence { kills: pod_2().kills, ..evidence };
    insta::assert_snapshot!(judge(&killed).headline, @"ended, how is not known (no exit code); the OOM killer killed 1 process of it");
}

#[test]
fn shared_memory_points_to_the_volume() {
    let eater = Process { anon: 100, shmem: 32_489, ..EATER };
    let kernel = Kernel {
        charged: [Bytes::from_kib(400), Bytes::from_mib(126), Bytes::from_mib(126)],
        processes: &[PAUSE, eater],
        victim: eater,
        ..Kernel::default()
    };
    let evidence = Evidence { kills: vec![kill(Level::Pod, &kernel)], ..pod_2() };
    let verdict = judge(&evidence);
    assert!(verdict.facts.iter().all(|fact| fact.topic != Topic::Malloc), "malloc had no part in it");
    let charged = verdict.facts.iter().find(|fact| fact.topic == Topic::Charged).unwrap();
    insta::assert_snapshot!(charged.text, @"400Ki anonymous, 720Ki kernel, 126Mi tmpfs or shared, 0 page cache; files on tmpfs stay until they are removed, shared memory until the last who has it is gone");
    insta::assert_snapshot!(verdict.remedy.unwrap().text, @"most of it, 126Mi, is shared memory or files on tmpfs, such as an emptyDir with medium: Memory, which counts against this limit and outlives a restart: give that volume a sizeLimit, or put it on disk. Otherwise limits.memory 128Mi → 192Mi (× 1.5, rounded up). The true need is not known, only that it is above 128Mi: it was still asking. If 192Mi runs out too, look for a leak");
}

#[test]
fn a_score_that_nobody_may_lower() {
    let eater = Process { adj: 1000, ..EATER };
    let kernel = Kernel { processes: &[eater], victim: eater, ..Kernel::default() };
    let record = KillRecord {
        oom_score_adj: Some(OomScoreAdj { wanted: 939, actual: Some(1000) }),
        ..kill(Level::Pod, &kernel)
    };
    let verdict = judge(&Evidence { kills: vec![record], ..pod_2() });
    let chosen = verdict.facts.iter().find(|fact| fact.topic == Topic::Chosen).unwrap();
    insta::assert_snapshot!(chosen.text, @"the only process there that the kernel may kill. oom_score_adj 1000, where the rules give 939: Burstable, 1000 − 1000 × 123Mi / 2041888Ki (to lower it takes CAP_SYS_RESOURCE, which root lacks here)");
}

#[test]
fn a_choice_that_the_table_does_not_bear_out() {
    let larger = Process { pid: 901, anon: 40_000, name: "sidecar", ..EATER };
    let kernel = Kernel { processes: &[larger, EATER], limit: Bytes::from_mib(300), ..Kernel::default() };
    let verdict = judge(&Evidence { score: None, kills: vec![kill(Level::Pod, &kernel)], ..pod_2() });
    let chosen = verdict.facts.iter().find(|fact| fact.topic == Topic::Chosen).unwrap();
    insta::assert_snapshot!(chosen.text, @"though sidecar 435.7Mi (156.9Mi held + 939‰ of 300Mi) scores higher in the kernel's table. oom_score_adj 939");
}

#[test]
fn the_patch_names_the_list_that_the_container_is_in() {
    let evidence = Evidence { is_init: true, ..pod_2() };
    insta::assert_snapshot!(judge(&evidence).remedy.unwrap().patch.unwrap().yaml, @r"
    spec:
      initContainers:
      - name: memory-eater
        resources:
          limits: {memory: 192Mi}
    ");
}

#[test]
fn a_report_as_the_kernel_prints_it() {
    let mut collector = Collector::default();
    for line in include_str!("evidence/child.txt").lines() {
        collector.push(&Record::of_text(line.split_once("] ").map_or(line, |(_, text)| text)));
    }
    let record = KillRecord {
        report: collector.finish().pop(),
        oom_score_adj: Some(OomScoreAdj { wanted: 998, actual: Some(998) }),
        ..child(Level::Pod, &Kernel::default())
    };
    insta::assert_snapshot!(summary(&record), @"memory-eater: kernel killed pid 861 (memhog), not the main process, at the Pod's limit 64Mi: usage 64Mi, anon 63.3Mi, file 572Ki");
    // The same kill, had it hit the main process.
    let evidence = Evidence {
        score: None,
        limit: Some(Bytes::from_mib(64)),
        pod_limit: Some(Bytes::from_mib(64)),
        kills: vec![KillRecord { victim: Victim::Main, ..record }],
        ..pod_2()
    };
    insta::assert_snapshot!(text(&evidence), @r"
    memory-eater: OOMKilled (exit code 137: SIGKILL by the kernel's OOM killer)
      limit    the Pod's: usage 64Mi, limit 64Mi, failcnt 423 (cgroup
               /kubepods/burstable/podedd036eb-ce5b…). The container's limit is the same, but pause
               counts against the Pod's too, which is full first
      killed   pid 861 (memhog), the main process: 63.3Mi anonymous, 572Ki of files, 0 shared
      chosen   highest score of 3 processes, memhog 126.4Mi (64.0Mi held + 998‰ of 64Mi); next: sh
               63.2Mi (920Ki held + 998‰ of 64Mi). oom_score_adj 998
      charged  63.4Mi anonymous, 520Ki kernel, 0 tmpfs or shared, 0 page cache (always dropped first)
      malloc   did not fail: it only hands out addresses (overcommit). Memory is charged at the first
               touch, in a page fault, which has no NULL to return
      logs     lines may be missing: what stdio still held back, as it does into a pipe, died with it
      change   limits.memory 64Mi → 96Mi (× 1.5, rounded up). The true need is not known, only that it
               is above 64Mi: it was still asking. If 96Mi runs out too, look for a leak
               spec:
                 containers:
                 - name: memory-eater
                   resources:
                     limits: {memory: 96Mi}
    ");
}

#[test]
fn a_terminal_holds_no_lines_back() {
    let evidence = Evidence { tty: true, ..pod_2() };
    assert!(judge(&evidence).facts.iter().all(|fact| fact.topic != Topic::Logs));
}

#[test]
fn one_line_for_an_event() {
    let record = kill(Level::Pod, &Kernel::default());
    insta::assert_snapshot!(summary(&record), @"memory-eater: kernel killed pid 869 (memory-eater), the main process, at the Pod's limit 128Mi: usage 128Mi, anon 127.3Mi, file 572Ki");
    insta::assert_snapshot!(summary(&child(Level::Container, &Kernel::default())), @"memory-eater: kernel killed pid 869 (memory-eater), not the main process, at the container's limit 128Mi: usage 128Mi, anon 127.3Mi, file 572Ki");
    let bare = KillRecord { report: None, level: None, victim: Victim::Unknown, ..record };
    insta::assert_snapshot!(summary(&bare), @"memory-eater: kernel killed a process, perhaps the main one, at a limit not known");
}

#[test]
fn colour_and_width_change_nothing_else() {
    let verdict = judge(&pod_2());
    let plain = render::text(&verdict, Style { width: Some(72), ..Style::default() });
    assert!(plain.lines().skip(1).all(|line| line.chars().count() <= 72), "{plain}");
    let coloured = render::text(&verdict, Style { colour: true, width: Some(72), ..Style::default() });
    assert!(coloured.contains("\u{1b}["));
    assert_eq!(plain, anstyle_stripped(&coloured));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&plain), words(&render::text(&verdict, Style::default())));
}

#[test]
fn among_several_pods_the_container_is_named_with_its_own() {
    let text = render::text(&judge(&pod_2()), Style { with_pod: true, ..Style::default() });
    assert!(text.starts_with("memory-eater-128/memory-eater: OOMKilled"), "{text}");
}

fn anstyle_stripped(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn names_of_processes_cannot_speak_to_the_terminal() {
    let mut record = kill(Level::Pod, &Kernel::default());
    record.report.as_mut().unwrap().victims[0].comm = "\u{1b}[2Jx\ny".into();
    let text = text(&Evidence { kills: vec![record], ..pod_2() });
    assert!(text.contains("\u{fffd}[2Jx\u{fffd}y"), "{text}");
}

#[test]
fn json_is_stable_and_survives() {
    let verdict = judge(&pod_2());
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["outcome"], serde_json::json!({"kind": "oomKilled", "level": "pod"}));
    assert_eq!(json["facts"][0]["topic"], "limit");
    assert_eq!(json["remedy"]["patch"]["limit"], 201_326_592);
    assert_eq!(serde_json::from_value::<memlet_diagnosis::Verdict>(json).unwrap(), verdict);
    let failed = Outcome::StartFailed { reason: None, code: Some(128) };
    assert_eq!(serde_json::to_string(&failed).unwrap(), r#"{"kind":"startFailed","reason":null,"code":128}"#);
}
