//! `activeDeadlineSeconds`: a Pod that is active for longer ends, and has failed.

use std::time::Duration;

use jiff::Timestamp;

use super::Worker;
use crate::events::Severity;
use crate::status::Failure;

/// kubelet's words (`pkg/kubelet/active_deadline.go`).
const EXCEEDED: (&str, &str) =
    ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");

impl Worker {
    /// When the Pod has been active for as long as it may; `None` where it may for ever, or is over.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let seconds = self.spec().active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok())?;
        let at = self.start_time.checked_add(Duration::from_secs(seconds)).ok();
        at.filter(|_| self.failure.is_none() && !self.tidied)
    }

    /// Ends the Pod if its time is over.
    pub(super) async fn heed_deadline(&mut self) {
        if self.next_deadline().is_none_or(|at| at > Timestamp::now()) || self.is_final() {
            return;
        }
        let (reason, message) = EXCEEDED;
        self.tell(None, Severity::Normal, reason, message);
        for place in self.places() {
            self.life_mut(place).give_up_waiting();
        }
        if !self.stop_containers().await {
            return;
        }
        self.failure = Some(Failure { reason: reason.into(), message: message.into(), is_disruption: false });
        self.publish();
    }
}
