//! What the memory at the limit was: one answer from the differing keys of cgroup v1 and v2.

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::report::Report;

/// What was charged to the cgroup whose limit was hit and to all below it, by kind. The kinds do not overlap; what the
/// report does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Charged {
    /// Anonymous memory: heap, stack, private mappings.
    #[serde(rename = "anonBytes")]
    pub anon: Option<Bytes>,
    /// Page cache of files; the kernel takes it back before it kills, unless it is dirty or in use.
    #[serde(rename = "fileBytes")]
    pub file: Option<Bytes>,
    /// Shared memory and tmpfs (`emptyDir` with `medium: Memory`); no kill frees it.
    #[serde(rename = "shmemBytes")]
    pub shmem: Option<Bytes>,
    /// The kernel's own memory for these processes: page tables, stacks, slab, sockets.
    #[serde(rename = "kernelBytes")]
    pub kernel: Option<Bytes>,
}

impl Report {
    /// What was charged, by kind. `None`: there are no statistics in the report.
    pub fn charged(&self) -> Option<Charged> {
        let stat = |key: &str| self.stats.get(key).copied().map(Bytes::new);
        let without_shmem = |cache: Option<Bytes>, shmem: Option<Bytes>| {
            cache.map(|cache| cache.saturating_sub(shmem.unwrap_or(Bytes::ZERO)))
        };
        let kmem = self.kmem.map(|counter| counter.usage);
        // v1: its `cache` holds shared memory too. Up to Linux 5.2 there are no totals, and the figures of all cgroups
        // are added up in the keys without.
        for total in ["total_", ""] {
            let stat = |key: &str| stat(&format!("{total}{key}"));
            if let Some(anon) = stat("rss") {
                let shmem = stat("shmem");
                let file = without_shmem(stat("cache"), shmem);
                return Some(Charged { anon: Some(anon), file, shmem, kernel: kmem });
            }
        }
        // v2, and v1 on kernels 5.3 to 6.4, which print v2's keys: its `file` holds shared memory too.
        let anon = stat("anon")?;
        let shmem = stat("shmem");
        // `kernel` is the sum of the parts since Linux 5.18.
        let parts = ["kernel_stack", "pagetables", "percpu", "slab"];
        let sum = || parts.into_iter().filter_map(stat).reduce(|sum, part| sum + part);
        Some(Charged {
            anon: Some(anon),
            file: without_shmem(stat("file"), shmem),
            shmem,
            kernel: stat("kernel").or(kmem).or_else(sum),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charged(stats: &[(&str, u64)]) -> Option<Charged> {
        let stats = stats.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        Report { stats, ..Report::default() }.charged()
    }

    #[test]
    fn both_versions_answer_alike() {
        let some = |bytes| Some(Bytes::new(bytes));
        let v1 = [("rss", 0), ("cache", 0), ("total_rss", 500), ("total_cache", 300), ("total_shmem", 100)];
        let (anon, file, shmem) = (some(500), some(200), some(100));
        assert_eq!(charged(&v1), Some(Charged { anon, file, shmem, kernel: None }));
        let v2 = [("anon", 500), ("file", 300), ("shmem", 100), ("kernel", 70), ("slab", 7)];
        assert_eq!(charged(&v2), Some(Charged { anon, file, shmem, kernel: some(70) }));
        let older = [("anon", 500), ("file", 300), ("shmem", 100), ("slab", 7), ("kernel_stack", 3)];
        assert_eq!(charged(&older), Some(Charged { anon, file, shmem, kernel: some(10) }));
        let cut = [("anon", 500)];
        assert_eq!(charged(&cut), Some(Charged { anon, ..Charged::default() }));
        assert_eq!(charged(&[("pgfault", 1)]), None);
    }
}
