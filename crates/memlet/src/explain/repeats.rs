//! The same report in several logs: most machines write the kernel's words into more than one file (`kern.log` and
//! `syslog`, `messages` and the journal). It is told once. Within one log nothing is a repetition: a process may be
//! killed again and again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use memlet_oomlog::Report;

/// So many reports are remembered; of further ones it is not known whether they were told before.
const REMEMBERED: usize = 100_000;

/// The reports of the logs read so far.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    told: HashMap<u64, Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// The number of its log.
    log: usize,
    complete: bool,
    victims: usize,
}

impl Repeats {
    /// Whether another log than `log` told this report already, and no less of it.
    pub(super) fn knows(&mut self, report: &Report, log: usize) -> bool {
        let marks = marks(report);
        let told = marks.iter().flatten().find_map(|mark| self.told.get(mark).copied());
        let known = told.filter(|told| {
            told.log != log && (told.complete || !report.complete) && told.victims >= report.victims.len()
        });
        // This log may be the one with the other clock, by which a third is known.
        let own = Told { log, complete: report.complete, victims: report.victims.len() };
        let remembered = known.unwrap_or(own);
        if self.told.len() < REMEMBERED {
            self.told.extend(marks.into_iter().flatten().map(|mark| (mark, remembered)));
        }
        known.is_some()
    }
}

/// What no two reports have in common: when it was by either clock, and which process was killed with how much memory. No
/// log has both clocks for sure, so each makes a mark.
fn marks(report: &Report) -> [Option<u64>; 2] {
    let Some(victim) = report.victims.first().filter(|victim| victim.anon_rss.is_some()) else {
        return [None, None];
    };
    let mark = |when: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        when(&mut hasher);
        (victim.pid, &victim.comm, victim.total_vm, victim.anon_rss, victim.file_rss).hash(&mut hasher);
        hasher.finish()
    };
    let killed = report.killed_since_boot.map(|since_boot| mark(&|hasher| since_boot.hash(hasher)));
    // To the second: not every source tells more.
    let time = report.time.as_ref().map(|time| {
        let second = time.as_str().get(..19).unwrap_or(time.as_str());
        mark(&|hasher| (second, &report.host).hash(hasher))
    });
    [killed, time]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use memlet_bytes::Bytes;
    use memlet_oomlog::{Manner, Victim, WrittenTime};

    use super::*;

    fn report(pid: i32, since_boot: Option<u64>, time: Option<&'static str>) -> Report {
        Report {
            killed_since_boot: since_boot.map(Duration::from_micros),
            time: time.map(|time| WrittenTime::new(Manner::Iso, time).read()),
            victims: vec![Victim { pid, anon_rss: Some(Bytes::from_mib(1)), ..Victim::default() }],
            ..Report::default()
        }
    }

    #[test]
    fn a_report_is_known_by_either_clock_in_another_log_only() {
        let mut repeats = Repeats::default();
        let whole = report(7, Some(5), Some("2024-11-22T10:01:02.064130Z"));
        assert!(!repeats.knows(&whole, 0));
        assert!(!repeats.knows(&whole, 0), "twice in one log are two");
        assert!(repeats.knows(&report(7, Some(5), None), 1));
        assert!(repeats.knows(&report(7, None, Some("2024-11-22T10:01:02Z")), 1));
        assert!(!repeats.knows(&report(7, Some(6), None), 1), "killed at another time");
        assert!(!repeats.knows(&report(8, Some(5), None), 1), "another process");
    }

    #[test]
    fn a_log_that_has_both_clocks_joins_those_that_have_one() {
        let mut repeats = Repeats::default();
        assert!(!repeats.knows(&report(7, Some(5), None), 0));
        assert!(repeats.knows(&report(7, Some(5), Some("2024-11-22T10:01:02Z")), 1));
        assert!(repeats.knows(&report(7, None, Some("2024-11-22T10:01:02Z")), 2));
    }

    #[test]
    fn what_tells_less_does_not_hide_what_tells_more() {
        let mut repeats = Repeats::default();
        let cut = report(7, Some(5), None);
        let whole = Report { complete: true, ..cut.clone() };
        assert!(!repeats.knows(&cut, 0));
        assert!(!repeats.knows(&whole, 1));
        assert!(repeats.knows(&whole, 2));
    }

    #[test]
    fn without_a_time_or_a_size_nothing_is_a_repetition() {
        let mut repeats = Repeats::default();
        for log in 0..3 {
            assert!(!repeats.knows(&report(7, None, None), log));
            assert!(!repeats.knows(&Report { victims: Vec::new(), ..report(7, Some(5), None) }, log));
        }
    }
}
