//! What several reports have in common: the same cgroup again and again. Memory is bounded whatever comes.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use memlet_oomlog::Report;

use super::{Explanation, Level, Topic};
use crate::amount::counted;

/// So many groups are told apart; reports of further ones are only counted.
const GROUPS: usize = 10_000;
/// So many gaps between kills of a group are looked at.
const GAPS: usize = 256;
/// So many names of victims of a group are kept.
const NAMES: usize = 4;

/// Kills of one cgroup on one host.
#[derive(Clone, Debug)]
pub struct Group {
    /// The machine, where the log names it.
    pub host: Option<String>,
    /// Where memory ran out.
    pub level: Option<Level>,
    /// The cgroup by its name for people, or what else ran out.
    pub place: String,
    /// How many reports there are of it.
    pub count: u64,
    /// How many of them tell of a process that was killed.
    pub kills: u64,
    /// When the first and the last were, as the log writes it.
    pub span: Option<(String, String)>,
    /// What to change, by the last report.
    pub remedy: Option<String>,
    names: Vec<(String, u64)>,
    other_names: u64,
    last: Option<Instant>,
    gaps: Vec<Duration>,
    fast: u64,
}

/// A time that can be subtracted from one of the same kind.
#[derive(Clone, Copy, Debug)]
enum Instant {
    Wall(Timestamp),
    SinceBoot(Duration),
}

impl Instant {
    fn of(report: &Report) -> Option<Self> {
        let wall = report.time.as_ref().and_then(|time| time.as_str().parse().ok());
        wall.map(Self::Wall).or_else(|| report.since_boot.map(Self::SinceBoot))
    }

    fn since(self, earlier: Self) -> Option<Duration> {
        match (earlier, self) {
            (Self::Wall(earlier), Self::Wall(later)) => {
                Duration::try_from(later.duration_since(earlier)).ok()
            }
            (Self::SinceBoot(earlier), Self::SinceBoot(later)) => later.checked_sub(earlier),
            _ => None,
        }
    }
}

/// The reports seen so far, by host and cgroup.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    groups: Vec<Group>,
    index: HashMap<(Option<String>, String), usize>,
    /// Reports seen.
    pub reports: u64,
    /// Reports of groups that are not told apart any more.
    pub ungrouped: u64,
}

impl Summary {
    /// Takes one report.
    pub fn add(&mut self, report: &Report, explanation: &Explanation) {
        self.reports += 1;
        let key = (report.host.clone(), key(report));
        let index = match self.index.get(&key) {
            Some(index) => *index,
            None if self.groups.len() == GROUPS => {
                self.ungrouped += 1;
                return;
            }
            None => {
                self.groups.push(Group::new(report, explanation));
                self.index.insert(key, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        if let Some(group) = self.groups.get_mut(index) {
            group.add(report, explanation);
        }
    }

    /// The groups, in the order of their first reports.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

/// The place of reports that do not tell it.
const UNKNOWN: &str = "not in the log";

/// What makes two reports of one host the same group.
fn key(report: &Report) -> String {
    match (&report.oom_memcg, report.scope) {
        (Some(path), _) => path.clone(),
        (None, Some(scope)) => format!("{scope:?}"),
        (None, None) => String::new(),
    }
}

impl Group {
    fn new(report: &Report, explanation: &Explanation) -> Self {
        let place = match (&explanation.place, explanation.level) {
            (Some(place), _) => place.name.clone(),
            (None, Some(Level::Machine)) => match report.scope {
                Some(memlet_oomlog::Scope::Cpuset) => "memory nodes of a cpuset",
                Some(memlet_oomlog::Scope::Mempolicy) => "memory nodes of a memory policy",
                _ => "the whole machine",
            }
            .to_owned(),
            _ => UNKNOWN.to_owned(),
        };
        Self {
            host: report.host.clone(),
            level: explanation.level,
            place,
            count: 0,
            kills: 0,
            span: None,
            remedy: None,
            names: Vec::new(),
            other_names: 0,
            last: None,
            gaps: Vec::new(),
            fast: 0,
        }
    }

    fn add(&mut self, report: &Report, explanation: &Explanation) {
        self.count += 1;
        self.kills += u64::from(!report.victims.is_empty());
        self.remedy = explanation.remedy.as_ref().map(|remedy| remedy.text.clone());
        let fast =
            explanation.facts.iter().any(|fact| fact.topic == Topic::Pace && fact.text.starts_with("fast"));
        self.fast += u64::from(fast);
        if let Some(time) = time(report) {
            match &mut self.span {
                Some((_, last)) => *last = time,
                None => self.span = Some((time.clone(), time)),
            }
        }
        let now = Instant::of(report);
        if let (Some(last), Some(now)) = (self.last, now)
            && self.gaps.len() < GAPS
        {
            self.gaps.extend(now.since(last));
        }
        self.last = now.or(self.last);
        for victim in &report.victims {
            let known = self.names.iter().position(|(name, _)| *name == victim.comm);
            match known {
                Some(index) => self.names[index].1 += 1,
                None if self.names.len() < NAMES => self.names.push((victim.comm.clone(), 1)),
                None => self.other_names += 1,
            }
        }
    }

    /// The median time between two kills.
    pub fn median_gap(&self) -> Option<Duration> {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }

    /// `java ×8, sh`: the victims' names.
    pub fn victims(&self) -> String {
        let mut names: Vec<_> = self
            .names
            .iter()
            .map(|(name, count)| if *count > 1 { format!("{name} ×{count}") } else { name.clone() })
            .collect();
        if self.other_names > 0 {
            names.push(format!("{} more", self.other_names));
        }
        names.join(", ")
    }

    /// What it means that it was killed so often; `None` for a single kill.
    pub fn remark(&self) -> Option<String> {
        if self.count < 2 {
            return None;
        }
        let mut text = match self.kills {
            kills if kills == self.count => format!("{} in this log", counted(kills, "kill", "kills")),
            0 => format!("{} in this log, and nothing killed", counted(self.count, "report", "reports")),
            kills => format!(
                "{} in this log, {} of them with a kill",
                counted(self.count, "report", "reports"),
                kills
            ),
        };
        if let Some(gap) = self.median_gap() {
            if self.level.is_none() && self.place == UNKNOWN {
                // They need have nothing in common.
            } else if gap < Duration::from_secs(1) {
                text.push_str(", one right after the other: a kill was not enough, or several asked at once");
            } else {
                text.push_str(&format!(", {} apart (median)", spoken(gap)));
                if self.count > 2 && gap < Duration::from_mins(10) {
                    text.push_str(": it is started again and killed again");
                }
            }
        }
        if self.fast == self.count {
            text.push_str("; each time the limit was met fast");
        }
        Some(text)
    }
}

/// When a report was, as its log writes it.
pub(super) fn time(report: &Report) -> Option<String> {
    let since_boot = || {
        let since_boot = report.since_boot?;
        Some(format!("{}.{:06} s", since_boot.as_secs(), since_boot.subsec_micros()))
    };
    report.time.as_ref().map(|time| time.as_str().to_owned()).or_else(since_boot)
}

/// `12 s`, `3 min`, `2 h`, `5 days`.
pub(super) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use memlet_oomlog::Victim;

    use super::*;
    use crate::log::explain;

    fn report(path: &str, seconds: u64, comm: &str) -> Report {
        Report {
            oom_memcg: Some(path.to_owned()),
            since_boot: Some(Duration::from_secs(seconds)),
            victims: vec![Victim { comm: comm.to_owned(), ..Victim::default() }],
            ..Report::default()
        }
    }

    #[test]
    fn the_same_cgroup_again_and_again() {
        let mut summary = Summary::default();
        for (path, seconds, comm) in
            [("/a", 10, "x"), ("/b", 11, "y"), ("/a", 20, "x"), ("/a", 40, "z"), ("/a", 50, "x")]
        {
            let report = report(path, seconds, comm);
            summary.add(&report, &explain(&report));
        }
        let [a, b] = summary.groups() else { panic!("two groups") };
        assert_eq!((a.count, b.count, summary.reports), (4, 1, 5));
        assert_eq!(a.victims(), "x ×3, z");
        assert_eq!(
            a.remark().unwrap(),
            "4 kills in this log, 10 s apart (median): it is started again and killed again"
        );
        assert_eq!(b.remark(), None);
        assert_eq!(a.span.as_ref().unwrap().1, "50.000000 s");
    }

    #[test]
    fn hosts_are_told_apart_and_groups_are_bounded() {
        let mut summary = Summary::default();
        for host in ["n1", "n2"] {
            let report = Report { host: Some(host.to_owned()), ..report("/a", 1, "x") };
            summary.add(&report, &explain(&report));
        }
        assert_eq!(summary.groups().len(), 2);
        for number in 0..GROUPS + 5 {
            let report = report(&format!("/{number}"), 1, "x");
            summary.add(&report, &explain(&report));
        }
        assert_eq!((summary.groups().len(), summary.ungrouped), (GROUPS, 7));
    }
}
