//! kubelet's settings of eviction, and their syntax.

use std::time::Duration;

use jiff::SignedDuration;
use memlet_bytes::Bytes;

use crate::node_memory::Threshold;
use crate::quantity::Quantity;

use super::Signal;

/// What a node is told about eviction for want of memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `evictionHard`; `None`: off.
    pub hard: Option<Threshold>,
    /// `evictionSoft` with its `evictionSoftGracePeriod`.
    pub soft: Option<Soft>,
    /// `evictionMinimumReclaim`
    pub minimum_reclaim: Option<Threshold>,
    /// `evictionMaxPodGracePeriod`: the longest grace of a Pod that goes for a soft threshold.
    pub max_pod_grace: Duration,
    /// `evictionPressureTransitionPeriod`: how long the condition outlives the shortage.
    pub transition_period: Duration,
}

/// A threshold that must be met for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soft {
    /// The threshold.
    pub threshold: Threshold,
    /// How long it must be met.
    pub grace_period: Duration,
}

impl Default for Settings {
    /// kubelet's: 100Mi, nothing soft, five minutes.
    fn default() -> Self {
        Self {
            hard: Some(Threshold::DEFAULT_HARD),
            soft: None,
            minimum_reclaim: None,
            max_pod_grace: Duration::ZERO,
            transition_period: Duration::from_mins(5),
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Not of the form.
    #[error("{text:?} is no threshold; say memory.available<100Mi, or memory.available<5%")]
    Form {
        /// What was said.
        text: String,
    },
    /// Not of the form of an amount.
    #[error("{text:?} sets nothing; say memory.available={example}")]
    Assignment {
        /// What was said.
        text: String,
        /// What could have been.
        example: &'static str,
    },
    /// kubelet has no such signal, in its own words.
    #[error("unsupported eviction signal {0}")]
    UnknownSignal(String),
    /// kubelet has it, and it is about disks or processes.
    #[error("{0} is not about memory, which is all that this node evicts for; leave it out")]
    OtherSignal(String),
    /// It follows from others.
    #[error("allocatableMemory.available cannot be set: it has the thresholds of memory.available")]
    Allocatable,
    /// The same twice.
    #[error("memory.available has two thresholds; leave one out")]
    Twice,
    /// No amount.
    #[error("{text:?} is no amount of memory: {reason}")]
    Amount {
        /// What was said.
        text: String,
        /// Why not.
        reason: String,
    },
    /// No share.
    #[error("{0:?} is no share here; say a percentage between 0% and 100%")]
    Share(String),
    /// No time.
    #[error("{0:?} is no time; say 30s, 1m30s or 5m")]
    Time(String),
    /// A soft threshold needs its time, in kubelet's words.
    #[error("grace period must be specified for the soft eviction threshold memory.available")]
    NoGracePeriod,
    /// A time without its threshold.
    #[error(
        "memory.available has a grace period and no soft threshold; give it one, or leave the period out"
    )]
    NoSoftThreshold,
}

/// Signals that kubelet has beside those of memory.
const OTHERS: [&str; 7] = [
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "containerfs.available",
    "containerfs.inodesFree",
    "pid.available",
];

/// Reads `memory.available<100Mi`, as `--eviction-hard` and `--eviction-soft` have it. `None`: switched off, by `0%`, by
/// `100%`, or by saying nothing.
///
/// # Errors
/// [`SettingError`].
pub fn parse_thresholds(text: &str) -> Result<Option<Threshold>, SettingError> {
    let form = |text: &str| SettingError::Form { text: text.trim().to_owned() };
    one(text, |part| part.split_once('<').ok_or_else(|| form(part)))?
        .map_or(Ok(None), |value| threshold(&value).map(is_on))
}

/// Reads `memory.available=50Mi`, as `--eviction-minimum-reclaim` has it: an amount may be 0, a share may not.
///
/// # Errors
/// [`SettingError`].
pub fn parse_amounts(text: &str) -> Result<Option<Threshold>, SettingError> {
    let reclaim = |value: String| match amount_or_share(&value)? {
        Threshold::Share(share) if share <= 0.0 => Err(SettingError::Share(value)),
        reclaim => Ok(reclaim),
    };
    assigned(text, "50Mi")?.map(reclaim).transpose()
}

/// Reads `memory.available=1m30s`, as `--eviction-soft-grace-period` has it.
///
/// # Errors
/// [`SettingError`].
pub fn parse_graces(text: &str) -> Result<Option<Duration>, SettingError> {
    assigned(text, "1m30s")?.map(|value| go_duration_of(&value)).transpose()
}

/// Reads a time as Go writes it: `1m30s`, `500ms`.
///
/// # Errors
/// [`SettingError::Time`], also for one below zero.
pub fn go_duration_of(text: &str) -> Result<Duration, SettingError> {
    let refused = || SettingError::Time(text.trim().to_owned());
    let time: SignedDuration = text.trim().parse().map_err(|_| refused())?;
    Duration::try_from(time).map_err(|_| refused())
}

fn assigned(text: &str, example: &'static str) -> Result<Option<String>, SettingError> {
    let form = |part: &str| SettingError::Assignment { text: part.trim().to_owned(), example };
    one(text, |part| part.split_once('=').ok_or_else(|| form(part)))
}

/// The value of memory's signal in a list.
fn one<'a>(
    text: &'a str,
    split: impl Fn(&'a str) -> Result<(&'a str, &'a str), SettingError>,
) -> Result<Option<String>, SettingError> {
    let mut found = None;
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let (signal, value) = split(part)?;
        check(signal.trim())?;
        if found.replace(value.trim().to_owned()).is_some() {
            return Err(SettingError::Twice);
        }
    }
    Ok(found)
}

fn check(signal: &str) -> Result<(), SettingError> {
    match signal {
        _ if signal == Signal::Memory.as_str() => Ok(()),
        _ if signal == Signal::AllocatableMemory.as_str() => Err(SettingError::Allocatable),
        other if OTHERS.contains(&other) => Err(SettingError::OtherSignal(other.to_owned())),
        other => Err(SettingError::UnknownSignal(other.to_owned())),
    }
}

/// `100Mi` or `5%`.
fn threshold(text: &str) -> Result<Threshold, SettingError> {
    match amount_or_share(text)? {
        Threshold::Amount(Bytes::ZERO) => {
            Err(SettingError::Amount { text: text.to_owned(), reason: "it must be above 0".to_owned() })
        }
        threshold => Ok(threshold),
    }
}

fn amount_or_share(text: &str) -> Result<Threshold, SettingError> {
    if let Some(percent) = text.strip_suffix('%') {
        let refused = || SettingError::Share(text.to_owned());
        let percent: f32 = percent.trim().parse().map_err(|_| refused())?;
        return if (0.0..=100.0).contains(&percent) {
            Ok(Threshold::Share(percent / 100.0))
        } else {
            Err(refused())
        };
    }
    let refused = |reason: String| SettingError::Amount { text: text.to_owned(), reason };
    let amount: Quantity = text.parse().map_err(|error| refused(format!("{error}")))?;
    if amount.is_negative() {
        return Err(refused("it is below 0".to_owned()));
    }
    Ok(Threshold::Amount(amount.bytes()))
}

/// kubelet takes both ends of the scale for "off".
fn is_on(threshold: Threshold) -> Option<Threshold> {
    match threshold {
        Threshold::Share(share) if share <= 0.0 || share >= 1.0 => None,
        threshold => Some(threshold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_in_kubelets_syntax() {
        let amount = |mebibytes| Some(Threshold::Amount(Bytes::from_mib(mebibytes)));
        for (text, expected) in [
            ("memory.available<100Mi", amount(100)),
            (" memory.available < 1Gi ,", amount(1024)),
            ("memory.available<5%", Some(Threshold::Share(0.05))),
            ("memory.available<0%", None),
            ("memory.available<100%", None),
            ("", None),
        ] {
            assert_eq!(parse_thresholds(text), Ok(expected), "{text}");
        }
        assert_eq!(parse_amounts("memory.available=5%"), Ok(Some(Threshold::Share(0.05))));
        assert_eq!(parse_amounts("memory.available=0Mi"), Ok(Some(Threshold::Amount(Bytes::ZERO))));
        assert_eq!(parse_graces("memory.available=1m30s"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(parse_graces(""), Ok(None));
    }

    #[test]
    fn mistakes_are_told() {
        let of = |text: &str| parse_thresholds(text).unwrap_err().to_string();
        insta::assert_snapshot!(
            [
                "memory.available", "memory.available>1Mi", "nodefs.available<10%", "memory.free<1Mi",
                "allocatableMemory.available<1Mi", "memory.available<1Mi,memory.available<2Mi",
                "memory.available<much", "memory.available<0", "memory.available<-5Mi", "memory.available<110%",
                "memory.available<NaN%",
            ]
            .map(of)
            .join("\n"),
            @r#"
        "memory.available" is no threshold; say memory.available<100Mi, or memory.available<5%
        "memory.available>1Mi" is no threshold; say memory.available<100Mi, or memory.available<5%
        nodefs.available is not about memory, which is all that this node evicts for; leave it out
        unsupported eviction signal memory.free
        allocatableMemory.available cannot be set: it has the thresholds of memory.available
        memory.available has two thresholds; leave one out
        "much" is no amount of memory: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
        "0" is no amount of memory: it must be above 0
        "-5Mi" is no amount of memory: it is below 0
        "110%" is no share here; say a percentage between 0% and 100%
        "NaN%" is no share here; say a percentage between 0% and 100%
        "#
        );
        insta::assert_snapshot!(parse_amounts("memory.available").unwrap_err(), @r#""memory.available" sets nothing; say memory.available=50Mi"#);
        insta::assert_snapshot!(parse_amounts("memory.available=0%").unwrap_err(), @r#""0%" is no share here; say a percentage between 0% and 100%"#);
        assert!(parse_amounts("memory.available=-5Mi").is_err());
        insta::assert_snapshot!(parse_graces("memory.available=soon").unwrap_err(), @r#""soon" is no time; say 30s, 1m30s or 5m"#);
        assert!(parse_graces("memory.available=-5s").is_err());
    }
}
