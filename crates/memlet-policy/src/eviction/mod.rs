//! Eviction from a node that is short of memory: when, whom, with how much grace, and in which words.
//!
//! The rules are kubelet's (`pkg/kubelet/eviction`), and its settings have kubelet's names and syntax. What kubelet lacks
//! is in [`pace`]: whether the time that a grace takes is there at all. Nothing is measured here: amounts and times are
//! given, and decisions come back.

use memlet_bytes::Bytes;

mod message;
pub mod pace;
mod rank;
mod setting;
mod watch;

pub use message::{MemoryUse, NODE_CONDITIONS_MESSAGE, annotations, message};
pub use rank::{Candidate, Why, rank, why_before};
pub use setting::{
    SettingError, Settings, Soft, go_duration_of, parse_amounts, parse_graces, parse_thresholds,
};
pub use watch::{Due, Kind, Observation, Rule, Signal, Watch};

/// The reason of an evicted Pod's status, of its Event, and of a Pod that is not taken under pressure.
pub const EVICTED: &str = "Evicted";
/// How long the containers of a Pod have that is evicted at a hard threshold. kubelet asks for one second and then raises
/// it to the two that it gives everybody (`pkg/kubelet/kuberuntime`, `minimumGracePeriodInSeconds`).
pub const HARD_GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// What a whole machine has available for `memory.available`: kubelet's free memory and page cache that was not used
/// lately, or what the kernel says can be had (`MemAvailable`), where that is more: no Pod goes for the page cache of others.
pub fn available_of_machine(free: Bytes, inactive_file: Bytes, available: Bytes) -> Bytes {
    (free + inactive_file).max(available)
}
