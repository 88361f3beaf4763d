//! A container's life, from what its status says. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus};
use memlet_policy::backoff::{self, BackOff, Growth};

use crate::life::{Ended, Instance, Life, Waiting, runtime_id};
use crate::steady;

/// What an instance in the runtime is to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Its end is known and was judged.
    Over,
    /// It is the one that runs, as far as was known.
    Current,
    /// It was started after anything that is known.
    New,
}

/// What is said before anything was tried, and so nothing to take over.
const INITIAL: [&str; 2] = ["ContainerCreating", "PodInitializing"];

impl Life {
    /// As its status has it.
    pub(crate) fn of_status(name: &str, image: &str, status: &ContainerStatus) -> Self {
        let mut life = Self::new(name, image);
        if !status.image.is_empty() {
            life.image.clone_from(&status.image);
        }
        life.image_id.clone_from(&status.image_id);
        life.restart_count = status.restart_count;
        let ended = |state: &Option<ContainerState>| {
            state.as_ref().and_then(|state| state.terminated.as_ref()).and_then(Ended::of_state)
        };
        let (now, last) = (ended(&status.state), ended(&status.last_state));
        let state = status.state.clone().unwrap_or_default();
        match (state.running, state.waiting) {
            (Some(running), _) => {
                let id = runtime_id(status.container_id.as_deref().unwrap_or_default()).to_owned();
                let started_at = running.started_at.map_or_else(Timestamp::now, |at| at.0);
                life.instance = Some(Instance::Running { id, started_at });
                life.previous = last;
            }
            (None, Some(waiting)) => {
                life.instance = last.map(Instance::Ended);
                let reason = waiting.reason.unwrap_or_default();
                if !INITIAL.contains(&reason.as_str()) {
                    life.waiting = Some(Waiting { reason, message: waiting.message });
                }
            }
            (None, None) => {
                life.instance = now.map(Instance::Ended);
                life.previous = last;
            }
        }
        life
    }

    /// What this instance is, the `attempt`-th of this container.
    pub(crate) fn relation(&self, id: &str, attempt: u32) -> Relation {
        let is = |instance: Option<&str>| instance == Some(id);
        if is(self.running_id()) {
            return Relation::Current;
        }
        let is_known = is(self.instance.as_ref().map(Instance::id))
            || is(self.previous.as_ref().map(|ended| ended.id.as_str()));
        if is_known || (self.instance.is_some() && i64::from(attempt) <= i64::from(self.restart_count)) {
            return Relation::Over;
        }
        Relation::New
    }

    /// Its back-off, by what is known of its last start.
    pub(crate) fn resume_back_off(&mut self) {
        let last_start = match &self.instance {
            Some(Instance::Running { started_at, .. }) => Some(*started_at),
            Some(Instance::Ended(ended)) => ended.started_at.or(Some(ended.finished_at)),
            None => None,
        };
        let message = self.waiting.as_ref().and_then(|waiting| waiting.message.as_deref());
        let delay = message.and_then(backoff::crash_loop_delay);
        let restarts = u32::try_from(self.restart_count).unwrap_or_default();
        if let Some(last_start) = last_start {
            let last_start = steady::of_past(last_start);
            self.back_off = BackOff::resumed(Growth::CONTAINER, restarts, delay, last_start);
        }
        if let Some(ended) = self.ended().cloned() {
            // From here on by a clock that nobody sets.
            self.end(ended);
        }
    }
}

impl Ended {
    /// As a status says it; `None` where that names no instance.
    pub(crate) fn of_state(state: &ContainerStateTerminated) -> Option<Self> {
        Some(Self {
            id: runtime_id(state.container_id.as_deref()?).to_owned(),
            exit_code: state.exit_code,
            reason: state.reason.clone().unwrap_or_default(),
            message: state.message.clone(),
            started_at: state.started_at.as_ref().map(|at| at.0).filter(|at| *at != Timestamp::UNIX_EPOCH),
            finished_at: state.finished_at.as_ref().map_or_else(Timestamp::now, |at| at.0),
        })
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use std::time::Duration;

    use super::*;
    use serde_json::{Value, json};

    fn life(restarts: i32, state: Value, last: Value, id: &str) -> Life {
        let status = serde_json::from_value(json!({
            "name": "c", "image": "x:1", "imageID": "sha256:1", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last, "containerID": format!("memlet://{id}"),
        }))
        .unwrap();
        Life::of_status("c", "x", &status)
    }

    fn ended(id: &str, reason: &str) -> Value {
        json!({"terminated": {
            "containerID": format!("memlet://{id}"), "exitCode": 137, "reason": reason,
            "startedAt": "2026-11-22T01:00:00Z", "finishedAt": "2026-11-22T01:00:05Z",
        }})
    }

    fn running() -> Value {
        json!({"running": {"startedAt": "2026-11-22T01:00:10Z"}})
    }

    fn waiting(reason: &str, message: &str) -> Value {
        json!({"waiting": {"reason": reason, "message": message}})
    }

    /// What is said of a life that was taken over is what had been said.
    #[test]
    fn a_status_survives_the_way_there_and_back() {
        let back_off = "back-off 20s restarting failed container=c pod=p_n(u)";
        for (restarts, state, last, id) in [
            (0, running(), json!({}), "a"),
            (2, running(), ended("a", "OOMKilled"), "b"),
            (0, ended("a", "OOMKilled"), json!({}), "a"),
            (3, ended("b", "Error"), ended("a", "OOMKilled"), "b"),
            (1, waiting("CrashLoopBackOff", back_off), ended("a", "OOMKilled"), "a"),
            (0, waiting("ErrImagePull", "no"), json!({}), ""),
            (0, json!({"waiting": {"reason": "ContainerCreating"}}), json!({}), ""),
        ] {
            let life = life(restarts, state.clone(), last.clone(), id);
            let (now, before) = life.states("ContainerCreating");
            assert_eq!(
                (serde_json::to_value(now).unwrap(), serde_json::to_value(before).unwrap()),
                (state, last)
            );
            assert_eq!((life.restart_count, life.image.as_str()), (restarts, "x:1"));
        }
    }

    #[test]
    fn instances_are_told_apart() {
        let runs = life(2, running(), ended("a", "Error"), "b");
        assert_eq!(runs.relation("b", 2), Relation::Current);
        assert_eq!(runs.relation("a", 1), Relation::Over);
        assert_eq!(runs.relation("older", 0), Relation::Over);
        assert_eq!(runs.relation("c", 3), Relation::New);
        let waits = life(1, waiting("CrashLoopBackOff", "x"), ended("a", "Error"), "a");
        assert_eq!(waits.relation("a", 1), Relation::Over);
        assert_eq!(waits.relation("b", 2), Relation::New);
        let fresh = life(0, json!({"waiting": {"reason": "ContainerCreating"}}), json!({}), "");
        assert_eq!(fresh.relation("a", 0), Relation::New);
    }

    #[test]
    fn the_back_off_goes_on() {
        let at: Timestamp = "2026-11-22T01:00:05Z".parse().unwrap();
        let mut waits = life(
            5,
            waiting("CrashLoopBackOff", "back-off 40s restarting failed container=c pod=p_n(u)"),
            ended("a", "Error"),
            "a",
        );
        waits.resume_back_off();
        assert_eq!(waits.back_off.wait(at, at).map(|wait| wait.delay), Some(Duration::from_secs(40)));
        let mut runs = life(1, running(), ended("a", "Error"), "b");
        runs.resume_back_off();
        assert_eq!(runs.back_off.wait(at, at).map(|wait| wait.delay), Some(Duration::from_secs(10)));
        let mut first = life(0, running(), json!({}), "a");
        first.resume_back_off();
        assert_eq!(first.back_off.wait(at, at), None);
    }
}
