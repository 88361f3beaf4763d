//! The loop: what changed, whose turn it is, where to.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::time::Instant;

use crate::cluster::{PodFacts, PodKey};
use crate::place::{Nowhere, Placement, Preemption, place, preempt, shortfall};
use crate::report::Nomination;
use crate::state::State;
use crate::writes::{self, Done, Unplaced, Writes, Written};

/// The name by which Pods ask for this scheduler, which is also their default.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// Writes that may be under way at once.
const MOST_WRITES: usize = 64;

/// Binds the Pods of a cluster to its nodes.
pub struct Scheduler {
    client: Client,
    state: State,
    writes: Writes,
}

impl Scheduler {
    /// A scheduler for the cluster of this client.
    pub fn new(client: Client) -> Self {
        Self { client, state: State::new(SCHEDULER_NAME), writes: Writes::new() }
    }

    /// Runs until `shutdown` is done. Failures of the API are logged and tried again, never returned.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let pods = watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default());
        let nodes = watcher(Api::<Node>::all(self.client.clone()), watcher::Config::default());
        let namespaces = watcher(Api::<Namespace>::all(self.client.clone()), watcher::Config::default());
        let mut pods = pin!(pods.default_backoff());
        let mut nodes = pin!(nodes.default_backoff());
        let mut namespaces = pin!(namespaces.default_backoff());
        let mut shutdown = pin!(shutdown);
        loop {
            let due = self.state.queue.next_due();
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Events come before decisions, so that these are made on what is known by then.
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(event) = next(&mut nodes, "nodes") => {
                    if let Some(event) = event { self.state.see_node(event); }
                }
                Some(event) = next(&mut namespaces, "namespaces") => {
                    if let Some(event) = event { self.state.see_namespace(event); }
                }
                Some(event) = next(&mut pods, "pods") => {
                    if let Some(event) = event { self.state.see_pod(event); }
                }
                Some(done) = self.writes.next(), if !self.writes.is_empty() => self.see_written(done),
                () = std::future::ready(()), if self.can_decide() => self.decide(),
                () = timer => {}
            }
            for pod in std::mem::take(&mut self.state.gated) {
                self.writes.push(Box::pin(writes::mark_gated(self.client.clone(), pod)));
            }
        }
    }

    fn can_decide(&self) -> bool {
        let has_turn = self.state.queue.has_ready(Instant::now());
        self.state.is_known() && self.writes.len() < MOST_WRITES && has_turn
    }

    /// Decides about the Pod whose turn it is.
    fn decide(&mut self) {
        let Some(key) = self.state.queue.pop(Instant::now()) else { return };
        let Some(waiting) = self.state.queue.get(&key) else { return };
        let (pod, facts) = (Arc::clone(&waiting.pod), Arc::clone(&waiting.facts));
        let State { cluster, start, .. } = &mut self.state;
        match place(cluster, &facts, start) {
            Placement::On(node) => {
                self.state.assume(&facts, &node);
                let bind = writes::bind(self.client.clone(), SCHEDULER_NAME, pod, node);
                self.writes.push(Box::pin(bind));
            }
            Placement::Nowhere(nowhere) => {
                let unplaced = self.unplaced(pod, &facts, &nowhere);
                let mark = writes::mark(self.client.clone(), SCHEDULER_NAME, unplaced);
                self.writes.push(Box::pin(mark));
            }
        }
    }

    /// What is to be said and done about a Pod that no node will take.
    fn unplaced(&mut self, pod: Arc<Pod>, facts: &Arc<PodFacts>, nowhere: &Nowhere) -> Unplaced {
        let cluster = &self.state.cluster;
        let words = |preemption: Option<&str>| shortfall(cluster, facts, nowhere, preemption);
        let preemption = preempt(cluster, facts, nowhere, self.state.start);
        let (message, nomination) = match &preemption {
            Preemption::Node { node, .. } => (words(None), Nomination::Set(node.to_string())),
            Preemption::Waits(why) => (words(Some(why)), Nomination::Keep),
            Preemption::Helpless(why) => (words(Some(why)), Nomination::Clear),
        };
        let (mut displaced, mut going, mut room) = (Vec::new(), Vec::new(), None);
        match preemption {
            Preemption::Node { node, victims } => {
                displaced = self.state.nominate(facts, &node);
                self.state.mark_victims(&victims, true);
                (going, room) = (victims, Some(node));
            }
            Preemption::Waits(_) => {}
            Preemption::Helpless(_) => self.state.withdraw(&facts.key),
        }
        Unplaced { pod, message, nomination, node: room, victims: going, displaced }
    }

    fn see_written(&mut self, done: Done) {
        let Done { key, result, victims } = done;
        let now = Instant::now();
        match result {
            Ok(Written::Bound) => self.state.queue.remove(&key),
            Ok(Written::Marked(marked)) => {
                if let Some(pod) = marked {
                    self.state.queue.remember(*pod);
                }
                self.park(&key, now, false);
            }
            Err(error) => {
                if writes::is_gone(&error) {
                    tracing::debug!(%error, pod = %key, "a scheduling decision came too late");
                } else {
                    tracing::warn!(%error, pod = %key, "cannot write a scheduling decision");
                }
                self.state.mark_victims(&victims, false);
                self.state.unassume(&key, now);
                // Where it changed or went meanwhile the watch tells. Anything else is worth another try.
                self.park(&key, now, true);
            }
        }
    }

    fn park(&mut self, key: &PodKey, now: Instant, retry: bool) {
        self.state.queue.park(key, now, retry, self.state.cluster.node_count() == 0);
    }
}

/// The next event of a watch; a failure is logged, and the watch goes on by itself.
async fn next<K: Send>(
    watch: &mut (impl Stream<Item = Result<Event<K>, watcher::Error>> + Unpin),
    what: &str,
) -> Option<Option<Event<K>>> {
    match watch.next().await? {
        Ok(event) => Some(Some(event)),
        Err(error) => {
            tracing::warn!(%error, "cannot watch {what}");
            Some(None)
        }
    }
}
