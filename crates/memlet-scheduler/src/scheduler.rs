//! The loop: what changed, who waits, where to.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::time::Instant;

use crate::cluster::{Cluster, PodKey, is_waiting, key};
use crate::placement::{Placement, place};
use crate::report::{self, Outcome};

/// The name by which Pods ask for this scheduler, which is also their default.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// After a write that the API refused or lost.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Binds the Pods of a cluster to its nodes.
pub struct Scheduler {
    client: Client,
    cluster: Cluster,
    /// When to look at all waiting Pods again although nothing changed, because a write failed.
    retry_at: Option<Instant>,
}

/// Whom a change concerns.
enum Concerns {
    Nobody,
    One(PodKey),
    /// Room may have come free.
    AllWaiting,
}

impl Scheduler {
    /// A scheduler for the cluster of this client.
    pub fn new(client: Client) -> Self {
        Self { client, cluster: Cluster::default(), retry_at: None }
    }

    /// Runs until `shutdown` is done. Failures of the API are logged and tried again, never returned.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let pods = watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default());
        let nodes = watcher(Api::<Node>::all(self.client.clone()), watcher::Config::default());
        let mut pods = pin!(pods.default_backoff());
        let mut nodes = pin!(nodes.default_backoff());
        let mut shutdown = pin!(shutdown);
        loop {
            let retry_at = self.retry_at;
            let retry = async {
                match retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let concerns = tokio::select! {
                () = &mut shutdown => return,
                Some(event) = nodes.next() => self.see_node(event),
                Some(event) = pods.next() => self.see_pod(event),
                () = retry => {
                    self.retry_at = None;
                    Concerns::AllWaiting
                }
            };
            self.schedule(concerns).await;
        }
    }

    fn see_node(&mut self, event: Result<Event<Node>, watcher::Error>) -> Concerns {
        match event {
            Ok(event) => {
                let relisting = matches!(event, Event::Init | Event::InitApply(_));
                self.cluster.apply_node(event);
                if relisting { Concerns::Nobody } else { Concerns::AllWaiting }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch nodes");
                Concerns::Nobody
            }
        }
    }

    fn see_pod(&mut self, event: Result<Event<Pod>, watcher::Error>) -> Concerns {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "cannot watch pods");
                return Concerns::Nobody;
            }
        };
        let concerns = match &event {
            Event::Init | Event::InitApply(_) => Concerns::Nobody,
            Event::InitDone | Event::Delete(_) => Concerns::AllWaiting,
            Event::Apply(pod) => {
                let pod_key = key(pod);
                // What it waited for before is what it waits for now: the scheduler's own note need not be answered.
                let unchanged = self.cluster.pod(&pod_key).is_some_and(|known| known.spec == pod.spec);
                match (is_waiting(pod, SCHEDULER_NAME), unchanged) {
                    (true, true) => Concerns::Nobody,
                    (true, false) => Concerns::One(pod_key),
                    (false, _) => self.frees_room(pod),
                }
            }
        };
        self.cluster.apply_pod(event);
        concerns
    }

    /// A bound Pod that has just ended makes room; any other change of it makes none.
    fn frees_room(&self, pod: &Pod) -> Concerns {
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let had_ended = self.cluster.pod(&key(pod)).is_some_and(ended);
        if ended(pod) && !had_ended { Concerns::AllWaiting } else { Concerns::Nobody }
    }

    async fn schedule(&mut self, concerns: Concerns) {
        if !self.cluster.is_known() {
            return;
        }
        let waiting = match concerns {
            Concerns::Nobody => return,
            Concerns::One(pod) => vec![pod],
            Concerns::AllWaiting => self.cluster.waiting(SCHEDULER_NAME),
        };
        for pod in waiting {
            if let Err(error) = self.schedule_one(&pod).await {
                let (namespace, name) = &pod;
                tracing::warn!(%error, namespace, name, "cannot write a scheduling decision");
                // Gone or changed meanwhile: the watch will tell. Anything else is worth another try.
                if !matches!(&error, kube::Error::Api(status) if matches!(status.code, 404 | 409)) {
                    self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_AFTER);
                }
            }
        }
    }

    async fn schedule_one(&mut self, pod_key: &PodKey) -> Result<(), kube::Error> {
        let Some(pod) = self.cluster.pod(pod_key).cloned() else { return Ok(()) };
        let Some(spec) = &pod.spec else { return Ok(()) };
        match place(spec, self.cluster.nodes()) {
            Placement::On(node) => {
                report::bind(&self.client, &pod, &node).await?;
                self.cluster.assume(pod_key, &node);
                let (namespace, name) = pod_key;
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                report::record(&self.client, SCHEDULER_NAME, &pod, Outcome::Scheduled, &message);
            }
            Placement::Nowhere(message) => {
                if let Some(marked) = report::mark_unschedulable(&self.client, &pod, &message).await? {
                    self.cluster.remember(marked);
                    report::record(&self.client, SCHEDULER_NAME, &pod, Outcome::FailedScheduling, &message);
                }
            }
        }
        Ok(())
    }
}
