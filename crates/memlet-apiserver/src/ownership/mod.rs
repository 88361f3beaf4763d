//! Which fields of an object belong to whom, and what follows from that: `metadata.managedFields` at every write, and
//! server-side apply (upstream's `structured-merge-diff` and apimachinery's `util/managedfields`).
//!
//! An update makes what it changed its own and takes it from all others. An apply makes all that it states its own, and
//! is refused where that would change what is another's, unless it is forced. What nobody wrote (a default, what
//! admission or a deletion sets) belongs to nobody.

mod apply;
mod check;
mod compare;
mod merge;
mod owners;
#[cfg(test)]
mod properties;
mod set;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::verbs::Part;

pub(crate) use apply::{Applied, Configuration, apply};
pub(crate) use check::check;

use compare::Comparison;
use owners::{Owner, Owners};
use set::FieldSet;

/// Fields that the server sets, whoever sends them: nobody owns them.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Who writes, and to which part of the object.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) part: Part,
}

impl Writer {
    fn owner<K: ServedKind>(&self, applies: bool) -> Owner {
        Owner {
            name: self.name.clone(),
            applies,
            version: K::API_VERSION.to_owned(),
            subresource: match self.part {
                Part::Main => String::new(),
                Part::Status => "status".to_owned(),
            },
        }
    }
}

/// Fields of the object that a write to this part cannot change.
fn untouched<K: ServedKind>(part: Part) -> FieldSet {
    FieldSet::of_paths(K::untouched_fields(part))
}

/// An object before a write.
pub(crate) struct Before<'a> {
    /// Its JSON, without its account of owners.
    pub(crate) json: Value,
    /// Its account of owners.
    pub(crate) owners: Option<&'a Vec<ManagedFieldsEntry>>,
}

impl<'a> Before<'a> {
    /// What a creation starts from.
    pub(crate) fn nothing<K: ServedKind>() -> Self {
        Self { json: K::blank(), owners: None }
    }

    pub(crate) fn stored<K: ServedKind>(encoded: &[u8], old: &'a K) -> Result<Self, ApiError> {
        let mut json: Value = serde_json::from_slice(encoded)
            .map_err(|_| ApiError::internal("a stored object cannot be read"))?;
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        Ok(Self { json, owners: old.metadata().managed_fields.as_ref() })
    }

    /// Puts the account of owners into a copy of the object's JSON, for a patch of it.
    pub(crate) fn put_owners(&self, json: &mut Value) -> Result<(), ApiError> {
        let Some(owners) = self.owners else { return Ok(()) };
        let owners =
            serde_json::to_value(owners).map_err(|_| ApiError::internal("an object cannot be encoded"))?;
        if let Some(metadata) = json.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert("managedFields".to_owned(), owners);
        }
        Ok(())
    }
}

/// Brings an updated object's account of its owners up to date: what the update changed is the writer's.
pub(crate) fn follow_update<K: ServedKind>(
    new: &mut K,
    before: &Before<'_>,
    writer: &Writer,
) -> Result<(), ApiError> {
    let sent = new.metadata_mut().managed_fields.take();
    // An account that the client sends counts, so that it can mend one; but not by a subresource.
    let sent = sent.filter(|sent| writer.part == Part::Main && Some(sent) != before.owners);
    let sent = sent.and_then(|sent| {
        let is_reset = sent[..] == [ManagedFieldsEntry::default()];
        let owners = if is_reset { Some(Owners::default()) } else { Owners::read(Some(&sent)) };
        owners.filter(|owners| is_reset || !owners.is_empty())
    });
    let json = serde_json::to_value(&*new).map_err(|_| ApiError::internal("an object cannot be encoded"))?;
    let mut change = Comparison::of(&before.json, &json, K::SHAPE);
    change.ignore(&untouched::<K>(writer.part));
    if change.is_empty() && sent.is_none() {
        new.metadata_mut().managed_fields = before.owners.cloned();
        return Ok(());
    }
    let mut owners = sent.or_else(|| Owners::read(before.owners)).unwrap_or_default();
    let mut taken = change.changed.clone();
    taken.subtract(&FieldSet::of_paths(&UNOWNED));
    owners.update(&writer.owner::<K>(false), &change, &taken);
    new.metadata_mut().managed_fields = owners.written();
    Ok(())
}
