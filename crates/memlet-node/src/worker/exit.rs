//! A container ended, or lost a process: what the runtime, the cgroup and the kernel's log say, joined.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1::{ContainerState, ContainerStatusResponse};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use memlet_cgroup::{Cgroup, CgroupPath, Pid, Snapshot};
use memlet_diagnosis::evidence::{
    ContainerEnd, ContainerStatement, Exit, KillRecord, Missing, Subject, Victim,
};
use memlet_oomlog::{Report, ReportId};
use memlet_policy::cgroup_names;
use memlet_policy::oom_kill_mode::{ANNOTATION, OomKillMode};
use memlet_policy::restart::ExitReason;

use super::{Place, Worker};
use crate::adoption::{self, Known};
use crate::container;
use crate::events::Severity;
use crate::life::{Ended, Instance};
use crate::oom::attribution::{self, End, Ruling};
use crate::oom::counter::KillWatch;
use crate::records::Death;
use crate::termination_message;

/// How long a report that the counter has announced is waited for. The kernel sends the signal just before it
/// writes the line, so that the death may be seen first.
pub(super) const REPORT_PATIENCE: Duration = Duration::from_millis(100);
/// How long a kill may turn out to have taken the main process too, where the report alone cannot tell.
const SETTLE: Duration = Duration::from_millis(20);
/// How often a count that was said to rise is looked at before the notice is taken for a bystander's.
const COUNTER_LOOKS: u8 = 10;

/// What is known of one instance of a container beside its status.
#[derive(Debug)]
pub(crate) struct InstanceFacts {
    pub(crate) place: Place,
    attempt: u32,
    cgroup: CgroupPath,
    main_pid: Option<i32>,
    statement: Option<ContainerStatement>,
    pub(crate) termination_file: PathBuf,
    /// Reports and counts whose kill is recorded.
    settled_reports: HashSet<ReportId>,
    settled_kills: u64,
    /// A kill is to be settled at this time, if the container has not ended by then.
    settle_at: Option<Timestamp>,
    watch: Option<KillWatch>,
    looks_left: u8,
    /// The victims of reports that are not settled were gone when last looked for.
    victims_gone: bool,
    over: bool,
    /// It is recorded that the OOM killer took the main process.
    main_killed: bool,
}

impl InstanceFacts {
    pub(super) fn new(place: Place, attempt: u32, cgroup: CgroupPath, termination_file: PathBuf) -> Self {
        Self {
            place,
            attempt,
            cgroup,
            main_pid: None,
            statement: None,
            termination_file,
            settled_reports: HashSet::new(),
            settled_kills: 0,
            settle_at: None,
            watch: None,
            looks_left: 0,
            victims_gone: false,
            over: false,
            main_killed: false,
        }
    }

    /// Takes in what an earlier run recorded of it.
    pub(super) fn recall(&mut self, known: &Known, id: &str) {
        self.settled_kills = adoption::settled_kills(known.kills(id));
        self.main_killed = known.has(id, Victim::Main);
    }

    /// These reports are recorded.
    pub(super) fn settle(&mut self, reports: impl IntoIterator<Item = ReportId>) {
        self.settled_reports.extend(reports);
    }

    /// Nothing more is to be heard of it.
    pub(super) fn rest(&mut self) {
        self.over = true;
        self.settle_at = None;
        self.watch = None;
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

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
        self.life_mut(place).instance = Some(Instance::Ended(ended));
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
        let message = self.termination_message(id, &status.message, exit.code(), &reason).or_else(|| {
            taken_along
                .filter(|_| !oom_killed)
                .map(|cause| format!("killed by the container runtime: {cause}"))
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
        self.life_mut(place).instance = Some(Instance::Ended(ended));
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

    /// A report about a container that has not ended: a child's, unless the main process is among the victims.
    pub(super) fn kernel_reported(&mut self, id: &str) {
        let Some(facts) = self.instances.get(id).filter(|facts| !facts.over) else { return };
        let takes_along = self.oom_kill_mode(facts.place) != OomKillMode::Process;
        let mut children = Vec::new();
        let mut undecided = false;
        for report in self.node.witness.reports(id) {
            if facts.settled_reports.contains(&report.id) {
                continue;
            }
            let is_named = facts.main_pid.is_some_and(|main| attribution::takes_main(&report, Some(main)));
            if is_named {
                // Its end is on the way, and is where this is recorded.
            } else if facts.main_pid.is_some() && !takes_along {
                children.push(report);
            } else {
                undecided = true;
            }
        }
        for report in children {
            self.record_kill(id, Victim::Child, Some(report), None);
        }
        if undecided {
            self.settle_later(id);
        }
    }

    fn oom_kill_mode(&self, place: Place) -> OomKillMode {
        container::oom_kill_mode(&self.pod, self.container(place), &self.node.shape)
    }

    /// The count of kills may rise: the kernel of cgroup v1 notifies just before it kills, so look a little
    /// later, and again if need be.
    pub(super) fn kill_counted(&mut self, id: &str) {
        if let Some(facts) = self.instances.get_mut(id).filter(|facts| !facts.over) {
            facts.looks_left = COUNTER_LOOKS;
            self.settle_later(id);
        }
    }

    fn counted_kills(&self, facts: &InstanceFacts) -> Option<u64> {
        Cgroup::open(self.node.cgroups.hierarchy(), &facts.cgroup).ok()?.oom_kills()
    }

    fn settle_later(&mut self, id: &str) {
        if let Some(facts) = self.instances.get_mut(id) {
            facts.settle_at.get_or_insert(Timestamp::now() + SETTLE);
        }
    }

    /// When the next kill is to be settled.
    pub(super) fn next_settlement(&self) -> Option<Timestamp> {
        self.instances.values().filter_map(|facts| facts.settle_at).min()
    }

    /// Settles the kills whose container is still there: its main process lived on.
    pub(super) async fn settle_due(&mut self) {
        let now = Timestamp::now();
        let due = |facts: &InstanceFacts| facts.settle_at.is_some_and(|at| at <= now);
        let ids: Vec<String> =
            self.instances.iter().filter(|(_, facts)| due(facts)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(facts) = self.instances.get_mut(&id) {
                facts.settle_at = None;
            }
            self.look(&id).await;
            self.settle(&id);
        }
    }

    fn settle(&mut self, id: &str) {
        let Some(facts) = self.instances.get(id).filter(|facts| !facts.over) else { return };
        if facts.main_pid.is_some_and(|main| Pid::try_from(main).is_ok_and(Pid::is_dying)) {
            // It is the main process that was killed; freeing what it held takes its time.
            return self.settle_later(id);
        }
        let reports: Vec<Report> = self
            .node
            .witness
            .reports(id)
            .into_iter()
            .filter(|report| !facts.settled_reports.contains(&report.id))
            .collect();
        let is_freeing =
            |report: &Report| attribution::victims(report).flat_map(Pid::try_from).any(Pid::is_freeing);
        if facts.main_pid.is_none() && !reports.is_empty() {
            let freeing = reports.iter().any(is_freeing);
            // It may be the main process; then the runtime is about to say that the container ended.
            let Some(facts) = self.instances.get_mut(id) else { return };
            let was_gone = std::mem::replace(&mut facts.victims_gone, !freeing);
            if freeing || !was_gone {
                facts.settle_at = Some(Timestamp::now() + if freeing { SETTLE } else { REPORT_PATIENCE });
                return;
            }
            facts.victims_gone = false;
        }
        let silent = reports.is_empty();
        for report in reports {
            self.record_kill(id, Victim::Child, Some(report), None);
        }
        let Some(facts) = self.instances.get(id).filter(|_| silent) else { return };
        if self.counted_kills(facts).is_some_and(|kills| kills > facts.settled_kills) {
            self.record_kill(id, Victim::Child, None, None);
        } else if let Some(facts) = self.instances.get_mut(id).filter(|facts| facts.looks_left > 0) {
            facts.looks_left -= 1;
            self.settle_later(id);
        }
    }

    /// Makes and tells the record of one kill; a child's also as an Event, because no status shows it.
    fn record_kill(&mut self, id: &str, victim: Victim, report: Option<Report>, end: Option<&ContainerEnd>) {
        let Some(facts) = self.instances.get(id) else { return };
        let place = facts.place;
        let container_memory =
            end.and_then(|end| end.container.clone()).or_else(|| self.snapshot(&facts.cgroup));
        let pod_memory = end.and_then(|end| end.pod.clone()).or_else(|| self.snapshot(&self.cgroup));
        let kubepods = self.node.cgroups.kubepods();
        let level = report
            .as_ref()
            .and_then(|report| attribution::level(report, &facts.cgroup, &self.cgroup, kubepods));
        let counted = container_memory.as_ref().and_then(|snapshot| snapshot.oom_kills);
        let record = KillRecord {
            at: Timestamp::now(),
            subject: self.subject(place, id, facts.attempt),
            victim,
            level,
            missing: self.missing(report.as_ref(), facts, end),
            report,
            container_memory,
            pod_memory,
            oom_score_adj: facts.statement.as_ref().and_then(|statement| statement.oom_score_adj),
        };
        if victim != Victim::Main {
            let mode = self.oom_kill_mode(place);
            let main = match (end, mode) {
                (Some(_), _) => "was not killed by it".to_owned(),
                (None, OomKillMode::Process) => "goes on".to_owned(),
                (None, _) => format!("ends with it ({ANNOTATION}: {mode})"),
            };
            let text = format!("{}; the container's main process {main}", self.sentence(place, &record));
            self.tell(Some(place), Severity::Warning, "OOMKilling", text);
        }
        if let Some(facts) = self.instances.get_mut(id) {
            match &record.report {
                Some(report) => {
                    facts.settled_reports.insert(report.id);
                    facts.settled_kills += report.victims.len().max(1) as u64;
                }
                None => facts.settled_kills = counted.unwrap_or(facts.settled_kills + 1),
            }
        }
        self.node.kills.add(record);
    }

    /// A container that was killed before it ran, of which the runtime has made no instance.
    pub(super) fn record_kill_while_starting(&self, place: Place, report: Report) {
        let path = report.task_memcg.as_deref();
        let identity = path.and_then(memlet_policy::cgroup_names::decode);
        let id = identity.and_then(|identity| identity.container_id).unwrap_or_default();
        let (cgroup, kubepods) = (self.container_cgroup(&id), self.node.cgroups.kubepods());
        let reason = "the container was killed before the runtime had made it".to_owned();
        self.node.kills.add(KillRecord {
            at: Timestamp::now(),
            subject: self.subject(place, &id, self.life(place).next_attempt()),
            victim: Victim::Main,
            level: attribution::level(&report, &cgroup, &self.cgroup, kubepods),
            report: Some(report),
            container_memory: None,
            pod_memory: self.snapshot(&self.cgroup),
            oom_score_adj: None,
            missing: vec![Missing { source: "memory cgroup of the container".to_owned(), reason }],
        });
    }

    pub(super) fn snapshot(&self, path: &CgroupPath) -> Option<Snapshot> {
        Some(Cgroup::open(self.node.cgroups.hierarchy(), path).ok()?.snapshot())
    }

    fn subject(&self, place: Place, id: &str, attempt: u32) -> Subject {
        let (pod, namespace, pod_uid) = self.identity();
        Subject {
            namespace,
            pod,
            pod_uid,
            container: self.life(place).name.clone(),
            container_id: id.to_owned(),
            restart_count: i32::try_from(attempt).unwrap_or(i32::MAX),
        }
    }

    /// The witnesses that could not be heard.
    fn missing(
        &self,
        report: Option<&Report>,
        facts: &InstanceFacts,
        end: Option<&ContainerEnd>,
    ) -> Vec<Missing> {
        let mut missing: Vec<Missing> = self.missing_report(report).into_iter().collect();
        if facts.statement.is_none() {
            missing.push(Missing {
                source: ContainerStatement::INFO_KEY.to_owned(),
                reason: "the container runtime does not tell the main process and its cgroup's last figures"
                    .to_owned(),
            });
        } else if end.is_some_and(|end| end.container.is_none()) {
            missing.push(Missing {
                source: "memory cgroup of the container".to_owned(),
                reason: "it was gone before it could be read".to_owned(),
            });
        }
        missing
    }

    /// One sentence about a kill, without its full stop.
    fn sentence(&self, place: Place, record: &KillRecord) -> String {
        let container = &self.life(place).name;
        match &record.report {
            Some(report) => format!("{} in container {container}", summary(report)),
            None => format!("the kernel's OOM killer killed a process in container {container}"),
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

/// What the kernel did, in a few words: `the kernel's OOM killer killed process 42 (hog, anon-rss 63.7Mi)`.
pub(super) fn summary(report: &Report) -> String {
    let Some(victim) = report.victims.first() else {
        let chosen = report.chosen.as_ref().map(|chosen| format!(" {} ({})", chosen.pid, chosen.comm));
        return format!("the kernel's OOM killer killed process{}", chosen.unwrap_or_default());
    };
    let held = victim.anon_rss.map(|anon| format!(", anon-rss {anon}")).unwrap_or_default();
    format!("the kernel's OOM killer killed process {} ({}{held})", victim.pid, victim.comm)
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
