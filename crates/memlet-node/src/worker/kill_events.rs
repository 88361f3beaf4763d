//! Kills as Events, which is more than upstream tells: there a container's kill shows as the reason of its end, and a
//! killed child not at all.

use memlet_diagnosis::evidence::{KillRecord, Level, Victim};
use memlet_policy::oom_kill_mode::{ANNOTATION, OomKillMode};

use super::{Place, Worker};
use crate::events::{Severity, node_reference};

/// node-problem-detector's reason for what the kernel's log says of a kill.
pub(super) const OOM_KILLING: &str = "OOMKilling";

impl Worker {
    /// An Event on the Pod; and one on the node where its memory is what ran out.
    pub(super) fn tell_kill(&self, place: Place, record: &KillRecord, is_over: bool) {
        let line = memlet_diagnosis::summary(record);
        let text = format!("{line}{}", main_process(record.victim, is_over, self.oom_kill_mode(place)));
        self.tell(Some(place), Severity::Warning, OOM_KILLING, text);
        let (namespace, pod) = (&record.subject.namespace, &record.subject.pod);
        let (reason, text) = match record.level {
            Some(Level::NodeAllocatable) => (OOM_KILLING, format!("Pod {namespace}/{pod}, {line}")),
            // kubelet's own word on a machine without memory.
            Some(Level::Machine) => ("SystemOOM", system_oom(record)),
            _ => return,
        };
        let node = node_reference(&self.node.config.name);
        self.node.recorder.record(node, Severity::Warning, reason, text);
    }
}

/// What becomes of the main process, where it is not the victim.
fn main_process(victim: Victim, is_over: bool, mode: OomKillMode) -> String {
    match (victim, is_over, mode) {
        (Victim::Main, ..) => String::new(),
        (_, true, _) => "; the container's main process was not killed by it".to_owned(),
        (_, false, OomKillMode::Process) => "; the container's main process goes on".to_owned(),
        (_, false, mode) => format!("; the container's main process ends with it ({ANNOTATION}: {mode})"),
    }
}

fn system_oom(record: &KillRecord) -> String {
    let victim = record.report.as_ref().and_then(|report| report.victims.first());
    let victim = victim.map(|victim| format!(", victim process: {}, pid: {}", victim.comm, victim.pid));
    format!("System OOM encountered{}", victim.unwrap_or_default())
}
