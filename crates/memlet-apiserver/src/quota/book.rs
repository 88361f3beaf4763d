//! What is used in one namespace, by what is stored there.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Pod;
use memlet_policy::quantity::{Format, Quantity};
use memlet_policy::quota::{PodCharge, Terms, is_pod_resource};
use memlet_policy::resources::Amounts;

use super::counted;
use crate::error::ApiError;
use crate::storage::StoredObject;
use crate::verbs::{Core, typed};

/// What each Pod of a namespace takes. Every version of a Pod is read once.
#[derive(Default)]
pub(super) struct Book {
    /// By name: a sum is written as its first amount is, and is to be the same each time.
    pods: BTreeMap<String, Page>,
}

struct Page {
    /// The version that was read; kept, so that no other takes its place in memory.
    stored: Arc<StoredObject>,
    charge: PodCharge,
}

impl Book {
    /// Reads the Pods that have changed since the last time.
    pub(super) fn refresh(&mut self, core: &Core, namespace: &str) -> Result<(), ApiError> {
        let mut known = std::mem::take(&mut self.pods);
        for stored in core.storage.list(Pod::URL_PATH_SEGMENT, Some(namespace), None).objects {
            let page = match known.remove(&stored.key.name) {
                Some(page) if Arc::ptr_eq(&page.stored, &stored) => page,
                _ => Page { charge: PodCharge::of(&typed::<Pod>(&stored)?), stored },
            };
            self.pods.insert(page.stored.key.name.clone(), page);
        }
        Ok(())
    }

    /// What is used of a quota, for each name in it that can be counted here.
    pub(super) fn used(&self, core: &Core, namespace: &str, terms: &Terms, now: Timestamp) -> Amounts {
        let countable = |name: &&String| is_pod_resource(name) || counted::is_known(name);
        let mut used: Amounts =
            terms.hard().keys().filter(countable).map(|name| (name.clone(), Quantity::zero())).collect();
        if terms.is_about_pods() {
            for page in self.pods.values().filter(|page| terms.covers(&page.charge)) {
                for (name, amount) in page.charge.usage(now) {
                    if let Some(total) = used.get_mut(name) {
                        *total = total.plus(amount);
                    }
                }
            }
        }
        if !terms.is_scoped() {
            for (name, total) in &mut used {
                if let Some(resource) = counted::resource_of(name) {
                    let stored = core.storage.list(resource, Some(namespace), None).objects.len();
                    *total =
                        Quantity::from_integer(i64::try_from(stored).unwrap_or(i64::MAX), Format::DecimalSi);
                }
            }
        }
        used
    }
}
