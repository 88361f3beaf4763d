//! A log read to its end at once.

use memlet_oomlog::{Finding, LogReader, Report};

/// The kernel's reports in it.
pub(crate) fn reports(log: &[u8]) -> Vec<Report> {
    let mut reader = LogReader::default();
    reader.push(log);
    reader.finish();
    std::iter::from_fn(|| reader.next_finding())
        .filter_map(|finding| match finding {
            Finding::Kernel(report) => Some(*report),
            Finding::Userspace(_) => None,
        })
        .collect()
}
