//! Kills that no worker claims: in the cgroup of a Pod that is gone, or of nobody. They are recorded and told on the node
//! all the same; and so is a machine without memory, whoever the victim was.

use std::sync::Arc;

use jiff::Timestamp;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{KillRecord, Missing, Subject, Victim};
use memlet_oomlog::Report;
use memlet_policy::cgroup_names;

use super::{attribution, node_event};
use crate::events::Severity;
use crate::node::Node;

/// Tells them as they come, for as long as it is polled.
pub(crate) async fn follow(node: Arc<Node>) {
    loop {
        let report = node.witness.next_lost().await;
        let event = match report.task_memcg.as_deref().and_then(|path| node.cgroups.own(path)) {
            Some(victim) => {
                let record = record(&node, report, &victim).await;
                let event = node_event::of_unclaimed(&record, &victim);
                node.kills.add(record);
                event
            }
            None => node_event::system_oom(&report),
        };
        node.tell(Severity::Warning, event.reason, event.message);
    }
}

async fn record(node: &Node, report: Report, victim: &CgroupPath) -> KillRecord {
    let identity = cgroup_names::decode(victim.as_str());
    let (uid, id) = identity.map(|it| (it.pod_uid, it.container_id)).unwrap_or_default();
    let (uid, id) = (uid.unwrap_or_default(), id.unwrap_or_default());
    // What is in no container is in the Pod itself, and what is in no Pod in the group that it is in.
    let pod = if id.is_empty() { Some(victim.clone()) } else { victim.parent() };
    let level = attribution::level(&report, victim, pod.as_ref().unwrap_or(victim), node.cgroups.kubepods());
    KillRecord {
        at: Timestamp::now(),
        subject: subject(node, uid, id).await,
        victim: Victim::Unknown,
        level,
        report: Some(report),
        container_memory: None,
        pod_memory: None,
        oom_score_adj: None,
        // By now they are not what they were.
        neighbours: Vec::new(),
        missing: vec![Missing {
            source: "the container".to_owned(),
            reason: "none that runs here is known in that cgroup".to_owned(),
        }],
    }
}

/// The Pod by what is known of its uid; nameless where nothing is.
async fn subject(node: &Node, uid: String, id: String) -> Subject {
    let here = node.pressure.pods.find(&uid);
    let records = node.kills.records().all_unhurried().await;
    let subjects = records.iter().rev().filter_map(|record| record.subject());
    let before = subjects.into_iter().find(|subject| !uid.is_empty() && subject.pod_uid == uid).cloned();
    let same = before.as_ref().filter(|subject| subject.container_id == id);
    let (container, restart_count) =
        same.map(|subject| (subject.container.clone(), subject.restart_count)).unwrap_or_default();
    let (namespace, pod) = match (here, before) {
        (Some(pod), _) => (pod.name.namespace, pod.name.name),
        (None, Some(subject)) => (subject.namespace, subject.pod),
        (None, None) => Default::default(),
    };
    Subject { namespace, pod, pod_uid: uid, container, container_id: id, restart_count }
}
