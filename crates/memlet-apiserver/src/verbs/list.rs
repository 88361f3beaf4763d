//! GET of a collection, whole or in pages.

use bytes::Bytes;
use http::StatusCode;

use super::Core;
use crate::error::ApiError;
use crate::form::ListHead;
use crate::kind::ServedKind;
use crate::reply::Reply;
use crate::request::{ListOptions, ResourceRequest};
use crate::selector::Selection;
use crate::storage::{Key, Revision};

/// Where the next page starts. Opaque to clients.
///
/// Pages after the first show the present, not the past, but carry the first page's revision: a client that goes on
/// to watch from there is shown every change again that it may have seen or missed, and ends up right.
struct Resume {
    revision: Revision,
    after: Key,
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
        let resume = options.resume.as_deref().map(Resume::parse).transpose()?;
        let snapshot =
            self.storage.list(K::URL_PATH_SEGMENT, namespace, resume.as_ref().map(|resume| &resume.after));
        self.check_revision(options)?;
        let revision = resume.map_or(snapshot.revision, |resume| resume.revision);

        let mut matching = snapshot.objects.iter().filter(|object| selection.matches(object));
        let page: Vec<_> = matching.by_ref().take(options.limit.unwrap_or(usize::MAX)).collect();
        let remaining = matching.count();
        let resume = page
            .last()
            .filter(|_| remaining > 0)
            .map(|last| Resume { revision, after: last.key.clone() }.to_text());
        let head = ListHead {
            resource_version: revision.to_string(),
            remaining_item_count: resume.as_ref().map(|_| remaining),
            resume,
        };
        let items: Vec<Bytes> = page.into_iter().map(|object| object.encoded.clone()).collect();
        let json = request.form()?.list::<K>(&head, &items)?;
        Ok(Reply::document(StatusCode::OK, json))
    }

    /// The present satisfies "not older than"; an exact past revision is not kept.
    pub(super) fn check_revision(&self, options: &ListOptions) -> Result<(), ApiError> {
        let present = self.storage.revision();
        match options.revision {
            Some(asked) if asked > present => Err(ApiError::revision_in_the_future(asked, present)),
            Some(asked) if options.exact && asked != present => Err(ApiError::expired(format!(
                "The resourceVersion for the provided list is too old: {asked}"
            ))),
            _ => Ok(()),
        }
    }
}

impl Resume {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let parts = || {
            let (revision, key) = text.split_once(':')?;
            let (namespace, name) = key.split_once('/')?;
            Some(Self { revision: revision.parse().ok()?, after: Key::new(namespace, name) })
        };
        parts().ok_or_else(|| {
            ApiError::bad_request("continue key is not valid: it was not given by this server")
        })
    }

    fn to_text(&self) -> String {
        format!("{}:{}/{}", self.revision, self.after.namespace, self.after.name)
    }
}
