//! What the memory of a group consists of: `memory.stat`.

use std::collections::BTreeMap;

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Version, file};

/// What the memory of a group and all below it consists of. Figures overlap: shmem is part of file, slab of kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stat {
    /// Memory of processes that is backed by no file: heap, stacks. v1 `total_rss`.
    pub anon: Option<Bytes>,
    /// Page cache, with tmpfs and shared memory in it. v1 `total_cache`.
    pub file: Option<Bytes>,
    /// The part of `file` that is tmpfs or shared memory: it cannot be dropped.
    pub shmem: Option<Bytes>,
    /// All kernel memory. v1 `memory.kmem.usage_in_bytes`; v2 since Linux 5.18.
    pub kernel: Option<Bytes>,
    /// Stacks of threads inside the kernel. v2.
    pub kernel_stack: Option<Bytes>,
    /// Kernel objects such as dentries and inodes. v2.
    pub slab: Option<Bytes>,
    /// Page tables. v2.
    pub pgtables: Option<Bytes>,
    /// Page cache not used lately: the first to be reclaimed.
    pub inactive_file: Option<Bytes>,
    /// Page cache used lately.
    pub active_file: Option<Bytes>,
    /// The part of `file` that processes have mapped.
    pub mapped_file: Option<Bytes>,
    /// What is swapped out.
    pub swap: Option<Bytes>,
    /// Every line of `memory.stat` as the kernel wrote it: bytes, pages or counts, as its key defines.
    pub raw: BTreeMap<String, u64>,
}

impl Stat {
    /// `usage` less inactive page cache, at least 0: kubelet's working set (cAdvisor's `setMemoryStats`).
    pub fn working_set(&self, usage: Bytes) -> Option<Bytes> {
        self.inactive_file.map(|inactive| usage.saturating_sub(inactive))
    }
}

/// Reads `memory.stat`; what is not a line of it comes back as the error.
pub(crate) fn parse(text: &str, version: Version) -> Result<Stat, &str> {
    let raw = file::keyed_numbers(text)?;
    let get = |key: &str| raw.get(key).copied().map(Bytes::new);
    // Without the prefix, v1 counts this group alone while its usage counts all below too.
    let figures = match version {
        Version::V1 => Stat {
            anon: get("total_rss"),
            file: get("total_cache"),
            shmem: get("total_shmem"),
            inactive_file: get("total_inactive_file"),
            active_file: get("total_active_file"),
            mapped_file: get("total_mapped_file"),
            swap: get("total_swap"),
            ..Stat::default()
        },
        Version::V2 => Stat {
            anon: get("anon"),
            file: get("file"),
            shmem: get("shmem"),
            kernel: get("kernel"),
            kernel_stack: get("kernel_stack"),
            slab: get("slab"),
            pgtables: get("pagetables"),
            inactive_file: get("inactive_file"),
            active_file: get("active_file"),
            mapped_file: get("file_mapped"),
            ..Stat::default()
        },
    };
    Ok(Stat { raw, ..figures })
}
