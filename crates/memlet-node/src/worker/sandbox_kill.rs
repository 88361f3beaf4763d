//! The kernel killed the Pod's pause process: its containers end with it, though none of them was out of memory.
//!
//! No status tells this, and the containers' own counters do not count it, so it becomes a record and an Event.
//! Pause is a likely victim where root may not lower its `oom_score_adj`.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_cgroup::Cgroup;
use memlet_diagnosis::evidence::{KillRecord, Level, Missing, OomScoreAdj, Subject, Victim};
use memlet_diagnosis::level_phrase;
use memlet_oomlog::Report;
use memlet_policy::{cgroup_names, oom_score_adj};

use super::Worker;
use super::exit::REPORT_PATIENCE;
use crate::events::Severity;
use crate::oom::node_event::{self, OOM_KILLING};
use crate::oom::{attribution, neighbours};

/// What the Pod loses with its pause process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// All its containers.
    Containers,
    /// This try to make a sandbox.
    Attempt,
}

impl Worker {
    /// The kernel's log names the sandbox's cgroup. Pause dies once, so one record is all there is.
    pub(super) fn sandbox_killed(&mut self) {
        let Some(sandbox) = self.sandbox.as_mut().filter(|sandbox| !sandbox.killed) else { return };
        let Some(report) = self.node.witness.reports(&sandbox.id).into_iter().next() else { return };
        sandbox.killed = true;
        let id = sandbox.id.clone();
        self.record_sandbox_kill(&id, Some(report), Loss::Containers);
    }

    /// A container did not start, or was ended by SIGKILL and not by the OOM killer: whether the kernel killed its
    /// sandbox, by the log, else by the count of the sandbox's cgroup.
    pub(super) async fn look_for_killed_sandbox(&mut self) {
        self.sandbox_killed();
        let Some(sandbox) = self.sandbox.as_ref().filter(|sandbox| !sandbox.killed) else { return };
        let id = sandbox.id.clone();
        let counted = Cgroup::open(self.node.cgroups.hierarchy(), &self.container_cgroup(&id))
            .is_ok_and(|group| group.oom_kills().is_some_and(|kills| kills > 0));
        if !counted {
            return;
        }
        if self.node.witness.missing().is_none() {
            self.node.witness.wait_for_more(&id, 0, REPORT_PATIENCE).await;
            self.sandbox_killed();
        }
        if let Some(sandbox) = self.sandbox.as_mut().filter(|sandbox| !sandbox.killed) {
            sandbox.killed = true;
            self.record_sandbox_kill(&id, None, Loss::Containers);
        }
    }

    /// A sandbox could not be made: one record for each that the kernel ended, mostly the one just tried.
    pub(super) async fn record_killed_attempts(&mut self, runtime_error: &str) {
        let (_, _, uid) = self.identity();
        self.node.witness.drain();
        let mut reports = self.node.witness.take_unclaimed(&uid);
        // In the words that all runtimes have from runc: `... was OOM-killed (memory limit too low?)`.
        let told = runtime_error.contains("OOM-killed");
        if reports.is_empty() && told && self.node.witness.missing().is_none() {
            let asked = Duration::from_millis(10);
            for _ in 0..REPORT_PATIENCE.as_millis() / asked.as_millis() {
                tokio::time::sleep(asked).await;
                self.node.witness.drain();
                reports = self.node.witness.take_unclaimed(&uid);
                if !reports.is_empty() {
                    break;
                }
            }
        }
        if reports.is_empty() && told {
            self.record_sandbox_kill("", None, Loss::Attempt);
        }
        let mut seen = HashSet::new();
        for report in reports {
            let identity = report.task_memcg.as_deref().and_then(cgroup_names::decode);
            let id = identity.and_then(|identity| identity.container_id).unwrap_or_default();
            if seen.insert(id.clone()) {
                self.record_sandbox_kill(&id, Some(report), Loss::Attempt);
            }
        }
    }

    fn record_sandbox_kill(&self, id: &str, report: Option<Report>, loss: Loss) {
        let (cgroup, kubepods) = (self.container_cgroup(id), self.node.cgroups.kubepods());
        let level =
            report.as_ref().and_then(|report| attribution::level(report, &cgroup, &self.cgroup, kubepods));
        let text = event_text(report.as_ref(), level, loss);
        self.tell(None, Severity::Warning, OOM_KILLING, text);
        let (pod, namespace, pod_uid) = self.identity();
        let victim = report.as_ref().and_then(|report| report.victims.first());
        let actual = victim.and_then(|victim| victim.oom_score_adj).map(i32::from);
        let neighbours = neighbours::read(&self.node, &pod_uid, level, report.as_ref());
        let record = KillRecord {
            at: Timestamp::now(),
            subject: Subject {
                namespace,
                pod,
                pod_uid,
                container: "pause".to_owned(),
                container_id: id.to_owned(),
                // The first try is number 0, as a container's first instance.
                restart_count: i32::try_from(self.sandbox_attempts.saturating_sub(1)).unwrap_or(i32::MAX),
            },
            victim: Victim::Sandbox,
            level,
            missing: self.missing_report(report.as_ref()).into_iter().collect(),
            report,
            container_memory: None,
            pod_memory: self.snapshot(&self.cgroup),
            oom_score_adj: Some(OomScoreAdj { wanted: oom_score_adj::PAUSE, actual }),
            neighbours,
        };
        // Pause requests nothing.
        if let Some(event) = node_event::of_kill(&record, Bytes::ZERO) {
            self.node.tell(Severity::Warning, event.reason, event.message);
        }
        self.node.kills.add(record);
    }

    /// Why there is no report, where there is none.
    pub(super) fn missing_report(&self, report: Option<&Report>) -> Option<Missing> {
        if report.is_some() {
            return None;
        }
        Some(self.node.witness.missing().cloned().unwrap_or_else(|| {
            Missing {
                source: memlet_oomlog::kmsg::PATH.to_owned(),
                reason:
                    "the kernel counted a kill but wrote no report of it that could be read; it writes few \
                     reports when many processes are killed at once"
                        .to_owned(),
            }
        }))
    }
}

/// Without the pid, which the record has: so the tries of one Pod are one Event with a count.
fn event_text(report: Option<&Report>, level: Option<Level>, loss: Loss) -> String {
    let limit = report.and_then(|report| report.memory).and_then(|memory| memory.limit.bytes());
    let limit = limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
    let loss = match loss {
        Loss::Containers => "its containers end with it",
        Loss::Attempt => "so its sandbox could not be made",
    };
    let at = level_phrase(level);
    format!("the kernel's OOM killer killed the Pod's pause process at {at}{limit}; {loss}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_says_what_the_pod_loses() {
        let text = event_text(None, Some(Level::Pod), Loss::Containers);
        insta::assert_snapshot!(text, @"the kernel's OOM killer killed the Pod's pause process at the Pod's limit; its containers end with it");
        let text = event_text(None, None, Loss::Attempt);
        insta::assert_snapshot!(text, @"the kernel's OOM killer killed the Pod's pause process at a limit not known; so its sandbox could not be made");
    }
}
