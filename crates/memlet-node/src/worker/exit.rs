//! A container ended: what the runtime, the cgroup and the kernel's log say of it, joined.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1::{ContainerState, ContainerStatusResponse};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{ContainerEnd, ContainerStatement, Exit, Victim};
use memlet_oomlog::Report;
use memlet_policy::cgroup_names;
use memlet_policy::restart::ExitReason;

use super::{Place, Worker};
use crate::life::{Ended, Instance};
use crate::oom::attribution::{self, End, Ruling};
use crate::oom::counter::KillWatch;
use crate::records::Death;
use crate::termination_message;

/// How long a report that the counter has announced is waited for. The kernel sends the signal just before it
/// writes the line, so that the death may be seen first.
pub(super) const REPORT_PATIENCE: Duration = Duration::from_millis(100);

impl Worker {
    /// Where containerd and the embedded runtime put a container, until the runtime says where it is.
    pub(super) fn container_cgroup(&self, id: &str) -> CgroupPath {
        cgroup_names::container_in(self.cgroup.as_str(), id).parse().unwrap_or_else(|_| self.cgroup.clone())
    }

    /// Takes down the runtime's statement about a container.
    pub(super) fn note_statement(&mut self, id: &str, response: &ContainerStatusResponse) {
        let Some(facts) = self.instances.get_mut(id) else { return };
        if let Some(statement) = statement_of(&response.info) {
            facts.main_pid = statement.pid.or(facts.main_pid);
            if let Ok(path) = statement.cgroup_path.parse() {
                facts.cgroup = path;
            }
            facts.statement = Some(statement);
        } else if let Some(pid) = containerd_pid(&response.info) {
            facts.main_pid = Some(pid);
        }
    }

    /// Where the kernel's log is not heard, the container's count of kills is watched instead.
    pub(super) fn watch_kills(&mut self, id: &str) {
        if self.node.witness.missing().is_none() {
            return;
        }
        let Some(facts) = self.instances.get_mut(id) else { return };
        let hierarchy = self.node.cgroups.hierarchy();
        match KillWatch::start(hierarchy, &facts.cgroup, id.to_owned(), self.tell_me.clone()) {
            Ok(watch) => facts.watch = Some(watch),
            // It has ended already, or the runtime puts it elsewhere.
            Err(error) => tracing::debug!("kills of children will not be seen: {error}"),
        }
    }

    /// Asks the runtime whether this container has ended.
    pub(crate) async fn look(&mut self, id: &str) {
        if self.instances.get(id).is_none_or(|facts| facts.over) {
            return;
        }
        match self.node.cri.container_status(id).await {
            Ok(response) => {
                self.note_statement(id, &response);
                let state = response.status.as_ref().map(k8s_cri::v1::ContainerStatus::state);
                if state == Some(ContainerState::ContainerExited) {
                    self.ended(id, response).await;
                }
            }
            Err(error) if error.is_not_found() => self.lost(id),
            Err(error) => tracing::warn!("cannot ask for a container's status: {error}"),
        }
    }

    /// The runtime no longer knows a container that ran (kubelet's `ContainerStatusUnknown`).
    pub(super) fn lost(&mut self, id: &str) {
        let Some(facts) = self.instances.get_mut(id) else { return };
        facts.over = true;
        let (place, attempt) = (facts.place, facts.attempt);
        let started_at = match &self.life(place).instance {
            Some(Instance::Running { id: running, started_at }) if running == id => Some(*started_at),
            _ => return,
        };
        let ended = Ended {
            id: id.to_owned(),
            exit_code: 137,
            reason: "ContainerStatusUnknown".to_owned(),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            started_at,
            finished_at: Timestamp::now(),
        };
        self.record_death(place, attempt, &ended, None);
        self.life_mut(place).end(ended);
        self.stop_listening(id);
    }

    /// The container has ended: of what, and who says so.
    pub(super) async fn ended(&mut self, id: &str, response: ContainerStatusResponse) {
        let Some(facts) = self.instances.get(id) else { return };
        let place = facts.place;
        let status = response.status.unwrap_or_default();
        let end = facts.statement.as_ref().and_then(|statement| statement.end.clone());
        let exit = end.as_ref().map_or_else(|| exit_of_code(status.exit_code), |end| end.exit);
        let oom_killed = self.judge(id, exit, end.as_ref(), &status.reason).await;
        if exit.is_sigkill() && !oom_killed {
            self.look_for_killed_sandbox().await;
        }
        let taken_along = end.as_ref().and_then(|end| end.taken_along.clone());
        if let Some(end) = &end {
            self.node.ends.add(id, end.clone());
        }
        let reason = reason(&status.reason, exit.code(), oom_killed);
        let killed = self.instances.get_mut(id).and_then(|facts| facts.killed.take());
        // What the container says of itself comes first; where it says nothing, the kernel's kill does.
        let message = self.termination_message(id, &status.message, exit.code(), &reason).or_else(|| {
            let taken_along = taken_along.map(|cause| format!("killed by the container runtime: {cause}"));
            if oom_killed { killed } else { taken_along }
        });
        let attempt = self.instances.get_mut(id).map_or(0, |facts| {
            facts.rest();
            facts.attempt
        });
        let started_at = timestamp(status.started_at);
        let finished_at = timestamp(status.finished_at).unwrap_or_else(Timestamp::now);
        let exit_code = exit.code();
        let ended = Ended { id: id.to_owned(), exit_code, reason, message, started_at, finished_at };
        self.record_death(place, attempt, &ended, end);
        self.life_mut(place).end(ended);
        self.stop_listening(id);
    }

    /// Keeps the end of a container that failed, with what a verdict on it needs.
    pub(super) fn record_death(&self, place: Place, attempt: u32, ended: &Ended, end: Option<ContainerEnd>) {
        if ended.exit_code == 0 {
            return;
        }
        let metadata = ObjectMeta {
            name: self.pod.metadata.name.clone(),
            namespace: self.pod.metadata.namespace.clone(),
            uid: self.pod.metadata.uid.clone(),
            labels: self.pod.metadata.labels.clone(),
            annotations: self.pod.metadata.annotations.clone(),
            ..ObjectMeta::default()
        };
        self.node.kills.add_death(Death {
            at: Timestamp::now(),
            subject: self.subject(place, &ended.id, attempt),
            state: ended.as_state(),
            end,
            pod: Pod { metadata, spec: self.pod.spec.clone(), status: None },
            node_memory: self.node.shape.capacity,
        });
    }

    fn stop_listening(&mut self, id: &str) {
        self.node.pressure.pods.ended(&self.identity().2, id);
        self.node.exits.remove(id);
        self.node.witness.forget(id);
        if let Some(facts) = self.instances.get_mut(id) {
            facts.watch = None;
        }
    }

    /// Whether the OOM killer ended it; records that, and children lost before.
    async fn judge(
        &mut self,
        id: &str,
        exit: Exit,
        end: Option<&ContainerEnd>,
        runtime_reason: &str,
    ) -> bool {
        if self.instances.get(id).is_some_and(|facts| facts.main_killed) {
            return true;
        }
        self.node.witness.drain();
        let oom_kills = end.and_then(|end| end.container.as_ref()).and_then(|snapshot| snapshot.oom_kills);
        let mut waited = false;
        loop {
            let Some(facts) = self.instances.get(id) else { return false };
            let heard = self.node.witness.reports(id);
            let known = heard.len();
            let reports: Vec<Report> =
                heard.into_iter().filter(|report| !facts.settled_reports.contains(&report.id)).collect();
            let ruling = attribution::judge(&End {
                exit,
                taken_along: end.is_some_and(|end| end.taken_along.is_some()),
                main_pid: facts.main_pid,
                reports: &reports,
                oom_kills,
                settled_kills: facts.settled_kills,
                log_is_read: self.node.witness.missing().is_none(),
                runtime_says_oom: runtime_reason == ExitReason::OomKilled.as_str(),
            });
            if ruling == Ruling::AwaitReport && !waited {
                waited = !self.node.witness.wait_for_more(id, known, REPORT_PATIENCE).await;
                continue;
            }
            return self.record_ruling(id, ruling, reports, end);
        }
    }

    fn record_ruling(
        &mut self,
        id: &str,
        ruling: Ruling,
        reports: Vec<Report>,
        end: Option<&ContainerEnd>,
    ) -> bool {
        let (oom_killed, of_main) = match ruling {
            Ruling::OomKilled { report } => (true, report),
            // The patience is over: the counter rose, and the process that died of SIGKILL is the main one.
            Ruling::AwaitReport => (true, None),
            Ruling::NotOom => (false, None),
        };
        let mut main_report = None;
        for (index, report) in reports.into_iter().enumerate() {
            if Some(index) == of_main {
                main_report = Some(report);
            } else {
                self.record_kill(id, Victim::Child, Some(report), end);
            }
        }
        if oom_killed {
            self.record_kill(id, Victim::Main, main_report, end);
        } else {
            self.record_uncounted(id, end);
        }
        oom_killed
    }

    /// Kills that the counter tells at a container's end and nobody told before: somebody was lost, not known
    /// who.
    fn record_uncounted(&mut self, id: &str, end: Option<&ContainerEnd>) {
        let Some(facts) = self.instances.get(id) else { return };
        let counted = end.and_then(|end| end.container.as_ref()).and_then(|snapshot| snapshot.oom_kills);
        if counted.is_some_and(|counted| counted > facts.settled_kills) {
            self.record_kill(id, Victim::Child, None, end);
        }
    }

    fn termination_message(&self, id: &str, runtime: &str, exit_code: i32, reason: &str) -> Option<String> {
        let facts = self.instances.get(id)?;
        let container = self.container(facts.place);
        let folder = crate::container::log_directory(&self.node.config.pod_logs, &self.pod);
        let log = folder.join(memlet_policy::logs::container_log_name(&container.name, facts.attempt));
        let falls_back = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        let may_fall_back = falls_back && exit_code != 0 && reason != "ContainerCannotRun";
        termination_message::read(runtime, &facts.termination_file, may_fall_back.then_some(log.as_path()))
    }
}

fn statement_of(info: &HashMap<String, String>) -> Option<ContainerStatement> {
    let text = info.get(ContainerStatement::INFO_KEY)?;
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!("cannot understand the runtime's statement: {error}"))
        .ok()
}

/// containerd's verbose status has the pid while the container runs.
fn containerd_pid(info: &HashMap<String, String>) -> Option<i32> {
    let info: serde_json::Value = serde_json::from_str(info.get("info")?).ok()?;
    i32::try_from(info.get("pid")?.as_i64()?).ok().filter(|pid| *pid > 0)
}

/// What a runtime that only tells a code may have meant.
fn exit_of_code(code: i32) -> Exit {
    if (129..=192).contains(&code) { Exit::Signal(code - 128) } else { Exit::Code(code) }
}

/// The reason in the status: `OOMKilled` only by our own judgement; other reasons are the runtime's.
fn reason(runtime: &str, exit_code: i32, oom_killed: bool) -> String {
    let own = ExitReason::new(exit_code, oom_killed);
    let is_own_word = [ExitReason::Completed, ExitReason::Error, ExitReason::OomKilled]
        .iter()
        .any(|reason| reason.as_str() == runtime);
    if oom_killed || runtime.is_empty() || is_own_word { own.to_string() } else { runtime.to_owned() }
}

/// CRI's nanoseconds since 1970; 0 is "not yet".
pub(super) fn timestamp(nanoseconds: i64) -> Option<Timestamp> {
    (nanoseconds > 0).then(|| Timestamp::from_nanosecond(nanoseconds.into()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_judged_not_copied() {
        for (runtime, code, oom_killed, expected) in [
            ("OOMKilled", 0, false, "Completed"),
            ("OOMKilled", 3, false, "Error"),
            ("OOMKilled", 137, false, "Error"),
            ("Error", 137, true, "OOMKilled"),
            ("", 1, false, "Error"),
            ("StartError", 128, false, "StartError"),
            ("Completed", 0, false, "Completed"),
        ] {
            assert_eq!(reason(runtime, code, oom_killed), expected, "{runtime} {code} {oom_killed}");
        }
    }

    #[test]
    fn a_code_above_128_may_be_a_signal() {
        assert_eq!(
            [0, 1, 128, 137, 143, 255].map(exit_of_code),
            [
                Exit::Code(0),
                Exit::Code(1),
                Exit::Code(128),
                Exit::Signal(9),
                Exit::Signal(15),
                Exit::Code(255),
            ]
        );
    }
}
