//! Who was evicted from a node and who was killed on it, in the last hour and in the week that is recorded. Pure.

use jiff::{SignedDuration, Timestamp};
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::eviction::Eviction;
use memlet_diagnosis::evidence::{KillRecord, Level};
use memlet_diagnosis::summary;
use memlet_node::Record;
use serde::Serialize;

use crate::node::record::MemberRecord;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What happened on one node.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Past {
    /// Of the last hour, oldest first.
    pub(super) last_hour: Vec<Happening>,
    pub(super) evictions_in_hour: usize,
    pub(super) kills_in_hour: usize,
    /// As long as records are kept.
    pub(super) evictions_in_week: usize,
    pub(super) kills_in_week: usize,
    /// Of those, at the node's limit or the machine's end: where no Pod's own limit was hit.
    pub(super) node_kills_in_week: usize,
    /// Of those of the last hour.
    pub(super) node_kills_in_hour: usize,
    /// The last eviction of the last hour and what it was about, for advice.
    #[serde(skip)]
    pub(super) last_eviction: Option<Box<Eviction>>,
}

/// One eviction or kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Happening {
    pub(super) at: Timestamp,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    Evicted,
    Killed,
}

impl Past {
    /// What of the records is about this node of these.
    pub(super) fn of(name: &str, members: &[MemberRecord], records: Vec<Record>, now: Timestamp) -> Self {
        let mut past = Self::default();
        for record in records {
            let is_recent = now.duration_since(record.at()) <= HOUR;
            match record {
                Record::Eviction(eviction) if eviction.node == name => {
                    past.evictions_in_week += 1;
                    if is_recent {
                        past.evictions_in_hour += 1;
                        past.last_hour.push(evicted(&eviction));
                        past.last_eviction = Some(eviction);
                    }
                }
                Record::Kill(kill) if is_of_node(&kill, name, members) => {
                    past.kills_in_week += 1;
                    let of_node = matches!(kill.level, Some(Level::NodeAllocatable | Level::Machine));
                    past.node_kills_in_week += usize::from(of_node);
                    if is_recent {
                        past.kills_in_hour += 1;
                        past.node_kills_in_hour += usize::from(of_node);
                        past.last_hour.push(killed(&kill));
                    }
                }
                _ => {}
            }
        }
        past.last_hour.sort_by_key(|happening| happening.at);
        past
    }

    pub(super) fn is_empty(&self) -> bool {
        self.evictions_in_week == 0 && self.kills_in_week == 0
    }
}

/// Whether the process was below the node's cgroup. The records of a program with one node are all that node's.
fn is_of_node(kill: &KillRecord, name: &str, members: &[MemberRecord]) -> bool {
    let snapshot = kill.container_memory.as_ref().or(kill.pod_memory.as_ref());
    let reported = kill.report.as_ref().and_then(|report| report.task_memcg.as_deref());
    let Some(path) = snapshot.map(|memory| memory.path.as_str()).or(reported) else {
        return members.len() <= 1;
    };
    let below =
        |kubepods: CgroupPath| path.strip_prefix(kubepods.as_str()).is_some_and(|rest| rest.starts_with('/'));
    match members.iter().find(|member| member.cgroups.kubepods().is_ok_and(below)) {
        Some(member) => member.name == name,
        None => members.len() <= 1,
    }
}

fn evicted(eviction: &Eviction) -> Happening {
    // Of files in memory nobody may have been running.
    let of_containers = || eviction.containers.iter().map(|container| container.usage).sum();
    let used = eviction.place().map_or_else(of_containers, |ranked| ranked.candidate.usage);
    Happening {
        at: eviction.at,
        kind: Kind::Evicted,
        namespace: eviction.pod.namespace.clone(),
        pod: eviction.pod.name.clone(),
        text: format!(
            "used {used}; {} was available, the threshold is {}",
            eviction.available, eviction.rule.threshold
        ),
    }
}

fn killed(kill: &KillRecord) -> Happening {
    Happening {
        at: kill.at,
        kind: Kind::Killed,
        namespace: kill.subject.namespace.clone(),
        pod: kill.subject.pod.clone(),
        text: summary(kill),
    }
}

#[cfg(test)]
mod tests {
    use memlet_bytes::Bytes;
    use memlet_oomlog::Report;
    use memlet_policy::cgroup_names::Driver;

    use super::super::sample;
    use super::*;
    use crate::embedded::CgroupPlace;

    fn member(name: &str) -> MemberRecord {
        let root = format!("/lab/{name}").parse().unwrap();
        MemberRecord {
            name: name.to_owned(),
            cgroups: CgroupPlace { root, driver: Driver::Cgroupfs },
            capacity: Bytes::from_gib(1),
            allocatable: Bytes::from_mib(924),
            is_machine: false,
            thresholds: None,
        }
    }

    #[test]
    fn a_kill_is_of_the_node_below_whose_cgroup_it_was() {
        let members = [member("a"), member("ab")];
        let kill = |path: Option<&str>| KillRecord {
            report: path.map(|path| Report { task_memcg: Some(path.to_owned()), ..Report::default() }),
            ..sample::kill(sample::ago(5))
        };
        let of = |name: &str, members: &[MemberRecord], path| is_of_node(&kill(path), name, members);
        let below_ab = Some("/lab/ab/kubepods/besteffort/podu/c");
        assert!(of("ab", &members, below_ab) && !of("a", &members, below_ab));
        assert!(!of("a", &members, None) && !of("a", &members, Some("/elsewhere")), "nobody knows whose");
        assert!(of("a", &members[..1], None), "there is but one");
    }

    #[test]
    fn hours_and_weeks() {
        let past = sample::past();
        assert_eq!((past.evictions_in_hour, past.kills_in_hour), (1, 1));
        assert_eq!((past.evictions_in_week, past.kills_in_week, past.node_kills_in_week), (1, 2, 2));
        assert_eq!(past.node_kills_in_hour, 1);
        assert!(past.last_eviction.is_some());
        let kinds: Vec<_> = past.last_hour.iter().map(|happening| happening.kind).collect();
        assert_eq!(kinds, [Kind::Killed, Kind::Evicted], "the oldest first");
        let eviction = Record::Eviction(Box::new(sample::eviction()));
        let later = sample::ago(-3600);
        let past = Past::of("memlet", &[], vec![eviction], later);
        assert!(
            past.evictions_in_week == 1 && past.last_eviction.is_none(),
            "nothing follows from it any more"
        );
    }
}
