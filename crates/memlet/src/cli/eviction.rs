//! kubelet's settings of eviction, as flags (`--eviction-hard 'memory.available<100Mi'`) and in a file
//! (`evictionHard: { memory.available: 100Mi }`).

use std::collections::BTreeMap;
use std::time::Duration;

use memlet_policy::eviction::{SettingError, go_duration_of, parse_amounts, parse_graces, parse_thresholds};
use memlet_policy::node_memory::Threshold;
use serde::{Deserialize, Deserializer};

use super::node::Scalar;

/// A threshold; `None`: switched off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ThresholdChoice(pub(crate) Option<Threshold>);

/// How much more is to be free than the threshold says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AmountChoice(pub(crate) Option<Threshold>);

/// How long a soft threshold is met before it is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GraceChoice(pub(crate) Option<Duration>);

/// A time in Go's manner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeChoice(pub(crate) Duration);

impl std::str::FromStr for ThresholdChoice {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        parse_thresholds(text).map(Self)
    }
}

impl std::str::FromStr for AmountChoice {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        parse_amounts(text).map(Self)
    }
}

impl std::str::FromStr for GraceChoice {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        parse_graces(text).map(Self)
    }
}

impl std::str::FromStr for TimeChoice {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        go_duration_of(text).map(Self)
    }
}

/// A map in the words of kubelet's configuration, or the text of a flag.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Map(BTreeMap<String, Scalar>),
    Text(String),
}

impl Written {
    /// As the flag has it, with this between a signal and its value.
    fn flag(self, between: &str) -> String {
        match self {
            Self::Text(text) => text,
            Self::Map(map) => {
                let one = |(signal, value): (String, Scalar)| format!("{signal}{between}{value}");
                map.into_iter().map(one).collect::<Vec<_>>().join(",")
            }
        }
    }
}

fn read<'de, D: Deserializer<'de>, T: std::str::FromStr<Err = SettingError>>(
    deserializer: D,
    between: &str,
) -> Result<T, D::Error> {
    Written::deserialize(deserializer)?.flag(between).parse().map_err(serde::de::Error::custom)
}

impl<'de> Deserialize<'de> for ThresholdChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "<")
    }
}

impl<'de> Deserialize<'de> for AmountChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "=")
    }
}

impl<'de> Deserialize<'de> for GraceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "=")
    }
}

impl<'de> Deserialize<'de> for TimeChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, "")
    }
}

#[cfg(test)]
mod tests {
    use memlet_bytes::Bytes;

    use super::*;

    #[test]
    fn files_have_kubelets_words_or_the_flags() {
        let mib = |mebibytes| Some(Threshold::Amount(Bytes::from_mib(mebibytes)));
        for (file, expected) in [
            ("{memory.available: 50Mi}", mib(50)),
            ("{memory.available: 52428800}", mib(50)),
            ("memory.available<50Mi", mib(50)),
            ("{memory.available: 0%}", None),
            ("{}", None),
            ("''", None),
        ] {
            let read: ThresholdChoice = serde_saphyr::from_str(file).unwrap();
            assert_eq!(read.0, expected, "{file}");
        }
        let grace: GraceChoice = serde_saphyr::from_str("{memory.available: 1m30s}").unwrap();
        assert_eq!(grace.0, Some(Duration::from_secs(90)));
        let time: TimeChoice = serde_saphyr::from_str("5m").unwrap();
        assert_eq!(time.0, Duration::from_mins(5));
        let refused = serde_saphyr::from_str::<ThresholdChoice>("{nodefs.available: 10%}").unwrap_err();
        assert!(refused.to_string().contains("not about memory"), "{refused}");
    }
}
