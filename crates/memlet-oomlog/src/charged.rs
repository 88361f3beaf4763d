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

/// Charges of each CPU are taken in batches of up to 64 pages, which no kind has yet.
const NOT_YET_OF_A_KIND: u64 = 1 << 20;

impl Charged {
    /// All that has a kind.
    pub fn total(&self) -> Bytes {
        [self.anon, self.file, self.shmem, self.kernel].into_iter().flatten().sum()
    }
}

impl Report {
    /// What was charged, by kind. `None`: there are no statistics in the report, or they are not those of all that was
    /// charged ([`Report::charged_partly`]).
    pub fn charged(&self) -> Option<Charged> {
        self.by_kind().filter(|charged| !self.is_part(charged))
    }

    /// What the statistics tell where they cannot be all that was charged. Up to Linux 5.2 the kernel writes each cgroup's
    /// own figures, those below the limit one by one, as many as there are; where the log lacks some, or they were
    /// charged to a cgroup that is gone, the sum is less than the counter.
    pub fn charged_partly(&self) -> Option<Charged> {
        self.by_kind().filter(|charged| self.is_part(charged))
    }

    fn is_part(&self, charged: &Charged) -> bool {
        let is_one_by_one = self.stats.contains_key("rss") && !self.stats.contains_key("total_rss");
        if !is_one_by_one {
            return false;
        }
        let Some(memory) = self.memory else { return true };
        let usage = memory.usage.get();
        charged.total().get().saturating_add(usage / 10).saturating_add(NOT_YET_OF_A_KIND) < usage
    }

    fn by_kind(&self) -> Option<Charged> {
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
                let cache = stat("cache");
                // Linux 3 has no figure of its own for shared memory, which is in the cache but not in the lists of files.
                let files =
                    [stat("active_file"), stat("inactive_file")].into_iter().flatten().reduce(|a, b| a + b);
                let shmem = stat("shmem").or_else(|| Some(cache?.saturating_sub(files?)));
                let file = without_shmem(cache, shmem);
                return Some(Charged { anon: Some(anon), file, shmem, kernel: kmem });
            }
        }
        // v2, and v1 on kernels 5.3 to 6.4, which print v2's keys: its `file` holds shared memory too.
        let anon = stat("anon")?;
        let shmem = stat("shmem");
        // `kernel` is the sum of the parts since Linux 5.18.
        let parts = ["kernel_stack", "pagetables", "percpu", "slab"];
        let sum = || parts.into_iter().filter_map(stat).reduce(|sum, part| sum + part);
        // Buffers of sockets are charged beside it.
        let sockets = stat("sock").unwrap_or(Bytes::ZERO);
        let kernel =
            stat("kernel").or_else(|| kmem.is_none().then(sum)?).map(|kernel| kernel + sockets).or(kmem);
        Some(Charged { anon: Some(anon), file: without_shmem(stat("file"), shmem), shmem, kernel })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::{Limit, Usage};

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
        let oldest = [
            ("total_rss", 500),
            ("total_cache", 300),
            ("total_active_file", 150),
            ("total_inactive_file", 50),
        ];
        assert_eq!(charged(&oldest), Some(Charged { anon, file, shmem, kernel: None }));
        let sockets = [("anon", 500), ("file", 300), ("shmem", 100), ("kernel", 70), ("sock", 30)];
        assert_eq!(charged(&sockets), Some(Charged { anon, file, shmem, kernel: some(100) }));
        let older = [("anon", 500), ("file", 300), ("shmem", 100), ("slab", 7), ("kernel_stack", 3)];
        assert_eq!(charged(&older), Some(Charged { anon, file, shmem, kernel: some(10) }));
        let cut = [("anon", 500)];
        assert_eq!(charged(&cut), Some(Charged { anon, ..Charged::default() }));
        assert_eq!(charged(&[("pgfault", 1)]), None);
    }

    #[test]
    fn a_part_is_not_the_whole() {
        let mib = |mib: u64| mib << 20;
        let of = |usage_of: Option<u64>| {
            let stats = [("rss", mib(40)), ("cache", mib(10)), ("shmem", 0)];
            let usage = |usage| Usage { usage: Bytes::new(usage), limit: Limit::Unlimited, failcnt: None };
            let report = Report {
                stats: stats.map(|(key, value)| (key.to_owned(), value)).into(),
                memory: usage_of.map(usage),
                ..Report::default()
            };
            (report.charged().is_some(), report.charged_partly().is_some())
        };
        assert_eq!(of(Some(mib(55))), (true, false));
        assert_eq!(of(Some(mib(100))), (false, true));
        assert_eq!(of(None), (false, true), "without the counter nothing tells that it is all");
    }
}
