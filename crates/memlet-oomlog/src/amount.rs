//! Amounts as the kernel's OOM report states them: pages, limits that may be absent, counters.

use memlet_bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of pages. Their size is not in the report (4 KiB on `x86_64`, up to 64 KiB elsewhere), so pages
/// become bytes only together with a size; see [`Report::page_size`](crate::Report::page_size).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pages(pub u64);

impl Pages {
    /// This many pages of `page_size` each; saturates.
    pub const fn bytes(self, page_size: Bytes) -> Bytes {
        Bytes::from_pages(self.0, page_size.get())
    }
}

/// A counter's limit. Serialises as a number of bytes, or as the word `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// So many bytes.
    Bytes(Bytes),
    /// None was set: the kernel prints the largest value its counter can hold.
    Unlimited,
}

/// The largest page counters print as `(LONG_MAX / PAGE_SIZE)` pages: 9007199254740988 kB with 4 KiB pages, a
/// little less with larger ones; the older `res_counter` printed 18014398509481983 kB. No machine comes near.
const UNLIMITED_FROM_KIB: u64 = 9_007_199_254_740_000;
/// The same on 32-bit kernels: `LONG_MAX` pages of 4 KiB.
const UNLIMITED_32_BIT_KIB: u64 = 8_589_934_588;

impl Limit {
    /// The limit that the kernel printed as `kib` kB.
    pub const fn from_kib(kib: u64) -> Self {
        if kib >= UNLIMITED_FROM_KIB || kib == UNLIMITED_32_BIT_KIB {
            Self::Unlimited
        } else {
            Self::Bytes(Bytes::from_kib(kib))
        }
    }

    /// The number of bytes, where there is a limit.
    pub const fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unlimited => None,
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => bytes.serialize(serializer),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(Bytes),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        enum Word {
            Unlimited,
        }
        Ok(match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Self::Bytes(bytes),
            Written::Word(Word::Unlimited) => Self::Unlimited,
        })
    }
}

/// One counter of the memory cgroup whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// What was charged; may be a little under the limit (charges are batched) or over it.
    pub usage: Bytes,
    /// What may be charged.
    pub limit: Limit,
    /// How often a charge failed at the limit since the cgroup was made. `None`: the line was cut before.
    pub failcnt: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_counter_means_no_limit() {
        for kib in [9_007_199_254_740_988, 9_007_199_254_740_928, 18_014_398_509_481_983, 8_589_934_588] {
            assert_eq!(Limit::from_kib(kib), Limit::Unlimited, "{kib}");
        }
        assert_eq!(Limit::from_kib(65536).bytes(), Some(Bytes::from_mib(64)));
    }

    #[test]
    fn limits_survive_json() {
        for (limit, text) in [(Limit::from_kib(1), "1024"), (Limit::Unlimited, "\"unlimited\"")] {
            assert_eq!(serde_json::to_string(&limit).unwrap(), text);
            assert_eq!(serde_json::from_str::<Limit>(text).unwrap(), limit);
        }
    }
}
