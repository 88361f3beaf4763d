//! A unit's memory settings. systemd writes them into the unit's group, and again whenever it is reloaded: what was
//! written there behind its back is lost then.

use memlet_bytes::Bytes;
use memlet_cgroup::Limit;

use crate::property::{Property, Value};

/// What a unit may use, and what is kept for it. What is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// `memory.max`
    pub max: Option<Limit>,
    /// `memory.min`
    pub min: Option<Bytes>,
    /// `memory.low`
    pub low: Option<Bytes>,
}

/// How D-Bus writes that there is no limit.
const INFINITY: u64 = u64::MAX;

impl Memory {
    pub(crate) fn properties(self) -> impl Iterator<Item = Property> {
        let max = self.max.map(|limit| match limit {
            Limit::Bytes(bytes) => bytes.get(),
            Limit::Max => INFINITY,
        });
        let bytes = |amount: Option<Bytes>| amount.map(Bytes::get);
        [("MemoryMax", max), ("MemoryMin", bytes(self.min)), ("MemoryLow", bytes(self.low))]
            .into_iter()
            .filter_map(|(name, amount)| Some((name.to_owned(), Value::Number(amount?))))
    }
}
