//! What happened to a Pod between two looks at it. Pure: statuses in, changes out.
//!
//! A watch may skip states: a container that started and died between two events is still told of twice,
//! since its status carries the instance before.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};

/// One instance of one container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Instance {
    /// The Pod's uid.
    pub(crate) pod: String,
    /// The container's name.
    pub(crate) container: String,
    /// How often it had restarted before.
    pub(crate) restarts: i32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// No node takes the Pod.
    Unschedulable { message: String },
    /// The node refused or evicted the Pod.
    Refused { reason: String, message: String },
    /// A container waits for something other than its turn.
    Waiting { container: String, reason: String, message: String },
    /// An instance runs.
    Started { instance: Instance, id: String },
    /// An instance ended.
    Ended { instance: Instance, id: String, state: ContainerStateTerminated },
}

/// What has been told of a Pod so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// The next instance of each container whose start, and whose end, is to be told.
    containers: HashMap<String, Next>,
    /// The last waiting reason told of each container.
    waiting: HashMap<String, String>,
    unschedulable: Option<String>,
    refused: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Next {
    start: i32,
    end: i32,
}

impl Told {
    /// The changes that `pod` shows and that have not been told.
    pub(crate) fn changes(&mut self, pod: &Pod) -> Vec<Change> {
        let Some(status) = &pod.status else { return Vec::new() };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut changes = Vec::new();
        self.placement(pod, &mut changes);
        if status.phase.as_deref() == Some("Failed")
            && let Some(reason) = status.reason.clone()
            && !std::mem::replace(&mut self.refused, true)
        {
            let message = status.message.clone().unwrap_or_default();
            changes.push(Change::Refused { reason, message });
        }
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for container in containers {
            self.container(&uid, container, &mut changes);
        }
        changes
    }

    fn placement(&mut self, pod: &Pod, changes: &mut Vec<Change>) {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let unplaced = conditions
            .into_iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        let message = unplaced.and_then(|condition| condition.message.clone());
        if let Some(message) = message.clone().filter(|_| message != self.unschedulable) {
            changes.push(Change::Unschedulable { message });
        }
        self.unschedulable = message;
    }

    fn container(&mut self, uid: &str, status: &ContainerStatus, changes: &mut Vec<Change>) {
        let next = self.containers.entry(status.name.clone()).or_default();
        let mut tell = |restarts: i32, state: &ContainerState, fallback_id: &str| {
            let instance = Instance { pod: uid.to_owned(), container: status.name.clone(), restarts };
            let ended = state.terminated.as_ref();
            let id = ended.and_then(|it| it.container_id.clone()).unwrap_or_else(|| fallback_id.to_owned());
            let ran = state.running.is_some() || ended.is_some_and(|it| it.started_at.is_some());
            if ran && next.start <= restarts {
                next.start = restarts + 1;
                changes.push(Change::Started { instance: instance.clone(), id: id.clone() });
            }
            if let Some(state) = ended
                && next.end <= restarts
            {
                next.end = restarts + 1;
                changes.push(Change::Ended { instance, id, state: state.clone() });
            }
        };
        let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
        let id = status.container_id.clone().unwrap_or_default();
        if let Some(last) = &status.last_state {
            // While it waits to be restarted the dead instance is still the present one.
            tell(if waits { status.restart_count } else { status.restart_count - 1 }, last, &id);
        }
        if let Some(state) = &status.state {
            tell(status.restart_count, state, &id);
        }
        self.wait(status, changes);
    }

    fn wait(&mut self, status: &ContainerStatus, changes: &mut Vec<Change>) {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        let Some(reason) = waiting.and_then(|waiting| waiting.reason.clone()) else {
            self.waiting.remove(&status.name);
            return;
        };
        let its_turn = reason == "ContainerCreating" || reason == "PodInitializing";
        let message = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
        // The message of a back-off counts its seconds: one line per reason and instance is enough.
        let key = format!("{reason} {}", status.restart_count);
        if !its_turn && self.waiting.get(&status.name) != Some(&key) {
            self.waiting.insert(status.name.clone(), key);
            changes.push(Change::Waiting { container: status.name.clone(), reason, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(statuses: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "status": {"phase": "Running", "containerStatuses": statuses},
        }))
        .unwrap()
    }

    fn status(restarts: i32, state: &Value, last: &Value) -> Value {
        json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "containerID": "memlet://1", "state": state, "lastState": last}])
    }

    fn ended(code: i32) -> Value {
        json!({"terminated": {"exitCode": code, "reason": "OOMKilled", "startedAt": "2026-11-22T01:00:00Z",
               "containerID": "memlet://0"}})
    }

    fn told(told: &mut Told, pod: &Pod) -> Vec<String> {
        told.changes(pod)
            .into_iter()
            .map(|change| match change {
                Change::Started { instance, .. } => format!("started {}", instance.restarts),
                Change::Ended { instance, state, .. } => {
                    format!("ended {} {}", instance.restarts, state.exit_code)
                }
                Change::Waiting { reason, .. } => reason,
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn each_start_and_end_is_told_once() {
        let mut so_far = Told::default();
        let running = pod(&status(0, &json!({"running": {"startedAt": "2026-11-22T01:00:00Z"}}), &json!({})));
        assert_eq!(told(&mut so_far, &running), ["started 0"]);
        assert_eq!(told(&mut so_far, &running), [""; 0]);
        let dead = pod(&status(0, &ended(137), &json!({})));
        assert_eq!(told(&mut so_far, &dead), ["ended 0 137"]);
        let again = pod(&status(1, &json!({"running": {"startedAt": "2026-11-22T01:00:09Z"}}), &ended(137)));
        assert_eq!(told(&mut so_far, &again), ["started 1"]);
    }

    #[test]
    fn what_a_watch_skipped_is_told_from_the_last_state() {
        let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let mut so_far = Told::default();
        let pod = pod(&status(1, &back_off, &ended(137)));
        assert_eq!(told(&mut so_far, &pod), ["started 1", "ended 1 137", "CrashLoopBackOff"]);
        assert_eq!(told(&mut so_far, &pod), [""; 0]);
    }

    #[test]
    fn a_container_that_never_ran_did_not_start() {
        let failed = json!({"terminated": {"exitCode": 128, "reason": "StartError"}});
        let mut so_far = Told::default();
        assert_eq!(told(&mut so_far, &pod(&status(0, &failed, &json!({})))), ["ended 0 128"]);
    }
}
