//! `memlet run`: Pods from manifests to verdicts.
//!
//! The node lives in this process for the length of the run. What happens is learnt as any client learns it,
//! by a watch on the Pods; logs are read from the files that the supervisors write.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::{Stream, StreamExt};
use http::Request;
use indicatif::MultiProgress;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::watcher::{self, Event};
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{KillRecord, Victim};
use memlet_diagnosis::{Verdict, render, summary};
use memlet_policy::cgroup_names::{CgroupNames, Driver, Runtime};
use memlet_policy::qos::QosClass;
use memlet_policy::quantity::Quantity;
use memlet_policy::{logs, resources};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast;

use crate::cli::{Format, RunArguments};
use crate::embedded::{Embedded, EmbeddedSettings};
use crate::exit::Exit;
use crate::manifest::{self, Document};
use crate::run::changes::{Change, Instance, Told};
use crate::run::ending::{self, Patience};
use crate::run::follow::Followers;
use crate::run::result::{self, Ended, Ends};
use crate::run::story::Story;
use crate::run::usage::{self, Usage};
use crate::say;

/// Runs the Pods and answers as they did.
pub(crate) fn run(arguments: &RunArguments) -> Result<Exit> {
    let documents = manifest::read(&arguments.files)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the event loop cannot be started")?;
    runtime.block_on(session(arguments, &documents))
}

async fn session(arguments: &RunArguments, documents: &[Document]) -> Result<Exit> {
    let mut signals = Signals::new()?;
    let node = Embedded::start(&settings(arguments)).await?;
    let outcome = play(arguments, documents, &node, &mut signals).await;
    // Whatever happened: nothing is left behind.
    let stopped = node.stop(LAST_GRACE).await;
    let exit = outcome?;
    stopped.context("the run left something behind")?;
    Ok(exit)
}

/// What still runs when a run is over belongs to Pods that nobody waits for any more: other containers of a
/// Pod that has failed, or all of them after a second Ctrl-C.
const LAST_GRACE: Duration = Duration::ZERO;

fn settings(arguments: &RunArguments) -> EmbeddedSettings {
    EmbeddedSettings {
        name: arguments.node_name.clone(),
        memory: arguments.node_memory,
        cgroup_root: arguments.cgroup_root.clone(),
        run_folder: arguments.run_folder.clone(),
        data: arguments.place.data.clone(),
        kernel_log: !arguments.no_kernel_log,
        most_restarts: (!arguments.keep_running).then_some(arguments.restarts),
    }
}

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::INTERRUPTED,
            _ = self.terminate.recv() => Exit::TERMINATED,
        }
    }
}

async fn play(
    arguments: &RunArguments,
    documents: &[Document],
    node: &Embedded,
    signals: &mut Signals,
) -> Result<Exit> {
    let mut run = Run::new(arguments, node).await?;
    // Listening comes before the Pods do, so that nothing is missed.
    let mut kills = node.agent.kills();
    let pods = Api::<Pod>::all(node.client.clone());
    let mut events = pin!(watcher::watcher(pods, watcher::Config::default()));
    for document in documents {
        let pod = create(node, document).await?;
        run.expect(pod);
    }
    run.begin_story(arguments.output);
    let signalled = run.watch(&mut events, &mut kills, signals).await?;
    run.finish(arguments.output, signalled)
}

/// Creates a Pod as `kubectl create` does, strictly; warnings go to standard error.
async fn create(node: &Embedded, document: &Document) -> Result<Pod> {
    let namespace = document.object["metadata"]["namespace"].as_str().unwrap_or("default");
    ensure_namespace(node, namespace).await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods?fieldValidation=Strict&fieldManager=memlet-run");
    let body = serde_json::to_vec(&document.object).context("the Pod makes no JSON")?;
    let request = Request::post(path).header("content-type", "application/json").body(body.into())?;
    let answer = node.client.send(request).await.context("the API server does not answer")?;
    for warning in memlet_apiserver::warnings(answer.headers()) {
        say::warning(&format!("{}: {warning}", document.source));
    }
    let created = answer.status().is_success();
    let body = answer.into_body().collect_bytes().await.context("the API server's answer is cut")?;
    if created {
        return serde_json::from_slice(&body).context("the API server's answer is no Pod");
    }
    let status: kube::core::Status =
        serde_json::from_slice(&body).context("the API server's answer is no Status")?;
    bail!("{}: {}", document.source, status.message)
}

/// A run has no other way to make the namespace that a Pod names.
async fn ensure_namespace(node: &Embedded, name: &str) -> Result<()> {
    use k8s_openapi::api::core::v1::Namespace;

    let namespaces = Api::<Namespace>::all(node.client.clone());
    if namespaces.get_opt(name).await.context("the API server does not answer")?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Default::default()
    };
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .map(drop)
        .with_context(|| format!("namespace {name:?}"))
}

/// A run under way.
struct Run<'a> {
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
    followers: Followers,
    ends: Ends,
    usage: Option<Usage>,
    story: Story,
}

impl<'a> Run<'a> {
    async fn new(arguments: &RunArguments, node: &'a Embedded) -> Result<Self> {
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
            followers: Followers::new().context("log files cannot be followed")?,
            ends: Ends::new(),
            usage: None,
            story: Story::new(true, None, &[]),
        })
    }

    fn expect(&mut self, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.order.push(uid.clone());
        self.pods.insert(uid, pod);
    }

    /// Bars only where somebody sees them move.
    fn begin_story(&mut self, format: Format) {
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
    async fn watch(
        &mut self,
        events: &mut (impl Stream<Item = Result<Event<Pod>, watcher::Error>> + Unpin),
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
                event = events.next() => {
                    let event = event.ok_or_else(|| anyhow!("the watch on the Pods ended"))?;
                    match event.context("the watch on the Pods failed")? {
                        Event::Apply(pod) | Event::InitApply(pod) => self.see(pod),
                        Event::Delete(pod) => self.miss(pod),
                        Event::Init | Event::InitDone => {}
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
        self.pods
            .iter()
            .all(|(uid, pod)| self.gone.contains(uid) || (!deleting && ending::is_over(pod, self.patience)))
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
    fn finish(mut self, format: Format, signalled: Option<Exit>) -> Result<Exit> {
        let kills = self.node.agent.kill_records();
        let pods: Vec<Pod> = self.order.iter().filter_map(|uid| self.pods.get(uid).cloned()).collect();
        let verdicts = result::verdicts(&pods, &self.ends, &kills, self.node_memory);
        if format == Format::Text {
            self.tell_verdicts(&verdicts);
        } else {
            let document = result::Document { pods: &pods, kill_records: &kills, verdicts: &verdicts };
            let text = document.to_text(format)?;
            io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")?;
        }
        for pod in &pods {
            if let Some(failure) = ending::failure_to_run(pod) {
                say::error(&anyhow!("pod {} did not run: {failure}", pod_name(pod)));
            }
        }
        Ok(signalled.unwrap_or_else(|| ending::exit(&pods)))
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
fn lasted(state: &k8s_openapi::api::core::v1::ContainerStateTerminated) -> String {
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
