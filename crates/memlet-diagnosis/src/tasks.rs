//! The kernel's table of processes, by what each holds.

use memlet_bytes::Bytes;
use memlet_oomlog::{Report, Task};

/// Resident and swapped memory of one process.
pub(crate) fn held(task: &Task, page_size: Bytes) -> Option<Bytes> {
    Some(task.rss?.bytes(page_size) + task.swap_entries.unwrap_or_default().bytes(page_size))
}

/// All processes of the table, largest first; empty where there is no table, or the size of its pages is not known.
pub(crate) fn by_size(report: &Report) -> Vec<(&Task, Bytes)> {
    let Some(page_size) = report.page_size else { return Vec::new() };
    let mut all: Vec<_> =
        report.tasks.iter().filter_map(|task| Some((task, held(task, page_size)?))).collect();
    all.sort_by_key(|(_, held)| std::cmp::Reverse(*held));
    all
}

/// The process that held most, unless it is the one that was killed.
pub(crate) fn larger_survivor(report: &Report) -> Option<(&Task, Bytes)> {
    let largest = by_size(report).into_iter().next()?;
    report.victims.iter().all(|victim| victim.pid != largest.0.pid).then_some(largest)
}

/// What the first victim held when it was killed.
pub(crate) fn victim_held(report: &Report) -> Option<Bytes> {
    let victim = report.victims.first()?;
    let parts = [victim.anon_rss, victim.file_rss, victim.shmem_rss];
    parts.iter().any(Option::is_some).then(|| parts.into_iter().flatten().sum())
}
