//! What the API tells of a run: its Pods and their Events, as one stream.

use anyhow::{Context, Result};
use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::{Event as CoreEvent, Pod};
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};

/// Something new.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A Pod as it is now.
    Seen(Box<Pod>),
    /// A Pod as it was when it was removed.
    Gone(Box<Pod>),
    /// An Event, new or counted anew.
    Told(Box<CoreEvent>),
}

/// Listens from now on, to all namespaces: the API lives for this run only.
pub(crate) fn listen(client: &kube::Client) -> impl Stream<Item = Result<News>> + use<> {
    let pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default());
    let pods = pods.filter_map(async |event| match event.context("the watch on the Pods failed") {
        Ok(Event::Apply(pod) | Event::InitApply(pod)) => Some(Ok(News::Seen(Box::new(pod)))),
        Ok(Event::Delete(pod)) => Some(Ok(News::Gone(Box::new(pod)))),
        Ok(Event::Init | Event::InitDone) => None,
        Err(error) => Some(Err(error)),
    });
    let events = watcher(Api::<CoreEvent>::all(client.clone()), watcher::Config::default());
    let events = events.filter_map(async |event| match event.context("the watch on the Events failed") {
        Ok(Event::Apply(event) | Event::InitApply(event)) => Some(Ok(News::Told(Box::new(event)))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    stream::select(pods, events)
}
