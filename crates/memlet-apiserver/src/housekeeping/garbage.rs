//! Garbage collection by `metadata.ownerReferences`, by the rules of upstream's garbage collector.
//!
//! - An object all of whose owners are gone (by UID, so that another of the same name does not count) is deleted.
//! - An object that is deleted in the foreground stays until the dependents that block it are gone.
//! - An object that is deleted with `Orphan` stays until its dependents no longer name it.
//!
//! An owner of a kind that is not served here cannot be looked up and counts as there. Events are never collected.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Stored, unless_settled};
use crate::error::ApiError;
use crate::handler::Handler;
use crate::request::{DeleteOptions, Propagation};
use crate::resources;
use crate::storage::{ChangeKind, FOREGROUND, Key, ORPHAN, Owner, Recorded, StoredObject};
use crate::verbs::Core;

/// An object by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    resource: &'static str,
    key: Key,
}

/// Who depends on whom.
#[derive(Default)]
pub(super) struct Collector {
    /// The places of the objects that name an owner, by its UID.
    dependents: HashMap<String, BTreeSet<Place>>,
}

/// What has become of an owner.
enum Found {
    /// It is of a kind that is not served here.
    Unknown,
    Gone,
    There(Stored),
}

/// An object's owners, by what they mean for it.
#[derive(Default)]
struct Owners {
    /// UIDs of owners that are there to stay, or cannot be looked up.
    solid: Vec<String>,
    gone: Vec<String>,
    /// UIDs of owners that are being deleted and wait for their dependents.
    waiting: Vec<String>,
}

impl Collector {
    /// Learns everything anew and looks at every object that has ties.
    pub(super) fn look_at_all(&mut self, core: &Core) -> Result<(), ApiError> {
        self.dependents.clear();
        let mut tied = Vec::new();
        for handler in collected() {
            for object in core.storage.list(handler.resource(), None, None).objects {
                if object.ties.owners.is_empty() && !object.ties.deleting {
                    continue;
                }
                let place = Place { resource: handler.resource(), key: object.key.clone() };
                self.learn(&place, &object);
                tied.push(place);
            }
        }
        self.look(core, tied)
    }

    /// Learns of changes and looks at every object that they may concern.
    pub(super) fn follow(&mut self, core: &Core, changes: &[Recorded]) -> Result<(), ApiError> {
        let mut concerned = BTreeSet::new();
        for Recorded { resource, change } in changes {
            if collected().all(|handler| handler.resource() != *resource) {
                continue;
            }
            let place = Place { resource, key: change.object.key.clone() };
            if let Some(previous) = &change.previous {
                self.forget(&place, previous);
                // An owner may have waited for this one.
                let owners = previous.ties.owners.iter();
                concerned.extend(owners.filter_map(|owner| place_of(owner, &place.key.namespace)));
            }
            if change.kind == ChangeKind::Deleted {
                concerned.extend(self.dependents_of(&change.object).cloned());
            } else {
                self.learn(&place, &change.object);
                concerned.insert(place);
            }
        }
        self.look(core, concerned)
    }

    fn learn(&mut self, place: &Place, object: &StoredObject) {
        for owner in &object.ties.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(place.clone());
        }
    }

    fn forget(&mut self, place: &Place, object: &StoredObject) {
        for owner in &object.ties.owners {
            let Some(places) = self.dependents.get_mut(&owner.uid) else { continue };
            places.remove(place);
            if places.is_empty() {
                self.dependents.remove(&owner.uid);
            }
        }
    }

    fn dependents_of(&self, object: &StoredObject) -> impl Iterator<Item = &Place> {
        self.dependents.get(&*object.uid).into_iter().flatten()
    }

    /// The dependents of an object that are there now.
    fn present_dependents(&self, core: &Core, object: &StoredObject) -> Vec<(Place, Stored)> {
        let names =
            |dependent: &StoredObject| dependent.ties.owners.iter().any(|owner| *owner.uid == *object.uid);
        self.dependents_of(object)
            .filter_map(|place| Some((place.clone(), core.storage.get(place.resource, &place.key)?)))
            .filter(|(_, dependent)| names(dependent))
            .collect()
    }

    fn look(&self, core: &Core, places: impl IntoIterator<Item = Place>) -> Result<(), ApiError> {
        let mut done = Ok(());
        for place in places {
            let Some(object) = core.storage.get(place.resource, &place.key) else { continue };
            // One that fails does not keep the others.
            done = done.and(unless_settled(self.look_at(core, &place, &object)));
        }
        done
    }

    fn look_at(&self, core: &Core, place: &Place, object: &Stored) -> Result<(), ApiError> {
        let ties = &object.ties;
        if ties.deleting && ties.orphan {
            self.set_free(core, place, object)
        } else if ties.waits_for_dependents() {
            self.wait_for_dependents(core, place, object)
        } else if ties.deleting || ties.owners.is_empty() {
            Ok(())
        } else {
            self.judge(core, place, object)
        }
    }

    /// The dependents of an object that goes with `Orphan` no longer name it; then it may go.
    fn set_free(&self, core: &Core, place: &Place, object: &Stored) -> Result<(), ApiError> {
        let uids = [object.uid.to_string()];
        for (dependent, stored) in self.present_dependents(core, object) {
            unless_settled(disown(core, &dependent, &stored, &uids))?;
        }
        release(core, place, object, ORPHAN)
    }

    /// An object that goes in the foreground may go when nothing that blocks it is left.
    fn wait_for_dependents(&self, core: &Core, place: &Place, object: &Stored) -> Result<(), ApiError> {
        let blocks = |dependent: &StoredObject| {
            dependent.ties.owners.iter().any(|owner| owner.blocks && *owner.uid == *object.uid)
        };
        let mut blocking = self.present_dependents(core, object);
        blocking.retain(|(_, dependent)| blocks(dependent));
        if blocking.is_empty() {
            return release(core, place, object, FOREGROUND);
        }
        for (dependent, stored) in blocking.iter().filter(|(_, dependent)| !dependent.ties.deleting) {
            unless_settled(self.judge(core, dependent, stored))?;
        }
        Ok(())
    }

    /// Deletes an object that has no owner left, or has it forget those that are gone.
    fn judge(&self, core: &Core, place: &Place, object: &Stored) -> Result<(), ApiError> {
        let owners = Owners::of(core, object);
        if !owners.solid.is_empty() {
            let lost: Vec<_> = owners.gone.into_iter().chain(owners.waiting).collect();
            return if lost.is_empty() { Ok(()) } else { disown(core, place, object, &lost) };
        }
        let dependents = self.present_dependents(core, object);
        let propagation = if !owners.waiting.is_empty() && !dependents.is_empty() {
            if dependents.iter().any(|(_, dependent)| dependent.ties.waits_for_dependents()) {
                // Each would wait for the other for ever.
                unblock(core, place, object)?;
            }
            Propagation::Foreground
        } else if object.ties.orphan {
            Propagation::Orphan
        } else if object.ties.foreground {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        let mut options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        options.preconditions.uid = Some(object.uid.to_string());
        handler(place.resource)?.delete(core, &place.key, &options)?;
        resources::settle_namespace(core, &place.key.namespace)
    }
}

impl Owners {
    fn of(core: &Core, object: &StoredObject) -> Self {
        let mut owners = Self::default();
        for owner in &object.ties.owners {
            let kind = match find(core, owner, &object.key.namespace) {
                Found::Gone => &mut owners.gone,
                Found::There(found) if found.ties.waits_for_dependents() => &mut owners.waiting,
                Found::There(_) | Found::Unknown => &mut owners.solid,
            };
            kind.push(owner.uid.clone());
        }
        owners
    }
}

/// The kinds whose objects are collected.
fn collected() -> impl Iterator<Item = &'static dyn Handler> {
    resources::served().filter(|handler| !handler.expires())
}

fn handler(resource: &str) -> Result<&'static dyn Handler, ApiError> {
    let found = resources::served().find(|handler| handler.resource() == resource);
    found.ok_or_else(|| ApiError::internal("a resource is not served"))
}

/// Where an owner should be. `None` for a kind that is not served, and for a namespaced owner of a cluster-scoped object.
fn place_of(owner: &Owner, namespace: &str) -> Option<Place> {
    let handler = resources::served().find(|handler| handler.is_kind(&owner.api_version, &owner.kind))?;
    let namespace = match (handler.is_namespaced(), namespace) {
        (true, "") => return None,
        (true, namespace) => namespace,
        (false, _) => "",
    };
    Some(Place { resource: handler.resource(), key: Key::new(namespace, owner.name.clone()) })
}

fn find(core: &Core, owner: &Owner, namespace: &str) -> Found {
    let Some(place) = place_of(owner, namespace) else { return Found::Unknown };
    match core.storage.get(place.resource, &place.key) {
        Some(found) if *found.uid == *owner.uid => Found::There(found),
        _ => Found::Gone,
    }
}

/// Takes the owners of these UIDs from an object.
fn disown(core: &Core, place: &Place, object: &Stored, uids: &[String]) -> Result<(), ApiError> {
    change(core, place, object, |metadata| {
        let Some(owners) = &mut metadata.owner_references else { return };
        owners.retain(|owner| !uids.contains(&owner.uid));
        if owners.is_empty() {
            metadata.owner_references = None;
        }
    })
}

/// No owner waits for this object any longer.
fn unblock(core: &Core, place: &Place, object: &Stored) -> Result<(), ApiError> {
    change(core, place, object, |metadata| {
        for owner in metadata.owner_references.iter_mut().flatten() {
            owner.block_owner_deletion = Some(false);
        }
    })
}

/// Takes a finalizer away; the object goes if it was the last.
fn release(core: &Core, place: &Place, object: &Stored, finalizer: &str) -> Result<(), ApiError> {
    change(core, place, object, |metadata| {
        let Some(finalizers) = &mut metadata.finalizers else { return };
        finalizers.retain(|other| other != finalizer);
        if finalizers.is_empty() {
            metadata.finalizers = None;
        }
    })?;
    resources::settle_namespace(core, &place.key.namespace)
}

/// Changes the metadata of one object, not of another that has taken its place.
fn change(
    core: &Core,
    place: &Place,
    object: &Arc<StoredObject>,
    make: impl Fn(&mut ObjectMeta),
) -> Result<(), ApiError> {
    handler(place.resource)?.change_metadata(core, &place.key, &|metadata| {
        if metadata.uid.as_deref() == Some(&*object.uid) {
            make(metadata);
        }
    })
}
