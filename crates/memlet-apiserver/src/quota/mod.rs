//! Quotas at work: a creation is refused when it does not fit, and the quotas' statuses say what is used.
//!
//! What counts is always what is stored, not what a status says: a removal makes room at once, and nobody gains by
//! writing a status. One lock makes a check and the creation that follows it one step, so that of two creations for
//! which there is room for one, one is refused. The statuses are written under it too; `housekeeping` has them follow
//! everything but creations.
//!
//! What a Pod takes and when that is too much is `memlet-policy`'s. Not here: objects that change their size (no kind
//! here may), and quotas that admission is configured to demand.

mod book; // what is used in one namespace
mod counted; // the kinds of which quotas count the objects

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard};

use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaStatus};
use memlet_policy::quantity::{Format, Quantity};
use memlet_policy::quota::{PodCharge, Terms};
use memlet_policy::resources::{Amounts, ApiAmounts, read_amounts};

use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::storage::{Key, StoredObject};
use crate::verbs::{Core, typed};

use book::Books;
pub(crate) use counted::is_counted;

/// What is used in the namespaces that have quotas.
#[derive(Default)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(|poisoned| {
            // Somebody has failed while they wrote: the books are begun anew.
            let mut books = poisoned.into_inner();
            *books = Books::default();
            self.books.clear_poison();
            books
        })
    }
}

/// The room that was found for a new object. Nobody else finds room before this is dropped.
pub(crate) struct Room<'a> {
    core: &'a Core,
    _held: MutexGuard<'a, Books>,
    /// What will be used of the quotas that count the object.
    after: Vec<(Key, Terms, Amounts)>,
}

impl Room<'_> {
    /// The object is stored: says so in the statuses. Where that fails, housekeeping will.
    pub(crate) fn take(self) {
        for (key, terms, used) in &self.after {
            if let Err(error) = tell(self.core, key, terms, used) {
                tracing::debug!(?error, quota = key.name, "a quota's status was not written");
            }
        }
    }
}

/// Looks for room for a new object in the quotas of its namespace (upstream's `ResourceQuota` admission). `None` where
/// no quota counts it.
pub(crate) fn find_room<'a, K: ServedKind>(core: &'a Core, object: &K) -> Result<Option<Room<'a>>, ApiError> {
    let namespace = object.metadata().namespace.as_deref().unwrap_or_default();
    if !is_counted(K::URL_PATH_SEGMENT) || stored_quotas(core, namespace).is_empty() {
        return Ok(None);
    }
    let mut held = core.ledger.lock();
    let name = object.metadata().name.as_deref().unwrap_or_default();
    let forbidden = |why: String| ApiError::forbidden(K::URL_PATH_SEGMENT, name, &why);
    let mut counting = quotas(core, namespace)?;
    let pod = (object as &dyn Any).downcast_ref::<Pod>();
    let now = Timestamp::now();
    let asked: Amounts = if let Some(pod) = pod {
        let charge = PodCharge::of(pod);
        counting.retain(|(_, terms)| terms.covers(&charge));
        let spec = pod.spec.as_ref();
        if let Some(why) = counting.iter().find_map(|(_, terms)| terms.unstated(spec?)) {
            return Err(forbidden(why));
        }
        charge.usage(now).map(|(name, amount)| (name.clone(), amount.clone())).collect()
    } else {
        let names = counted::names_of(K::URL_PATH_SEGMENT);
        counting.retain(|(_, terms)| {
            !terms.is_scoped() && names.iter().any(|name| terms.hard().contains_key(*name))
        });
        names
            .into_iter()
            .map(|name| (name.to_owned(), Quantity::from_integer(1, Format::DecimalSi)))
            .collect()
    };
    if counting.is_empty() {
        return Ok(None);
    }
    let book = held.book(core, namespace)?;
    let mut after = Vec::new();
    for (key, terms) in counting {
        let mut used = book.used(core, namespace, &key.name, &terms, now);
        if let Some(why) = terms.exceeded(&asked, &used) {
            return Err(forbidden(why));
        }
        for (name, used) in &mut used {
            if let Some(amount) = asked.get(name) {
                *used = used.plus(amount);
            }
        }
        after.push((key, terms, used));
    }
    Ok(Some(Room { core, _held: held, after }))
}

/// Brings the statuses of a namespace's quotas to what is stored.
pub(crate) fn settle(core: &Core, namespace: &str) -> Result<(), ApiError> {
    let mut held = core.ledger.lock();
    let quotas = quotas(core, namespace)?;
    if quotas.is_empty() {
        held.close(namespace);
        return Ok(());
    }
    let book = held.book(core, namespace)?;
    book.keep_quotas(quotas.iter().map(|(key, _)| key.name.as_str()));
    let now = Timestamp::now();
    for (key, terms) in quotas {
        let used = book.used(core, namespace, &key.name, &terms, now);
        tell(core, &key, &terms, &used)?;
    }
    Ok(())
}

/// The namespaces that have quotas, or had some when they were last looked at.
pub(crate) fn namespaces(core: &Core) -> Vec<String> {
    let quotas = core.storage.list(ResourceQuota::URL_PATH_SEGMENT, None, None).objects;
    let mut names: Vec<_> = quotas.iter().map(|quota| quota.key.namespace.clone()).collect();
    names.extend(core.ledger.lock().namespaces().cloned());
    names.sort_unstable();
    names.dedup();
    names
}

fn stored_quotas(core: &Core, namespace: &str) -> Vec<Arc<StoredObject>> {
    core.storage.list(ResourceQuota::URL_PATH_SEGMENT, Some(namespace), None).objects
}

/// The quotas of a namespace, by name.
fn quotas(core: &Core, namespace: &str) -> Result<Vec<(Key, Terms)>, ApiError> {
    let stored = stored_quotas(core, namespace);
    let read =
        |stored: &Arc<StoredObject>| Ok((stored.key.clone(), Terms::of(&typed::<ResourceQuota>(stored)?)));
    stored.iter().map(read).collect()
}

/// Writes a quota's status, where it says something else.
fn tell(core: &Core, key: &Key, terms: &Terms, used: &Amounts) -> Result<(), ApiError> {
    let api = |amounts: &Amounts| -> ApiAmounts {
        amounts.iter().map(|(name, amount)| (name.clone(), amount.into())).collect()
    };
    let told = core.change::<ResourceQuota>(key, false, |_, old| {
        let mut new = old.clone();
        // A quota that was changed meanwhile is looked at again.
        if Terms::of(old) == *terms && !says(old, terms.hard(), used) {
            new.status = Some(ResourceQuotaStatus {
                hard: Some(api(terms.hard())).filter(|hard| !hard.is_empty()),
                used: Some(api(used)).filter(|used| !used.is_empty()),
            });
        }
        Ok(new)
    });
    match told {
        Err(error) if error.code() != StatusCode::NOT_FOUND => Err(error),
        _ => Ok(()),
    }
}

/// Whether a quota's status tells these amounts, however they are written.
fn says(quota: &ResourceQuota, hard: &Amounts, used: &Amounts) -> bool {
    let status = quota.status.as_ref();
    let told_hard = read_amounts(status.and_then(|status| status.hard.as_ref()));
    let told_used = read_amounts(status.and_then(|status| status.used.as_ref()));
    told_hard == *hard && told_used == *used
}

#[cfg(test)]
mod tests;
