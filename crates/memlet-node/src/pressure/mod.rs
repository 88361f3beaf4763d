//! A node short of memory: who goes before the kernel must choose.
//!
//! kubelet looks every ten seconds, ranks by old samples, and gives a Pod that does not heed SIGTERM two seconds in which
//! it goes on allocating; so the kernel's OOM killer often comes first. Here a thread of its own ([`keeper`]) waits for the
//! kernel to tell that the threshold is near ([`memlet_cgroup::UsageWatch`]), reads everything at that moment ([`gauge`],
//! [`choice`]), and sends SIGKILL itself where a grace would come too late. The rules are `memlet_policy::eviction`'s, the
//! end of the Pod is its worker's, and what is told of the node goes through [`crate::heartbeat`].

mod alarm; // when the kernel is to tell
mod choice; // whom, and why
mod departure; // the chosen Pod on its way out
mod gauge; // what there is at one moment
mod history; // the last hour
mod keeper; // the thread
mod pods; // who is here
mod ranking; // the order they go in
mod reclaim; // page cache asked back

use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use departure::{Order, Orders};
pub(crate) use history::History;
pub use history::{PressureHistory, PressureSample, PressureThreshold};
pub(crate) use keeper::Keeper;
pub(crate) use pods::{Container, Here, Pods};

/// What the thread shares with the rest of the agent. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pressure {
    /// Who may be evicted.
    pub(crate) pods: Pods,
    /// What was seen lately.
    pub(crate) history: History,
    /// The node's condition.
    condition: Arc<watch::Sender<bool>>,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            pods: Pods::default(),
            history: History::default(),
            condition: Arc::new(watch::Sender::new(false)),
        }
    }
}

impl Pressure {
    /// Whether the node is short of memory, or was a short while ago.
    pub(crate) fn is_on(&self) -> bool {
        *self.condition.borrow()
    }

    /// Tells of every change of the condition.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        self.condition.subscribe()
    }
}
