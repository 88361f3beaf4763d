//! What is used in one namespace, by what is stored there.
//!
//! Each Pod is read once for each of its versions, and each quota's sum is kept, so that a creation costs the same
//! however many Pods there are.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Pod;
use memlet_policy::quantity::{Format, Quantity};
use memlet_policy::quota::{PodCharge, Terms, is_pod_resource};
use memlet_policy::resources::Amounts;

use super::counted;
use crate::error::ApiError;
use crate::storage::{Change, ChangeKind, Position, StoredObject};
use crate::verbs::{Core, typed};

/// The books of all namespaces that have quotas.
#[derive(Default)]
pub(super) struct Books {
    by_namespace: HashMap<String, Book>,
    /// Up to where the changes of Pods are in the books.
    position: Option<Position>,
}

impl Books {
    /// The book of a namespace, with all that has happened in it.
    pub(super) fn book(&mut self, core: &Core, namespace: &str) -> Result<&mut Book, ApiError> {
        let changes = core.storage.changes_since(Pod::URL_PATH_SEGMENT, &mut self.position);
        let done = changes.map(|changes| changes.iter().try_for_each(|change| self.learn(change)));
        if !matches!(done, Some(Ok(()))) {
            // Too much has happened, or something that cannot be read: each book is begun anew when it is asked for.
            self.by_namespace.clear();
        }
        if !self.by_namespace.contains_key(namespace) {
            // A change between the position and this list is learnt twice, which is the same as once.
            let book = Book::of(&core.storage.list(Pod::URL_PATH_SEGMENT, Some(namespace), None).objects)?;
            self.by_namespace.insert(namespace.to_owned(), book);
        }
        self.by_namespace.get_mut(namespace).ok_or_else(|| ApiError::internal("a book was not kept"))
    }

    pub(super) fn close(&mut self, namespace: &str) {
        self.by_namespace.remove(namespace);
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &String> {
        self.by_namespace.keys()
    }

    fn learn(&mut self, change: &Change) -> Result<(), ApiError> {
        let key = &change.object.key;
        match (self.by_namespace.get_mut(&key.namespace), change.kind) {
            (None, _) => Ok(()),
            (Some(book), ChangeKind::Deleted) => {
                book.put(&key.name, None);
                Ok(())
            }
            (Some(book), ChangeKind::Added | ChangeKind::Modified) => {
                book.put(&key.name, Some(read(&change.object)?));
                Ok(())
            }
        }
    }
}

/// What each Pod of a namespace takes, and what that makes for each quota.
#[derive(Default)]
pub(super) struct Book {
    pods: HashMap<String, PodCharge>,
    /// The Pods that will count no longer at some time. They are in no sum.
    ending: BTreeSet<String>,
    /// By the quota's name.
    sums: HashMap<String, Sum>,
}

struct Sum {
    terms: Terms,
    used: Amounts,
}

impl Book {
    fn of(pods: &[std::sync::Arc<StoredObject>]) -> Result<Self, ApiError> {
        let mut book = Self::default();
        for stored in pods {
            book.put(&stored.key.name, Some(read(stored)?));
        }
        Ok(book)
    }

    /// A Pod takes this from now on, or nothing.
    fn put(&mut self, name: &str, charge: Option<PodCharge>) {
        self.ending.remove(name);
        let old = self.pods.remove(name);
        for sum in self.sums.values_mut() {
            if let Some(old) = &old {
                sum.change(old, Quantity::minus);
            }
            if let Some(new) = &charge {
                sum.change(new, Quantity::plus);
            }
        }
        if let Some(charge) = charge {
            if charge.counts_for_a_time() {
                self.ending.insert(name.to_owned());
            }
            self.pods.insert(name.to_owned(), charge);
        }
    }

    /// Only these quotas are still there.
    pub(super) fn keep_quotas<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let names: BTreeSet<&str> = names.into_iter().collect();
        self.sums.retain(|name, _| names.contains(name.as_str()));
    }

    /// What is used of a quota, for each name in it that can be counted here.
    pub(super) fn used(
        &mut self,
        core: &Core,
        namespace: &str,
        quota: &str,
        terms: &Terms,
        now: Timestamp,
    ) -> Amounts {
        let known = self.sums.get(quota).filter(|sum| sum.terms == *terms).map(|sum| sum.used.clone());
        let mut used = known.unwrap_or_else(|| {
            let mut sum = Sum { terms: terms.clone(), used: nothing_used(terms) };
            self.pods.values().for_each(|charge| sum.change(charge, Quantity::plus));
            let used = sum.used.clone();
            self.sums.insert(quota.to_owned(), sum);
            used
        });
        let ending = self.ending.iter().filter_map(|name| self.pods.get(name));
        for charge in ending.filter(|charge| terms.covers(charge)) {
            change(&mut used, charge, now, Quantity::plus);
        }
        if !terms.is_scoped() {
            for (name, used) in &mut used {
                if let Some(resource) = counted::resource_of(name) {
                    let stored = core.storage.count(resource, namespace);
                    *used =
                        Quantity::from_integer(i64::try_from(stored).unwrap_or(i64::MAX), Format::DecimalSi);
                }
            }
        }
        used
    }
}

impl Sum {
    /// Adds what a covered Pod takes for good, or takes it away.
    fn change(&mut self, charge: &PodCharge, operation: fn(&Quantity, &Quantity) -> Quantity) {
        if !charge.counts_for_a_time() && self.terms.covers(charge) {
            // At any time.
            change(&mut self.used, charge, Timestamp::UNIX_EPOCH, operation);
        }
    }
}

fn change(
    used: &mut Amounts,
    charge: &PodCharge,
    now: Timestamp,
    operation: fn(&Quantity, &Quantity) -> Quantity,
) {
    for (name, amount) in charge.usage(now) {
        if let Some(total) = used.get_mut(name) {
            *total = operation(total, amount);
        }
    }
}

/// Nothing of each name in a quota that can be counted here.
fn nothing_used(terms: &Terms) -> Amounts {
    let countable = |name: &&String| is_pod_resource(name) || counted::is_known(name);
    terms.hard().keys().filter(countable).map(|name| (name.clone(), Quantity::zero())).collect()
}

fn read(stored: &StoredObject) -> Result<PodCharge, ApiError> {
    Ok(PodCharge::of(&typed::<Pod>(stored)?))
}
