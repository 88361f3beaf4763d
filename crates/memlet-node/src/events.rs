//! Events as kubelet records them: written beside the work, identical ones counted instead of repeated.
//!
//! The rules are client-go's legacy recorder (`tools/record/events_cache.go`): the same source, object, type,
//! reason and message raise `count` of the Event that exists, and when only the messages differ, ten of them within ten
//! minutes make one Event of those that follow. Its spam filter is not copied: no Event is dropped but those that a full
//! queue cannot take, and these are told in the log.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

/// Events waiting to be written; more are dropped, so that a slow API never holds up a Pod.
const QUEUE: usize = 1024;
/// Events remembered for counting, as client-go's cache.
const REMEMBERED: usize = 4096;
/// So many messages that alone differ, within this time, become one Event (`defaultAggregateMaxEvents`, `…Interval`).
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// What the message of such an Event begins with.
const COMBINED: &str = "(combined from similar events): ";

/// `type` of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something that happened to an object.
#[derive(Clone, Debug)]
pub(crate) struct Occurrence {
    pub(crate) object: ObjectReference,
    pub(crate) severity: Severity,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) at: Timestamp,
}

enum Entry {
    Write(Box<Occurrence>),
    Flush(oneshot::Sender<()>),
}

/// Takes Events and writes them in its own task, in order.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Entry>,
}

impl Recorder {
    /// Starts the writing task; it ends when the last recorder is dropped.
    pub(crate) fn start(client: kube::Client, component: &'static str, host: String) -> Self {
        let (queue, entries) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, Aggregator::new(component, host), entries));
        Self { queue }
    }

    pub(crate) fn record(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        self.record_annotated(object, severity, reason, message, &[]);
    }

    /// Records what also says something to programs.
    pub(crate) fn record_annotated(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        annotations: &[(&'static str, String)],
    ) {
        let (reason, message) = (reason.into(), message.into());
        let lost = reason.clone();
        let annotations =
            annotations.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let occurrence = Occurrence { object, severity, reason, message, annotations, at: Timestamp::now() };
        if let Err(error) = self.queue.try_send(Entry::Write(Box::new(occurrence))) {
            tracing::warn!("an Event ({lost}) is lost: {error}");
        }
    }

    /// Waits until everything recorded so far is written, or has failed to be.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Entry::Flush(done)).await.is_ok() {
            // The writer drops the sender only when it ends: then there is nothing to wait for.
            let _ = written.await;
        }
    }
}

/// A reference to a Pod, or with `field_path` to one of its containers.
pub(crate) fn pod_reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}

/// A reference to the node by which `kubectl describe node` finds its Events: the uid is the name, as kubelet had
/// it before it left the uid out.
pub(crate) fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some(<Node as k8s_openapi::Resource>::KIND.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..ObjectReference::default()
    }
}

async fn write_all(client: kube::Client, mut aggregator: Aggregator, mut entries: mpsc::Receiver<Entry>) {
    while let Some(entry) = entries.recv().await {
        match entry {
            Entry::Write(occurrence) => {
                let write = aggregator.next(*occurrence);
                if let Err(error) = write.perform(&client).await {
                    tracing::warn!("cannot write an Event: {error}");
                }
            }
            // The one who asked may have gone meanwhile.
            Entry::Flush(done) => drop(done.send(())),
        }
    }
}

/// What must be written for one occurrence.
#[derive(Debug)]
struct Write {
    namespace: String,
    name: String,
    /// The whole Event, to create it or where it has expired meanwhile.
    event: Event,
    /// Whether the Event exists already, as far as known.
    repeated: bool,
}

impl Write {
    async fn perform(self, client: &kube::Client) -> kube::Result<()> {
        let events: Api<Event> = Api::namespaced(client.clone(), &self.namespace);
        if self.repeated {
            let patch = json!({
                "count": self.event.count,
                "lastTimestamp": self.event.last_timestamp,
                "message": self.event.message,
            });
            match events.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => return answer.map(drop),
            }
        }
        events.create(&PostParams::default(), &self.event).await.map(drop)
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
    severity: Severity,
    reason: Cow<'static, str>,
    message: String,
}

struct Known {
    name: String,
    first: Timestamp,
    count: i32,
}

/// Messages that alone differ, since the first of them.
struct Similar {
    last: Timestamp,
    messages: HashSet<String>,
}

/// Turns occurrences into Events; pure, so that counting can be tested.
struct Aggregator {
    component: &'static str,
    host: String,
    known: HashMap<Key, Known>,
    oldest_first: VecDeque<Key>,
    /// By keys without a message.
    similar: HashMap<Key, Similar>,
    similar_oldest_first: VecDeque<Key>,
}

impl Aggregator {
    fn new(component: &'static str, host: String) -> Self {
        Self {
            component,
            host,
            known: HashMap::new(),
            oldest_first: VecDeque::new(),
            similar: HashMap::new(),
            similar_oldest_first: VecDeque::new(),
        }
    }

    fn next(&mut self, mut occurrence: Occurrence) -> Write {
        let object = &occurrence.object;
        let without_message = Key {
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            uid: object.uid.clone(),
            field_path: object.field_path.clone(),
            severity: occurrence.severity,
            reason: occurrence.reason.clone(),
            message: String::new(),
        };
        let key = if self.is_one_of_many(&without_message, &occurrence) {
            occurrence.message.insert_str(0, COMBINED);
            without_message
        } else {
            Key { message: occurrence.message.clone(), ..without_message }
        };
        let repeated = self.known.contains_key(&key);
        if !repeated {
            self.remember(&key, &occurrence);
        }
        let Some(known) = self.known.get_mut(&key) else {
            // `remember` has just put it there; a write without memory is the harmless other case.
            return self.write(occurrence.at, 1, event_name(&occurrence), false, occurrence);
        };
        known.count += 1;
        let (first, count, name) = (known.first, known.count, known.name.clone());
        self.write(first, count, name, repeated, occurrence)
    }

    /// Whether there have been so many of its kind that it has no Event of its own.
    fn is_one_of_many(&mut self, key: &Key, occurrence: &Occurrence) -> bool {
        if !self.similar.contains_key(key) {
            if self.similar_oldest_first.len() >= REMEMBERED
                && let Some(oldest) = self.similar_oldest_first.pop_front()
            {
                self.similar.remove(&oldest);
            }
            self.similar_oldest_first.push_back(key.clone());
        }
        let similar = self
            .similar
            .entry(key.clone())
            .or_insert_with(|| Similar { last: occurrence.at, messages: HashSet::new() });
        if occurrence.at.duration_since(similar.last) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = occurrence.at;
        similar.messages.insert(occurrence.message.clone());
        // Those that have an Event of their own keep it.
        similar.messages.len() >= SIMILAR && similar.messages.remove(&occurrence.message)
    }

    fn remember(&mut self, key: &Key, occurrence: &Occurrence) {
        if self.oldest_first.len() >= REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.known.remove(&oldest);
        }
        let known = Known { name: event_name(occurrence), first: occurrence.at, count: 0 };
        self.known.insert(key.clone(), known);
        self.oldest_first.push_back(key.clone());
    }

    fn write(
        &self,
        first: Timestamp,
        count: i32,
        name: String,
        repeated: bool,
        occurrence: Occurrence,
    ) -> Write {
        let namespace = occurrence.object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let event = Event {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(namespace.clone()),
                annotations: (!occurrence.annotations.is_empty()).then_some(occurrence.annotations),
                ..ObjectMeta::default()
            },
            involved_object: occurrence.object,
            type_: Some(occurrence.severity.as_str().to_owned()),
            reason: Some(occurrence.reason.into_owned()),
            message: Some(occurrence.message),
            count: Some(count),
            first_timestamp: Some(Time(first)),
            last_timestamp: Some(Time(occurrence.at)),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: Some(self.host.clone()),
            }),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.host.clone()),
            ..Event::default()
        };
        Write { namespace, name, event, repeated }
    }
}

/// `<object>.<time in hexadecimal nanoseconds>`, as client-go names Events.
fn event_name(occurrence: &Occurrence) -> String {
    let object = occurrence.object.name.as_deref().unwrap_or("unknown");
    format!("{object}.{:x}", occurrence.at.as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurrence(message: &str, second: i64) -> Occurrence {
        Occurrence {
            object: ObjectReference { name: Some("web".into()), ..ObjectReference::default() },
            severity: Severity::Warning,
            reason: "BackOff".into(),
            message: message.to_owned(),
            annotations: BTreeMap::new(),
            at: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn identical_events_are_counted_in_one_object() {
        let mut aggregator = Aggregator::new("kubelet", "node".into());
        let writes: Vec<_> = [("a", 1), ("b", 2), ("a", 3), ("a", 4)]
            .into_iter()
            .map(|(message, second)| aggregator.next(occurrence(message, second)))
            .collect();
        let counts: Vec<_> = writes.iter().map(|write| (write.event.count, write.repeated)).collect();
        assert_eq!(counts, [(Some(1), false), (Some(1), false), (Some(2), true), (Some(3), true)]);
        assert_eq!(writes[0].name, writes[3].name);
        assert_ne!(writes[0].name, writes[1].name);
        let last = &writes[3].event;
        assert_eq!(last.first_timestamp.as_ref().unwrap().0.as_second(), 1);
        assert_eq!(last.last_timestamp.as_ref().unwrap().0.as_second(), 4);
    }

    #[test]
    fn many_that_differ_by_their_message_become_one() {
        let mut aggregator = Aggregator::new("kubelet", "node".into());
        let mut next = |message: &str, second| {
            let event = aggregator.next(occurrence(message, second)).event;
            format!("{} {}", event.count.unwrap(), event.message.unwrap())
        };
        for index in 1..SIMILAR {
            assert_eq!(next(&index.to_string(), 1), format!("1 {index}"));
        }
        assert_eq!(next("1", 2), "2 1", "no new message");
        assert_eq!(next("10", 3), "1 (combined from similar events): 10");
        assert_eq!(next("11", 4), "2 (combined from similar events): 11");
        assert_eq!(next("12", 605), "1 12", "ten minutes later they are told one by one again");
    }

    #[test]
    fn memory_is_bounded() {
        let mut aggregator = Aggregator::new("kubelet", "node".into());
        let of = |pod: usize| {
            let name = Some(format!("pod-{pod}"));
            let object = ObjectReference { name, ..ObjectReference::default() };
            Occurrence { object, ..occurrence("a", 1) }
        };
        for pod in 0..=REMEMBERED {
            aggregator.next(of(pod));
        }
        assert_eq!((aggregator.known.len(), aggregator.similar.len()), (REMEMBERED, REMEMBERED));
        assert!(!aggregator.next(of(0)).repeated, "the oldest is forgotten");
        assert!(aggregator.next(of(7)).repeated);
    }

    #[test]
    fn reads_as_kubelet_writes_it() {
        let mut aggregator = Aggregator::new("kubelet", "anchor-node".into());
        let event = aggregator.next(occurrence("gone", 1)).event;
        insta::assert_snapshot!(
            serde_json::to_string(&event).unwrap(),
            @r#"{"apiVersion":"v1","kind":"Event","count":1,"firstTimestamp":"1970-01-01T00:00:01Z","involvedObject":{"name":"web"},"lastTimestamp":"1970-01-01T00:00:01Z","message":"gone","metadata":{"name":"web.3b9aca00","namespace":"default"},"reason":"BackOff","reportingComponent":"kubelet","reportingInstance":"anchor-node","source":{"component":"kubelet","host":"anchor-node"},"type":"Warning"}"#
        );
    }
}
