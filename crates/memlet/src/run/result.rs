//! The end of a run: a verdict per container, and the document of `-o json`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, Pod};
use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::{Eviction, EvictionVerdict};
use memlet_diagnosis::evidence::{ContainerEnd, Exit, KillRecord, Subject, Victim};
use memlet_diagnosis::{Evidence, Outcome, Verdict, judge};
use memlet_policy::qos::QosClass;
use memlet_policy::{cgroup_limits, oom_score_adj, resources};
use serde::Serialize;

use super::changes::Instance;

/// What the program prints with `-o json`: names stay, additions may come.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    /// The Pods as the API had them when the run was over.
    pub(crate) pods: &'a [Pod],
    /// Every kill by the OOM killer in them, oldest first.
    pub(crate) kill_records: &'a [KillRecord],
    /// A verdict per ended container, in the order of their ends.
    pub(crate) verdicts: &'a [Verdict],
    /// A verdict per evicted Pod, oldest first.
    pub(crate) evictions: &'a [EvictionVerdict],
    /// What was known when those Pods were chosen.
    pub(crate) eviction_records: &'a [Eviction],
}

/// The runtime's statements about containers that ended, by instance.
pub(crate) type Ends = BTreeMap<Instance, Ended>;

/// One instance that ended.
pub(crate) struct Ended {
    /// The API's words for it.
    pub(crate) state: ContainerStateTerminated,
    /// The runtime's statement, where it could be had.
    pub(crate) end: Option<ContainerEnd>,
    /// The order of the ends.
    pub(crate) number: usize,
}

/// A verdict for each container that ended, in the order of their ends, and for those that still ran when
/// the run was ended.
pub(crate) fn verdicts(pods: &[Pod], ends: &Ends, kills: &[KillRecord], node_memory: Bytes) -> Vec<Verdict> {
    let mut ordered: Vec<_> = ends.iter().collect();
    ordered.sort_by_key(|(_, ended)| ended.number);
    ordered
        .into_iter()
        .filter_map(|(instance, ended)| {
            let pod = pods.iter().find(|pod| pod.metadata.uid.as_ref() == Some(&instance.pod))?;
            Some(judge(&evidence(pod, instance, Some(ended), kills, node_memory)?))
        })
        .collect()
}

/// The verdicts to tell: where a container's last end was its Pod's eviction, that is told instead.
pub(crate) fn beside_evictions<'a>(verdicts: &'a [Verdict], evictions: &[Eviction]) -> Vec<&'a Verdict> {
    let is_last = |verdict: &Verdict| {
        let own = &verdict.subject;
        verdicts.iter().all(|other| {
            let same = other.subject.pod_uid == own.pod_uid && other.subject.container == own.container;
            !same || other.subject.restart_count <= own.restart_count
        })
    };
    let is_evicted = |verdict: &Verdict| {
        let is_kill = matches!(verdict.outcome, Outcome::OomKilled { .. });
        let mut pods = evictions.iter().map(|eviction| &eviction.pod.uid);
        !is_kill && is_last(verdict) && pods.any(|uid| *uid == verdict.subject.pod_uid)
    };
    verdicts.iter().filter(|verdict| !is_evicted(verdict)).collect()
}

/// What is known of one instance of a container, which has ended or runs still; `None` where its Pod has no such container.
pub(crate) fn evidence(
    pod: &Pod,
    instance: &Instance,
    ended: Option<&Ended>,
    kills: &[KillRecord],
    node_memory: Bytes,
) -> Option<Evidence> {
    let state = ended.map(|ended| &ended.state);
    let spec = pod.spec.as_ref()?;
    let (container, is_init) = find_container(pod, &instance.container)?;
    let qos = QosClass::of_pod(pod);
    let kills = kills.iter().filter(|kill| {
        let subject = &kill.subject;
        let own = subject.container == instance.container && subject.restart_count == instance.restarts;
        // The death of the Pod's pause process concerns every container of it.
        subject.pod_uid == instance.pod && (own || kill.victim == Victim::Sandbox)
    });
    Some(Evidence {
        subject: Subject {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            pod: pod.metadata.name.clone().unwrap_or_default(),
            pod_uid: instance.pod.clone(),
            container: instance.container.clone(),
            container_id: state.and_then(|state| state.container_id.clone()).unwrap_or_default(),
            restart_count: instance.restarts,
        },
        is_init,
        qos_class: qos.as_str().to_owned(),
        score: Some(oom_score_adj::for_container(pod, container, node_memory)),
        request: resources::memory_request(container),
        limit: resources::memory_limit(container),
        pod_limit: cgroup_limits::pod_memory_limit(spec, qos),
        node_memory,
        end: ended.and_then(|ended| ended.end.clone().or_else(|| from_status(&ended.state))),
        reason: state.and_then(|state| state.reason.clone()),
        message: state.and_then(|state| state.message.clone()),
        tty: container.tty.unwrap_or(false),
        kills: kills.cloned().collect(),
    })
}

pub(crate) fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<(&'a Container, bool)> {
    let spec = pod.spec.as_ref()?;
    let of = |containers: &'a [Container]| containers.iter().find(|container| container.name == name);
    match of(&spec.containers) {
        Some(container) => Some((container, false)),
        None => of(spec.init_containers.as_deref().unwrap_or_default()).map(|container| (container, true)),
    }
}

/// What the API alone says of an end; without the cgroups' figures. A start that failed has no end, and one
/// whose supervisor died has none that is known.
fn from_status(state: &ContainerStateTerminated) -> Option<ContainerEnd> {
    if state.reason.as_deref() == Some("ContainerStatusUnknown") {
        return None;
    }
    let at = state.finished_at.as_ref()?.0;
    state.started_at.as_ref()?;
    let exit = match state.exit_code {
        code @ 129..=192 => Exit::Signal(code - 128),
        code => Exit::Code(code),
    };
    Some(ContainerEnd { exit, at, container: None, pod: None, taken_along: None })
}

impl Document<'_> {
    /// The document as text, with a newline at its end.
    pub(crate) fn to_text(&self, format: crate::cli::Format) -> Result<String> {
        match format {
            crate::cli::Format::Yaml => serde_saphyr::to_string(self).context("the result makes no YAML"),
            _ => Ok(serde_json::to_string_pretty(self).context("the result makes no JSON")? + "\n"),
        }
    }
}
