//! What the server must know about a kind to serve it.
//!
//! The verbs (`verbs`) are written once, for any kind; a kind's own rules (what it gains at creation, what may not
//! change, what selectors may ask) are here, as upstream's registry strategies hold them. To serve another kind,
//! implement this trait and add it to `resources::SERVED`.

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ListableResource, Metadata};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::discovery::GroupVersionKind;
use crate::error::ApiError;
use crate::field::FieldErrors;
use crate::names;
use crate::schema::{self, Type};
use crate::storage::Fields;
use crate::table::Tabular;
use crate::verbs::{Core, Part};

/// Where a quantity stands in an object; `*` is every element of a list or map.
pub(crate) type Place = &'static [&'static str];

/// A kind's own name.
pub(crate) fn kind_of<K: ServedKind>() -> GroupVersionKind {
    GroupVersionKind { group: K::GROUP, version: K::VERSION, kind: K::KIND }
}

/// A kind that this server serves. The methods are called in the order in which they are listed.
pub(crate) trait ServedKind:
    Metadata<Ty = ObjectMeta>
    + Tabular
    + JsonSchema
    + ListableResource
    + Serialize
    + DeserializeOwned
    + Clone
    + PartialEq
    + Send
    + 'static
{
    /// Whether its objects live in namespaces.
    const NAMESPACED: bool;
    /// Whether `…/status` is served.
    const HAS_STATUS: bool = false;
    /// Whether a deletion is answered with the object as it was, rather than with a Status.
    const RETURNS_DELETED: bool = false;
    /// Whether a deletion marks the object before it goes, even where no time is given (upstream's
    /// `RESTGracefulDeleteStrategy`).
    const GRACEFUL: bool = false;
    /// Whether a whole collection may be deleted at once.
    const DELETES_COLLECTIONS: bool = true;
    /// What users may type in place of the resource's name.
    const SHORT_NAMES: &'static [&'static str] = &[];
    /// The groups of resources that it belongs to, for users (`all`).
    const CATEGORIES: &'static [&'static str] = &[];
    /// Whether its objects are deleted when they have not been written for the server's event lifetime.
    const EXPIRES: bool = false;
    /// Fields that selectors may ask about, besides the metadata's name and namespace.
    const SELECTABLE: &'static [&'static str] = &[];

    /// Whether a PUT of what is not there creates it.
    const CREATED_BY_UPDATE: bool = false;
    /// Whether a PUT need not say which version it replaces.
    const UNCONDITIONAL_UPDATE: bool = true;
    /// How its objects are made up.
    const SHAPE: &'static Type = &schema::OBJECT;

    /// What an object has before anything is written to it: the fields that upstream's types always have.
    fn blank() -> Value {
        json!({ "metadata": {}, "spec": {}, "status": {} })
    }

    /// The fields that a write to this part leaves as they are, and so gives to nobody.
    fn untouched_fields(part: Part) -> &'static [&'static [&'static str]] {
        match part {
            Part::Main if Self::HAS_STATUS => &[&["status"]],
            Part::Main => &[],
            Part::Status => &[&["spec"]],
        }
    }

    /// The JSON of a stored object in this version's words. Each object is stored in one form, whichever version it was
    /// written in.
    fn from_stored(encoded: &Bytes) -> Result<Bytes, ApiError> {
        Ok(encoded.clone())
    }

    /// This object's JSON in the form in which it is stored.
    fn to_stored(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Where quantities may be given as bare numbers.
    fn quantity_places() -> &'static [Place] {
        &[]
    }

    /// Brings quantities into their canonical form; an unreadable one is a decoding error (400).
    fn canonicalize(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Fills in what the manifest left out.
    fn apply_defaults(&mut self) {}

    /// Drops what a client may not set at creation, and sets what the server knows.
    fn prepare_for_create(&mut self) {}

    /// Mutating admission at creation.
    fn admit(&mut self, _core: &Core) -> Result<(), ApiError> {
        Ok(())
    }

    /// The form of `metadata.name`.
    fn check_name(name: &str) -> Vec<String> {
        names::subdomain(name)
    }

    /// The rules for an object by itself, metadata apart.
    fn validate(&self, _errors: &mut FieldErrors) {}

    /// Validating admission at creation, before quotas are asked.
    fn check_admission(&self, _core: &Core) -> Result<(), ApiError> {
        Ok(())
    }

    /// What is odd but legal; sent as Warning headers.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Keeps from `old` what a plain update may not touch (the status, for most kinds).
    fn prepare_for_update(&mut self, _old: &Self) {}

    /// The rules for a plain update, after [`ServedKind::validate`].
    fn validate_update(&self, _old: &Self, _errors: &mut FieldErrors) {}

    /// Keeps from `old` what an update of the status may not touch: the spec. Labels, annotations and finalizers may come
    /// with a status.
    fn prepare_for_status_update(&mut self, _old: &Self) {}

    /// The rules for an update of the status.
    fn validate_status_update(&self, _old: &Self, _errors: &mut FieldErrors) {}

    /// Whether `metadata.generation` counts the change from `old` to this.
    fn changes_generation(&self, _old: &Self) -> bool {
        false
    }

    /// The seconds between a request to delete and the removal; 0 for kinds that go at once.
    fn deletion_grace(&self, _asked: Option<i64>) -> i64 {
        0
    }

    /// Whether something must still be done before the object can go.
    fn is_held(&self) -> bool {
        self.metadata().finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
    }

    /// Refuses the deletion of what must stay.
    fn check_deletion(&self) -> Result<(), ApiError> {
        Ok(())
    }

    /// Shows in the object that its deletion has begun.
    fn mark_deleting(&mut self) {}

    /// When an object that expires was last written, as far as it tells itself.
    fn last_seen(&self) -> Option<Timestamp> {
        None
    }

    /// The values of [`ServedKind::SELECTABLE`].
    fn fields(&self) -> Fields {
        Fields::new()
    }
}
