//! GET of a collection, whole or in pages.

use bytes::Bytes;
use http::StatusCode;

use super::Core;
use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::reply::Reply;
use crate::request::{ListOptions, ResourceRequest};
use crate::selector::Selection;
use crate::storage::{Key, Revision, StoredObject};

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
        let items = page.into_iter().map(|object| without_type::<K>(object));
        let json = document::<K>(revision, resume.as_deref(), remaining, items);
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

/// Items of a list do not repeat their type, as upstream's do not.
fn without_type<K: ServedKind>(object: &StoredObject) -> Bytes {
    let prefix = format!(r#"{{"apiVersion":"{}","kind":"{}","#, K::API_VERSION, K::KIND);
    if !object.encoded.starts_with(prefix.as_bytes()) {
        return object.encoded.clone();
    }
    let mut item = Vec::with_capacity(object.encoded.len());
    item.push(b'{');
    item.extend_from_slice(&object.encoded[prefix.len()..]);
    item.into()
}

fn document<K: ServedKind>(
    revision: Revision,
    resume: Option<&str>,
    remaining: usize,
    items: impl Iterator<Item = Bytes>,
) -> Bytes {
    let resume = resume.map_or_else(String::new, |resume| {
        let quoted = serde_json::Value::from(resume);
        format!(r#","continue":{quoted},"remainingItemCount":{remaining}"#)
    });
    let json = format!(
        r#"{{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"{revision}"{resume}}},"items":["#,
        K::LIST_KIND,
        K::API_VERSION
    );
    let mut json = json.into_bytes();
    for (index, item) in items.enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&item);
    }
    json.extend_from_slice(b"]}");
    json.into()
}
