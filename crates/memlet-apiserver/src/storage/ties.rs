//! What ties an object to others: whose it is, and how it goes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Keeps an object that is being deleted until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an object that is being deleted until its dependents have been set free.
pub(crate) const ORPHAN: &str = "orphan";

/// The metadata that garbage collection goes by. Empty for most objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    pub(crate) owners: Box<[Owner]>,
    pub(crate) deleting: bool,
    /// Has the finalizer [`FOREGROUND`].
    pub(crate) foreground: bool,
    /// Has the finalizer [`ORPHAN`].
    pub(crate) orphan: bool,
}

/// One entry of `metadata.ownerReferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// Whether the owner's foreground deletion waits for this dependent.
    pub(crate) blocks: bool,
}

impl Ties {
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        let has = |finalizer: &str| metadata.finalizers.iter().flatten().any(|other| other == finalizer);
        Self {
            owners: metadata.owner_references.iter().flatten().map(Owner::from).collect(),
            deleting: metadata.deletion_timestamp.is_some(),
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        }
    }

    /// Whether the object's deletion waits for its dependents.
    pub(crate) fn waits_for_dependents(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Whether there is anything here for the garbage collector.
    pub(super) fn matter(&self) -> bool {
        !self.owners.is_empty() || (self.deleting && (self.foreground || self.orphan))
    }
}

impl From<&OwnerReference> for Owner {
    fn from(reference: &OwnerReference) -> Self {
        Self {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
            uid: reference.uid.clone(),
            blocks: reference.block_owner_deletion == Some(true),
        }
    }
}
