//! A Pod's status, from what is known of its containers. Pure: kubelet's `generateAPIPodStatus`.

use std::borrow::Cow;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus, ResourceRequirements,
    VolumeMountStatus,
};
use memlet_policy::phase::{self, Phase, Progress};
use memlet_policy::qos::QosClass;
use memlet_policy::resources::{self, Side};

use crate::admission::Rejection;
use crate::life::{self, Instance, Life};

/// What is known of a Pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts<'a> {
    /// In the order of the spec.
    pub(crate) init: &'a [Life],
    pub(crate) containers: &'a [Life],
    /// The sandbox is there, with its network.
    pub(crate) sandbox_ready: bool,
    /// Nothing is started any more.
    pub(crate) ending: bool,
    pub(crate) host_ip: Option<&'a str>,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) rejection: Option<&'a Rejection>,
    pub(crate) failure: Option<&'a Failure>,
}

/// Why a Pod has failed that this node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    /// Not for what the Pod did: whoever made it is to make another.
    pub(crate) is_disruption: bool,
}

impl Failure {
    /// What a status says that an earlier run of this agent wrote.
    pub(crate) fn of_status(status: &PodStatus) -> Option<Self> {
        let reason = status.reason.clone().filter(|_| status.phase.as_deref() == Some("Failed"))?;
        let is_own = |condition: &PodCondition| {
            condition.type_ == DISRUPTION_TARGET && condition.reason.as_deref() == Some(BY_THIS_NODE)
        };
        Some(Self {
            reason: reason.into(),
            message: status.message.clone().unwrap_or_default().into(),
            is_disruption: status.conditions.iter().flatten().any(is_own),
        })
    }
}

/// The status now. `before` is the last one known: from it come the times of conditions that did not change,
/// conditions that are not the node agent's, and a final phase, which a Pod never leaves.
pub(crate) fn pod_status(pod: &Pod, facts: &Facts<'_>, before: &PodStatus, now: Timestamp) -> PodStatus {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let qos_class = Some(QosClass::of_pod(pod).to_string());
    if let Some(rejection) = facts.rejection {
        return PodStatus {
            phase: Some(Phase::Failed.to_string()),
            reason: Some(rejection.reason.to_string()),
            message: Some(rejection.status_message()),
            start_time: facts.start_time.map(life::seconds),
            qos_class,
            conditions: before.conditions.clone(),
            ..PodStatus::default()
        };
    }
    let initial = if facts.init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let statuses = |lives: &[Life], containers: &[Container]| -> Vec<ContainerStatus> {
        let both = lives.iter().zip(containers);
        both.map(|(life, container)| container_status(life, container, initial)).collect()
    };
    let init = statuses(facts.init, resources::init_containers(spec));
    let mut containers = statuses(facts.containers, &spec.containers);
    let phase = phase_of(spec, facts, &init, &containers, before);
    let conditions = conditions(pod, facts, phase, &init, &containers, before, now);
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let on_host = spec.host_network == Some(true);
    let pod_ip = facts.host_ip.filter(|_| on_host && facts.sandbox_ready).map(str::to_owned);
    PodStatus {
        phase: Some(phase.to_string()),
        reason: facts.failure.map(|failure| failure.reason.to_string()),
        message: facts.failure.map(|failure| failure.message.to_string()),
        conditions: Some(conditions),
        host_ip: facts.host_ip.map(str::to_owned),
        host_ips: facts.host_ip.map(|ip| vec![HostIP { ip: ip.to_owned() }]),
        pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip,
        start_time: facts.start_time.map(life::seconds),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: (!containers.is_empty()).then_some(containers),
        qos_class,
        observed_generation: pod.metadata.generation,
        allocated_resources: pod_amounts(spec, Side::Requests),
        resources: Some(ResourceRequirements {
            limits: pod_amounts(spec, Side::Limits),
            requests: pod_amounts(spec, Side::Requests),
            ..ResourceRequirements::default()
        }),
        ..PodStatus::default()
    }
}

fn phase_of(
    spec: &PodSpec,
    facts: &Facts<'_>,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
    before: &PodStatus,
) -> Phase {
    match before.phase.as_deref() {
        Some("Succeeded") => return Phase::Succeeded,
        Some("Failed") => return Phase::Failed,
        _ if facts.failure.is_some() => return Phase::Failed,
        _ => {}
    }
    let all: Vec<ContainerStatus> = init.iter().chain(containers).cloned().collect();
    let progress = Progress { initialized: init.iter().all(is_done), terminating: facts.ending };
    let phase = phase::pod_phase(spec, &all, progress);
    // One that ended for another to start in its place has not ended the Pod.
    let goes_on = !facts.ending && facts.containers.iter().any(|life| life.again);
    if goes_on && matches!(phase, Phase::Succeeded | Phase::Failed) { Phase::Running } else { phase }
}

/// The Pod's amounts as its status shows them; `None` where it names none.
fn pod_amounts(spec: &PodSpec, side: Side) -> Option<resources::ApiAmounts> {
    let amounts = match side {
        Side::Requests => resources::pod_requests(spec),
        Side::Limits => resources::pod_limits(spec),
    };
    let amounts: resources::ApiAmounts =
        amounts.into_iter().map(|(name, quantity)| (name, (&quantity).into())).collect();
    (!amounts.is_empty()).then_some(amounts)
}

fn container_status(life: &Life, container: &Container, initial: &str) -> ContainerStatus {
    let (state, last_state) = life.states(initial);
    let running = state.running.is_some();
    // As kubelet: only what an instance runs with, so nothing before there is one.
    let resources = life.instance.is_some().then(|| container.resources.clone().unwrap_or_default());
    let requests = resources.as_ref().and_then(|resources| resources.requests.clone());
    let mounts: Vec<VolumeMountStatus> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only.filter(|read_only| *read_only),
            recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
            ..VolumeMountStatus::default()
        })
        .collect();
    ContainerStatus {
        name: life.name.clone(),
        image: life.image.clone(),
        image_id: life.image_id.clone(),
        container_id: life.instance.as_ref().map(Instance::id).map(life::container_id),
        state: Some(state),
        last_state: Some(last_state),
        ready: running,
        started: Some(running),
        restart_count: life.restart_count,
        allocated_resources: requests.filter(|requests| !requests.is_empty()),
        resources: resources.map(|resources| ResourceRequirements { claims: None, ..resources }),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..ContainerStatus::default()
    }
}

/// An init container that ended well.
fn is_done(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0)
}

/// Tells whoever made the Pod that it ended for its node's sake.
const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// That condition's reason, where it is this node that ended the Pod.
const BY_THIS_NODE: &str = "TerminationByKubelet";

/// The conditions that the node agent owns, in kubelet's order; all others of a Pod are kept as they are, before
/// them. A Pod that is here has been scheduled, also where no scheduler said so (`spec.nodeName` from the start).
const OWN: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

fn conditions(
    pod: &Pod,
    facts: &Facts<'_>,
    phase: Phase,
    init: &[ContainerStatus],
    containers: &[ContainerStatus],
    before: &PodStatus,
    now: Timestamp,
) -> Vec<PodCondition> {
    let known = before.conditions.as_deref().unwrap_or_default();
    let verdicts = [
        (facts.sandbox_ready, None),
        initialized(phase, init),
        ready(phase, containers),
        ready(phase, containers),
        (true, None),
    ];
    let own = OWN.into_iter().zip(verdicts).map(|(kind, (is_true, why))| {
        let status = if is_true { "True" } else { "False" };
        let same = known.iter().find(|condition| condition.type_ == kind && condition.status == status);
        let since = same.and_then(|condition| condition.last_transition_time.clone());
        let (reason, message) = why.unzip();
        PodCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message: message.flatten(),
            last_transition_time: since.or_else(|| Some(life::seconds(now))),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        }
    });
    let disruption = facts.failure.filter(|failure| failure.is_disruption).map(|failure| PodCondition {
        type_: DISRUPTION_TARGET.to_owned(),
        status: "True".to_owned(),
        reason: Some(BY_THIS_NODE.to_owned()),
        message: Some(failure.message.to_string()),
        last_transition_time: Some(life::seconds(now)),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    });
    // Once said it stays as it is.
    let disruption =
        disruption.filter(|_| known.iter().all(|condition| condition.type_ != DISRUPTION_TARGET));
    let others = known.iter().filter(|condition| !OWN.contains(&condition.type_.as_str())).cloned();
    others.chain(disruption).chain(own).collect()
}

/// A condition's reason, with or without a message.
type Why = Option<(String, Option<String>)>;

fn initialized(phase: Phase, init: &[ContainerStatus]) -> (bool, Why) {
    if phase == Phase::Succeeded {
        return (true, Some(("PodCompleted".to_owned(), None)));
    }
    let incomplete: Vec<&str> =
        init.iter().filter(|status| !is_done(status)).map(|status| status.name.as_str()).collect();
    if incomplete.is_empty() {
        return (true, None);
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    (false, Some(("ContainersNotInitialized".to_owned(), Some(message))))
}

fn ready(phase: Phase, containers: &[ContainerStatus]) -> (bool, Why) {
    match phase {
        Phase::Succeeded => return (false, Some(("PodCompleted".to_owned(), None))),
        Phase::Failed => return (false, Some(("PodFailed".to_owned(), None))),
        Phase::Pending | Phase::Running => {}
    }
    let unready: Vec<&str> =
        containers.iter().filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return (true, None);
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    (false, Some(("ContainersNotReady".to_owned(), Some(message))))
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
#[path = "status_tests.rs"]
mod tests;
