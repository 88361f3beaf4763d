//! Kills in a container: told apart into its main process's and its children's, recorded, and told.

use std::time::Duration;

use jiff::Timestamp;
use memlet_cgroup::{Cgroup, CgroupPath, Pid, Snapshot};
use memlet_diagnosis::evidence::{ContainerEnd, ContainerStatement, KillRecord, Missing, Subject, Victim};
use memlet_diagnosis::render::printable;
use memlet_oomlog::Report;
use memlet_policy::oom_kill_mode::OomKillMode;

use super::exit::REPORT_PATIENCE;
use super::{InstanceFacts, Place, Worker};
use crate::container;
use crate::oom::{attribution, neighbours};
use crate::steady;

/// How long a kill may turn out to have taken the main process too, where the report alone cannot tell.
const SETTLE: Duration = Duration::from_millis(20);
/// How often a count that was said to rise is looked at before the notice is taken for a bystander's.
const COUNTER_LOOKS: u8 = 10;

impl Worker {
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

    pub(super) fn oom_kill_mode(&self, place: Place) -> OomKillMode {
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
            facts.settle_at.get_or_insert(steady::now() + SETTLE);
        }
    }

    /// When the next kill is to be settled.
    pub(super) fn next_settlement(&self) -> Option<Timestamp> {
        self.instances.values().filter_map(|facts| facts.settle_at).min()
    }

    /// Settles the kills whose container is still there: its main process lived on.
    pub(super) async fn settle_due(&mut self) {
        let now = steady::now();
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
                facts.settle_at = Some(steady::now() + if freeing { SETTLE } else { REPORT_PATIENCE });
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

    /// Makes and tells the record of one kill, also as an Event: upstream's status has little of it, and nothing of a
    /// child's.
    pub(super) fn record_kill(
        &mut self,
        id: &str,
        victim: Victim,
        report: Option<Report>,
        end: Option<&ContainerEnd>,
    ) {
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
        let (_, _, uid) = self.identity();
        let record = KillRecord {
            at: Timestamp::now(),
            subject: self.subject(place, id, facts.attempt),
            neighbours: neighbours::read(&self.node, &uid, level, report.as_ref()),
            victim,
            level,
            missing: self.missing(report.as_ref(), facts, end),
            report,
            container_memory,
            pod_memory,
            oom_score_adj: facts.statement.as_ref().and_then(|statement| statement.oom_score_adj),
        };
        self.tell_kill(place, &record, end.is_some());
        if let Some(facts) = self.instances.get_mut(id) {
            if victim == Victim::Main {
                facts.killed = Some(memlet_diagnosis::summary(&record));
            }
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
        let level = attribution::level(&report, &cgroup, &self.cgroup, kubepods);
        let (_, _, uid) = self.identity();
        let record = KillRecord {
            at: Timestamp::now(),
            subject: self.subject(place, &id, self.life(place).next_attempt()),
            victim: Victim::Main,
            level,
            neighbours: neighbours::read(&self.node, &uid, level, Some(&report)),
            report: Some(report),
            container_memory: None,
            pod_memory: self.snapshot(&self.cgroup),
            oom_score_adj: None,
            missing: vec![Missing { source: "memory cgroup of the container".to_owned(), reason }],
        };
        self.tell_kill(place, &record, true);
        self.node.kills.add(record);
    }

    pub(super) fn snapshot(&self, path: &CgroupPath) -> Option<Snapshot> {
        Some(Cgroup::open(self.node.cgroups.hierarchy(), path).ok()?.snapshot())
    }

    pub(super) fn subject(&self, place: Place, id: &str, attempt: u32) -> Subject {
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
}

/// What the kernel did, in a few words: `the kernel's OOM killer killed process 42 (hog, anon-rss 63.7Mi)`.
pub(super) fn summary(report: &Report) -> String {
    let Some(victim) = report.victims.first() else {
        let chosen =
            report.chosen.as_ref().map(|chosen| format!(" {} ({})", chosen.pid, printable(&chosen.comm)));
        return format!("the kernel's OOM killer killed process{}", chosen.unwrap_or_default());
    };
    let held = victim.anon_rss.map(|anon| format!(", anon-rss {anon}")).unwrap_or_default();
    format!("the kernel's OOM killer killed process {} ({}{held})", victim.pid, printable(&victim.comm))
}

#[cfg(test)]
mod tests {
    use memlet_oomlog::Chosen;

    use super::*;

    /// A process names itself, and an Event goes to terminals.
    #[test]
    fn no_control_character_of_a_name_is_passed_on() {
        let comm = || "ho\u{1b}]0;g\u{7}".to_owned();
        let chosen = Chosen { pid: 42, comm: comm(), uid: 0 };
        let mut report = Report { chosen: Some(chosen), ..Report::default() };
        insta::assert_snapshot!(summary(&report), @"the kernel's OOM killer killed process 42 (ho�]0;g�)");
        report.victims = vec![memlet_oomlog::Victim { pid: 43, comm: comm(), ..Default::default() }];
        insta::assert_snapshot!(summary(&report), @"the kernel's OOM killer killed process 43 (ho�]0;g�)");
    }
}
