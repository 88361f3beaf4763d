//! DELETE: at once, after a grace period, or when the last finalizer is gone.

use std::sync::Arc;

use http::StatusCode;
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, StatusDetails, Time};

use super::update::check_uid;
use super::{Core, key, metadata, refusal, stored_form, typed};
use crate::error::{ApiError, success};
use crate::form::ListHead;
use crate::kind::ServedKind;
use crate::reply::Reply;
use crate::request::{DeleteOptions, ListOptions, Propagation, ResourceRequest};
use crate::selector::Selection;
use crate::storage::{Expect, FOREGROUND, Key, ORPHAN, Revision, StoredObject, Unmet};

/// What became of a request to delete.
pub(crate) enum Deletion {
    Removed(Arc<StoredObject>),
    /// It goes later; this is how it stands.
    Begun(Arc<StoredObject>),
}

impl Core {
    pub(crate) fn delete<K: ServedKind>(&self, request: &ResourceRequest) -> Result<Reply, ApiError> {
        let options = DeleteOptions::parse(&request.query, &request.body)?;
        let key = key::<K>(request)?;
        match self.delete_object::<K>(&key, &options)? {
            Deletion::Removed(object) if !K::RETURNS_DELETED => {
                let uid = typed::<K>(&object)?.metadata().uid.clone();
                Reply::status(&success(
                    StatusCode::OK,
                    Some(StatusDetails {
                        name: Some(key.name),
                        kind: Some(K::URL_PATH_SEGMENT.to_owned()),
                        uid,
                        ..StatusDetails::default()
                    }),
                ))
            }
            Deletion::Removed(object) | Deletion::Begun(object) => {
                Ok(Reply::object(StatusCode::OK, object.encoded.clone()))
            }
        }
    }

    pub(crate) fn delete_object<K: ServedKind>(
        &self,
        key: &Key,
        options: &DeleteOptions,
    ) -> Result<Deletion, ApiError> {
        loop {
            let current = self.stored::<K>(key)?;
            let mut object = typed::<K>(&current)?;
            check_preconditions(&object, options, key)?;
            object.check_deletion()?;
            // What expires is no owner (upstream's `rest.Unsupported`).
            let rebound = !K::EXPIRES && bind_dependents(object.metadata_mut(), options.propagation);
            let grace = object.deletion_grace(options.grace_period_seconds).max(0);
            let at_once = grace == 0 && !object.is_held();
            if options.dry_run {
                return Ok(if at_once { Deletion::Removed(current) } else { Deletion::Begun(current) });
            }
            let marks = !at_once || K::GRACEFUL;
            let done = if marks && (begin(&mut object, grace) || rebound) {
                let expect = Expect::At(current.revision);
                let form = |revision| stored_form(&mut object, revision);
                match self.storage.put(K::URL_PATH_SEGMENT, key, expect, form) {
                    Ok(marked) if at_once => return self.take_marked::<K>(key, marked),
                    begun => begun.map(Deletion::Begun),
                }
            } else if at_once {
                self.remove(&mut object, key, current.revision).map(Deletion::Removed)
            } else {
                return Ok(Deletion::Begun(current));
            };
            match done {
                // Somebody changed it since it was read: look again.
                Err(Unmet::Changed) => {}
                done => return done.map_err(|unmet| refusal::<K>(unmet, &key.name)),
            }
        }
    }

    /// Takes away what was marked to go at once. Whoever works on its end, as a node's agent does, sees the mark and may
    /// be faster: then it is done, too. (Nothing can hold it any more: what is marked gains no finalizer.)
    fn take_marked<K: ServedKind>(&self, key: &Key, marked: Arc<StoredObject>) -> Result<Deletion, ApiError> {
        let mut current = Arc::clone(&marked);
        loop {
            let mut object = typed::<K>(&current)?;
            match self.remove(&mut object, key, current.revision) {
                Ok(removed) => return Ok(Deletion::Removed(removed)),
                Err(Unmet::Missing | Unmet::Changed) => {}
                Err(unmet) => return Err(refusal::<K>(unmet, &key.name)),
            }
            match self.storage.get(K::URL_PATH_SEGMENT, key) {
                Some(changed) if changed.uid == marked.uid => current = changed,
                _ => return Ok(Deletion::Removed(marked)),
            }
        }
    }

    /// Takes an object away. The watchers see its last state.
    pub(super) fn remove<K: ServedKind>(
        &self,
        object: &mut K,
        key: &Key,
        revision: Revision,
    ) -> Result<Arc<StoredObject>, Unmet> {
        self.storage.remove(K::URL_PATH_SEGMENT, key, revision, |revision| stored_form(object, revision))
    }

    /// DELETE of a collection: each object by its own rules. The answer is the list of those that were meant, as they were.
    pub(crate) fn delete_collection<K: ServedKind>(
        &self,
        request: &ResourceRequest,
    ) -> Result<Reply, ApiError> {
        let options = DeleteOptions::parse(&request.query, &request.body)?;
        let list = ListOptions::parse(&request.query)?;
        let namespace = request.path.namespace.as_deref();
        let (labels, fields) = (list.labels.as_deref(), list.fields.as_deref());
        let selection = Selection::parse(namespace, None, labels, fields, K::SELECTABLE)?;
        let mut meant = self.storage.list(K::URL_PATH_SEGMENT, namespace, None);
        meant.objects.retain(|object| selection.matches(object));
        for object in &meant.objects {
            match self.delete_object::<K>(&object.key, &options) {
                Err(error) if error.code() != StatusCode::NOT_FOUND => return Err(error),
                _ => {}
            }
        }
        let head = ListHead { resource_version: meant.revision.to_string(), ..ListHead::default() };
        let items: Vec<_> = meant.objects.iter().map(|object| object.encoded.clone()).collect();
        Ok(Reply::document(StatusCode::OK, request.form()?.list::<K>(&head, &items)?))
    }
}

/// Sets the finalizers by which the object's dependents are dealt with before it goes; whether that changes anything.
/// Where nothing is said, those that it has stay.
fn bind_dependents(metadata: &mut ObjectMeta, propagation: Option<Propagation>) -> bool {
    let wanted = match propagation {
        None => return false,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    let old = metadata.finalizers.take().unwrap_or_default();
    let mut new: Vec<_> =
        old.iter().filter(|finalizer| !matches!(finalizer.as_str(), FOREGROUND | ORPHAN)).cloned().collect();
    new.extend(wanted.map(str::to_owned));
    let changed = new != old;
    metadata.finalizers = Some(new).filter(|finalizers| !finalizers.is_empty());
    changed
}

fn check_preconditions<K: ServedKind>(
    object: &K,
    options: &DeleteOptions,
    key: &Key,
) -> Result<(), ApiError> {
    let (asked, metadata) = (&options.preconditions, object.metadata());
    check_uid::<K>(asked.uid.as_ref(), metadata, &key.name)?;
    match &asked.resource_version {
        Some(revision) if Some(revision) != metadata.resource_version.as_ref() => {
            let real = metadata.resource_version.as_deref().unwrap_or_default();
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {real}"
            );
            Err(ApiError::conflict(K::URL_PATH_SEGMENT, &key.name, &why))
        }
        _ => Ok(()),
    }
}

/// Marks the object as going, or shortens the time that it has left; false where nothing changes (a later deletion
/// never gives more time).
fn begin<K: ServedKind>(object: &mut K, grace: i64) -> bool {
    let metadata = object.metadata_mut();
    let now = metadata::now().0;
    let from = match (&metadata.deletion_timestamp, metadata.deletion_grace_period_seconds) {
        (Some(_), left) if left.unwrap_or(0) <= grace => return false,
        (Some(Time(end)), left) => {
            end.checked_sub(SignedDuration::from_secs(left.unwrap_or(0))).unwrap_or(*end)
        }
        (None, _) => {
            // Only the first mark is a change of what is wanted.
            if let Some(generation) = &mut metadata.generation {
                *generation += 1;
            }
            now
        }
    };
    let end = from.checked_add(SignedDuration::from_secs(grace)).unwrap_or(from);
    metadata.deletion_timestamp = Some(Time(end.max(now)));
    metadata.deletion_grace_period_seconds = Some(grace);
    object.mark_deleting();
    true
}

#[cfg(test)]
mod tests {
    use k8s_openapi::Resource as _;
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{Api, Patch, PatchParams, PostParams};
    use serde_json::json;

    use super::*;
    use crate::ApiServer;

    const AT_ONCE: Option<i64> = Some(0);

    fn delete(core: &Core, key: &Key, grace: Option<i64>) -> Deletion {
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        core.delete_object::<Pod>(key, &options).unwrap_or_else(|error| panic!("{error:?}"))
    }

    async fn create(pods: &Api<Pod>) {
        let manifest = json!({
            "metadata": {"name": "raced"},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]},
        });
        pods.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
    }

    /// A node's agent sees that a Pod is to go at once, and takes it away before whoever asked for that comes to it.
    #[tokio::test]
    async fn whoever_is_faster_a_forced_deletion_is_done() {
        let server = ApiServer::in_memory();
        let pods: Api<Pod> = Api::default_namespaced(server.client());
        let key = Key { namespace: "default".to_owned(), name: "raced".to_owned() };
        let core = &server.core;
        let stored = || core.storage.get(Pod::URL_PATH_SEGMENT, &key);
        let marked = async || {
            create(&pods).await;
            match delete(core, &key, None) {
                Deletion::Begun(marked) => marked,
                Deletion::Removed(_) => panic!("it has its grace"),
            }
        };
        let removes = |marked: &Arc<StoredObject>| match core.take_marked::<Pod>(&key, Arc::clone(marked)) {
            Ok(Deletion::Removed(removed)) => assert_eq!(removed.uid, marked.uid),
            Ok(Deletion::Begun(_)) => panic!("it goes at once"),
            Err(error) => panic!("{error:?}"),
        };

        let gone = marked().await;
        delete(core, &key, AT_ONCE);
        removes(&gone);

        create(&pods).await;
        let successor = stored().unwrap();
        removes(&gone);
        assert_eq!(stored().unwrap().uid, successor.uid, "another Pod of that name is not meant");
        delete(core, &key, AT_ONCE);

        let changed = marked().await;
        let label = Patch::Merge(json!({"metadata": {"labels": {"changed": "since"}}}));
        pods.patch("raced", &PatchParams::default(), &label).await.unwrap();
        removes(&changed);
        assert!(stored().is_none());
    }

    /// The mark is a change of its own, and not what the precondition is about.
    #[tokio::test]
    async fn a_forced_deletion_on_condition_of_a_revision() {
        let server = ApiServer::in_memory();
        create(&Api::default_namespaced(server.client())).await;
        let key = Key { namespace: "default".to_owned(), name: "raced".to_owned() };
        let current = server.core.storage.get(Pod::URL_PATH_SEGMENT, &key).unwrap();
        let mut options = DeleteOptions { grace_period_seconds: AT_ONCE, ..DeleteOptions::default() };
        options.preconditions.resource_version = Some(current.revision.to_string());
        let deleted = server.core.delete_object::<Pod>(&key, &options);
        assert!(matches!(deleted, Ok(Deletion::Removed(_))));
    }
}
