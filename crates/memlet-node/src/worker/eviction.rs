//! The Pod is evicted: its node is short of memory, and it is the one to go.

use std::time::Duration;

use super::{Place, Worker};
use crate::events::Severity;
use crate::pressure::Container;
use crate::status::Failure;
use memlet_policy::eviction::EVICTED;
use memlet_policy::resources;

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
