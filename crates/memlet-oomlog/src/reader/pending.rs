//! Findings that wait until nothing more can be added to them, in the order of their first lines.

use std::collections::VecDeque;

use super::Finding;
use crate::report::{Amendment, Report, ReportId};
use crate::userspace::UserspaceKill;

/// So many bytes further on in the log, the kernel adds nothing any more.
const SETTLES_WITHIN: u64 = 1 << 20;
/// More findings are not kept waiting, to bound memory.
const MOST_WAITING: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: VecDeque<Waiting>,
    /// How many of the first need not wait any longer.
    released: usize,
}

#[derive(Debug)]
struct Waiting {
    finding: Finding,
    line: u64,
    /// How much of the log had been read when it came.
    bytes: u64,
}

impl Pending {
    pub(super) fn add(&mut self, report: Box<Report>, bytes: u64) {
        let line = report.raw.start_line;
        self.insert(Waiting { finding: Finding::Kernel(report), line, bytes });
    }

    pub(super) fn add_userspace(&mut self, kill: UserspaceKill, bytes: u64) {
        let line = kill.line;
        self.insert(Waiting { finding: Finding::Userspace(Box::new(kill)), line, bytes });
    }

    fn insert(&mut self, waiting: Waiting) {
        let later = self.waiting.iter().rev().take_while(|other| other.line > waiting.line).count();
        self.waiting.insert(self.waiting.len() - later, waiting);
    }

    pub(super) fn amend(&mut self, id: ReportId, amendment: Amendment, line: u64) {
        for waiting in self.waiting.iter_mut().rev() {
            if let Finding::Kernel(report) = &mut waiting.finding
                && report.id == id
            {
                return report.amend(amendment, line);
            }
        }
    }

    /// What is there need not wait any longer.
    pub(super) fn release(&mut self) {
        self.released = self.waiting.len();
    }

    /// The first finding, if it need not wait any longer: neither for what the kernel may add, nor for a report that
    /// began before it and is still open.
    pub(super) fn next(&mut self, bytes: u64, oldest_open: Option<u64>) -> Option<Finding> {
        let first = self.waiting.front()?;
        let is_first = oldest_open.is_none_or(|line| first.line < line);
        let is_whole = first.bytes.saturating_add(SETTLES_WITHIN) < bytes;
        if self.released == 0 && self.waiting.len() <= MOST_WAITING && !(is_first && is_whole) {
            return None;
        }
        self.released = self.released.saturating_sub(1);
        self.waiting.pop_front().map(|waiting| waiting.finding)
    }
}
