//! Watches the Pods of a run and tells what happens to them, to the end and the verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, anyhow};
use futures::{Stream, StreamExt};
use indicatif::MultiProgress;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Event as CoreEvent, Node, Pod};
use kube::api::{Api, DeleteParams};
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{KillRecord, Victim};
use memlet_diagnosis::{Verdict, render, summary};
use memlet_policy::cgroup_names::{CgroupNames, Driver, Runtime};
use memlet_policy::qos::QosClass;
use memlet_policy::quantity::Quantity;
use memlet_policy::{logs, resources};
use tokio::sync::broadcast;

use super::changes::{Change, Instance, Told};
use super::ending::{self, Patience};
use super::follow::Followers;
use super::news::News;
use super::result::{self, Document, Ended, Ends};
use super::signals::Signals;
use super::story::Story;
use super::troubles::Troubles;
use super::usage::{self, Usage};
use crate::cli::{Format, RunArguments};
use crate::embedded::Embedded;
use crate::exit::Exit;
use crate::say;

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
    followers: Followers,
    ends: Ends,
    usage: Option<Usage>,
    story: Story,
}

impl<'a> Run<'a> {
    /// Nothing is expected yet.
    pub(crate) async fn new(arguments: &RunArguments, node: &'a Embedded) -> Result<Self> {
        let patience =
            if arguments.keep_running { Patience::Endless } else { Patience::Restarts(arguments.restarts) };
        Ok(Self {
            node,
            patience,
            cgroups: CgroupNames::new(Driver::Cgroupfs).below(arguments.cgroup_root.as_str()),
            node_memory: node_memory(node, &arguments.node_name).await?,
            order: Vec::new(),
            pods: BTreeMap::new(),
            gone: BTreeSet::new(),
            told: BTreeMap::new(),
            troubles: Troubles::default(),
            followers: Followers::new().context("log files cannot be followed")?,
            ends: Ends::new(),
            usage: None,
            story: Story::new(true, None, &[]),
        })
    }

    /// One more Pod, just created.
    pub(crate) fn expect(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.order.push(uid.clone());
        self.pods.insert(uid, pod);
    }

    /// Bars only where somebody sees them move.
    pub(crate) fn begin_story(&mut self, format: Format) {
        let bars = (format == Format::Text && io::stdout().is_terminal()).then(MultiProgress::new);
        self.usage = bars.clone().map(|bars| Usage::new(bars, self.node_memory));
        let names: Vec<_> = self.pods.values().flat_map(|pod| self.names(pod)).collect();
        self.story = Story::new(format != Format::Text, bars, &names);
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

    /// Tells what happens until the run is over. A signal ends the Pods in order, a second one at once; the
    /// first one's exit code is answered.
    pub(crate) async fn watch(
        &mut self,
        news: &mut (impl Stream<Item = Result<News>> + Unpin),
        kills: &mut broadcast::Receiver<KillRecord>,
        signals: &mut Signals,
    ) -> Result<Option<Exit>> {
        let mut drawing = tokio::time::interval(usage::INTERVAL);
        let mut signalled = None;
        loop {
            tokio::select! {
                biased;
                exit = signals.next() => {
                    if signalled.replace(exit).is_some() {
                        return Ok(signalled);
                    }
                    self.story.alarm("ending the Pods; once more kills them");
                    self.delete_all().await?;
                }
                new = news.next() => {
                    match new.ok_or_else(|| anyhow!("the watch on the Pods ended"))?? {
                        News::Seen(pod) => self.see(*pod),
                        News::Gone(pod) => self.miss(*pod),
                        News::Told(event) => self.hear(&event),
                    }
                    if self.is_over(signalled.is_some()) {
                        return Ok(signalled);
                    }
                }
                Ok(kill) = kills.recv() => self.tell_child(&kill),
                grown = self.followers.grown() => {
                    grown.context("log files cannot be followed")?;
                    self.tell_logs();
                }
                _ = drawing.tick(), if self.usage.is_some() => {
                    if let Some(usage) = &self.usage {
                        usage.draw();
                    }
                }
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
            self.story.alarm(&format!("pod {} waits: {trouble}", pod_name(pod)));
        }
    }

    /// Deletes all Pods, each with its own grace.
    async fn delete_all(&self) -> Result<()> {
        for pod in self.pods.values() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let pods = Api::<Pod>::namespaced(self.node.client.clone(), namespace);
            match pods.delete(pod_name(pod), &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(deleted.with_context(|| format!("pod {} cannot be deleted", pod_name(pod)))?),
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
                self.story.alarm(&format!("pod {} is Pending: {message}", pod_name(pod)));
            }
            Change::Refused { reason, message } => {
                self.story.alarm(&format!("pod {} was refused: {reason}: {message}", pod_name(pod)));
            }
            Change::Waiting { container, reason, message } => {
                let name = self.name(pod, &container);
                self.story.alarm(&format!("{name} waits: {reason}: {message}"));
            }
            Change::Started { instance, id } => self.started(pod, &instance, &id),
            Change::Ended { instance, id, state } => {
                let lines = self.followers.finish(&instance);
                let name = self.name(pod, &instance.container);
                self.story.log(&name, &lines);
                if let Some(usage) = &mut self.usage {
                    usage.hide(&instance);
                }
                let reason = state.reason.clone().unwrap_or_default();
                let text = format!("{name} ended: {reason}, exit code {}{}", state.exit_code, lasted(&state));
                if state.exit_code == 0 {
                    self.story.note(&text);
                } else {
                    self.story.alarm(&text);
                }
                let end = self.node.agent.container_end(&id);
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
        self.story.note(&format!("{name} started{again}, {within}"));
        let path = logs::container_log_path(
            &self.node.pod_logs,
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            pod.metadata.name.as_deref().unwrap_or_default(),
            &instance.pod,
            &instance.container,
            u32::try_from(instance.restarts).unwrap_or(0),
        );
        if let Err(error) = self.followers.follow(instance.clone(), &path) {
            self.story.alarm(&format!("{name}: its log cannot be followed: {error}"));
        }
        self.tell_logs();
        if let (Some(usage), Some(cgroup)) = (&mut self.usage, container_cgroup(&self.cgroups, pod, id)) {
            usage.show(instance, &self.node.hierarchy, &cgroup, limit);
        }
    }

    fn tell_logs(&mut self) {
        for (instance, lines) in self.followers.read_all() {
            if let Some(pod) = self.pods.get(&instance.pod) {
                let name = self.name(pod, &instance.container);
                self.story.log(&name, &lines);
            }
        }
    }

    /// A killed main process shows as its container's end; a killed child would show nowhere.
    fn tell_child(&mut self, kill: &KillRecord) {
        if kill.victim != Victim::Main {
            self.tell_logs();
            self.story.alarm(&format!("OOM kill: {}", summary(kill)));
        }
    }

    /// The verdicts and the exit code.
    pub(crate) fn finish(mut self, format: Format, signalled: Option<Exit>) -> Result<Exit> {
        let kills = self.node.agent.kill_records();
        let pods: Vec<Pod> = self.order.iter().filter_map(|uid| self.pods.get(uid).cloned()).collect();
        let verdicts = result::verdicts(&pods, &self.ends, &kills, self.node_memory);
        if format == Format::Text {
            self.tell_verdicts(&verdicts);
        } else {
            let document = Document { pods: &pods, kill_records: &kills, verdicts: &verdicts };
            let text = document.to_text(format)?;
            io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
        }
        let mut exit = ending::exit(&pods);
        for pod in &pods {
            let failure = ending::failure_to_run(pod).or_else(|| self.troubles.of(pod).cloned());
            if let Some(failure) = failure {
                say::error(&anyhow!("pod {} did not run: {failure}", pod_name(pod)));
                exit = if exit == Exit::DONE { Exit::MISTAKE } else { exit };
            }
        }
        Ok(signalled.unwrap_or(exit))
    }

    fn tell_verdicts(&mut self, verdicts: &[Verdict]) {
        let style = render::Style {
            colour: say::colour(&io::stdout()),
            width: rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)),
            with_pod: self.pods.len() > 1,
        };
        for verdict in verdicts {
            self.story.write(&format!("\n{}", render::text(verdict, style)));
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
    cgroups.container(QosClass::of_pod(pod), uid, Runtime::Containerd, id).parse().ok()
}
