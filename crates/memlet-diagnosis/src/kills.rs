//! Which of the kills known did what to the container: one ended it, others took children, its Pod's pause process,
//! or what was to become the container.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use crate::Evidence;
use crate::evidence::{ContainerEnd, KillRecord, Level, Victim};
use crate::judge::level_by_counters;
use crate::verdict::Outcome;

/// A Pod's containers end at once when its pause process is gone; by this much their ends and the news of that kill
/// may lie apart on a busy machine.
const AT_ABOUT_THE_SAME_TIME: SignedDuration = SignedDuration::from_secs(5);

/// All kills of the evidence that have to do with this container, each in one place.
pub(crate) struct Kills<'a> {
    /// Of the main process, which ended the container.
    pub(crate) deadly: Option<&'a KillRecord>,
    /// Of the Pod's pause process, where that is why the container ended or did not start.
    pub(crate) sandbox: Option<&'a KillRecord>,
    /// Of what was to become the container, before its program began; oldest first.
    pub(crate) launches: Vec<&'a KillRecord>,
    /// Of other processes of the container, oldest first.
    pub(crate) children: Vec<&'a KillRecord>,
}

impl<'a> Kills<'a> {
    pub(crate) fn sorted(evidence: &'a Evidence, outcome: &Outcome, deadly: Option<&'a KillRecord>) -> Self {
        let mut kills =
            Self { deadly, sandbox: sandbox(evidence, outcome), launches: Vec::new(), children: Vec::new() };
        let never_ran = matches!(outcome, Outcome::StartFailed { .. });
        for kill in &evidence.kills {
            match kill.victim {
                Victim::Sandbox => {}
                _ if deadly.is_some_and(|deadly| std::ptr::eq(kill, deadly)) => {}
                Victim::Main if never_ran || !is_of_this_instance(evidence, kill) => {
                    kills.launches.push(kill);
                }
                Victim::Main | Victim::Child | Victim::Unknown => kills.children.push(kill),
            }
        }
        kills
    }

    /// The kill that the advice is about.
    pub(crate) fn most_telling(&self) -> Option<&'a KillRecord> {
        let rest = || self.children.last().or(self.launches.last()).copied();
        self.deadly.or(self.sandbox).or_else(rest)
    }
}

/// The kill that ended the container, where a record of it is there.
pub(crate) fn deadly(evidence: &Evidence) -> Option<&KillRecord> {
    // Nobody survives SIGKILL, so a main process that ended otherwise was not killed, whatever a record says.
    let end = evidence.end.as_ref().filter(|end| end.exit.is_sigkill())?;
    let ours = |kill: &&KillRecord| is_of_this_instance(evidence, kill);
    let last = |victim| evidence.kills.iter().filter(ours).rfind(move |kill| kill.victim == victim);
    last(Victim::Main).or_else(|| last(Victim::Unknown).filter(|_| unaccounted(evidence, end) != Some(0)))
}

/// How many OOM kills the cgroup counted beyond those of children; `None` where it could not be read.
pub(crate) fn unaccounted(evidence: &Evidence, end: &ContainerEnd) -> Option<u64> {
    let counted = end.container.as_ref()?.oom_kills?;
    let children = evidence.kills.iter().filter(|kill| kill.victim == Victim::Child);
    Some(counted.saturating_sub(children.map(processes_killed).sum()))
}

/// The kernel counts each process that it kills, also those that memory.oom.group takes along; the first of them is
/// in the report twice.
fn processes_killed(kill: &KillRecord) -> u64 {
    let victims = kill.report.iter().flat_map(|report| &report.victims);
    let pids: BTreeSet<_> = victims.map(|victim| victim.pid).collect();
    pids.len().max(1) as u64
}

/// A try to make the container that failed has no number of its own, but an id; the status has the id behind the
/// runtime's name (`memlet://<id>`).
fn is_of_this_instance(evidence: &Evidence, kill: &KillRecord) -> bool {
    let (ours, its) = (&evidence.subject.container_id, &kill.subject.container_id);
    ours.is_empty() || its.is_empty() || ours.ends_with(its.as_str())
}

/// Whose limit cost the Pod its pause process: by the kernel's report, else by the Pod's counter. No container's
/// limit can.
pub(crate) fn sandbox_level(kill: &KillRecord, end: &ContainerEnd) -> Option<Level> {
    kill.level.or_else(|| level_by_counters(end).filter(|level| *level == Level::Pod))
}

fn sandbox<'a>(evidence: &'a Evidence, outcome: &Outcome) -> Option<&'a KillRecord> {
    let end = evidence.end.as_ref();
    let concerns = match outcome {
        Outcome::KilledByOther { signal } | Outcome::KilledByUnknown { signal } => *signal == 9,
        Outcome::StartFailed { .. } | Outcome::Unknown => true,
        _ => false,
    };
    let near = |kill: &&KillRecord| {
        end.is_none_or(|end| kill.at.duration_since(end.at).abs() <= AT_ABOUT_THE_SAME_TIME)
    };
    let of_pod = |kill: &&KillRecord| {
        kill.victim == Victim::Sandbox && kill.subject.pod_uid == evidence.subject.pod_uid
    };
    evidence.kills.iter().filter(|_| concerns).filter(of_pod).rfind(near)
}
