//! Server-side apply: a configuration, its owner's claims, and what is another's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

use super::compare::{self, Comparison};
use super::merge::{merged, with_structs, without};
use super::owners::{Owner, Owners, now};
use super::set::FieldSet;
use super::{Before, UNOWNED, Writer, untouched};
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::schema::Type;

/// The owner of all that was there before anybody's fields were known.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The one client that applied on its own side before, and its record of that.
const KUBECTL: &str = "kubectl";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Upstream's bound on an object's annotations.
const LONGEST_RECORD: usize = 256 << 10;

/// What is applied.
pub(crate) struct Configuration<'a> {
    pub(crate) json: &'a Value,
    /// Takes what is another's.
    pub(crate) force: bool,
}

/// The object that an apply gives.
pub(crate) struct Applied {
    pub(crate) json: Value,
    pub(crate) owners: Option<Vec<ManagedFieldsEntry>>,
}

/// Applies a configuration to an object, or to nothing where it is to be created.
pub(crate) fn apply<K: ServedKind>(
    before: &Before<'_>,
    exists: bool,
    config: &Configuration<'_>,
    writer: &Writer,
) -> Result<Applied, ApiError> {
    let unreadable = || ApiError::internal("failed to decode managed fields");
    let mut owners = Owners::read(before.owners).ok_or_else(unreadable)?;
    if exists && owners.is_empty() {
        owners = owned_before::<K>(&before.json, writer);
    }
    let me = writer.owner::<K>(true);
    let last = owners.fields_of(&me).cloned().unwrap_or_default();
    let ignored = untouched::<K>(writer.part);
    let mut claim = compare::stated(config.json, K::SHAPE);
    claim.subtract_deep(&ignored);

    let mut json = merged(&before.json, config.json, K::SHAPE);
    owners.set(&me, claim.clone(), None);
    if !last.is_empty() {
        let mut claimed = owners.all_fields();
        // The claim may be empty, and its owner then gone from the account.
        claimed.unite(&claim);
        json = pruned(&json, &claimed, &last, K::SHAPE);
    }

    let mut change = Comparison::of(&before.json, &json, K::SHAPE);
    change.ignore(&ignored);
    if !config.force {
        let mut conflicts = owners.conflicts(&me, &change);
        if writer.name == KUBECTL
            && let Some(allowed) = recorded_by_client(&before.json, K::SHAPE)
        {
            for (_, fields) in &mut conflicts {
                fields.subtract(&allowed);
            }
            conflicts.retain(|(_, fields)| !fields.is_empty());
        }
        if !conflicts.is_empty() {
            return Err(refusal(&conflicts));
        }
    }
    owners.lose(&me, &change);
    claim.subtract(&FieldSet::of_paths(&UNOWNED));
    let time = (json != before.json).then(now);
    owners.set(&me, claim, time);
    if writer.name == KUBECTL {
        renew_record(&mut json, config.json);
    }
    Ok(Applied { json, owners: owners.written() })
}

/// An object that nobody's account covers belongs to one owner as it is.
fn owned_before<K: ServedKind>(live: &Value, writer: &Writer) -> Owners {
    let mut change = Comparison::of(&K::blank(), live, K::SHAPE);
    change.ignore(&untouched::<K>(writer.part));
    change.changed.subtract(&FieldSet::of_paths(&UNOWNED));
    let mut owners = Owners::default();
    let owner = Owner { name: BEFORE_FIRST_APPLY.to_owned(), ..writer.owner::<K>(false) };
    owners.set(&owner, change.changed, Some(now()));
    owners
}

/// Without what the applier stated last time, states no more, and nobody else claims.
fn pruned(merged: &Value, claimed: &FieldSet, last: &FieldSet, root: &'static Type) -> Value {
    let all = |value: &Value| with_structs(&compare::stated(value, root), root);
    let (present, claimed, last) = (all(merged), with_structs(claimed, root), with_structs(last, root));
    // Everything that was stated is taken away, and what is claimed put back; what then is missing goes if it was the
    // applier's.
    let mut kept = all(&without(merged, &last, root));
    kept.unite(&claimed);
    let mut gone = present.clone();
    gone.subtract(&kept);
    let left = all(&without(merged, &gone, root));
    let mut gone = present;
    gone.subtract(&left);
    without(merged, &gone.intersection(&last), root)
}

fn refusal(conflicts: &[(Owner, FieldSet)]) -> ApiError {
    let found: Vec<(String, String)> = conflicts
        .iter()
        .flat_map(|(owner, fields)| fields.paths().into_iter().map(|path| (owner.printed(), path)))
        .collect();
    let message = match &found[..] {
        [(owner, path)] => format!("Apply failed with 1 conflict: conflict with {owner}: {path}"),
        all => {
            let mut lines = Vec::new();
            for (owner, fields) in conflicts {
                lines.push(format!("conflicts with {}:", owner.printed()));
                lines.extend(fields.paths().iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", all.len(), lines.join("\n"))
        }
    };
    ApiError::apply_conflict(message, found)
}

/// What `kubectl apply` on the client's side stated last and still stands: taking that over is no conflict.
fn recorded_by_client(live: &Value, root: &'static Type) -> Option<FieldSet> {
    let record = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    let record: Value = serde_json::from_str(record).ok()?;
    let difference = Comparison::of(&record, live, root);
    let mut fields = compare::stated(&record, root);
    fields.subtract(&difference.changed);
    fields.subtract(&difference.removed);
    Some(fields)
}

/// Where the object has the client's record, it follows what is applied, so that both ways can be mixed.
fn renew_record(json: &mut Value, config: &Value) {
    let annotations = json.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    let Some(record) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) else { return };
    let mut config = config.clone();
    let annotations = config.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"));
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    let text = format!("{config}\n");
    *record = Value::String(if text.len() > LONGEST_RECORD { String::new() } else { text });
}
