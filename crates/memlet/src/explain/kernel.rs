//! This machine's own log, from `/dev/kmsg`: records instead of lines, and no time but that since boot.

use std::time::Duration;

use anyhow::{Context, Error, Result};
use jiff::Timestamp;
use memlet_oomlog::kmsg::{self, Entry, Reader, Start};
use memlet_oomlog::{Collector, LogTime, Manner, Report, WrittenTime};

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
        if is_silent {
            tell(session, log.collector.settle())?;
        }
        if !follow || session.is_interrupted() {
            break;
        }
    }
    tell(session, log.collector.finish())?;
    session.was_read(Input {
        file: kmsg::PATH.to_owned(),
        bytes: log.bytes,
        lines: log.records,
        forms: vec!["/dev/kmsg"],
        ..Input::default()
    });
    Ok(())
}

/// The reports with the time of day, which the log itself does not have.
fn tell(session: &mut Session, reports: Vec<Report>) -> Result<(), Stop> {
    for mut report in reports {
        report.time = report.time.or_else(|| report.since_boot.and_then(wall_clock));
        session.report(&report, kmsg::PATH)?;
    }
    Ok(())
}

#[derive(Default)]
struct KernelLog {
    collector: Collector,
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
                    self.collector.push(&record);
                }
                // How many there were, the sequence numbers tell, if they can be known.
                Entry::Lost(Some(_)) => {}
                Entry::Lost(None) => self.collector.lost(1),
            }
        }
        Ok(())
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
