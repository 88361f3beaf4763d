//! What an earlier run of this agent left with the runtime, and what the API says of it, put together again.
//!
//! The runtime knows what there is and how it ended; the API knows what was said of it. Where the API knows of an end
//! that was judged, that stays; what ended since is judged now, with the kernel's log as far back as it reaches. Ends and
//! kills that were recorded and not yet said are taken from the records ([`Known`]).

pub(crate) mod life; // pure: a container's life from its status
pub(crate) mod orphan; // what belongs to no Pod

use std::collections::{HashMap, HashSet};

use futures::future;
use jiff::Timestamp;
use k8s_cri::v1::{self, ContainerState, PodSandboxState};
use memlet_diagnosis::eviction::Eviction;
use memlet_diagnosis::evidence::{KillRecord, Victim};
use memlet_oomlog::Report;

use crate::config::NodeConfig;
use crate::container::ASKED_IMAGE;
use crate::cri::{Cri, CriError};
use crate::records::{Death, Record, Records};
use crate::sweep;

/// The label by which an agent knows its own sandboxes, in a runtime that serves others too: its state folder.
pub(crate) const AGENT_LABEL: &str = "memlet.dev/agent";

/// The annotation by which a Pod says where its manifest comes from, if not from the API.
const SOURCE: &str = "kubernetes.io/config.source";

/// A sandbox that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundSandbox {
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) is_ready: bool,
}

/// A container that is there, whatever it does.
#[derive(Clone, Debug)]
pub(crate) struct FoundContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) attempt: u32,
    pub(crate) state: ContainerState,
    /// Seconds between TERM and KILL that its Pod wanted.
    pub(crate) grace: i64,
    /// The image's name as the spec had it.
    pub(crate) image: Option<String>,
    pub(crate) status: v1::ContainerStatusResponse,
}

/// All that there is of one Pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Its manifest was not the API's, whose list so says nothing of it.
    pub(crate) is_static: bool,
    /// By their attempts.
    pub(crate) sandboxes: Vec<FoundSandbox>,
    /// By their attempts.
    pub(crate) containers: Vec<FoundContainer>,
}

impl Found {
    /// The sandbox to go on with, and those that are of no use: of several the newest, one that is ready before others.
    pub(crate) fn split_sandboxes(&self) -> (Option<&FoundSandbox>, Vec<&FoundSandbox>) {
        let best = self.sandboxes.iter().max_by_key(|sandbox| (sandbox.is_ready, sandbox.attempt));
        let others = self.sandboxes.iter().filter(|sandbox| Some(*sandbox) != best).collect();
        (best, others)
    }

    /// When the last of its containers ended; `None` where one has not, or the runtime does not say.
    pub(crate) fn last_end(&self) -> Option<Timestamp> {
        let ends = self.containers.iter().map(|container| {
            let status = container.status.status.as_ref()?;
            let is_over = container.state == ContainerState::ContainerExited && status.finished_at > 0;
            is_over.then(|| Timestamp::from_nanosecond(status.finished_at.into()).ok()).flatten()
        });
        ends.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

/// What was left: by Pod, and what was recorded of it.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) pods: HashMap<String, Found>,
    pub(crate) known: Known,
}

impl Left {
    /// Asks the runtime what it has of this agent.
    pub(crate) async fn survey(cri: &Cri, config: &NodeConfig, records: &Records) -> Result<Self, CriError> {
        let sandboxes = match cri.list_sandboxes().await {
            // A runtime that cannot even say what it has: nothing can be taken over.
            Err(error) if error.is_unimplemented() => return Ok(Self::default()),
            sandboxes => sandboxes?,
        };
        let mut left = Self::default();
        let mut uids = HashMap::new();
        for sandbox in sandboxes {
            if sandbox.labels.get(AGENT_LABEL) != Some(&label(config)) {
                continue;
            }
            let metadata = sandbox.metadata.clone().unwrap_or_default();
            uids.insert(sandbox.id.clone(), metadata.uid.clone());
            let found = left.pods.entry(metadata.uid).or_default();
            (found.namespace, found.name) = (metadata.namespace, metadata.name);
            found.is_static = sandbox.annotations.get(SOURCE).is_some_and(|source| source != "api");
            found.sandboxes.push(FoundSandbox {
                attempt: metadata.attempt,
                is_ready: sandbox.state() == PodSandboxState::SandboxReady,
                id: sandbox.id,
            });
        }
        if left.pods.is_empty() {
            return Ok(left);
        }
        let containers = cri.list_containers().await?.into_iter();
        let ours = containers.filter_map(|it| uids.get(&it.pod_sandbox_id).map(|uid| (uid.clone(), it)));
        let asked =
            ours.map(async |(uid, container)| (uid, cri.container_status(&container.id).await, container));
        for (uid, status, container) in future::join_all(asked).await {
            let status = match status {
                Ok(status) => status,
                // Removed meanwhile.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            if let Some(found) = left.pods.get_mut(&uid) {
                found.containers.push(found_container(container, status));
            }
        }
        for found in left.pods.values_mut() {
            found.sandboxes.sort_by_key(|sandbox| sandbox.attempt);
            found.containers.sort_by_key(|container| container.attempt);
        }
        left.known = Known::new(records.all_unhurried().await);
        Ok(left)
    }

    /// Every sandbox and container, for the kernel's log.
    pub(crate) fn ids(&self) -> Vec<String> {
        let of_pod = |found: &Found| {
            let sandboxes = found.sandboxes.iter().map(|sandbox| sandbox.id.clone());
            let containers = found.containers.iter().map(|container| container.id.clone());
            sandboxes.chain(containers).collect::<Vec<_>>()
        };
        self.pods.values().flat_map(of_pod).collect()
    }

    /// The Pods of which this agent knows that they are its own: with a sandbox, or with a folder.
    pub(crate) fn uids(&self, config: &NodeConfig) -> HashSet<String> {
        self.pods.keys().cloned().chain(sweep::known_pods(config)).collect()
    }
}

/// What this agent writes into [`AGENT_LABEL`].
pub(crate) fn label(config: &NodeConfig) -> String {
    config.state.to_string_lossy().into_owned()
}

fn found_container(container: v1::Container, status: v1::ContainerStatusResponse) -> FoundContainer {
    let metadata = container.metadata.clone().unwrap_or_default();
    let grace = container.annotations.get("io.kubernetes.pod.terminationGracePeriod");
    FoundContainer {
        name: metadata.name,
        attempt: metadata.attempt,
        image: container.annotations.get(ASKED_IMAGE).cloned(),
        // The later of the two answers.
        state: status.status.as_ref().map_or(container.state(), v1::ContainerStatus::state),
        grace: grace.and_then(|grace| grace.parse().ok()).unwrap_or(crate::termination::DEFAULT_GRACE),
        id: container.id,
        status,
    }
}

/// What is recorded of containers by their ids, and of Pods by their uids.
#[derive(Debug, Default)]
pub(crate) struct Known {
    evictions: HashMap<String, Eviction>,
    deaths: HashMap<String, Death>,
    kills: HashMap<String, Vec<KillRecord>>,
}

impl Known {
    fn new(records: Vec<Record>) -> Self {
        let mut known = Self::default();
        for record in records {
            match record {
                Record::Kill(kill) => {
                    known.kills.entry(kill.subject.container_id.clone()).or_default().push(*kill);
                }
                Record::Death(death) => {
                    drop(known.deaths.insert(death.subject.container_id.clone(), *death));
                }
                Record::Eviction(eviction) => {
                    drop(known.evictions.insert(eviction.pod.uid.clone(), *eviction));
                }
            }
        }
        known
    }

    /// The Pod's eviction, where it had not come to its end.
    pub(crate) fn unended_eviction(&self, uid: &str) -> Option<&Eviction> {
        self.evictions.get(uid).filter(|eviction| eviction.course.ended.is_none())
    }

    pub(crate) fn death(&self, id: &str) -> Option<&Death> {
        self.deaths.get(id)
    }

    pub(crate) fn kills(&self, id: &str) -> &[KillRecord] {
        self.kills.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a kill of this kind is recorded.
    pub(crate) fn has(&self, id: &str, victim: Victim) -> bool {
        self.kills(id).iter().any(|kill| kill.victim == victim)
    }
}

/// Whether two readings of the kernel's log tell the same kill. Their numbers differ, their times do not.
pub(crate) fn is_same_kill(a: &Report, b: &Report) -> bool {
    let same = |a: Option<std::time::Duration>, b| a.is_some() && a == b;
    same(a.killed_since_boot, b.killed_since_boot) || same(a.since_boot, b.since_boot)
}

/// The kills that these records settle, as the count of the cgroup has them.
pub(crate) fn settled_kills(kills: &[KillRecord]) -> u64 {
    kills.iter().fold(0, |settled, kill| {
        if let Some(report) = &kill.report {
            return settled + report.victims.len().max(1) as u64;
        }
        let counted = kill.container_memory.as_ref().and_then(|snapshot| snapshot.oom_kills);
        counted.unwrap_or(settled + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_sandbox_that_is_ready_is_the_one_to_go_on_with() {
        let sandbox = |id: &str, attempt, is_ready| FoundSandbox { id: id.into(), attempt, is_ready };
        let chosen = |sandboxes: &[FoundSandbox]| {
            let found = Found { sandboxes: sandboxes.to_vec(), ..Found::default() };
            let (best, others) = found.split_sandboxes();
            assert_eq!(others.len(), sandboxes.len().saturating_sub(1));
            best.map(|best| best.id.clone())
        };
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[sandbox("a", 0, false)]).as_deref(), Some("a"));
        assert_eq!(chosen(&[sandbox("a", 0, true), sandbox("b", 1, false)]).as_deref(), Some("a"));
        assert_eq!(chosen(&[sandbox("a", 0, false), sandbox("b", 1, false)]).as_deref(), Some("b"));
    }

    #[test]
    fn a_pod_has_ended_with_the_last_of_its_containers() {
        let container = |finished_at, state| FoundContainer {
            id: String::new(),
            name: String::new(),
            attempt: 0,
            state,
            grace: 2,
            image: None,
            status: v1::ContainerStatusResponse {
                status: Some(v1::ContainerStatus { finished_at, ..Default::default() }),
                ..Default::default()
            },
        };
        let last = |containers: &[FoundContainer]| {
            let found = Found { containers: containers.to_vec(), ..Found::default() };
            found.last_end().map(Timestamp::as_nanosecond)
        };
        let (early, late) =
            (container(5, ContainerState::ContainerExited), container(9, ContainerState::ContainerExited));
        assert_eq!(last(&[early.clone(), late.clone(), early.clone()]), Some(9));
        assert_eq!(last(&[early.clone(), container(0, ContainerState::ContainerRunning)]), None);
        assert_eq!(last(&[early, container(0, ContainerState::ContainerExited)]), None);
        assert_eq!(last(&[]), None);
    }

    #[test]
    fn a_kill_is_known_again_by_its_time() {
        let report = |id, started: Option<u64>, killed: Option<u64>| Report {
            id: memlet_oomlog::ReportId(id),
            since_boot: started.map(Duration::from_micros),
            killed_since_boot: killed.map(Duration::from_micros),
            ..Report::default()
        };
        assert!(is_same_kill(&report(1, Some(5), Some(9)), &report(7, Some(5), Some(9))));
        assert!(
            is_same_kill(&report(1, Some(6), Some(9)), &report(1, None, Some(9))),
            "its head was overwritten"
        );
        assert!(!is_same_kill(&report(1, Some(5), Some(9)), &report(1, Some(6), Some(10))));
        assert!(!is_same_kill(&report(1, None, None), &report(1, None, None)));
    }
}
