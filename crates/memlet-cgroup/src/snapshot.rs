//! All figures of one moment, for a record.

use std::time::Duration;

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Cgroup, CgroupPath, Limit};

/// What the kernel said of one memory cgroup at one moment. What it did not say, or could not be read, is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The group.
    pub path: CgroupPath,
    /// What was charged, all groups below included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Bytes>,
    /// Its own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The highest usage so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<Bytes>,
    /// How often its own limit was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failcnt: Option<u64>,
    /// How many of its own processes an OOM killer killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Usage less inactive page cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set: Option<Bytes>,
    /// Memory backed by no file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon: Option<Bytes>,
    /// Page cache, tmpfs included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Bytes>,
    /// tmpfs and shared memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shmem: Option<Bytes>,
    /// Kernel memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Bytes>,
    /// Swapped out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Bytes>,
    /// How long some of its processes have stood still for want of memory, all groups below included (PSI, cgroup v2).
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "stalledMicros", with = "micros")]
    pub stalled: Option<Duration>,
}

/// Whole microseconds, as the kernel counts them.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde's `with` asks for this signature")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_micros))
    }
}

impl Cgroup {
    /// All figures now. Never fails: a group that is gone has none.
    pub fn snapshot(&self) -> Snapshot {
        let usage = self.usage().ok();
        let stat = self.stat().unwrap_or_default();
        Snapshot {
            path: self.path().clone(),
            usage,
            limit: self.limit().ok(),
            peak: self.peak().ok().flatten(),
            failcnt: self.failcnt().ok().flatten(),
            oom_kills: self.oom_kills(),
            working_set: usage.and_then(|usage| stat.working_set(usage)),
            anon: stat.anon,
            file: stat.file,
            shmem: stat.shmem,
            kernel: stat.kernel,
            swap: stat.swap,
            stalled: self.pressure().ok().flatten().map(|pressure| pressure.some.total),
        }
    }
}
