//! What the memory at the limit was.

use memlet_bytes::Bytes;
use memlet_oomlog::{Charged, Report};

use super::{Scene, percent};
use crate::charged::{by_kind, is_mostly_kernel, is_mostly_page_cache, is_mostly_shared};
use crate::tasks;

pub(super) fn sentence(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let Some(charged) = report.charged() else { return partly(report) };
    let mut text = by_kind(&charged);
    if is_mostly_shared(&charged) {
        text.push_str(
            "; files on tmpfs stay until they are removed, shared memory until the last who has it is gone",
        );
    } else if is_mostly_page_cache(&charged) {
        text.push_str(
            "; page cache can be dropped, so this was being written or in use faster than it could be",
        );
    } else if is_mostly_kernel(&charged) {
        text.push_str("; most of it is the kernel's own, which no process shows as its size");
        text.push_str(&kernel_parts(report));
    } else if let Some(unwritten) = unwritten(report, &charged) {
        text.push_str(&format!(
            "; {unwritten} of the page cache was still to be written to disk, and cannot be dropped before that"
        ));
    } else if charged.file.is_some_and(|file| file > Bytes::ZERO) {
        text.push_str(" (dropped before anything is killed, so it is not the reason)");
    }
    text.push_str(&with_nobody(report, charged));
    Some(text)
}

/// The statistics of some of the cgroups below the limit: nothing follows from them for the others.
fn partly(report: &Report) -> Option<String> {
    let charged = report.charged_partly()?;
    let told = charged.total();
    if told == Bytes::ZERO {
        return None;
    }
    let of = report.memory.map(|memory| format!(" of {}", memory.usage)).unwrap_or_default();
    Some(format!(
        "the log tells of {told}{of} only: {}. This kernel writes the figures cgroup by cgroup, and not all are there",
        by_kind(&charged)
    ))
}

/// Page cache that is dirty or being written, where it is a tenth of all or more.
fn unwritten(report: &Report, charged: &Charged) -> Option<Bytes> {
    let keys = ["total_dirty", "total_writeback", "file_dirty", "file_writeback"];
    let unwritten: Bytes =
        keys.iter().filter_map(|key| report.stats.get(*key)).copied().map(Bytes::new).sum();
    percent(unwritten, charged.total()).is_some_and(|share| share >= 10).then_some(unwritten)
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
