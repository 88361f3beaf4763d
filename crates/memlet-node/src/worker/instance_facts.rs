//! What is known of one instance of a container beside its status.

use std::collections::HashSet;
use std::path::PathBuf;

use jiff::Timestamp;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{ContainerStatement, Victim};
use memlet_oomlog::ReportId;

use super::Place;
use crate::adoption::{self, Known};
use crate::oom::counter::KillWatch;

/// What is known of one instance of a container beside its status.
#[derive(Debug)]
pub(crate) struct InstanceFacts {
    pub(crate) place: Place,
    pub(super) attempt: u32,
    pub(super) cgroup: CgroupPath,
    pub(super) main_pid: Option<i32>,
    pub(super) statement: Option<ContainerStatement>,
    pub(crate) termination_file: PathBuf,
    /// Reports and counts whose kill is recorded.
    pub(super) settled_reports: HashSet<ReportId>,
    pub(super) settled_kills: u64,
    /// A kill is to be settled at this time, if the container has not ended by then.
    pub(super) settle_at: Option<Timestamp>,
    pub(super) watch: Option<KillWatch>,
    pub(super) looks_left: u8,
    /// The victims of reports that are not settled were gone when last looked for.
    pub(super) victims_gone: bool,
    /// The kill of the main process in one line.
    pub(super) killed: Option<String>,
    pub(super) over: bool,
    /// It is recorded that the OOM killer took the main process.
    pub(super) main_killed: bool,
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
            killed: None,
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

    pub(super) const fn is_over(&self) -> bool {
        self.over
    }
}
