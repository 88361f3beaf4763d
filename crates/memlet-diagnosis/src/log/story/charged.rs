//! What the memory at the limit was.

use memlet_bytes::Bytes;
use memlet_oomlog::{Charged, Report};

use super::{Scene, percent};
use crate::facts::brief;
use crate::tasks;

/// tmpfs and shared memory at the limit, where that is told.
pub(in crate::log) fn shared(report: &Report) -> Option<Bytes> {
    report.charged()?.shmem
}

/// Whether tmpfs and shared memory are at least half of what has a kind.
pub(in crate::log) fn is_mostly_shared(report: &Report) -> bool {
    report.charged().is_some_and(|charged| is_mostly(charged, charged.shmem))
}

fn is_mostly(charged: Charged, part: Option<Bytes>) -> bool {
    let all: Bytes = [charged.anon, charged.file, charged.shmem, charged.kernel].into_iter().flatten().sum();
    part.is_some_and(|part| part > Bytes::ZERO && part.get() >= all.get() / 2)
}

pub(super) fn sentence(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let charged = report.charged()?;
    let parts: Vec<_> = [
        (charged.anon, "anonymous"),
        (charged.kernel, "kernel"),
        (charged.shmem, "tmpfs or shared"),
        (charged.file, "page cache"),
    ]
    .into_iter()
    .filter_map(|(amount, kind)| Some(format!("{} {kind}", brief(amount?))))
    .collect();
    let mut text = parts.join(", ");
    if is_mostly(charged, charged.shmem) {
        text.push_str("; shared memory and files on tmpfs stay until they are removed, whoever is killed");
    } else if is_mostly(charged, charged.file) {
        text.push_str(
            "; page cache can be dropped, so this was being written or in use faster than it could be",
        );
    } else if is_mostly(charged, charged.kernel) {
        text.push_str("; most of it is the kernel's own, which no process shows as its size");
        text.push_str(&kernel_parts(report));
    } else if charged.file.is_some() {
        text.push_str(" (dropped before anything is killed, so it is not the reason)");
    }
    text.push_str(&with_nobody(report, charged));
    Some(text)
}

/// The largest parts of kernel memory, where the statistics name them.
fn kernel_parts(report: &Report) -> String {
    let mut parts: Vec<_> = [
        ("slab", "slab"),
        ("sock", "sockets"),
        ("pagetables", "page tables"),
        ("kernel_stack", "kernel stacks"),
        ("percpu", "per-CPU data"),
        ("vmalloc", "vmalloc"),
    ]
    .into_iter()
    .filter_map(|(key, name)| Some((*report.stats.get(key)?, name)))
    .filter(|(bytes, _)| *bytes > 0)
    .collect();
    parts.sort_unstable_by(|a, b| b.cmp(a));
    let parts: Vec<_> =
        parts.into_iter().take(3).map(|(bytes, name)| format!("{} {name}", Bytes::new(bytes))).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Anonymous memory that no process of the table holds.
fn with_nobody(report: &Report, charged: Charged) -> String {
    let whole_table = !report.tasks.is_empty() && report.dropped.tasks == 0 && report.dropped.records == 0;
    let by_processes: Bytes = tasks::by_size(report).into_iter().map(|(_, held)| held).sum();
    let anonymous = charged.anon.unwrap_or_default();
    let gap = anonymous.saturating_sub(by_processes);
    match percent(gap, anonymous) {
        Some(25..) if whole_table && report.page_size.is_some() => format!(
            ". The processes listed hold only {by_processes}: {gap} belongs to processes that are just ending"
        ),
        _ => String::new(),
    }
}
