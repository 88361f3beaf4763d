//! Whether a container that ended starts again, and what its exit is called.
//!
//! By kubelet's `ShouldContainerBeRestarted` and `ContainerShouldRestart` (`pkg/api/v1/pod/util.go`). When it
//! starts again is [`crate::backoff`]'s.

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, ContainerState, ContainerStatus, Pod, PodSpec,
};

use crate::resources;

/// What becomes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is started, for the first time or again.
    Start,
    /// It runs; nothing is to do.
    Running,
    /// It has ended for good.
    Stay,
    /// It and all other containers of the Pod are started anew (rule action `RestartAllContainers`).
    StartAll,
}

/// A restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// After an exit code other than 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// The Pod's policy. An absent one is Always, as the API server fills in.
    pub fn of_spec(spec: &PodSpec) -> Self {
        Self::read(spec.restart_policy.as_deref()).unwrap_or(Self::Always)
    }

    /// The policy that holds for a container: its own, else the Pod's.
    pub fn of_container(spec: &PodSpec, container: &Container) -> Self {
        Self::read(container.restart_policy.as_deref()).unwrap_or_else(|| Self::of_spec(spec))
    }

    fn read(text: Option<&str>) -> Option<Self> {
        match text? {
            "Always" => Some(Self::Always),
            "OnFailure" => Some(Self::OnFailure),
            "Never" => Some(Self::Never),
            _ => None,
        }
    }

    /// Whether a container that ended with `exit_code` starts again.
    pub fn restarts(self, exit_code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => exit_code != 0,
            Self::Never => false,
        }
    }
}

/// What becomes of a container, by its status; `None` for one that never ran.
///
/// An ordinary init container that ended with 0 is done under every policy; under `Always` it starts again only
/// after a failure.
pub fn decide(pod: &Pod, container: &Container, status: Option<&ContainerStatus>) -> Decision {
    if pod.metadata.deletion_timestamp.is_some() {
        return if is_running(status) { Decision::Running } else { Decision::Stay };
    }
    let Some(spec) = &pod.spec else { return Decision::Stay };
    if is_running(status) {
        return Decision::Running;
    }
    match status.and_then(last_exit_code) {
        Some(exit_code) => after_exit(spec, container, exit_code),
        None => Decision::Start,
    }
}

/// What becomes of a container that ended with `exit_code`: its restart rules, then its policy, then the Pod's.
pub fn after_exit(spec: &PodSpec, container: &Container, exit_code: i32) -> Decision {
    // Rules hold only beside a policy of the container's own; validation refuses them elsewhere.
    let rules = container.restart_policy.as_ref().and(container.restart_policy_rules.as_deref());
    if let Some(rule) = rules.unwrap_or_default().iter().find(|rule| matches(rule, exit_code)) {
        return if rule.action == "RestartAllContainers" { Decision::StartAll } else { Decision::Start };
    }
    let policy = RestartPolicy::of_container(spec, container);
    let is_done = exit_code == 0 && is_ordinary_init(spec, container);
    if policy.restarts(exit_code) && !is_done { Decision::Start } else { Decision::Stay }
}

fn is_ordinary_init(spec: &PodSpec, container: &Container) -> bool {
    resources::init_containers(spec)
        .iter()
        .any(|init| init.name == container.name && !resources::is_sidecar(init))
}

fn matches(rule: &ContainerRestartRule, exit_code: i32) -> bool {
    let Some(exit_codes) = &rule.exit_codes else { return false };
    let listed = exit_codes.values.as_deref().unwrap_or_default().contains(&exit_code);
    match exit_codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    }
}

fn is_running(status: Option<&ContainerStatus>) -> bool {
    status.and_then(|status| status.state.as_ref()).is_some_and(|state| state.running.is_some())
}

/// The exit code of a container that is not running: of its present state, or, where it waits to start again,
/// of its last.
pub fn last_exit_code(status: &ContainerStatus) -> Option<i32> {
    let exit_code = |state: Option<&ContainerState>| state?.terminated.as_ref().map(|ended| ended.exit_code);
    exit_code(status.state.as_ref()).or_else(|| exit_code(status.last_state.as_ref()))
}

/// The exit code of a process ended by this signal.
pub const fn exit_code_of_signal(signal: i32) -> i32 {
    128 + signal
}

/// Why a container's main process ended, as a runtime reports it in CRI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitReason {
    /// It ended by itself with exit code 0.
    Completed,
    /// It ended in any other way: by itself, or killed by anyone but the OOM killer.
    Error,
    /// The kernel's OOM killer killed it.
    OomKilled,
}

impl ExitReason {
    /// The reason of an exit. `oom_killed` means that the OOM killer killed this very process: a killed child
    /// does not make an exit `OOMKilled`, and exit code 137 alone does not either.
    pub fn new(exit_code: i32, oom_killed: bool) -> Self {
        match (oom_killed, exit_code) {
            (true, _) => Self::OomKilled,
            (false, 0) => Self::Completed,
            (false, _) => Self::Error,
        }
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "Completed",
            Self::Error => "Error",
            Self::OomKilled => "OOMKilled",
        }
    }
}

impl std::fmt::Display for ExitReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an exit code says by convention, for people; `None` for a program's own codes.
pub fn exit_code_meaning(exit_code: i32) -> Option<&'static str> {
    match exit_code {
        0 => Some("ended without an error"),
        126 => Some("the command is not executable"),
        127 => Some("the command was not found"),
        128 => Some("the container could not be started"),
        134 => Some("aborted (SIGABRT)"),
        137 => Some("killed (SIGKILL): by the OOM killer, or after its grace period, or by hand"),
        139 => Some("crashed (SIGSEGV)"),
        143 => Some("asked to end (SIGTERM)"),
        255 => Some("ended in an unknown way, or with -1"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "tables of json! values read better by value")]
    fn pod(policy: &str, container: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"restartPolicy": policy, "containers": [container]},
        }))
        .unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "tables of json! values read better by value")]
    fn status(state: serde_json::Value) -> ContainerStatus {
        serde_json::from_value(json!({
            "name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": state["state"], "lastState": state["lastState"],
        }))
        .unwrap()
    }

    fn exited(exit_code: i32) -> ContainerStatus {
        status(json!({"state": {"terminated": {"exitCode": exit_code}}}))
    }

    #[test]
    fn by_policy() {
        for (policy, after_success, after_failure) in [
            ("Always", Decision::Start, Decision::Start),
            ("OnFailure", Decision::Stay, Decision::Start),
            ("Never", Decision::Stay, Decision::Stay),
        ] {
            let pod = pod(policy, json!({"name": "c"}));
            let container = &pod.spec.as_ref().unwrap().containers[0];
            assert_eq!(decide(&pod, container, None), Decision::Start);
            assert_eq!(decide(&pod, container, Some(&exited(0))), after_success, "{policy}");
            assert_eq!(decide(&pod, container, Some(&exited(137))), after_failure, "{policy}");
            let running = status(json!({"state": {"running": {}}}));
            assert_eq!(decide(&pod, container, Some(&running)), Decision::Running);
            let waiting = status(json!({
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1}},
            }));
            assert_eq!(decide(&pod, container, Some(&waiting)), after_failure);
        }
    }

    #[test]
    fn a_pod_being_deleted_starts_nothing() {
        let mut pod = pod("Always", json!({"name": "c"}));
        pod.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        let container = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!(decide(&pod, container, Some(&exited(1))), Decision::Stay);
        assert_eq!(decide(&pod, container, None), Decision::Stay);
    }

    #[test]
    fn the_first_matching_rule_comes_before_policies() {
        let pod = pod(
            "Always",
            json!({"name": "c", "restartPolicy": "Never", "restartPolicyRules": [
                {"action": "Restart", "exitCodes": {"operator": "In", "values": [42, 137]}},
                {"action": "RestartAllContainers", "exitCodes": {"operator": "NotIn", "values": [0, 1]}},
            ]}),
        );
        let spec = pod.spec.as_ref().unwrap();
        let after = |exit_code| after_exit(spec, &spec.containers[0], exit_code);
        assert_eq!(after(42), Decision::Start);
        assert_eq!(after(2), Decision::StartAll);
        assert_eq!([after(0), after(1)], [Decision::Stay; 2]);
    }

    #[test]
    fn rules_need_a_policy_beside_them() {
        let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
        let pod = pod("Never", json!({"name": "c", "restartPolicyRules": rules}));
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(after_exit(spec, &spec.containers[0], 42), Decision::Stay);
    }

    #[test]
    fn init_containers_are_done_after_success() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {},
            "spec": {"restartPolicy": "Always", "containers": [], "initContainers": [
                {"name": "once"}, {"name": "sidecar", "restartPolicy": "Always"},
            ]},
        }))
        .unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let inits = spec.init_containers.as_ref().unwrap();
        assert_eq!(after_exit(spec, &inits[0], 0), Decision::Stay);
        assert_eq!(after_exit(spec, &inits[0], 1), Decision::Start);
        assert_eq!(after_exit(spec, &inits[1], 0), Decision::Start);
    }

    #[test]
    fn reasons_are_true() {
        for (exit_code, oom_killed, reason) in [
            (0, false, "Completed"),
            (3, false, "Error"),
            (137, false, "Error"),
            (143, false, "Error"),
            (137, true, "OOMKilled"),
        ] {
            assert_eq!(ExitReason::new(exit_code, oom_killed).to_string(), reason);
        }
        assert_eq!(exit_code_of_signal(9), 137);
        assert_eq!((exit_code_meaning(1), exit_code_meaning(127).is_some()), (None, true));
    }
}
