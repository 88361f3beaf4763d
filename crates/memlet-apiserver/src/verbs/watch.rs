//! WATCH: the changes of a collection as a stream of JSON lines.
//!
//! A watch holds a position in the history, not a queue (see `storage::Subscription`): a client that reads slowly
//! costs nothing, and if it falls too far behind it is sent `410 Expired` and must list again.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream};
use serde_json::Value;
use tokio::time::Instant;

use super::Core;
use crate::error::ApiError;
use crate::form::Form;
use crate::kind::ServedKind;
use crate::reply::Reply;
use crate::request::{ListOptions, ResourceRequest};
use crate::selector::Selection;
use crate::storage::{Change, ChangeKind, Expired, Revision, StoredObject, Subscription};

/// Upstream's `--min-request-timeout`: a watch without a timeout of its own ends after this, up to twice this.
const SHORTEST_WATCH: u64 = 1800;
/// Between bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_mins(1);
/// About how many bytes of the first objects are written at once.
const CHUNK: usize = 64 << 10;
/// The client sees a bookmark this long before its watch ends, so that it can resume from a recent revision.
const LAST_BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// The chunks of a watch's body; each is one or more whole lines.
pub(crate) struct WatchEvents(BoxStream<'static, Bytes>);

impl WatchEvents {
    pub(crate) fn stream(self) -> impl Stream<Item = Bytes> + Send + 'static {
        self.0
    }
}

struct Watch<K> {
    selection: Selection,
    subscription: Subscription,
    /// The objects that are told of before any change.
    first: std::vec::IntoIter<Arc<StoredObject>>,
    /// Where the first objects end, if that is to be told.
    first_end: Option<Revision>,
    bookmarks: bool,
    next_bookmark: Instant,
    last_bookmark: bool,
    end: Instant,
    over: bool,
    lines: Lines<K>,
}

/// Writes events as lines, the objects in the form that the client asked for.
struct Lines<K> {
    form: Form,
    /// Whether an event has told a table's columns.
    columns_told: bool,
    kind: PhantomData<fn() -> K>,
}

impl Core {
    pub(crate) fn watch<K: ServedKind>(
        &self,
        request: &ResourceRequest,
        options: &ListOptions,
    ) -> Result<Reply, ApiError> {
        let path = &request.path;
        let selection = Selection::parse(
            path.namespace.as_deref(),
            path.name.as_deref(),
            options.labels.as_deref(),
            options.fields.as_deref(),
            K::SELECTABLE,
        )?;
        let present = self.storage.revision();
        let from = options.revision.unwrap_or(0);
        if from > present {
            return Err(ApiError::revision_in_the_future(from, present));
        }
        let (first, from) = match options.initial_events {
            Some(true) => self.initial_objects::<K>(path.namespace.as_deref(), &selection),
            None if from == 0 => self.initial_objects::<K>(path.namespace.as_deref(), &selection),
            // Any revision will do, so the present.
            Some(false) if from == 0 => (Vec::new(), present),
            _ => (Vec::new(), from),
        };
        let first_end = (options.initial_events == Some(true) && options.bookmarks).then_some(from);
        let subscription = match self.storage.subscribe(K::URL_PATH_SEGMENT, from) {
            Ok(subscription) => subscription,
            Err(expired) => return Ok(Reply::events(WatchEvents::expired(from, expired))),
        };
        let stated = options.timeout_seconds.filter(|seconds| *seconds > 0);
        let seconds = stated.unwrap_or(SHORTEST_WATCH + present * 7919 % SHORTEST_WATCH);
        let now = Instant::now();
        let watch = Watch::<K> {
            selection,
            subscription,
            first: first.into_iter(),
            first_end,
            bookmarks: options.bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            last_bookmark: false,
            // A client's timeout may be absurd; a day is as good as for ever.
            end: now + Duration::from_secs(seconds.min(86_400)),
            over: false,
            lines: Lines { form: request.form()?, columns_told: false, kind: PhantomData },
        };
        Ok(Reply::events(WatchEvents::new(stream::unfold(watch, Watch::step))))
    }

    /// The present objects, which a watch tells of as if they had just been added.
    fn initial_objects<K: ServedKind>(
        &self,
        namespace: Option<&str>,
        selection: &Selection,
    ) -> (Vec<Arc<StoredObject>>, Revision) {
        let mut snapshot = self.storage.list(K::URL_PATH_SEGMENT, namespace, None);
        snapshot.objects.retain(|object| selection.matches(object));
        (snapshot.objects, snapshot.revision)
    }
}

impl WatchEvents {
    fn new(lines: impl Stream<Item = Bytes> + Send + 'static) -> Self {
        Self(Box::pin(lines))
    }

    fn expired(from: Revision, expired: Expired) -> Self {
        Self::new(stream::iter([expired_line(from, expired)]))
    }
}

impl<K: ServedKind> Watch<K> {
    /// The next chunk, and the watch after it.
    async fn step(mut self) -> Option<(Bytes, Self)> {
        if let Some(chunk) = self.initial_chunk() {
            return Some((chunk, self));
        }
        while !self.over {
            let until = self.next_deadline();
            let position = self.subscription.position();
            tokio::select! {
                changes = self.subscription.next() => match changes {
                    Ok(changes) => {
                        let lines: Vec<_> = changes.iter().filter_map(|change| self.line_of(change)).collect();
                        if !lines.is_empty() {
                            return Some((join(lines), self));
                        }
                    }
                    Err(expired) => {
                        self.over = true;
                        return Some((expired_line(position, expired), self));
                    }
                },
                () = tokio::time::sleep_until(until) => {
                    if Instant::now() >= self.end {
                        self.over = true;
                    } else {
                        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
                        self.last_bookmark |= Instant::now() + LAST_BOOKMARK_BEFORE_END >= self.end;
                        let revision = self.subscription.caught_up_to();
                        return Some((self.lines.bookmark(revision, false), self));
                    }
                }
            }
        }
        None
    }

    /// The next of the first objects; as many as a reader that stalls may cost.
    fn initial_chunk(&mut self) -> Option<Bytes> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while bytes < CHUNK {
            let Some(object) = self.first.next() else {
                let end = self.first_end.take();
                lines.extend(end.map(|revision| self.lines.bookmark(revision, true)));
                break;
            };
            bytes += object.encoded.len();
            lines.push(self.lines.event("ADDED", &object.encoded));
        }
        if lines.is_empty() { None } else { Some(join(lines)) }
    }

    fn next_deadline(&self) -> Instant {
        if !self.bookmarks || self.last_bookmark {
            return self.end;
        }
        let last = self.end.checked_sub(LAST_BOOKMARK_BEFORE_END).unwrap_or(self.end);
        self.next_bookmark.min(last)
    }

    /// A change as this watch sees it: an object that enters the selection is added, one that leaves it is deleted.
    fn line_of(&mut self, change: &Change) -> Option<Bytes> {
        let is = self.selection.matches(&change.object);
        let was = change.previous.as_ref().is_some_and(|previous| self.selection.matches(previous));
        let (object, lines) = (&change.object, &mut self.lines);
        match (change.kind, was, is) {
            (ChangeKind::Added, _, true) | (ChangeKind::Modified, false, true) => {
                Some(lines.event("ADDED", &object.encoded))
            }
            (ChangeKind::Modified, true, true) => Some(lines.event("MODIFIED", &object.encoded)),
            (ChangeKind::Modified, true, false) => {
                let previous = change.previous.as_ref()?;
                Some(lines.event("DELETED", &at_revision(previous, object.revision)))
            }
            (ChangeKind::Deleted, true, _) => Some(lines.event("DELETED", &object.encoded)),
            _ => None,
        }
    }
}

impl<K: ServedKind> Lines<K> {
    fn event(&mut self, kind: &str, encoded: &Bytes) -> Bytes {
        let form = self.form;
        let first = !self.columns_told;
        let object = K::from_stored(encoded).and_then(|encoded| form.watched::<K>(&encoded, first));
        self.columns_told = true;
        object.map_or_else(|error| error_line(&error), |object| line(kind, &object))
    }

    fn bookmark(&self, revision: Revision, ends_initial_events: bool) -> Bytes {
        let mut metadata = serde_json::json!({ "resourceVersion": revision.to_string() });
        if ends_initial_events {
            metadata["annotations"] = serde_json::json!({ "k8s.io/initial-events-end": "true" });
        }
        let object =
            serde_json::json!({ "kind": K::KIND, "apiVersion": K::API_VERSION, "metadata": metadata });
        let object = self.form.bookmark::<K>(&object.to_string().into());
        object.map_or_else(|error| error_line(&error), |object| line("BOOKMARK", &object))
    }
}

/// An earlier state of an object, dated to a later revision.
fn at_revision(object: &Arc<StoredObject>, revision: Revision) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(&object.encoded) else {
        return object.encoded.clone();
    };
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    }
    value.to_string().into()
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 40);
    line.extend_from_slice(br#"{"type":""#);
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(br#"","object":"#);
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    line.into()
}

fn expired_line(from: Revision, expired: Expired) -> Bytes {
    let error = ApiError::expired(format!("too old resource version: {from} ({})", expired.oldest));
    error_line(&error)
}

fn error_line(error: &ApiError) -> Bytes {
    // A Status is strings and numbers: it always has a JSON form.
    line("ERROR", &serde_json::to_vec(error.status()).unwrap_or_default())
}

fn join(lines: impl IntoIterator<Item = Bytes>) -> Bytes {
    let mut lines = lines.into_iter();
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    let Some(second) = second else { return first };
    let mut all = first.to_vec();
    all.extend_from_slice(&second);
    lines.for_each(|line| all.extend_from_slice(&line));
    all.into()
}
