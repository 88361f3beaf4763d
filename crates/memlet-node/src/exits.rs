//! Learns from the runtime that a container changed, and tells the worker whose container it is.
//!
//! By CRI's event stream; a runtime without one is asked for its list each second. A lost stream is opened
//! again, and then every worker looks for itself, since nobody knows what was missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_cri::v1::{ContainerEventType, ContainerState};
use tokio::sync::{mpsc, oneshot};

use crate::cri::Cri;
use crate::worker::News;

/// How often a runtime without an event stream is asked.
const POLL: Duration = Duration::from_secs(1);
/// How long a lost stream rests before it is opened again.
const RECONNECT: Duration = Duration::from_millis(500);

/// Which worker wants to hear of which container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions(Arc<Mutex<HashMap<String, mpsc::UnboundedSender<News>>>>);

impl Subscriptions {
    pub(crate) fn add(&self, container_id: &str, worker: mpsc::UnboundedSender<News>) {
        self.lock().insert(container_id.to_owned(), worker);
    }

    pub(crate) fn remove(&self, container_id: &str) {
        self.lock().remove(container_id);
    }

    fn tell(&self, container_id: &str) {
        if let Some(worker) = self.lock().get(container_id) {
            // A worker that has ended no longer cares.
            let _ = worker.send(News::ContainerChanged(container_id.to_owned()));
        }
    }

    fn tell_all(&self) {
        let ids: Vec<String> = self.lock().keys().cloned().collect();
        for id in ids {
            self.tell(&id);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<News>>> {
        // A map of senders is whole at every moment, also after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the runtime for ever. `listening` is answered when no later change can be missed.
pub(crate) async fn follow(cri: Cri, subscriptions: Subscriptions, listening: oneshot::Sender<()>) {
    let mut listening = Some(listening);
    loop {
        match cri.container_events().await {
            Ok(mut stream) => {
                if let Some(listening) = listening.take() {
                    let _ = listening.send(());
                }
                subscriptions.tell_all();
                while let Ok(Some(event)) = stream.message().await {
                    if event.container_event_type() == ContainerEventType::ContainerStoppedEvent {
                        subscriptions.tell(&event.container_id);
                    }
                }
            }
            Err(error) if error.is_unimplemented() => {
                tracing::info!("the runtime has no event stream; asking it each second");
                if let Some(listening) = listening.take() {
                    let _ = listening.send(());
                }
                poll(&cri, &subscriptions).await;
            }
            Err(error) => tracing::warn!("cannot follow the runtime's events: {error}"),
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn poll(cri: &Cri, subscriptions: &Subscriptions) {
    loop {
        match cri.list_containers().await {
            Ok(containers) => {
                for container in containers.iter().filter(|c| c.state() == ContainerState::ContainerExited) {
                    subscriptions.tell(&container.id);
                }
            }
            Err(error) => tracing::warn!("cannot list the runtime's containers: {error}"),
        }
        tokio::time::sleep(POLL).await;
    }
}
