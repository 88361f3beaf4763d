//! A limit: a number of bytes, or none.

use std::fmt;
use std::str::FromStr;

use memlet_bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Version;

/// A limit of memory. `Max` is greater than every number of bytes.
///
/// Serialises as an integer of bytes or as `"max"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// At most this much.
    Bytes(Bytes),
    /// No limit.
    Max,
}

/// A text that is neither a number of bytes nor `max`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a memory limit; write a number of bytes, or max")]
pub struct ParseLimitError(String);

/// What cgroup v1 prints for "no limit" is `LONG_MAX` rounded down to whole pages (`PAGE_COUNTER_MAX` in
/// `include/linux/page_counter.h`): it depends on the page size, and 64 KiB is the largest there is.
const V1_MAX_FROM: u64 = i64::MAX.cast_unsigned() & !0xffff;

impl Limit {
    /// The number of bytes, where there is one.
    pub const fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Max => None,
        }
    }

    /// The text that sets this limit in a file of this version.
    pub(crate) fn for_file(self, version: Version) -> String {
        match (self, version) {
            (Self::Bytes(bytes), _) => bytes.get().to_string(),
            (Self::Max, Version::V1) => "-1".to_owned(),
            (Self::Max, Version::V2) => "max".to_owned(),
        }
    }

    /// This limit and `more`: `Max` where either is.
    pub(crate) fn plus(self, more: Self) -> Self {
        match (self, more) {
            (Self::Bytes(a), Self::Bytes(b)) => Self::from(a + b),
            _ => Self::Max,
        }
    }
}

impl From<Bytes> for Limit {
    /// A number so large that the kernel means "no limit" by it becomes [`Limit::Max`].
    fn from(bytes: Bytes) -> Self {
        if bytes.get() >= V1_MAX_FROM { Self::Max } else { Self::Bytes(bytes) }
    }
}

impl FromStr for Limit {
    type Err = ParseLimitError;

    /// Reads what a kernel of either version prints or takes: `max`, `-1`, a number of bytes.
    fn from_str(text: &str) -> Result<Self, ParseLimitError> {
        match text.trim() {
            "max" | "-1" => Ok(Self::Max),
            number => number
                .parse::<u64>()
                .map(|bytes| Self::from(Bytes::new(bytes)))
                .map_err(|_| ParseLimitError(text.to_owned())),
        }
    }
}

impl fmt::Display for Limit {
    /// For people: `128Mi`, or `max`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Max => f.pad("max"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bytes(bytes) => bytes.serialize(serializer),
            Self::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LimitVisitor;
        impl Visitor<'_> for LimitVisitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or \"max\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Limit, E> {
                Ok(Limit::from(Bytes::new(bytes)))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Limit, E> {
                let bytes = u64::try_from(bytes)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))?;
                self.visit_u64(bytes)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "max" => Ok(Limit::Max),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(LimitVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_either_version_prints() {
        for (text, limit) in [
            ("max\n", Limit::Max),
            ("-1", Limit::Max),
            ("9223372036854771712\n", Limit::Max), // 4 KiB pages
            ("9223372036854710272", Limit::Max),   // 64 KiB pages
            ("9223372036854775807", Limit::Max),
            ("18446744073709551615", Limit::Max),
            ("0", Limit::Bytes(Bytes::ZERO)),
            ("104857600\n", Limit::Bytes(Bytes::from_mib(100))),
        ] {
            assert_eq!(text.parse::<Limit>(), Ok(limit), "{text:?}");
        }
        for bad in ["", "-2", "1 2", "64M", "unlimited", "0x10"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prints_for_each_version_and_for_people() {
        assert_eq!([Version::V1, Version::V2].map(|v| Limit::Max.for_file(v)), ["-1", "max"]);
        let limit = Limit::Bytes(Bytes::from_mib(64));
        assert_eq!([Version::V1, Version::V2].map(|v| limit.for_file(v)), ["67108864", "67108864"]);
        assert_eq!((limit.to_string().as_str(), Limit::Max.to_string().as_str()), ("64Mi", "max"));
        assert!(limit < Limit::Max);
    }

    #[test]
    fn serialises_as_integer_or_max() {
        for (limit, json) in [(Limit::Max, "\"max\""), (Limit::Bytes(Bytes::new(7)), "7")] {
            assert_eq!(serde_json::to_string(&limit).unwrap(), json);
            assert_eq!(serde_json::from_str::<Limit>(json).unwrap(), limit);
        }
        for bad in ["-1", "\"7\"", "null", "1.5"] {
            assert!(serde_json::from_str::<Limit>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in any::<u64>()) {
            let limit = Limit::from(Bytes::new(bytes));
            for version in [Version::V1, Version::V2] {
                prop_assert_eq!(limit.for_file(version).parse::<Limit>(), Ok(limit));
            }
        }
    }
}
