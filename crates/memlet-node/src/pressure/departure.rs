//! The chosen Pod on its way out: asked, or killed at once; watched until its memory is free.

use std::sync::Arc;
use std::time::Duration;

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Hierarchy, Residents};
use memlet_diagnosis::eviction::{Eviction, GraceStory};
use memlet_policy::eviction::pace::{self, Grace};
use tokio::sync::watch;

use super::pods::{Here, Pods};

/// What the Pod's worker is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    /// Of its status, condition and Event.
    pub(crate) message: String,
    /// Of its Event.
    pub(crate) annotations: Vec<(&'static str, String)>,
    /// Between SIGTERM and SIGKILL; `None` where it has been killed.
    pub(crate) grace: Option<Duration>,
    /// What was recorded of it, where an earlier run of the agent gave it and this one does not watch the Pod go.
    pub(crate) recalled: Option<Box<Eviction>>,
}

/// Where a worker hears its order, once there is one.
pub(crate) type Orders = watch::Sender<Option<Arc<Order>>>;

/// A process that does not end within this is in the hands of a dead disk: others must go.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// What a Pod leaves behind without a process (files in memory) goes with its volumes; kubelet waits as long for that.
const CLEARING: Duration = Duration::from_secs(30);
/// With less than this part of the threshold left nobody is waited for that goes on allocating.
const LAST_PART: u64 = 4;

/// A Pod that leaves.
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) record: Eviction,
    pod: Here,
    /// When the threshold was noticed.
    noticed: Duration,
    /// When the grace ends; `None` once it is over.
    grace_ends: Option<Duration>,
    grace: Duration,
    /// When it was last told to end.
    told: Duration,
    /// When its last process was seen to have ended.
    ended: Option<Duration>,
    residents: Residents,
    /// Some of its containers could not be looked into, so there may be others.
    unsure: bool,
}

/// What came of a look at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is still here.
    Stays,
    /// Its processes have ended, and something of it may still be cleared away.
    Ended,
    /// Nothing of it is here.
    Gone,
    /// It does not end.
    Stuck,
}

impl Departure {
    /// Tells the worker, and kills at once where the record says that no grace is given.
    pub(super) fn begin(
        mut record: Eviction,
        pod: Here,
        grace: Duration,
        annotations: Vec<(&'static str, String)>,
        hierarchy: &Hierarchy,
        noticed: Duration,
        clock: impl Fn() -> Duration,
    ) -> Self {
        let given = matches!(record.grace, GraceStory::Given { .. });
        let message = record.message.clone();
        let order = Order { message, annotations, grace: given.then_some(grace), recalled: None };
        // First, so that it does not start anew what ends now.
        pod.orders.send_replace(Some(Arc::new(order)));
        let found = if given { living(&pod, hierarchy) } else { kill(&pod, hierarchy) };
        let told = clock();
        record.course.signalled = Some(told.saturating_sub(noticed));
        record.course.killed = record.course.signalled.filter(|_| !given);
        let grace_ends = given.then(|| told + grace);
        let residents = Residents::default();
        let mut departure =
            Self { record, pod, noticed, grace_ends, grace, told, ended: None, residents, unsure: false };
        departure.take(found);
        departure
    }

    /// Looks after it. `rate` is how fast memory is used up, `left` what is left.
    pub(super) fn look(
        &mut self,
        pods: &Pods,
        hierarchy: &Hierarchy,
        left: Bytes,
        rate: u64,
        now: Duration,
    ) -> Step {
        if self.residents.forget_ended() {
            match pods.find(&self.pod.name.uid) {
                Some(here) => self.pod = here,
                None => self.pod.containers.clear(),
            }
            // Those that were forked meanwhile, and containers that were about to start.
            self.take(match self.grace_ends {
                Some(_) => living(&self.pod, hierarchy),
                None => kill(&self.pod, hierarchy),
            });
            if self.residents.is_empty() && !self.unsure {
                let ended = *self.ended.get_or_insert(now);
                self.record.course.ended = Some(ended.saturating_sub(self.noticed));
                let is_here = pods.find(&self.pod.name.uid).is_some();
                return if is_here && now.saturating_sub(ended) < CLEARING {
                    Step::Ended
                } else {
                    Step::Gone
                };
            }
        }
        let Some(ends) = self.grace_ends else {
            let is_stuck = now.saturating_sub(self.told) > PATIENCE;
            return if is_stuck { Step::Stuck } else { Step::Stays };
        };
        let rest = ends.saturating_sub(now);
        let is_last = rate > 0 && left < Bytes::new(self.record.rule.threshold.get() / LAST_PART);
        match pace::grace(if is_last { Duration::MAX / 2 } else { rest }, left, rate) {
            Grace::TooLate { in_ } if !rest.is_zero() => {
                let after = now.saturating_sub(self.told);
                self.record.grace = GraceStory::Cut { grace: self.grace, after, left: in_ };
            }
            Grace::Given if !rest.is_zero() => return Step::Stays,
            _ => {}
        }
        self.take(kill(&self.pod, hierarchy));
        self.grace_ends = None;
        self.told = now;
        self.record.course.killed = Some(now.saturating_sub(self.noticed));
        Step::Stays
    }

    fn take(&mut self, (residents, unknown): (Residents, Option<memlet_cgroup::Error>)) {
        if let Some(error) = unknown.as_ref().filter(|_| !self.unsure) {
            tracing::warn!("a container of an evicted Pod cannot be ended: {error}");
        }
        (self.residents, self.unsure) = (residents, unknown.is_some());
    }

    /// A hard threshold is met meanwhile: no more grace than that gives.
    pub(super) fn hurry(&mut self, grace: Duration, now: Duration) {
        self.grace_ends = self.grace_ends.map(|ends| ends.min(now + grace));
    }

    /// When its last process was seen to have ended.
    pub(super) fn ended(&self) -> Option<Duration> {
        self.ended
    }

    /// What becomes readable when one of its processes has ended.
    pub(super) fn residents(&self) -> &Residents {
        &self.residents
    }
}

/// Who runs in the Pod's containers, and why there may be more; its pause process ends with its sandbox.
fn living(pod: &Here, hierarchy: &Hierarchy) -> (Residents, Option<memlet_cgroup::Error>) {
    in_containers(pod, hierarchy, Cgroup::residents)
}

fn kill(pod: &Here, hierarchy: &Hierarchy) -> (Residents, Option<memlet_cgroup::Error>) {
    in_containers(pod, hierarchy, Cgroup::kill_now)
}

fn in_containers(
    pod: &Here,
    hierarchy: &Hierarchy,
    act: impl Fn(&Cgroup) -> memlet_cgroup::Result<Residents>,
) -> (Residents, Option<memlet_cgroup::Error>) {
    let (mut all, mut unknown) = (Residents::default(), None);
    for container in &pod.containers {
        match Cgroup::open(hierarchy, &container.cgroup).and_then(|group| act(&group)) {
            Ok(residents) => all.extend(residents),
            Err(error) if error.is_gone() => {}
            Err(error) => unknown = Some(error),
        }
    }
    (all, unknown)
}
