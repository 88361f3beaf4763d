//! The phase of a Pod, from the states of its containers: kubelet's `getPhase`.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec};

use crate::resources;
use crate::restart::{Decision, after_exit, last_exit_code};

/// Where a Pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not all containers have started.
    Pending,
    /// All have started; one runs, or will again.
    Running,
    /// All have ended with 0 and none starts again.
    Succeeded,
    /// All have ended, one with a failure, and none starts again.
    Failed,
}

impl Phase {
    /// Whether a Pod never leaves this phase.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a Pod has ended, by what its status says: it holds nothing any more.
pub fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What the phase needs to know beside the containers' states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All init steps were done once: a sidecar that starts again no longer makes the Pod Pending.
    pub initialized: bool,
    /// The Pod is ending (deleted, evicted, past its deadline): nothing starts again, whatever the policy.
    pub terminating: bool,
}

/// What the states of the regular containers and sidecars add up to.
#[derive(Default)]
struct Count {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
    restarting: usize,
}

/// The phase of a Pod whose containers, init ones included, have these statuses (in any order; a container
/// without one has not been seen). A Pod in a [final](Phase::is_final) phase stays there: that is the caller's
/// to keep.
pub fn pod_phase(spec: &PodSpec, statuses: &[ContainerStatus], progress: Progress) -> Phase {
    let status_of = |container: &Container| statuses.iter().find(|status| status.name == container.name);
    let mut count = Count::default();
    let mut pending_init = false;
    let mut pending_sidecar = false;
    for container in resources::init_containers(spec) {
        let status = status_of(container);
        if resources::is_sidecar(container) {
            pending_sidecar |= count_sidecar(&mut count, status);
            continue;
        }
        match init_exit_code(status) {
            None => pending_init = true,
            Some(0) => {}
            Some(exit_code) if after_exit(spec, container, exit_code) == Decision::Stay => {
                return Phase::Failed;
            }
            Some(_) => {}
        }
    }
    for container in &spec.containers {
        count_regular(&mut count, spec, container, status_of(container));
    }
    if pending_init || pending_sidecar && !progress.initialized || count.waiting > 0 {
        return Phase::Pending;
    }
    if count.unknown > 0 || count.running == 0 && count.stopped == 0 {
        return Phase::Pending;
    }
    if count.running > 0 || count.restarting > 0 && !progress.terminating {
        return Phase::Running;
    }
    if count.stopped == count.succeeded { Phase::Succeeded } else { Phase::Failed }
}

/// The last exit code of an ordinary init container; `None` while it has not ended once or runs.
fn init_exit_code(status: Option<&ContainerStatus>) -> Option<i32> {
    let status = status?;
    let is_running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    if is_running { None } else { last_exit_code(status) }
}

/// Counts a sidecar; says whether it has yet to start. One that ended counts for nothing.
fn count_sidecar(count: &mut Count, status: Option<&ContainerStatus>) -> bool {
    let state = status.and_then(|status| Some((status, status.state.as_ref()?)));
    match state {
        Some((status, state)) if state.running.is_some() => {
            count.running += 1;
            status.started != Some(true)
        }
        Some((_, state)) if state.terminated.is_some() => false,
        Some((status, state)) if state.waiting.is_some() => {
            let ran = last_exit_code(status).is_some();
            count.waiting += usize::from(!ran);
            !ran
        }
        Some(_) => {
            count.unknown += 1;
            true
        }
        None => {
            count.unknown += 1;
            false
        }
    }
}

fn count_regular(count: &mut Count, spec: &PodSpec, container: &Container, status: Option<&ContainerStatus>) {
    let Some((status, state)) = status.and_then(|status| Some((status, status.state.as_ref()?))) else {
        count.unknown += 1;
        return;
    };
    if state.running.is_some() {
        count.running += 1;
        return;
    }
    let Some(exit_code) = last_exit_code(status) else {
        if state.waiting.is_some() {
            count.waiting += 1;
        } else {
            count.unknown += 1;
        }
        return;
    };
    count.stopped += 1;
    count.succeeded += usize::from(state.terminated.is_some() && exit_code == 0);
    count.restarting += usize::from(after_exit(spec, container, exit_code) != Decision::Stay);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(policy: &str, init: &Value, containers: &[&str]) -> PodSpec {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
        serde_json::from_value(
            json!({"restartPolicy": policy, "initContainers": init, "containers": containers}),
        )
        .unwrap()
    }

    /// A status from a word: `run`, `starting`, `wait`, `loop1` (waits after exit 1), `exit0`, `none`.
    fn status(name: &str, word: &str) -> Option<ContainerStatus> {
        let (state, last) = match word {
            "none" => return None,
            "run" | "starting" => (json!({"running": {}}), Value::Null),
            "wait" => (json!({"waiting": {}}), Value::Null),
            _ if word.starts_with("loop") => (
                json!({"waiting": {}}),
                json!({"terminated": {"exitCode": word[4..].parse::<i32>().unwrap()}}),
            ),
            _ => (json!({"terminated": {"exitCode": word[4..].parse::<i32>().unwrap()}}), Value::Null),
        };
        let status = json!({
            "name": name, "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": state, "lastState": last, "started": word == "run",
        });
        Some(serde_json::from_value(status).unwrap())
    }

    fn phase(spec: &PodSpec, words: &[(&str, &str)], progress: Progress) -> String {
        let statuses: Vec<_> = words.iter().filter_map(|(name, word)| status(name, word)).collect();
        pod_phase(spec, &statuses, progress).to_string()
    }

    #[test]
    fn regular_containers() {
        for (policy, a, b, expected) in [
            ("Always", "none", "none", "Pending"),
            ("Always", "wait", "run", "Pending"),
            ("Always", "run", "none", "Pending"),
            ("Always", "run", "run", "Running"),
            ("Always", "exit0", "run", "Running"),
            ("Always", "exit137", "exit0", "Running"),
            ("Always", "loop1", "loop0", "Running"),
            ("OnFailure", "exit0", "exit0", "Succeeded"),
            ("OnFailure", "exit1", "exit0", "Running"),
            ("OnFailure", "loop1", "run", "Running"),
            ("Never", "exit0", "exit0", "Succeeded"),
            ("Never", "exit137", "exit0", "Failed"),
            ("Never", "exit137", "run", "Running"),
            ("Never", "exit137", "wait", "Pending"),
        ] {
            let spec = spec(policy, &json!([]), &["a", "b"]);
            assert_eq!(
                phase(&spec, &[("a", a), ("b", b)], Progress::default()),
                expected,
                "{policy} {a} {b}"
            );
        }
    }

    #[test]
    fn a_terminating_pod_restarts_nothing() {
        let spec = spec("Always", &json!([]), &["a"]);
        let ending = Progress { terminating: true, initialized: true };
        assert_eq!(phase(&spec, &[("a", "exit137")], ending), "Failed");
        assert_eq!(phase(&spec, &[("a", "exit0")], ending), "Succeeded");
        assert_eq!(phase(&spec, &[("a", "run")], ending), "Running");
    }

    #[test]
    fn init_containers() {
        for (policy, init, main, expected) in [
            ("Always", "none", "wait", "Pending"),
            ("Always", "run", "wait", "Pending"),
            ("Always", "exit1", "wait", "Pending"),
            ("Always", "loop1", "wait", "Pending"),
            ("Never", "exit1", "wait", "Failed"),
            ("Never", "exit0", "run", "Running"),
            ("Never", "exit0", "exit0", "Succeeded"),
        ] {
            let spec = spec(policy, &json!([{"name": "init"}]), &["main"]);
            let words = [("init", init), ("main", main)];
            assert_eq!(phase(&spec, &words, Progress::default()), expected, "{policy} {init} {main}");
        }
    }

    #[test]
    fn sidecars() {
        let spec = spec("Never", &json!([{"name": "side", "restartPolicy": "Always"}]), &["main"]);
        let done = Progress { initialized: true, ..Progress::default() };
        for (side, main, progress, expected) in [
            ("wait", "wait", Progress::default(), "Pending"),
            ("run", "run", Progress::default(), "Running"),
            ("run", "exit0", done, "Running"),
            // Up but not yet started, as after a restart of its own.
            ("starting", "wait", Progress::default(), "Pending"),
            ("starting", "run", Progress::default(), "Pending"),
            ("starting", "run", done, "Running"),
            ("exit0", "exit0", done, "Succeeded"),
            ("exit1", "exit0", done, "Succeeded"),
            ("loop1", "run", done, "Running"),
        ] {
            assert_eq!(phase(&spec, &[("side", side), ("main", main)], progress), expected, "{side} {main}");
        }
    }
}
