//! Namespaces: the pre-made ones, and how one goes.

mod remains; // what keeps one that is going

use http::{Method, StatusCode};
use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};

use crate::decode::{self, Decoded};
use crate::discovery::GroupVersionKind;
use crate::error::ApiError;
use crate::handler::Subresource;
use crate::kind::ServedKind;
use crate::names;
use crate::reply::Reply;
use crate::request::{DeleteOptions, ResourceRequest, WriteOptions};
use crate::schema::{self, Type};
use crate::storage::{Fields, Key, StoredObject};
use crate::verbs::{Core, Deletion, check_identity, key};

pub(crate) use remains::Remains;

/// Namespaces that exist from the start and may not be deleted, but for the last.
pub(crate) const INITIAL_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const PERMANENT: [&str; 3] = ["default", "kube-system", "kube-public"];

const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const TERMINATING: &str = "Terminating";

pub(super) const SUBRESOURCES: &[Subresource] = &[Subresource {
    name: "finalize",
    kind: GroupVersionKind { group: "", version: "v1", kind: "Namespace" },
    verbs: &["update"],
    handle: finalize,
}];

impl ServedKind for Namespace {
    const NAMESPACED: bool = false;
    const SHAPE: &'static Type = &schema::NAMESPACE;
    const HAS_STATUS: bool = true;
    const RETURNS_DELETED: bool = true;
    const DELETES_COLLECTIONS: bool = false;
    const SHORT_NAMES: &'static [&'static str] = &["ns"];
    const SELECTABLE: &'static [&'static str] = &["status.phase"];

    fn check_name(name: &str) -> Vec<String> {
        names::label(name)
    }

    fn apply_defaults(&mut self) {
        let phase = &mut self.status.get_or_insert_default().phase;
        phase.get_or_insert_with(|| "Active".to_owned());
        if let Some(name) = &self.metadata.name {
            self.metadata.labels.get_or_insert_default().insert(NAME_LABEL.to_owned(), name.clone());
        }
    }

    fn prepare_for_create(&mut self) {
        self.status = Some(NamespaceStatus { phase: Some("Active".to_owned()), conditions: None });
        let finalizers = self.spec.get_or_insert_default().finalizers.get_or_insert_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
        }
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn is_held(&self) -> bool {
        let own = self.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        [own, self.metadata.finalizers.as_ref()]
            .into_iter()
            .flatten()
            .any(|finalizers| !finalizers.is_empty())
    }

    fn check_deletion(&self) -> Result<(), ApiError> {
        match self.metadata.name.as_deref() {
            Some(name) if PERMANENT.contains(&name) => {
                Err(ApiError::forbidden(Self::URL_PATH_SEGMENT, name, "this namespace may not be deleted"))
            }
            _ => Ok(()),
        }
    }

    fn mark_deleting(&mut self) {
        self.status.get_or_insert_default().phase = Some(TERMINATING.to_owned());
    }

    fn fields(&self) -> Fields {
        let phase = self.status.as_ref().and_then(|status| status.phase.clone());
        vec![("status.phase", phase.unwrap_or_default())]
    }
}

/// PUT `namespaces/{name}/finalize`: the namespace's own finalizers, which no other write changes.
fn finalize(core: &Core, request: &ResourceRequest) -> Result<Reply, ApiError> {
    if request.method != Method::PUT {
        return Err(ApiError::method_not_allowed("this method", "namespaces/finalize"));
    }
    let options = WriteOptions::parse(&request.query, "UpdateOptions")?;
    let Decoded { object, oddities } = decode::object::<Namespace>(&request.body, request.notation()?)?;
    let warnings = decode::judge::<Namespace>(oddities, options.validation)?;
    let key = key::<Namespace>(request)?;
    let finalizers = object.spec.as_ref().and_then(|spec| spec.finalizers.clone());
    let stored = core.change::<Namespace>(&key, options.dry_run, |_, old| {
        check_identity(&object, old, &key)?;
        let mut new = old.clone();
        new.spec.get_or_insert_default().finalizers.clone_from(&finalizers);
        Ok(new)
    })?;
    Ok(Reply::object(StatusCode::OK, stored.encoded.clone()).with_warnings(warnings))
}

/// Moves a namespace that is being deleted on: its contents are deleted, and when nothing is left it goes itself. What
/// was created at the moment in which the namespace went is deleted too. Called after every write in a namespace; does
/// nothing for one that is there to stay.
pub(crate) fn settle_namespace(core: &Core, name: &str) -> Result<(), ApiError> {
    let key = Key::new("", name);
    let stored = core.storage.get(Namespace::URL_PATH_SEGMENT, &key);
    let stays = |stored: &StoredObject| {
        !stored.fields.iter().any(|(field, value)| *field == "status.phase" && value == TERMINATING)
    };
    if stored.as_deref().is_some_and(stays) {
        return Ok(());
    }
    let mut remains = Remains::default();
    for handler in super::served() {
        handler.empty(core, name, &mut remains)?;
    }
    if let Some(namespace) = stored.as_deref() {
        tell(core, namespace, &remains)?;
    }
    if !remains.is_none() {
        return Ok(());
    }
    let released = core.change::<Namespace>(&key, false, |_, old| {
        let mut new = old.clone();
        new.spec
            .get_or_insert_default()
            .finalizers
            .get_or_insert_default()
            .retain(|other| other != FINALIZER);
        Ok(new)
    });
    match released {
        Err(error) if error.code() != http::StatusCode::NOT_FOUND => Err(error),
        _ => Ok(()),
    }
}

/// Says in a namespace's conditions what it waits for; nothing where it would go at once and never had to wait.
fn tell(core: &Core, namespace: &StoredObject, remains: &Remains) -> Result<(), ApiError> {
    let now = Timestamp::now();
    let known: Namespace = serde_json::from_slice(&namespace.encoded).unwrap_or_default();
    let known = known.status.and_then(|status| status.conditions);
    let is_told = match &known {
        Some(known) => remains.conditions(known, now) == *known,
        None => remains.is_none(),
    };
    if is_told {
        return Ok(());
    }
    let told = core.change::<Namespace>(&namespace.key, false, |_, old| {
        let mut new = old.clone();
        let status = new.status.get_or_insert_default();
        let conditions = remains.conditions(status.conditions.as_deref().unwrap_or_default(), now);
        status.conditions = Some(conditions);
        Ok(new)
    });
    match told {
        Err(error) if error.code() != http::StatusCode::NOT_FOUND => Err(error),
        _ => Ok(()),
    }
}

/// What an object is kept by.
#[derive(Default, serde::Deserialize)]
struct Held {
    #[serde(default)]
    metadata: HeldMetadata,
}

#[derive(Default, serde::Deserialize)]
struct HeldMetadata {
    #[serde(default)]
    finalizers: Vec<String>,
}

/// Deletes all objects of a kind in a namespace; counts those that are still there.
pub(crate) fn empty<K: ServedKind>(
    core: &Core,
    namespace: &str,
    remains: &mut Remains,
) -> Result<(), ApiError> {
    if !K::NAMESPACED {
        return Ok(());
    }
    for object in core.storage.list(K::URL_PATH_SEGMENT, Some(namespace), None).objects {
        match core.delete_object::<K>(&object.key, &DeleteOptions::default()) {
            Ok(Deletion::Removed(_)) => {}
            Ok(Deletion::Begun(object)) => {
                let held: Held = serde_json::from_slice(&object.encoded).unwrap_or_default();
                remains.count(K::URL_PATH_SEGMENT, K::GROUP, &held.metadata.finalizers);
            }
            Err(error) if error.code() == http::StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
