//! Any bytes as a log of any source: no panic, bounded memory, and the same findings however the bytes come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memlet_oomlog::{Bounds, Finding, LogReader};

/// So small that a short input goes beyond them.
const BOUNDS: Bounds = Bounds { tasks: 8, victims: 3, stats: 8, call_trace: 8 };

fn read(log: &[u8], size: usize) -> Vec<Finding> {
    let mut reader = LogReader::with_bounds(BOUNDS);
    let mut findings = Vec::new();
    for piece in log.chunks(size) {
        reader.push(piece);
        findings.extend(std::iter::from_fn(|| reader.next_finding()));
    }
    reader.finish();
    findings.extend(std::iter::from_fn(|| reader.next_finding()));
    assert_eq!(reader.statistics().bytes, log.len() as u64);
    findings
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, log) = input;
    let whole = read(log, log.len().max(1));
    for finding in &whole {
        let Finding::Kernel(report) = finding else { continue };
        assert!(report.tasks.len() <= BOUNDS.tasks && report.victims.len() <= BOUNDS.victims);
        assert!(report.stats.len() <= BOUNDS.stats && report.call_trace.len() <= BOUNDS.call_trace);
        assert!(!report.complete || (report.invoked_by.is_some() && report.ending.is_some()));
        assert!(report.raw.start_line <= report.raw.end_line);
        let _ = (report.choice(), report.ranking(), report.charged());
    }
    assert_eq!(whole, read(log, usize::from(size) + 1));
});
