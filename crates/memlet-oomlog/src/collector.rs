//! Whole reports out of a whole log: events folded until nothing more can be added to a report.

use std::collections::VecDeque;

use crate::assembler::recent::RECENT;
use crate::assembler::{Assembler, Bounds, Event};
use crate::record::Record;
use crate::report::Report;

/// Reads a log to its end, or for as long as it grows. Who wants a report the moment it ends uses [`Assembler`] instead.
#[derive(Debug, Default)]
pub struct Collector {
    assembler: Assembler,
    /// Reports that may still be amended, oldest first.
    held: VecDeque<Report>,
}

impl Collector {
    /// A collector that keeps no more of one report than `bounds`.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self { assembler: Assembler::with_bounds(bounds), held: VecDeque::new() }
    }

    /// Takes the next record of the log. Take the reports that are ready after each push.
    pub fn push(&mut self, record: &Record<'_>) {
        self.assembler.push(record);
        self.fold();
    }

    /// Tells that records were lost before the next one; as [`Assembler::lost`].
    pub fn lost(&mut self, records: u64) {
        self.assembler.lost(records);
    }

    /// Nothing comes for now: all the reports not yet taken, unless one has begun and not ended. For whoever follows
    /// a log that grows.
    pub fn settle(&mut self) -> Vec<Report> {
        if self.assembler.is_amid_report() { Vec::new() } else { std::mem::take(&mut self.held).into() }
    }

    /// The next report to which nothing more can be added, in the order of the log.
    pub fn next_report(&mut self) -> Option<Report> {
        (self.held.len() > RECENT).then(|| self.held.pop_front()).flatten()
    }

    /// The end of the log: all the reports not yet taken.
    pub fn finish(mut self) -> Vec<Report> {
        self.assembler.flush();
        self.fold();
        self.held.into()
    }

    fn fold(&mut self) {
        while let Some(event) = self.assembler.next_event() {
            match event {
                Event::Finished(report) => self.held.push_back(*report),
                Event::Amended { report, amendment, line } => {
                    if let Some(held) = self.held.iter_mut().find(|held| held.id == report) {
                        held.amend(amendment, line);
                    }
                }
            }
        }
    }
}
