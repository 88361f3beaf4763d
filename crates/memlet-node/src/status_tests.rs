//! The status against what a real node wrote, field by field: only the runtime's name and the fields that Memlet
//! does not have (service account volumes, Pod addresses) are left out.

use super::*;
use crate::life::Ended;
use serde_json::{Value, json};

const UID: &str = "39ea0cc2-b638-4caf-8286-8a895677d802";

fn at(time: &str) -> Timestamp {
    format!("2026-11-22T{time}Z").parse().unwrap()
}

/// The Pod of the recording `seeds/limit128`.
fn eater() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "memory-eater-128", "namespace": "default", "uid": UID, "generation": 1},
        "spec": {
            "containers": [{
                "name": "memory-eater", "image": "maho/memory_eater:0.1",
                "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}},
            }],
            "restartPolicy": "Always",
        },
        "status": {"qosClass": "Burstable", "phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-22T01:23:17Z"},
        ]},
    }))
    .unwrap()
}

fn killed(id: &str, from: &str, to: &str) -> Ended {
    Ended {
        id: id.into(),
        exit_code: 137,
        reason: "OOMKilled".into(),
        message: None,
        started_at: Some(at(from)),
        finished_at: at(to),
    }
}

fn life() -> Life {
    Life {
        image: "docker.io/maho/memory_eater:0.1".into(),
        image_id: "sha256:877c".into(),
        ..Life::new("memory-eater", "maho/memory_eater:0.1")
    }
}

fn status(pod: &Pod, before: &PodStatus, containers: &[Life], now: &str) -> PodStatus {
    let facts = Facts {
        containers,
        sandbox_ready: true,
        host_ip: Some("10.254.0.1"),
        start_time: Some(at("01:23:17")),
        ..Facts::default()
    };
    pod_status(pod, &facts, before, at(now))
}

#[test]
fn after_the_first_restart_as_recorded() {
    let pod = eater();
    let mut life = life();
    let pending = status(&pod, pod.status.as_ref().unwrap(), &[life.clone()], "01:23:18");
    life.start("e8ec", at("01:23:18"));
    let running = status(&pod, &pending, &[life.clone()], "01:23:18");
    life.instance = Some(Instance::Ended(killed("e8ec", "01:23:18", "01:23:34")));
    let ended = status(&pod, &running, &[life.clone()], "01:23:34");
    life.start("9581", at("01:23:35"));
    let restarted = status(&pod, &ended, &[life], "01:23:35");
    let recorded: Value = json!({
        "allocatedResources": {"memory": "128Mi"},
        "conditions": [
            {"lastTransitionTime": "2026-11-22T01:23:18Z", "observedGeneration": 1, "status": "True", "type": "PodReadyToStartContainers"},
            {"lastTransitionTime": "2026-11-22T01:23:18Z", "observedGeneration": 1, "status": "True", "type": "Initialized"},
            {"lastTransitionTime": "2026-11-22T01:23:35Z", "observedGeneration": 1, "status": "True", "type": "Ready"},
            {"lastTransitionTime": "2026-11-22T01:23:35Z", "observedGeneration": 1, "status": "True", "type": "ContainersReady"},
            {"lastTransitionTime": "2026-11-22T01:23:17Z", "observedGeneration": 1, "status": "True", "type": "PodScheduled"},
        ],
        "containerStatuses": [{
            "allocatedResources": {"memory": "128Mi"},
            "containerID": "memlet://9581",
            "image": "docker.io/maho/memory_eater:0.1",
            "imageID": "sha256:877c",
            "lastState": {"terminated": {
                "containerID": "memlet://e8ec", "exitCode": 137, "finishedAt": "2026-11-22T01:23:34Z",
                "reason": "OOMKilled", "startedAt": "2026-11-22T01:23:18Z",
            }},
            "name": "memory-eater",
            "ready": true,
            "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}},
            "restartCount": 1,
            "started": true,
            "state": {"running": {"startedAt": "2026-11-22T01:23:35Z"}},
        }],
        "hostIP": "10.254.0.1",
        "hostIPs": [{"ip": "10.254.0.1"}],
        "observedGeneration": 1,
        "phase": "Running",
        "qosClass": "Burstable",
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}},
        "startTime": "2026-11-22T01:23:17Z",
    });
    assert_eq!(serde_json::to_value(&restarted).unwrap(), recorded);
}

/// The third object of `seeds/watch-pods.jsonl`: kubelet's first word.
#[test]
fn before_the_first_instance_as_recorded() {
    let mut pod = eater();
    let life = Life::new("memory-eater", "maho/memory_eater:0.1");
    let facts = Facts {
        containers: &[life],
        host_ip: Some("10.254.0.1"),
        start_time: Some(at("01:23:17")),
        ..Facts::default()
    };
    let first = pod_status(&pod, &facts, pod.status.as_ref().unwrap(), at("01:23:17"));
    let not_ready = |kind: &str| {
        json!({
            "type": kind, "observedGeneration": 1, "status": "False",
            "lastTransitionTime": "2026-11-22T01:23:17Z", "reason": "ContainersNotReady",
            "message": "containers with unready status: [memory-eater]",
        })
    };
    let plain = |kind: &str, status: &str| {
        json!({
            "type": kind, "observedGeneration": 1, "status": status,
            "lastTransitionTime": "2026-11-22T01:23:17Z",
        })
    };
    let recorded = json!({
        "observedGeneration": 1,
        "phase": "Pending",
        "conditions": [
            plain("PodReadyToStartContainers", "False"),
            plain("Initialized", "True"),
            not_ready("Ready"),
            not_ready("ContainersReady"),
            plain("PodScheduled", "True"),
        ],
        "hostIP": "10.254.0.1",
        "hostIPs": [{"ip": "10.254.0.1"}],
        "startTime": "2026-11-22T01:23:17Z",
        "containerStatuses": [{
            "name": "memory-eater", "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {},
            "ready": false, "restartCount": 0, "image": "maho/memory_eater:0.1", "imageID": "", "started": false,
        }],
        "qosClass": "Burstable",
        "allocatedResources": {"memory": "128Mi"},
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}},
    });
    assert_eq!(serde_json::to_value(&first).unwrap(), recorded);
    // A Pod that came with its node is scheduled all the same.
    pod.status.as_mut().unwrap().conditions = None;
    let placed = pod_status(&pod, &facts, pod.status.as_ref().unwrap(), at("01:23:17"));
    assert_eq!(serde_json::to_value(&placed).unwrap(), recorded);
}

/// What changes from state to state, in one line.
fn brief(status: &PodStatus) -> String {
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let condition = |kind: &str| {
        let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap();
        format!("{}{}", found.status, found.reason.as_ref().map(|why| format!("/{why}")).unwrap_or_default())
    };
    let name = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
        let state = state.clone().unwrap_or_default();
        match (state.waiting, state.running, state.terminated) {
            (Some(waiting), _, _) => waiting.reason.unwrap(),
            (_, Some(_), _) => "running".to_owned(),
            (_, _, Some(ended)) => format!("{}({})", ended.reason.unwrap(), ended.exit_code),
            _ => "-".to_owned(),
        }
    };
    format!(
        "{} {} last={} id={} restarts={} Ready={} Initialized={}",
        status.phase.as_ref().unwrap(),
        name(&container.state),
        name(&container.last_state),
        container.container_id.as_deref().unwrap_or("-"),
        container.restart_count,
        condition("Ready"),
        condition("Initialized"),
    )
}

#[test]
fn a_crash_loop_step_by_step() {
    let pod = eater();
    let mut life = life();
    let mut before = pod.status.clone().unwrap();
    let mut lines = Vec::new();
    let mut see = |life: &Life| {
        before = status(&pod, &before, std::slice::from_ref(life), "01:24:00");
        lines.push(brief(&before));
    };
    see(&life);
    life.start("a", at("01:23:18"));
    see(&life);
    life.instance = Some(Instance::Ended(killed("a", "01:23:18", "01:23:34")));
    see(&life);
    life.start("b", at("01:23:35"));
    see(&life);
    life.instance = Some(Instance::Ended(killed("b", "01:23:35", "01:23:51")));
    see(&life);
    life.wait("CrashLoopBackOff", Some("back-off 10s".into()));
    see(&life);
    life.give_up_waiting();
    see(&life);
    // As golden/seeds/watch-pods.jsonl has it.
    insta::assert_snapshot!(lines.join("\n"), @r"
    Pending ContainerCreating last=- id=- restarts=0 Ready=False/ContainersNotReady Initialized=True
    Running running last=- id=memlet://a restarts=0 Ready=True Initialized=True
    Running OOMKilled(137) last=- id=memlet://a restarts=0 Ready=False/ContainersNotReady Initialized=True
    Running running last=OOMKilled(137) id=memlet://b restarts=1 Ready=True Initialized=True
    Running OOMKilled(137) last=OOMKilled(137) id=memlet://b restarts=1 Ready=False/ContainersNotReady Initialized=True
    Running CrashLoopBackOff last=OOMKilled(137) id=memlet://b restarts=1 Ready=False/ContainersNotReady Initialized=True
    Running OOMKilled(137) last=OOMKilled(137) id=memlet://b restarts=1 Ready=False/ContainersNotReady Initialized=True
    ");
}

#[test]
fn the_end_of_a_pod_that_does_not_restart() {
    let mut pod = eater();
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    let ended = |exit_code: i32, reason: &str| {
        let mut life = life();
        let ended = Ended { exit_code, reason: reason.into(), ..killed("a", "01:23:18", "01:23:34") };
        life.instance = Some(Instance::Ended(ended));
        brief(&status(&pod, &PodStatus::default(), &[life], "01:24:00"))
    };
    insta::assert_snapshot!(ended(0, "Completed"), @"Succeeded Completed(0) last=- id=memlet://a restarts=0 Ready=False/PodCompleted Initialized=True/PodCompleted");
    insta::assert_snapshot!(ended(3, "Error"), @"Failed Error(3) last=- id=memlet://a restarts=0 Ready=False/PodFailed Initialized=True");
}

#[test]
fn a_final_phase_stays_and_other_conditions_are_kept() {
    let pod = eater();
    let before: PodStatus = serde_json::from_value(json!({
        "phase": "Failed",
        "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}],
    }))
    .unwrap();
    let status = status(&pod, &before, &[life()], "01:24:00");
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let kinds: Vec<String> =
        status.conditions.unwrap().into_iter().map(|condition| condition.type_).collect();
    // In the order of golden/evict2.
    assert_eq!(
        kinds,
        [
            "DisruptionTarget",
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled"
        ]
    );
}

#[test]
fn a_rejected_pod_has_no_containers() {
    let rejection = Rejection {
        reason: "OutOfmemory".into(),
        message: "Node didn't have enough resource: memory".into(),
    };
    let facts = Facts { rejection: Some(&rejection), start_time: Some(at("01:23:17")), ..Facts::default() };
    let status = pod_status(&eater(), &facts, &PodStatus::default(), at("01:23:17"));
    insta::assert_snapshot!(
        serde_json::to_string(&status).unwrap(),
        @r#"{"message":"Pod was rejected: Node didn't have enough resource: memory","phase":"Failed","qosClass":"Burstable","reason":"OutOfmemory","startTime":"2026-11-22T01:23:17Z"}"#
    );
}

#[test]
fn init_containers_hold_the_pod_pending() {
    let mut pod = eater();
    let init: Vec<Container> =
        serde_json::from_value(json!([{"name": "first"}, {"name": "second"}])).unwrap();
    pod.spec.as_mut().unwrap().init_containers = Some(init);
    let mut first = Life::new("first", "x");
    first.instance = Some(Instance::Ended(Ended {
        exit_code: 0,
        reason: "Completed".into(),
        ..killed("a", "01:23:18", "01:23:19")
    }));
    let lives = [first, Life::new("second", "x")];
    let containers = [life()];
    let facts = Facts { init: &lives, containers: &containers, ..Facts::default() };
    let status = pod_status(&pod, &facts, &PodStatus::default(), at("01:23:20"));
    insta::assert_snapshot!(brief(&status), @"Pending PodInitializing last=- id=- restarts=0 Ready=False/ContainersNotReady Initialized=False/ContainersNotInitialized");
    let initialized = &status.conditions.unwrap()[1];
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [second]"));
}

#[test]
fn why_a_pod_failed_is_known_again_after_a_restart() {
    let pod = eater();
    let evicted =
        |is_disruption| Failure { reason: "Evicted".into(), message: "low. ".into(), is_disruption };
    for failure in [evicted(true), evicted(false)] {
        let facts = Facts { failure: Some(&failure), ..Facts::default() };
        let said = pod_status(&pod, &facts, &PodStatus::default(), at("01:24:00"));
        let known = Failure::of_status(&said).unwrap();
        assert_eq!(known, failure);
        let facts = Facts { failure: Some(&known), ..Facts::default() };
        assert_eq!(pod_status(&pod, &facts, &said, at("01:25:00")), said);
    }
    let of_itself = PodStatus { phase: Some("Failed".into()), ..PodStatus::default() };
    assert_eq!(Failure::of_status(&of_itself), None);
}
