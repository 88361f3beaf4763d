//! What the node is told of a kill: all that no limit of a Pod's own led to. Pure.
//!
//! kubelet says `SystemOOM` of a machine without memory, and nothing at all where the limit of `kubepods` was hit, which
//! on a node with reservations is what its end looks like.

use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{KillRecord, Level};
use memlet_diagnosis::render::printable;
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
        format!("of Pod {}/{}, in none of its containers that run", subject.namespace, subject.pod)
    };
    let message = format!("{line}; in cgroup {victim}, {whose}{}", limit_of(record));
    NodeEvent { reason: OOM_KILLING, message }
}

/// In kubelet's words.
pub(crate) fn system_oom(report: &Report) -> NodeEvent {
    let victim = report.victims.first();
    let victim =
        victim.map(|victim| format!(", victim process: {}, pid: {}", printable(&victim.comm), victim.pid));
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

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use memlet_diagnosis::evidence::{NamedProcess, PodMemory, Subject, Victim};

    const TASK: &str = "/m/kubepods/besteffort/podu/c";

    fn record(level: Level) -> KillRecord {
        let victim = memlet_oomlog::Victim {
            pid: 42,
            comm: "eater".into(),
            anon_rss: Some(Bytes::from_mib(40)),
            ..Default::default()
        };
        let report = Report {
            oom_memcg: Some("/m/kubepods".into()),
            task_memcg: Some(TASK.into()),
            victims: vec![victim],
            ..Report::default()
        };
        KillRecord {
            at: Timestamp::UNIX_EPOCH,
            subject: Subject {
                namespace: "default".into(),
                pod: "web".into(),
                pod_uid: "u".into(),
                container: "main".into(),
                container_id: "c".into(),
                restart_count: 0,
            },
            victim: Victim::Main,
            level: Some(level),
            report: Some(report),
            container_memory: None,
            pod_memory: None,
            oom_score_adj: None,
            neighbours: vec![PodMemory {
                namespace: "default".into(),
                pod: "hog".into(),
                pod_uid: "h".into(),
                request: Bytes::from_mib(20),
                limit: None,
                working_set: Bytes::from_mib(200),
                largest: Some(NamedProcess { pid: 43, comm: "hog".into() }),
            }],
            missing: vec![],
        }
    }

    fn told(event: &NodeEvent) -> String {
        format!("{}: {}", event.reason, event.message)
    }

    #[test]
    fn the_node_is_told_whose_limit_it_was_and_whose_doing() {
        let event = of_kill(&record(Level::NodeAllocatable), Bytes::from_mib(10)).unwrap();
        insta::assert_snapshot!(told(&event), @"OOMKilling: Pod default/web, main: kernel killed pid 42 (eater), the main process, at the node's limit for all Pods: anon 40Mi; the limit of cgroup /m/kubepods; Pod default/hog held most above its request: 200Mi, with 20Mi requested (pid 43, hog)");
        let event = of_kill(&record(Level::Machine), Bytes::ZERO).unwrap();
        insta::assert_snapshot!(told(&event), @"SystemOOM: System OOM encountered, victim process: eater, pid: 42");
        for own in [Level::Container, Level::Pod] {
            assert_eq!(of_kill(&record(own), Bytes::ZERO), None);
        }
    }

    /// A process names itself, and an Event goes to terminals.
    #[test]
    fn no_control_character_of_a_name_is_passed_on() {
        let mut record = record(Level::Machine);
        record.report.as_mut().unwrap().victims[0].comm = "ea\u{1b}[2Jter\n".into();
        let event = of_kill(&record, Bytes::ZERO).unwrap();
        insta::assert_snapshot!(told(&event), @"SystemOOM: System OOM encountered, victim process: ea�[2Jter�, pid: 42");
    }

    #[test]
    fn so_it_is_where_nobody_answers_for_the_victim() {
        let victim: CgroupPath = TASK.parse().unwrap();
        let of = |record: KillRecord| {
            told(&of_unclaimed(&KillRecord { victim: Victim::Unknown, ..record }, &victim))
        };
        let known = record(Level::NodeAllocatable);
        insta::assert_snapshot!(of(known.clone()), @"OOMKilling: kernel killed pid 42 (eater), perhaps the main one, at the node's limit for all Pods: anon 40Mi; in cgroup /m/kubepods/besteffort/podu/c, of Pod default/web, in none of its containers that run; the limit of cgroup /m/kubepods");
        let nameless = Subject { pod: String::new(), container: String::new(), ..known.subject.clone() };
        let unknown = of(KillRecord { subject: nameless, ..known });
        insta::assert_snapshot!(unknown, @"OOMKilling: kernel killed pid 42 (eater), perhaps the main one, at the node's limit for all Pods: anon 40Mi; in cgroup /m/kubepods/besteffort/podu/c, of no Pod that is known here; the limit of cgroup /m/kubepods");
    }
}
