//! What eviction sees of a node: what is available by its signals, and the thresholds that is held against. Pure.

use memlet_bytes::Bytes;
use memlet_node::PressureThreshold;
use memlet_policy::eviction::Signal;
use serde::Serialize;

use super::held::{Held, Left};

/// What is available, as the node itself counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Available {
    #[serde(rename = "memory.available")]
    pub(crate) memory: Bytes,
    #[serde(rename = "allocatableMemory.available")]
    pub(crate) allocatable: Bytes,
}

impl Available {
    /// `machine` is what the machine has left where the node is all of it, else `None`. `None` where it is not known what
    /// the Pods use.
    pub(crate) fn new(
        held: &Held,
        capacity: Bytes,
        limit: Option<Bytes>,
        machine: Option<Left>,
    ) -> Option<Self> {
        let used = held.working_set?;
        Some(Self {
            memory: machine.map_or(capacity.saturating_sub(used), |left| left.bytes),
            allocatable: limit.unwrap_or(capacity).saturating_sub(used),
        })
    }

    /// By whichever signal it is less.
    pub(crate) fn least(&self) -> Bytes {
        self.memory.min(self.allocatable)
    }

    fn by(&self, signal: Signal) -> Bytes {
        match signal {
            Signal::Memory => self.memory,
            Signal::AllocatableMemory => self.allocatable,
        }
    }

    /// Whether this threshold is met.
    pub(crate) fn is_below(&self, threshold: &PressureThreshold) -> bool {
        self.by(threshold.signal) < threshold.bytes
    }
}

/// Below so much Pods are evicted at once; zero where there is no such threshold.
pub(crate) fn hard(thresholds: &[PressureThreshold]) -> Bytes {
    let hard = thresholds.iter().filter(|threshold| threshold.after_seconds.is_none());
    hard.map(|threshold| threshold.bytes).max().unwrap_or_default()
}

/// `100Mi, 300Mi for 90 s`; `never` where there are none.
pub(crate) fn in_words(thresholds: &[PressureThreshold]) -> String {
    let mut told: Vec<String> = Vec::new();
    for threshold in thresholds {
        let text = match threshold.after_seconds {
            None => threshold.bytes.to_string(),
            Some(seconds) => format!("{} for {seconds} s", threshold.bytes),
        };
        // A hard one counts for both signals.
        if !told.contains(&text) {
            told.push(text);
        }
    }
    if told.is_empty() { "never".to_owned() } else { told.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::held::Owner;
    use super::super::sample::threshold;
    use super::*;

    const MIB: fn(u64) -> Bytes = Bytes::from_mib;

    #[test]
    fn soft_ones_are_told_with_their_time() {
        let hard_ones =
            [threshold(Signal::Memory, 100, None), threshold(Signal::AllocatableMemory, 100, None)];
        let soft = threshold(Signal::Memory, 300, Some(90));
        assert_eq!(in_words(&hard_ones), "100Mi");
        assert_eq!(
            in_words(&[hard_ones.as_slice(), std::slice::from_ref(&soft)].concat()),
            "100Mi, 300Mi for 90 s"
        );
        assert_eq!(in_words(std::slice::from_ref(&soft)), "300Mi for 90 s");
        assert_eq!(in_words(&[]), "never");
        assert_eq!((hard(&hard_ones), hard(&[soft])), (MIB(100), Bytes::ZERO));
    }

    /// As the node's gauge has it.
    #[test]
    fn what_is_available_by_each_signal() {
        let held = Held { working_set: Some(MIB(700)), ..Held::default() };
        let of = |limit, machine| Available::new(&held, MIB(1024), limit, machine).unwrap();
        let pretended = of(Some(MIB(1000)), None);
        assert_eq!(pretended, Available { memory: MIB(324), allocatable: MIB(300) });
        let machine = of(None, Some(Left { bytes: MIB(90), of: Owner::Machine }));
        assert_eq!(machine, Available { memory: MIB(90), allocatable: MIB(324) });
        assert!(machine.is_below(&threshold(Signal::Memory, 100, None)));
        assert!(!machine.is_below(&threshold(Signal::AllocatableMemory, 100, None)));
        assert!(
            !pretended.is_below(&threshold(Signal::AllocatableMemory, 300, None)),
            "what is at it is not below"
        );
        assert_eq!(Available::new(&Held::default(), MIB(1024), None, None), None);
    }
}
