//! When a run is over, and what its exit code is. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use memlet_policy::eviction::EVICTED;

use crate::exit::Exit;

/// How long to go on where `restartPolicy` would restart containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Through this many restarts of each container.
    Restarts(u32),
    /// For ever.
    Endless,
}

/// Whether nothing more is awaited of a Pod.
pub(crate) fn is_over(pod: &Pod, patience: Patience) -> bool {
    let Some(status) = &pod.status else { return false };
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return true;
    }
    let Patience::Restarts(restarts) = patience else { return false };
    if is_stuck(pod) {
        return true;
    }
    let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let inits = status.init_container_statuses.iter().flatten();
    let containers = status.container_statuses.iter().flatten();
    let mut ends = inits
        .map(|init| (init, "OnFailure"))
        .chain(containers.map(|container| (container, policy)))
        .filter_map(|(container, policy)| Some((ends(container)?, policy)));
    ends.any(|((count, code), policy)| {
        let would_restart = policy == "Always" || (policy == "OnFailure" && code != 0);
        would_restart && count > restarts
    })
}

/// A Pod that no node takes, or whose image cannot be had: waiting on changes nothing by itself here.
fn is_stuck(pod: &Pod) -> bool {
    failure_to_run(pod).is_some()
}

/// Whether the Pod ran, and had to go for another's sake: one that was not taken has no such condition.
pub(crate) fn is_evicted(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let disrupted = status.conditions.iter().flatten();
    let mut disrupted = disrupted.filter(|it| it.type_ == "DisruptionTarget" && it.status == "True");
    status.reason.as_deref() == Some(EVICTED) && disrupted.next().is_some()
}

/// Whether any of its containers has run.
pub(crate) fn has_run(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.flat_map(|container| [&container.state, &container.last_state]).flatten().any(|state| {
        let began = |at: &Time| at.0 > Timestamp::UNIX_EPOCH;
        let ended = state.terminated.as_ref();
        state.running.is_some() || ended.and_then(|ended| ended.started_at.as_ref()).is_some_and(began)
    })
}

/// Why a Pod cannot even run, or had to end as a whole, where that is so.
pub(crate) fn failure_to_run(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(reason) = &status.reason
        && status.phase.as_deref() == Some("Failed")
    {
        return Some(format!("{reason}: {}", status.message.clone().unwrap_or_default()));
    }
    let unplaced = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unplaced {
        return Some(format!("Pending: {}", condition.message.clone().unwrap_or_default()));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.into_iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let hopeless = [
            "ErrImagePull",
            "ImagePullBackOff",
            "ErrImageNeverPull",
            "InvalidImageName",
            "CreateContainerConfigError",
            "CreateContainerError",
        ];
        let message = waiting.message.clone().unwrap_or_default();
        hopeless.contains(&reason).then(|| format!("{}: {reason}: {message}", container.name))
    })
}

/// How many instances have ended, and the last one's exit code; `None` while none has.
fn ends(status: &ContainerStatus) -> Option<(u32, i32)> {
    let state = status.state.as_ref();
    let present = state.and_then(|state| state.terminated.as_ref());
    let waits = state.is_some_and(|state| state.waiting.is_some());
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let restarts = u32::try_from(status.restart_count).unwrap_or(0);
    match (present, last) {
        (Some(ended), _) => Some((restarts + 1, ended.exit_code)),
        (None, Some(ended)) if waits => Some((restarts + 1, ended.exit_code)),
        (None, Some(ended)) => Some((restarts, ended.exit_code)),
        (None, None) => None,
    }
}

/// The program's exit code for what became of the Pods: the first failing container's, in their order.
pub(crate) fn exit(pods: &[Pod]) -> Exit {
    for pod in pods {
        let Some(status) = &pod.status else { continue };
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for container in containers {
            if let Some((_, code)) = ends(container)
                && code != 0
            {
                return Exit::of_container(code);
            }
        }
        if is_evicted(pod) {
            // Its containers ended well when they were asked to, and not because they were done.
            return Exit::of_container(0);
        }
        if failure_to_run(pod).is_some() {
            return Exit::MISTAKE;
        }
    }
    Exit::DONE
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(policy: &str, phase: &str, restarts: i32, state: &Value, last: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"restartPolicy": policy, "containers": []},
            "status": {"phase": phase, "containerStatuses": [
                {"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                 "state": state, "lastState": last}]},
        }))
        .unwrap()
    }

    #[test]
    fn what_failed_may_have_run() {
        let of = |state: &Value| has_run(&pod("Never", "Failed", 0, state, &json!({})));
        let ended = |started: &str| json!({"terminated": {"exitCode": 137, "startedAt": started}});
        assert!(of(&ended("2026-03-01T10:00:00Z")) && of(&json!({"running": {}})));
        assert!(!of(&ended("1970-01-01T00:00:00Z")), "its start failed");
        assert!(!of(&json!({"waiting": {"reason": "ErrImagePull"}})));
    }

    #[test]
    fn a_run_ends_where_a_restart_would_begin() {
        let running = json!({"running": {}});
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let none = json!({});
        // policy, phase, restarts so far, state, last state, --restarts, over?
        for (policy, phase, restarts, state, last, allowed, over) in [
            ("Always", "Running", 0, &running, &none, 0, false),
            ("Always", "Running", 0, &ended(137), &none, 0, true),
            ("Always", "Running", 0, &ended(0), &none, 0, true),
            ("OnFailure", "Running", 0, &ended(0), &none, 0, false),
            ("OnFailure", "Running", 0, &ended(3), &none, 0, true),
            ("Never", "Running", 0, &ended(3), &none, 0, false),
            ("Never", "Failed", 0, &ended(3), &none, 0, true),
            ("Always", "Running", 1, &running, &ended(137), 0, true),
            ("Always", "Running", 1, &running, &ended(137), 1, false),
            ("Always", "Running", 1, &waiting, &ended(137), 1, true),
            ("Always", "Running", 1, &ended(137), &ended(137), 1, true),
            ("Always", "Running", 1, &ended(137), &ended(137), 2, false),
        ] {
            let pod = pod(policy, phase, restarts, state, last);
            assert_eq!(
                is_over(&pod, Patience::Restarts(allowed)),
                over,
                "{policy} {phase} {restarts} {state} {last} --restarts {allowed}"
            );
            assert_eq!(is_over(&pod, Patience::Endless), phase == "Failed");
        }
    }

    #[test]
    fn the_exit_code_is_the_failing_containers() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let of = |code| exit(&[pod("Never", "Failed", 0, &ended(code), &json!({}))]);
        assert_eq!(of(0), Exit::DONE);
        assert_eq!(of(137), Exit::of_container(137));
        let stuck = json!({"waiting": {"reason": "ErrImagePull", "message": "no"}});
        let stuck = pod("Never", "Pending", 0, &stuck, &json!({}));
        assert!(is_over(&stuck, Patience::Restarts(0)));
        assert_eq!(exit(&[stuck]), Exit::MISTAKE);
    }
    #[test]
    fn an_evicted_pod_has_run_and_is_no_success() {
        let ended = |code: i32| json!({"terminated": {"exitCode": code}});
        let evicted = |code, conditions: &Value| {
            let mut pod = pod("Always", "Failed", 0, &ended(code), &json!({}));
            let status = pod.status.as_mut().unwrap();
            status.reason = Some("Evicted".into());
            status.conditions = serde_json::from_value(conditions.clone()).unwrap();
            pod
        };
        let disrupted = json!([{"type": "DisruptionTarget", "status": "True"}]);
        for (code, expected) in [(0, 1), (137, 137), (143, 143)] {
            let pod = evicted(code, &disrupted);
            assert!(is_over(&pod, Patience::Endless) && is_evicted(&pod));
            assert_eq!(exit(&[pod]), Exit::of_container(expected), "{code}");
        }
        let rejected = evicted(0, &json!([]));
        assert!(!is_evicted(&rejected));
        assert_eq!(exit(&[rejected]), Exit::MISTAKE);
    }
}
