//! Watches the Pods of a run and tells what happens to them, to the end and the verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Event as CoreEvent, Node, Pod};
use kube::api::{Api, DeleteParams};
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::eviction::{self, Eviction, EvictionVerdict};
use memlet_diagnosis::evidence::{KillRecord, Victim};
use memlet_diagnosis::{Verdict, render, summary};
use memlet_node::Record;
use memlet_policy::cgroup_names::{CgroupNames, container_in};
use memlet_policy::qos::QosClass;
use memlet_policy::quantity::Quantity;
use memlet_policy::{logs, resources};
use tokio::sync::broadcast;

use super::changes::{Change, Instance, Told};
use super::create::refusal;
use super::ending::{self, Patience};
use super::news::News;
use super::output::Stream;
use super::result::{self, Document, Ended, Ends};
use super::signals::{Signals, Urgency};
use super::story::Story;
use super::telling::{Telling, Unread};
use super::troubles::Troubles;
use super::usage::{Gauge, Usage};
use crate::cli::{Format, RunArguments};
use crate::embedded::Embedded;
use crate::exit::Exit;
use crate::say;

/// An eviction is recorded when all of its Pod has ended, which may be a moment after the Pod says so.
const UNTIL_RECORDED: Duration = Duration::from_secs(2);

/// A run under way.
pub(crate) struct Run<'a> {
    node: &'a Embedded,
    patience: Patience,
    cgroups: CgroupNames,
    node_memory: Bytes,
    /// The Pods by uid, as last seen, in the order of the manifests.
    order: Vec<String>,
    pods: BTreeMap<String, Pod>,
    /// Those that have been deleted.
    gone: BTreeSet<String>,
    told: BTreeMap<String, Told>,
    troubles: Troubles,
    telling: Telling,
    ends: Ends,
}

impl<'a> Run<'a> {
    /// Nothing is expected yet.
    pub(crate) async fn new(arguments: &RunArguments, node: &'a Embedded) -> Result<Self> {
        let patience =
            if arguments.keep_running { Patience::Endless } else { Patience::Restarts(arguments.restarts) };
        let node_memory = node_memory(node, &arguments.node_name).await?;
        let text = arguments.output == Format::Text;
        // Bars only where somebody sees them move.
        let usage = (text && io::stdout().is_terminal()).then(|| Usage::new(node_memory));
        let story = Story::new(if text { Stream::Out } else { Stream::Err }, usage)?;
        Ok(Self {
            node,
            patience,
            cgroups: CgroupNames::new(arguments.cgroup_driver.into()).below(arguments.cgroup_root.as_str()),
            node_memory,
            order: Vec::new(),
            pods: BTreeMap::new(),
            gone: BTreeSet::new(),
            told: BTreeMap::new(),
            troubles: Troubles::default(),
            telling: Telling::new(story)?,
            ends: Ends::new(),
        })
    }

    /// One more Pod, just created.
    pub(crate) fn expect(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.order.push(uid.clone());
        self.pods.insert(uid, pod);
    }

    /// All Pods are known.
    pub(crate) fn begin_story(&mut self) {
        let names: Vec<_> = self.pods.values().flat_map(|pod| self.names(pod)).collect();
        self.telling.set_names(&names);
    }

    /// The containers' names as shown: with their Pod's where there are several Pods.
    fn names(&self, pod: &Pod) -> Vec<String> {
        let spec = pod.spec.as_ref();
        let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        inits.iter().chain(containers).map(|container| self.name(pod, &container.name)).collect()
    }

    fn name(&self, pod: &Pod, container: &str) -> String {
        match (self.pods.len(), &pod.metadata.name) {
            (2.., Some(pod)) => format!("{pod}/{container}"),
            _ => container.to_owned(),
        }
    }

    /// Tells what happens until the run is over. A signal ends the Pods in order, a second one at once.
    pub(crate) async fn watch(
        &mut self,
        news: &mut (impl futures::Stream<Item = Result<News>> + Unpin),
        kills: &mut broadcast::Receiver<KillRecord>,
        signals: &mut Signals,
    ) -> Result<Urgency> {
        let mut urgency = Urgency::NotAsked;
        loop {
            tokio::select! {
                biased;
                exit = signals.next() => {
                    urgency = urgency.asked(exit);
                    if let Urgency::AskedTwice(_) = urgency {
                        return Ok(urgency);
                    }
                    self.telling.alarm("ending the Pods; once more kills them".to_owned());
                    self.delete_all().await?;
                }
                new = news.next() => {
                    match new.ok_or_else(|| anyhow!("the watch on the Pods ended"))?? {
                        News::Seen(pod) => self.see(*pod),
                        News::Gone(pod) => self.miss(*pod),
                        News::Told(event) => self.hear(&event),
                    }
                    if self.is_over(urgency != Urgency::NotAsked) {
                        return Ok(urgency);
                    }
                }
                Ok(kill) = kills.recv() => self.tell_child(&kill),
                told = self.telling.go_on() => told?,
            }
        }
    }

    /// Once Pods are being deleted, only their going counts.
    fn is_over(&self, deleting: bool) -> bool {
        self.pods.iter().all(|(uid, pod)| {
            let stuck = self.patience != Patience::Endless && self.troubles.of(pod).is_some();
            self.gone.contains(uid) || (!deleting && (stuck || ending::is_over(pod, self.patience)))
        })
    }

    /// An Event tells what no status does: why a Pod cannot even begin.
    fn hear(&mut self, event: &CoreEvent) {
        if let Some((uid, trouble)) = self.troubles.note(event)
            && let Some(pod) = self.pods.get(&uid)
        {
            self.telling.alarm(format!("pod {} waits: {trouble}", pod_name(pod)));
        }
    }

    /// Deletes all Pods, each with its own grace.
    async fn delete_all(&self) -> Result<()> {
        for pod in self.pods.values() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let pods = Api::<Pod>::namespaced(self.node.client.clone(), namespace);
            match pods.delete(pod_name(pod), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(
                    deleted
                        .map_err(refusal)
                        .with_context(|| format!("pod {} cannot be deleted", pod_name(pod)))?,
                ),
            }
        }
        Ok(())
    }

    /// A deleted Pod's last words are in the object that the deletion shows.
    fn miss(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.see(pod);
        self.gone.insert(uid);
    }

    fn see(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if !self.pods.contains_key(&uid) {
            return;
        }
        let changes = self.told.entry(uid.clone()).or_default().changes(&pod);
        for change in changes {
            self.tell(&pod, change);
        }
        self.pods.insert(uid, pod);
    }

    fn tell(&mut self, pod: &Pod, change: Change) {
        match change {
            Change::Unschedulable { message } => {
                self.telling.alarm(format!("pod {} is Pending: {message}", pod_name(pod)));
            }
            Change::Refused { message, .. } if ending::is_evicted(pod) => {
                self.telling.alarm(format!("pod {} was evicted: {}", pod_name(pod), message.trim_end()));
            }
            Change::Refused { reason, message } => {
                self.telling.alarm(format!("pod {} was refused: {reason}: {message}", pod_name(pod)));
            }
            Change::Waiting { container, reason, message } => {
                let name = self.name(pod, &container);
                self.telling.alarm(format!("{name} waits: {reason}: {message}"));
            }
            Change::Started { instance, id } => self.started(pod, &instance, &id),
            Change::Ended { instance, id, state } => {
                let name = self.name(pod, &instance.container);
                self.telling.log_ended(instance.clone());
                self.telling.output().hide(instance.clone());
                let reason = state.reason.clone().unwrap_or_default();
                let text = format!("{name} ended: {reason}, exit code {}{}", state.exit_code, lasted(&state));
                if state.exit_code == 0 {
                    self.telling.note(text);
                } else {
                    self.telling.alarm(text);
                }
                let end = self.node.first().agent.container_end(&id);
                let number = self.ends.len();
                self.ends.insert(instance, Ended { state, end, number });
            }
        }
    }

    fn started(&mut self, pod: &Pod, instance: &Instance, id: &str) {
        let name = self.name(pod, &instance.container);
        let again = match instance.restarts {
            0 => String::new(),
            count => format!(" again (restart {count})"),
        };
        let container = result::find_container(pod, &instance.container);
        let limit = container.and_then(|(container, _)| resources::memory_limit(container));
        let within =
            limit.map_or_else(|| "no memory limit".to_owned(), |limit| format!("memory limit {limit}"));
        self.telling.note(format!("{name} started{again}, {within}"));
        let path = logs::container_log_path(
            &self.node.first().pod_logs,
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.name.as_deref().unwrap_or_default(),
            &instance.pod,
            &instance.container,
            u32::try_from(instance.restarts).unwrap_or(0),
        );
        if let Err(error) = self.telling.follow(instance.clone(), name.clone(), &path) {
            self.telling.alarm(format!("{name}: its log cannot be followed: {error}"));
        }
        let gauge = container_cgroup(&self.cgroups, pod, id)
            .and_then(|cgroup| Gauge::new(instance.clone(), &self.node.hierarchy, &cgroup, limit));
        if let Some(gauge) = gauge {
            self.telling.output().show(gauge);
        }
    }

    /// A killed main process shows as its container's end; a killed child would show nowhere.
    fn tell_child(&mut self, kill: &KillRecord) {
        if kill.victim != Victim::Main {
            self.telling.logs_so_far();
            self.telling.alarm(format!("OOM kill: {}", summary(kill)));
        }
    }

    /// The verdicts and the exit code.
    pub(crate) async fn finish(
        mut self,
        format: Format,
        signals: &mut Signals,
        urgency: Urgency,
    ) -> Result<Exit> {
        self.telling.logs_so_far();
        let kills = self.node.first().agent.kill_records();
        let pods: Vec<Pod> = self.order.iter().filter_map(|uid| self.pods.get(uid).cloned()).collect();
        let verdicts = result::verdicts(&pods, &self.ends, &kills, self.node_memory);
        let records = self.evictions(&pods).await;
        let evictions: Vec<_> = records.iter().map(eviction::explain).collect();
        if format == Format::Text {
            self.tell_verdicts(&result::beside_evictions(&verdicts, &records), &evictions);
        } else {
            let document = Document {
                pods: &pods,
                kill_records: &kills,
                verdicts: &verdicts,
                evictions: &evictions,
                eviction_records: &records,
            };
            self.telling.beside(Stream::Out, document.to_text(format)?);
        }
        let mut exit = ending::exit(&pods);
        for pod in &pods {
            if ending::is_evicted(pod) {
                continue;
            }
            let failure = ending::failure_to_run(pod).or_else(|| self.troubles.of(pod).cloned());
            if let Some(failure) = failure {
                let what = if ending::has_run(pod) { "failed" } else { "did not run" };
                let error = anyhow!("pod {} {what}: {failure}", pod_name(pod));
                self.telling.beside(Stream::Err, say::error_text(&error));
                exit = if exit == Exit::DONE { Exit::MISTAKE } else { exit };
            }
        }
        self.last_words(format, signals, urgency).await.map(|signalled| signalled.unwrap_or(exit))
    }

    /// Lets all be told that waits to be, and answers the exit code of the signal that came, if one did.
    pub(crate) async fn last_words(
        &mut self,
        format: Format,
        signals: &mut Signals,
        urgency: Urgency,
    ) -> Result<Option<Exit>> {
        self.telling.output().close();
        match self.telling.finish(signals, urgency).await {
            Ok(urgency) => match self.telling.output().failure() {
                // A reader that went away (`| head`) has heard enough of a story; of a document it needs all.
                Some(error) if format != Format::Text || error.kind() != ErrorKind::BrokenPipe => {
                    Err(error).context("cannot write to standard output")
                }
                _ => Ok(urgency.exit()),
            },
            Err(Unread { exit }) => {
                say::warning("nobody reads what is said: the rest of it is left out");
                Ok(Some(exit))
            }
        }
    }

    /// What was recorded of these Pods' evictions, oldest first.
    async fn evictions(&self, pods: &[Pod]) -> Vec<Eviction> {
        let evicted: Vec<_> = pods
            .iter()
            .filter(|pod| ending::is_evicted(pod))
            .filter_map(|pod| pod.metadata.uid.as_deref())
            .collect();
        let deadline = Instant::now() + UNTIL_RECORDED;
        loop {
            let records = self.node.first().agent.records().all();
            let evictions = records.into_iter().filter_map(|record| match record {
                Record::Eviction(eviction) if evicted.contains(&eviction.pod.uid.as_str()) => Some(*eviction),
                _ => None,
            });
            let evictions: Vec<_> = evictions.collect();
            let ended = evictions.iter().filter(|eviction| eviction.course.ended.is_some()).count();
            if ended >= evicted.len() || Instant::now() > deadline {
                return evictions;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn tell_verdicts(&mut self, verdicts: &[&Verdict], evictions: &[EvictionVerdict]) {
        let style = render::Style {
            colour: say::colour(&io::stdout()),
            width: rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)),
            with_pod: self.pods.len() > 1,
        };
        for verdict in verdicts {
            self.telling.text(format!("\n{}", render::text(verdict, style)));
        }
        for verdict in evictions {
            self.telling.text(format!("\n{}", eviction::text(verdict, style)));
        }
    }
}

fn pod_name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// ` after 16.5s`, where both times are known.
fn lasted(state: &ContainerStateTerminated) -> String {
    match (&state.started_at, &state.finished_at) {
        (Some(from), Some(to)) => {
            format!(" after {:.0}s", (to.0 - from.0).total(jiff::Unit::Second).unwrap_or(0.0))
        }
        _ => String::new(),
    }
}

/// The memory that all Pods share: the node's capacity, as its API object says.
async fn node_memory(node: &Embedded, name: &str) -> Result<Bytes> {
    let object =
        Api::<Node>::all(node.client.clone()).get(name).await.context("the node is not registered")?;
    let capacity = object.status.and_then(|status| status.capacity).unwrap_or_default();
    let memory =
        capacity.get(resources::MEMORY).ok_or_else(|| anyhow!("the node does not say its memory"))?;
    Ok(Quantity::try_from(memory).context("the node's memory is no quantity")?.bytes())
}

/// The cgroup of a container, by kubelet's names; `None` for an id that is not this runtime's.
fn container_cgroup(cgroups: &CgroupNames, pod: &Pod, api_id: &str) -> Option<CgroupPath> {
    let id = api_id.split_once("://")?.1;
    let uid = pod.metadata.uid.as_deref()?;
    container_in(&cgroups.pod(QosClass::of_pod(pod), uid), id).parse().ok()
}
