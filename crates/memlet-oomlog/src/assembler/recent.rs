//! The reports handed out last: the kernel may still add to them.

use std::collections::VecDeque;
use std::time::Duration;

use super::moment::Moment;
use crate::line::Killed;
use crate::record::Record;
use crate::report::{Ending, Pid, Report, ReportId};

/// How many reports back the reaper's result may come.
pub(crate) const RECENT: usize = 32;
/// A group's members are killed in one go, under one lock.
const GROUP_KILL_LASTS: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Recents(VecDeque<Recent>);

/// What must be known of a report to amend it.
#[derive(Debug)]
struct Recent {
    id: ReportId,
    caller: Option<Box<str>>,
    /// When its last record was written.
    last: Moment,
    pids: Vec<Pid>,
    reaped: Vec<Pid>,
    /// The cgroup is being killed as a whole, and no other report has begun.
    group: bool,
    /// It found no process to kill, and the kernel may panic for that.
    found_none: bool,
    /// Another report has begun: no group kill belongs to this one any more.
    closed: bool,
    /// The processes of the OOM domain, where they were listed.
    domain: Vec<Pid>,
}

/// What a kill line is to a cgroup that is being killed as a whole.
pub(super) enum Joined {
    /// No cgroup is, or it is none of its processes.
    NoMember,
    /// The kernel names the first victim again among the members.
    KnownMember,
    /// One more victim of this report.
    Member(ReportId),
    /// One more, but the report has as many as it may.
    OneTooMany(ReportId),
}

impl Recents {
    pub(super) fn add(&mut self, report: &Report, caller: Option<Box<str>>, last: Moment) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back(Recent {
            id: report.id,
            caller,
            last,
            pids: report.victims.iter().map(|victim| victim.pid).collect(),
            reaped: Vec::new(),
            group: false,
            found_none: report.ending == Some(Ending::NoKillableProcess),
            closed: false,
            domain: if report.dropped.is_nothing() {
                report.tasks.iter().map(|task| task.pid).collect()
            } else {
                Vec::new()
            },
        });
    }

    /// The newest report of this caller that is not closed.
    fn newest(&mut self, caller: Option<&str>) -> Option<&mut Recent> {
        let newest = self.0.iter_mut().rev().find(|recent| recent.is_of(caller))?;
        (!newest.closed).then_some(newest)
    }

    /// Which report lost this process, if the reaper has not been heard of it yet.
    pub(super) fn note_reaped(&mut self, pid: Pid) -> Option<ReportId> {
        let recent = self.0.iter_mut().rev().find(|recent| recent.pids.contains(&pid))?;
        if recent.reaped.contains(&pid) {
            return None;
        }
        recent.reaped.push(pid);
        Some(recent.id)
    }

    /// Which report ended with the kernel's panic: that which found no process to kill.
    pub(super) fn note_panic(&mut self, caller: Option<&str>) -> Option<ReportId> {
        let recent = self.newest(caller)?;
        std::mem::take(&mut recent.found_none).then_some(recent.id)
    }

    /// The cgroup of the newest victim is being killed as a whole.
    pub(super) fn begin_group(&mut self, caller: Option<&str>) -> Option<ReportId> {
        let recent = self.newest(caller).filter(|recent| !recent.pids.is_empty())?;
        recent.group = true;
        Some(recent.id)
    }

    pub(super) fn take_group_member(
        &mut self,
        killed: &Killed<'_>,
        record: &Record<'_>,
        most: usize,
    ) -> Joined {
        let caller = record.caller.as_deref();
        let Some(recent) = self.newest(caller).filter(|recent| recent.group) else { return Joined::NoMember };
        if recent.last.is_far_from(record, GROUP_KILL_LASTS) {
            recent.group = false;
            return Joined::NoMember;
        }
        if !(recent.domain.is_empty() || recent.domain.contains(&killed.pid)) {
            return Joined::NoMember;
        }
        // A slow console takes its time for each.
        recent.last.set(record);
        if recent.pids.contains(&killed.pid) {
            return Joined::KnownMember;
        }
        if recent.pids.len() >= most {
            return Joined::OneTooMany(recent.id);
        }
        recent.pids.push(killed.pid);
        Joined::Member(recent.id)
    }

    /// Another report of this caller begins (`None`: of any).
    pub(super) fn close_groups(&mut self, caller: Option<&str>) {
        for recent in self.0.iter_mut().rev().take_while(|recent| !recent.closed) {
            if recent.is_of(caller) {
                (recent.group, recent.closed) = (false, true);
                recent.domain = Vec::new();
            }
        }
    }
}

impl Recent {
    fn is_of(&self, caller: Option<&str>) -> bool {
        caller.is_none() || self.caller.is_none() || self.caller.as_deref() == caller
    }
}
