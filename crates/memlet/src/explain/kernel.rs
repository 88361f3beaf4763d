//! This machine's own log, from `/dev/kmsg`: records instead of lines, and no time but that since boot.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use jiff::Timestamp;
use memlet_oomlog::kmsg::{self, Entry, Reader, Start};
use memlet_oomlog::{Assembler, Event, LogTime, Manner, Report, WrittenTime};

use super::document::Input;
use super::session::{SILENCE, Session};
use super::sink::Stop;

/// Reads what the kernel still holds; with `follow` goes on until somebody ends it.
pub(crate) fn read(session: &mut Session, follow: bool) -> Result<(), Stop> {
    let mut reader = Reader::open(Start::Oldest).map_err(Error::new)?;
    if follow {
        session.listen()?;
    }
    let mut log = KernelLog::default();
    loop {
        log.take(&mut reader)?;
        let is_silent = !follow || !reader.wait(Some(SILENCE)).context("the kernel's log cannot be read")?;
        if is_silent && !log.assembler.is_amid_report() {
            for report in std::mem::take(&mut log.held) {
                session.report(&report, kmsg::PATH)?;
            }
        }
        if !follow || session.is_interrupted() {
            break;
        }
    }
    log.assembler.flush();
    log.fold();
    for report in std::mem::take(&mut log.held) {
        session.report(&report, kmsg::PATH)?;
    }
    session.was_read(Input {
        file: kmsg::PATH.to_owned(),
        bytes: log.bytes,
        lines: log.records,
        forms: vec!["/dev/kmsg"],
        error: None,
    });
    Ok(())
}

/// Reports that may still be amended, oldest first.
#[derive(Default)]
struct KernelLog {
    assembler: Assembler,
    held: VecDeque<Report>,
    records: u64,
    bytes: u64,
}

impl KernelLog {
    /// Takes all that there is for now.
    fn take(&mut self, reader: &mut Reader) -> Result<()> {
        while let Some(entry) = reader.read_entry().context("the kernel's log cannot be read")? {
            match entry {
                Entry::Record(record) => {
                    self.records += 1;
                    self.bytes += record.text.len() as u64;
                    self.assembler.push(&record);
                }
                // How many there were, the assembler sees by the sequence numbers, if they can be known.
                Entry::Lost(Some(_)) => {}
                Entry::Lost(None) => self.assembler.lost(1),
            }
            self.fold();
        }
        Ok(())
    }

    fn fold(&mut self) {
        while let Some(event) = self.assembler.next_event() {
            match event {
                Event::Finished(mut report) => {
                    report.time = report.time.or_else(|| report.since_boot.and_then(wall_clock));
                    self.held.push_back(*report);
                }
                Event::Amended { report, amendment } => {
                    if let Some(held) = self.held.iter_mut().find(|held| held.id == report) {
                        held.amend(amendment);
                    }
                }
            }
        }
    }
}

/// The time of day for a time of this kernel's log, to the second: the two clocks run a little apart.
fn wall_clock(since_boot: Duration) -> Option<LogTime> {
    let at = Timestamp::try_from(kmsg::wall_clock(since_boot)).ok()?;
    let second = Timestamp::from_second(at.as_second()).ok()?;
    Some(WrittenTime::new(Manner::Iso, second.to_string()).read())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_this_day() {
        let time = wall_clock(Duration::ZERO).unwrap();
        assert!(time.as_str().ends_with('Z'), "{time}");
        assert!(time.as_str().parse::<Timestamp>().unwrap() < Timestamp::now());
    }
}
