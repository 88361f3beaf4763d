//! The Pod is evicted: its node is short of memory, and it is the one to go.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memlet_diagnosis::eviction::{Eviction, GraceStory};
use memlet_policy::eviction::EVICTED;
use memlet_policy::resources;

use super::{Place, Worker};
use crate::adoption::Found;
use crate::events::Severity;
use crate::pressure::{Container, Order};
use crate::records::Record;
use crate::status::Failure;

impl Worker {
    /// Whether the Pod is to go. From then on nothing is started, whatever else is in hand.
    pub(super) fn is_ordered_out(&self) -> bool {
        self.orders.borrow().is_some()
    }

    /// Ends the Pod if it was ordered to go. Its object stays, to tell of it.
    pub(super) async fn heed_order(&mut self) {
        let order = self.orders.borrow().clone();
        let Some(order) = order.filter(|_| self.failure.is_none() && !self.is_final()) else { return };
        if !std::mem::replace(&mut self.order_told, true) {
            self.tell_annotated(Severity::Warning, EVICTED, order.message.clone(), &order.annotations);
        }
        for place in self.places() {
            self.life_mut(place).give_up_waiting();
        }
        if !self.stop_containers().await {
            return;
        }
        self.failure = Some(Failure {
            reason: EVICTED.into(),
            message: order.message.clone().into(),
            is_disruption: true,
        });
        self.publish();
        self.record_recalled();
    }

    /// An earlier run of the agent chose the Pod and told of it, and did not live to see it go, or to record that it had. A
    /// Pod that goes twice, once by this and once because memory is still short, goes once.
    pub(super) fn recall_order(&mut self, eviction: &Eviction, found: &Found) {
        if self.failure.is_some() || self.is_final() {
            // Where its containers are forgotten, so is when they ended.
            if let Some(ended) = found.last_end() {
                self.record_end(eviction.clone(), ended);
            }
            return;
        }
        let grace = match eviction.grace {
            GraceStory::Given { grace } => {
                let passed = Timestamp::now().duration_since(eviction.at);
                // A clock that was set back gives no more.
                Some(grace.saturating_sub(Duration::try_from(passed).unwrap_or_default()))
            }
            GraceStory::Skipped { .. } | GraceStory::Cut { .. } => None,
        };
        let (message, annotations) = (eviction.message.clone(), Vec::new());
        let recalled = Some(Box::new(eviction.clone()));
        self.orders.send_replace(Some(Arc::new(Order { message, annotations, grace, recalled })));
        self.order_told = true;
    }

    /// Completes what an earlier run recorded, unless this one has chosen the Pod once more.
    pub(crate) fn record_recalled(&self) {
        let recalled = self.orders.borrow().as_ref().and_then(|order| order.recalled.clone());
        let ends = self.places().into_iter().filter_map(|place| Some(self.life(place).ended()?.finished_at));
        if let (Some(eviction), Some(ended)) = (recalled, ends.max()) {
            self.record_end(*eviction, ended);
        }
    }

    fn record_end(&self, mut eviction: Eviction, ended: Timestamp) {
        let passed = ended.duration_since(eviction.at);
        eviction.course.ended = Some(Duration::try_from(passed).unwrap_or_default());
        self.node.kills.records().add(Record::Eviction(Box::new(eviction)));
    }

    /// The grace that an order leaves, in whole seconds; `None` where there is no order.
    pub(crate) fn ordered_grace(&self) -> Option<i64> {
        let grace = self.orders.borrow().as_ref()?.grace.unwrap_or(Duration::ZERO);
        Some(i64::try_from(grace.as_secs()).unwrap_or(i64::MAX))
    }

    /// The Pod's cgroup is there, and so memory that it may have to give back.
    pub(super) fn enter_pressure(&self) {
        let (_, _, uid) = self.identity();
        self.node.pressure.pods.enter(&uid, &self.pod, &self.cgroup, &self.orders);
    }

    /// A container runs, or is about to.
    pub(super) fn runs_under_pressure(&self, place: Place, id: &str) {
        let (_, _, uid) = self.identity();
        let Some(facts) = self.instances.get(id) else { return };
        let spec = self.container(place);
        let container = Container {
            id: id.to_owned(),
            name: spec.name.clone(),
            is_init: matches!(place, Place::Init(_)),
            request: resources::memory_request(spec).unwrap_or_default(),
            limit: resources::memory_limit(spec),
            cgroup: facts.cgroup.clone(),
        };
        self.node.pressure.pods.runs(&uid, container);
    }
}
