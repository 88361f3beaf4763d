//! GET of a collection, whole or in pages.
//!
//! All pages of a list show one moment: what has changed since the first is taken back, by the history that watches are
//! served from. When the history no longer reaches so far, the client is told 410 with a token of another kind, by which
//! it may go on with the present.

use bytes::Bytes;
use http::StatusCode;

use super::Core;
use crate::error::ApiError;
use crate::form::ListHead;
use crate::kind::ServedKind;
use crate::reply::Reply;
use crate::request::{ListOptions, ResourceRequest, RevisionMatch};
use crate::selector::Selection;
use crate::storage::{Key, Revision, Snapshot};

/// Where the next page starts. Opaque to clients.
struct Resume {
    /// All pages show the objects as they were at the first. `None` for a client that takes the present instead, after
    /// that past has been forgotten.
    revision: Option<Revision>,
    after: Key,
}

/// In the place of a revision in a [`Resume`].
const PRESENT: &str = "present";

/// What a page says of the rest.
struct Next {
    resume: Resume,
    remaining: Option<usize>,
}

impl Core {
    pub(crate) fn list<K: ServedKind>(
        &self,
        request: &ResourceRequest,
        options: &ListOptions,
    ) -> Result<Reply, ApiError> {
        let namespace = request.path.namespace.as_deref();
        let selection = Selection::parse(
            namespace,
            request.path.name.as_deref(),
            options.labels.as_deref(),
            options.fields.as_deref(),
            K::SELECTABLE,
        )?;
        let snapshot = self.snapshot::<K>(namespace, options)?;

        let mut matching = snapshot.objects.iter().filter(|object| selection.matches(object));
        let page: Vec<_> = matching.by_ref().take(options.limit.unwrap_or(usize::MAX)).collect();
        let remaining = matching.count();
        let last = page.last().filter(|_| remaining > 0);
        let next = last.map(|last| Next {
            resume: Resume { revision: Some(snapshot.revision), after: last.key.clone() },
            // How many of the rest a selector meant is not counted upstream.
            remaining: (options.labels.is_none() && options.fields.is_none()).then_some(remaining),
        });
        let head = ListHead {
            resource_version: snapshot.revision.to_string(),
            remaining_item_count: next.as_ref().and_then(|next| next.remaining),
            resume: next.map(|next| next.resume.to_text()),
        };
        let items: Result<Vec<Bytes>, ApiError> =
            page.into_iter().map(|object| K::from_stored(&object.encoded)).collect();
        let json = request.form()?.list::<K>(&head, &items?)?;
        Ok(Reply::document(StatusCode::OK, json))
    }

    /// The objects that a list is taken from: the present ones, or as they were at an exact revision or at the first
    /// page. The present is "not older than" any revision.
    fn snapshot<K: ServedKind>(
        &self,
        namespace: Option<&str>,
        options: &ListOptions,
    ) -> Result<Snapshot, ApiError> {
        let resource = K::URL_PATH_SEGMENT;
        let resume = options.resume.as_deref().map(Resume::parse).transpose()?;
        let after = resume.as_ref().map(|resume| &resume.after);
        let exact = options.revision.filter(|_| options.revision_match == Some(RevisionMatch::Exact));
        let past = resume.as_ref().map_or(exact, |resume| resume.revision);
        let present = self.storage.list(resource, namespace, after);
        match past.or(options.revision) {
            Some(asked) if asked > present.revision => {
                return Err(ApiError::revision_in_the_future(asked, present.revision));
            }
            _ => {}
        }
        let Some(past) = past.filter(|past| *past != present.revision) else { return Ok(present) };
        self.storage.list_at(past, resource, namespace, after).map_err(|_| match &resume {
            Some(resume) => {
                ApiError::expired_pages(&Resume { revision: None, after: resume.after.clone() }.to_text())
            }
            None => {
                ApiError::expired(format!("The resourceVersion for the provided list is too old: {past}"))
            }
        })
    }
}

impl Resume {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let parts = || {
            let (revision, key) = text.split_once(':')?;
            let (namespace, name) = key.split_once('/')?;
            let revision = if revision == PRESENT { None } else { Some(revision.parse().ok()?) };
            Some(Self { revision, after: Key::new(namespace, name) })
        };
        parts().ok_or_else(|| {
            ApiError::bad_request("continue key is not valid: it was not given by this server")
        })
    }

    fn to_text(&self) -> String {
        let revision = self.revision.map_or(PRESENT.to_owned(), |revision| revision.to_string());
        format!("{revision}:{}/{}", self.after.namespace, self.after.name)
    }
}
