//! What the node is told of a kill: all that no limit of a Pod's own led to. Pure.
//!
//! kubelet says `SystemOOM` of a machine without memory, and nothing at all where the limit of `kubepods` was hit, which
//! on a node with reservations is what its end looks like.

use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{KillRecord, Level};
use memlet_oomlog::Report;

use super::neighbours;

/// node-problem-detector's reason for what the kernel's log says of a kill.
pub(crate) const OOM_KILLING: &str = "OOMKilling";

/// Reason and message of a Warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeEvent {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Of a kill in a Pod whose container requests so much; `None` where a limit of the Pod's own ran out.
pub(crate) fn of_kill(record: &KillRecord, request: Bytes) -> Option<NodeEvent> {
    if !neighbours::matter(record.level) {
        return None;
    }
    if let (Some(Level::Machine), Some(report)) = (record.level, &record.report) {
        return Some(system_oom(report));
    }
    let (namespace, pod) = (&record.subject.namespace, &record.subject.pod);
    let line = memlet_diagnosis::summary(record);
    let message = format!("Pod {namespace}/{pod}, {line}{}{}", limit_of(record), cause(record, request));
    Some(NodeEvent { reason: OOM_KILLING, message })
}

/// Of a kill in a cgroup of this node that nobody answers for.
pub(crate) fn of_unclaimed(record: &KillRecord, victim: &CgroupPath) -> NodeEvent {
    if let (Some(Level::Machine), Some(report)) = (record.level, &record.report) {
        return system_oom(report);
    }
    let (subject, line) = (&record.subject, memlet_diagnosis::summary(record));
    // It begins with the container's name, which may be empty.
    let line = line.trim_start_matches(&subject.container).trim_start_matches(": ");
    let whose = if subject.pod.is_empty() {
        "of no Pod that is known here".to_owned()
    } else {
        format!("of Pod {}/{}, which no longer runs", subject.namespace, subject.pod)
    };
    let message =
        format!("{line}; in cgroup {victim}, {whose}{}{}", limit_of(record), cause(record, Bytes::ZERO));
    NodeEvent { reason: OOM_KILLING, message }
}

/// In kubelet's words.
pub(crate) fn system_oom(report: &Report) -> NodeEvent {
    let victim = report.victims.first();
    let victim = victim.map(|victim| format!(", victim process: {}, pid: {}", victim.comm, victim.pid));
    let message = format!("System OOM encountered{}", victim.unwrap_or_default());
    NodeEvent { reason: "SystemOOM", message }
}

/// Whose limit it was, as the kernel names it.
fn limit_of(record: &KillRecord) -> String {
    let path = record.report.as_ref().and_then(|report| report.oom_memcg.as_ref());
    path.map(|path| format!("; the limit of cgroup {path}")).unwrap_or_default()
}

/// Whose doing it was, where it was not the victim's.
pub(crate) fn cause(record: &KillRecord, request: Bytes) -> String {
    memlet_diagnosis::cause(record, request).map(|cause| format!("; {cause}")).unwrap_or_default()
}
