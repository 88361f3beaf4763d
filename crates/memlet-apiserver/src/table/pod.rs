//! A Pod's row. Its status is not a field: it is told from the phase and from the states of the containers, by the rules
//! of upstream's printer.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, PodSpec, PodStatus,
};

use super::{Column, NONE, Row, RowCondition, Tabular, age, columns, name, since};

const SUCCEEDED: RowCondition = RowCondition {
    type_: "Completed",
    status: "True",
    reason: "Succeeded",
    message: "The pod has completed successfully.",
};
const FAILED: RowCondition =
    RowCondition { type_: "Completed", status: "True", reason: "Failed", message: "The pod failed." };

impl Tabular for Pod {
    fn columns() -> &'static [Column] {
        columns::POD
    }

    fn row(&self, now: Timestamp) -> Row {
        let (spec, status) = (self.spec.clone().unwrap_or_default(), self.status.clone().unwrap_or_default());
        let summary = Summary::of(self, &spec, &status);
        let or_none = |text: Option<&String>| {
            text.filter(|text| !text.is_empty()).map_or(NONE, String::as_str).to_owned()
        };
        let ip = status.pod_ips.iter().flatten().next().map(|ip| &ip.ip).or(status.pod_ip.as_ref());
        let cells = [
            name(&self.metadata),
            format!("{}/{}", summary.ready, summary.containers).into(),
            summary.reason.clone().into(),
            summary.restarts.text(now).into(),
            age(&self.metadata, now),
            or_none(ip).into(),
            or_none(spec.node_name.as_ref()).into(),
            or_none(status.nominated_node_name.as_ref()).into(),
            readiness_gates(&spec, &status).into(),
        ];
        let conditions = match status.phase.as_deref() {
            Some("Succeeded") => vec![SUCCEEDED],
            Some("Failed") => vec![FAILED],
            _ => Vec::new(),
        };
        Row { conditions, ..Row::of(cells) }
    }
}

/// What is told from the containers.
struct Summary {
    reason: String,
    ready: usize,
    containers: usize,
    restarts: Restarts,
}

#[derive(Default)]
struct Restarts {
    count: i32,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, container: &ContainerStatus) {
        self.count += container.restart_count;
        let died = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let died = died.and_then(|terminated| terminated.finished_at.as_ref()).map(|time| time.0);
        self.last = self.last.max(died);
    }

    fn text(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => format!("{} ({} ago)", self.count, since(Some(last), now)),
            _ => self.count.to_string(),
        }
    }
}

impl Summary {
    fn of(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Self {
        let inits: &[Container] = spec.init_containers.as_deref().unwrap_or_default();
        let is_sidecar = |name: &str| inits.iter().any(|init| init.name == name && restarts_always(init));
        let phase = status.phase.clone().unwrap_or_default();
        let sidecars = inits.iter().filter(|init| restarts_always(init)).count();
        let mut summary = Self {
            reason: base_reason(status, &phase),
            ready: 0,
            containers: spec.containers.len() + sidecars,
            restarts: Restarts::default(),
        };
        let mut of_sidecars = Restarts::default();
        let initializing = summary.look_at_inits(status, inits.len(), is_sidecar, &mut of_sidecars);
        if !initializing || condition_is_true(status, "Initialized") {
            summary.restarts = of_sidecars;
            summary.look_at_containers(status);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            if status.reason.as_deref() == Some("NodeLost") {
                "Unknown".clone_into(&mut summary.reason);
            } else if !matches!(phase.as_str(), "Succeeded" | "Failed") {
                "Terminating".clone_into(&mut summary.reason);
            }
        }
        summary
    }

    /// Goes through the init containers up to the first that is not done; true if there is one.
    fn look_at_inits(
        &mut self,
        status: &PodStatus,
        inits: usize,
        is_sidecar: impl Fn(&str) -> bool,
        of_sidecars: &mut Restarts,
    ) -> bool {
        for (index, init) in status.init_container_statuses.iter().flatten().enumerate() {
            self.restarts.add(init);
            let sidecar = is_sidecar(&init.name);
            if sidecar {
                of_sidecars.add(init);
            }
            let state = init.state.clone().unwrap_or_default();
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
            self.reason = match (&state.terminated, waiting) {
                (Some(terminated), _) if terminated.exit_code == 0 => continue,
                _ if sidecar && init.started == Some(true) => {
                    self.ready += usize::from(init.ready);
                    continue;
                }
                (Some(terminated), _) => format!("Init:{}", end(terminated)),
                (None, Some(reason)) if !matches!(reason, "" | "PodInitializing") => format!("Init:{reason}"),
                (None, _) => format!("Init:{index}/{inits}"),
            };
            return true;
        }
        false
    }

    /// From the last container to the first, so that the first in the order of names counts most.
    fn look_at_containers(&mut self, status: &PodStatus) {
        let mut runs = false;
        let mut failure = None;
        for container in status.container_statuses.iter().flatten().rev() {
            self.restarts.add(container);
            let ContainerState { waiting, terminated, running } = container.state.clone().unwrap_or_default();
            let waiting = waiting.and_then(|waiting| waiting.reason).filter(|reason| !reason.is_empty());
            match (waiting, terminated) {
                (Some(reason), _) => self.reason = reason,
                (None, Some(terminated)) => {
                    self.reason = end(&terminated);
                    if terminated.exit_code != 0 {
                        failure = Some(self.reason.clone());
                    }
                }
                (None, None) if container.ready && running.is_some() => {
                    runs = true;
                    self.ready += 1;
                }
                (None, None) => {}
            }
        }
        if self.reason == "Completed" {
            if runs && condition_is_true(status, "Ready") {
                "Running".clone_into(&mut self.reason);
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if runs {
                "NotReady".clone_into(&mut self.reason);
            }
        }
    }
}

fn base_reason(status: &PodStatus, phase: &str) -> String {
    const GATED: &str = "SchedulingGated";
    let gated = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some(GATED));
    let stated = status.reason.as_deref().filter(|reason| !reason.is_empty());
    if gated { GATED } else { stated.unwrap_or(phase) }.to_owned()
}

/// How a container ended.
fn end(terminated: &ContainerStateTerminated) -> String {
    match (terminated.reason.as_deref().unwrap_or_default(), terminated.signal.unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", terminated.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn restarts_always(init: &Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

fn condition_is_true(status: &PodStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn readiness_gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| condition_is_true(status, &gate.condition_type)).count();
    format!("{open}/{}", gates.len())
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
