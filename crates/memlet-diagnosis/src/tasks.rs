//! The kernel's table of processes, by what each holds.

use std::collections::BTreeMap;

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

/// Processes of one name that together hold much more than the largest of them: workers of one server.
pub(crate) struct Crew<'a> {
    /// Their name.
    pub(crate) name: &'a str,
    /// How many they are.
    pub(crate) count: u64,
    /// What they hold together; pages that they share count in each.
    pub(crate) held: Bytes,
    /// What the largest holds.
    pub(crate) most: Bytes,
}

/// The crew that holds most, if it holds most of all.
pub(crate) fn crew(report: &Report) -> Option<Crew<'_>> {
    /// Fewer are looked at one by one.
    const CREW: u64 = 5;
    let mut crews: BTreeMap<&str, Crew<'_>> = BTreeMap::new();
    for (task, held) in by_size(report) {
        let none = Crew { name: &task.comm, count: 0, held: Bytes::ZERO, most: held };
        let crew = crews.entry(&task.comm).or_insert(none);
        crew.count += 1;
        crew.held += held;
    }
    let all: Bytes = crews.values().map(|crew| crew.held).sum();
    let largest = crews.into_values().max_by_key(|crew| crew.held)?;
    let is_crew = largest.count >= CREW && largest.held.get() / 3 > largest.most.get();
    (is_crew && largest.held.get() >= all.get() / 2).then_some(largest)
}
