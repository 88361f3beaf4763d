//! All Pods of the node: a worker for each, told what the API and the files of static Pods say.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, future, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_pods};
use memlet_policy::phase::is_over;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::adoption::{Found, Known, Left, orphan};
use crate::node::Node;
use crate::static_pods::{Change, mirror};
use crate::sweep;
use crate::worker::{Adoption, End, Wish, Worker};

/// How the agent's work ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stop {
    /// With its Pods, each given at most so much.
    Shutdown(Duration),
    /// Without them.
    Detach,
}

/// What a worker is about when the agent detaches is done within this, or left to the next run.
const DETACH_PATIENCE: Duration = Duration::from_secs(5);

/// What an earlier run left of static Pods waits so long for their files to be read.
const FILE_PATIENCE: Duration = Duration::from_mins(1);

/// A worker, by what it is told and when it is done.
struct Handle {
    wish: watch::Sender<Wish>,
    task: JoinHandle<()>,
    /// Its Pod is a file's, not the API's.
    is_static: bool,
}

/// All Pods of the node, by uid.
pub(crate) struct Workers {
    node: Arc<Node>,
    by_uid: HashMap<String, Handle>,
    /// Seen in the list that is being read again.
    listed: Option<Vec<String>>,
    /// What an earlier run left, until the first list has been read, and the Pods in that.
    left: Option<(Left, Vec<Pod>)>,
    /// What an earlier run left of static Pods, until their files have been read, and what is known of it all.
    left_static: (HashMap<String, Found>, Arc<Known>),
    /// What belongs to no Pod, on its way out.
    orphans: Vec<JoinHandle<()>>,
    /// Where news of mirrors go.
    mirrors: mpsc::UnboundedSender<Pod>,
    /// What is to become of static Pods.
    files: mpsc::UnboundedReceiver<Change>,
}

impl Workers {
    pub(crate) fn new(
        node: Arc<Node>,
        left: Left,
        mirrors: mpsc::UnboundedSender<Pod>,
        files: mpsc::UnboundedReceiver<Change>,
    ) -> Self {
        Self {
            node,
            by_uid: HashMap::new(),
            listed: None,
            left: Some((left, Vec::new())),
            left_static: Default::default(),
            orphans: Vec::new(),
            mirrors,
            files,
        }
    }

    /// Follows the API until asked to stop, with the Pods or without.
    pub(crate) async fn run(mut self, mut stop: oneshot::Receiver<Stop>) {
        let pods: Api<Pod> = Api::all(self.node.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.node.config.name));
        let events = watch_pods(pods, config).default_backoff();
        pin_mut!(events);
        let patience = tokio::time::sleep(FILE_PATIENCE);
        pin_mut!(patience);
        let stop = loop {
            tokio::select! {
                () = &mut patience, if !patience.is_elapsed() => self.give_up_static(),
                event = events.next() => match event {
                    Some(Ok(event)) => self.take(event),
                    Some(Err(error)) => tracing::warn!("the watch of Pods was interrupted: {error}"),
                    // The stream never ends by itself.
                    None => break Stop::Shutdown(Duration::ZERO),
                },
                // What an earlier run left of them is known when the first list has been read.
                Some(change) = self.files.recv(), if self.left.is_none() => self.take_file(change),
                stop = &mut stop => match stop {
                    Ok(stop) => break stop,
                    // The agent was dropped; so will this task be.
                    Err(_) => return,
                },
            }
        };
        match stop {
            Stop::Shutdown(grace) => self.end_all(grace).await,
            Stop::Detach => self.let_go().await,
        }
    }

    async fn end_all(mut self, grace: Duration) {
        // Nobody told what was left to whom: it ends all the same.
        if let Some((left, pods)) = self.left.take() {
            self.adopt(left, pods);
        }
        self.give_up_static();
        for handle in self.by_uid.values() {
            handle.wish.send_modify(|wish| wish.end = wish.end.or(Some(End::Shutdown(grace))));
        }
        // A worker ends by itself where its wish is dropped, so they are kept until all have ended.
        let (_wishes, tasks): (Vec<_>, Vec<_>) =
            self.by_uid.into_values().map(|handle| (handle.wish, handle.task)).unzip();
        for ended in future::join_all(tasks.into_iter().chain(self.orphans)).await {
            if let Err(error) = ended {
                tracing::error!("a Pod's worker failed: {error}");
            }
        }
    }

    /// Lets every worker finish what it is about, and no more.
    async fn let_go(self) {
        let (wishes, tasks): (Vec<_>, Vec<_>) =
            self.by_uid.into_values().map(|handle| (handle.wish, handle.task)).unzip();
        drop(wishes);
        let aborts: Vec<_> = tasks.iter().chain(&self.orphans).map(JoinHandle::abort_handle).collect();
        // What belongs to nobody is found again by the next run.
        self.orphans.iter().for_each(JoinHandle::abort);
        if tokio::time::timeout(DETACH_PATIENCE, future::join_all(tasks)).await.is_err() {
            tracing::warn!("some Pods are left in the middle of a change; the next run finds them so");
        }
        aborts.iter().for_each(tokio::task::AbortHandle::abort);
    }

    fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => {
                self.listed = Some(Vec::new());
                if let Some((_, pods)) = &mut self.left {
                    // The first list was broken off.
                    pods.clear();
                }
            }
            Event::InitApply(pod) => {
                if let (Some(listed), Some(uid)) = (&mut self.listed, &pod.metadata.uid) {
                    listed.push(uid.clone());
                }
                match &mut self.left {
                    Some((_, pods)) => pods.push(pod),
                    None => self.apply(pod, None),
                }
            }
            Event::InitDone => {
                if let Some((left, pods)) = self.left.take() {
                    self.adopt(left, pods);
                }
                let listed = self.listed.take().unwrap_or_default();
                let is_gone = |(uid, handle): &(&String, &Handle)| !handle.is_static && !listed.contains(uid);
                let gone: Vec<String> =
                    self.by_uid.iter().filter(is_gone).map(|(uid, _)| uid.clone()).collect();
                for uid in gone {
                    self.remove(&uid, None);
                }
            }
            Event::Apply(pod) => self.apply(pod, None),
            Event::Delete(pod) if mirror::is_mirror(&pod) => self.pass_on(pod),
            Event::Delete(pod) => {
                if let Some(uid) = pod.metadata.uid.clone() {
                    self.remove(&uid, Some(pod));
                }
            }
        }
    }

    /// The first list: who was here before goes on, and has its share before anybody new; what has no Pod ends.
    fn adopt(&mut self, left: Left, pods: Vec<Pod>) {
        let Left { pods: mut found, known } = left;
        let known = Arc::new(known);
        let uid_here = |pod: &Pod| mirror::mirrored(pod).cloned().or(pod.metadata.uid.clone());
        let here: HashSet<String> = pods.iter().filter_map(uid_here).chain(found.keys().cloned()).collect();
        let config = self.node.config.clone();
        tokio::task::spawn_blocking(move || sweep::remove_logs_of_others(&config, &here));
        let began = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        let (before, new): (Vec<_>, Vec<_>) = pods.into_iter().partition(began);
        let mut without_pod: Vec<String> = sweep::known_pods(&self.node.config);
        let mut of_files = HashMap::new();
        let mut adopt = |pod: Pod, readmit: bool| {
            if let Some(uid) = mirror::mirrored(&pod).cloned() {
                // The Pod itself goes on when its file has been read.
                without_pod.retain(|known| *known != uid);
                if let Some(found) = found.remove(&uid) {
                    of_files.insert(uid, found);
                }
                return self.pass_on(pod);
            }
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            without_pod.retain(|known| *known != uid);
            let found = found.remove(&uid);
            if found.is_none() && (is_over(&pod) || !readmit) {
                return self.apply(pod, None);
            }
            if !is_over(&pod) {
                self.node.ledger.readmit(&pod);
            }
            let found = found.unwrap_or_default();
            self.apply(pod, Some(Adoption { found, known: known.clone() }));
        };
        for pod in before {
            adopt(pod, true);
        }
        // Of these there is only what was made before the first status was written.
        for pod in new {
            adopt(pod, false);
        }
        for uid in without_pod {
            found.entry(uid).or_default();
        }
        // A static Pod whose mirror somebody removed may have its file all the same.
        of_files.extend(found.extract_if(|_, found| found.is_static));
        self.left_static = (of_files, known);
        for (uid, found) in found {
            self.end_orphan(uid, found);
        }
        self.node.protect_tiers();
    }

    fn apply(&mut self, pod: Pod, adoption: Option<Adoption>) {
        self.by_uid.retain(|_, handle| !handle.task.is_finished());
        if mirror::is_mirror(&pod) {
            return self.pass_on(pod);
        }
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if let Some(handle) = self.by_uid.get(&uid) {
            handle.wish.send_modify(|wish| wish.pod = Arc::new(pod));
            return;
        }
        if is_over(&pod) && adoption.is_none() && pod.metadata.deletion_timestamp.is_none() {
            // It ended before this agent began; nothing of it is here.
            return;
        }
        self.start(uid, Wish { pod: Arc::new(pod), end: None, mirror: None }, adoption, None);
    }

    /// Starts a worker; `over` is dropped when it has ended.
    fn start(
        &mut self,
        uid: String,
        wish: Wish,
        adoption: Option<Adoption>,
        over: Option<oneshot::Sender<()>>,
    ) {
        let is_static = wish.mirror.is_some();
        let (wish, wishes) = watch::channel(wish);
        match Worker::new(self.node.clone(), wishes, adoption) {
            Ok(worker) => {
                let task = match over {
                    None => tokio::spawn(worker.run()),
                    Some(over) => tokio::spawn(async move {
                        Box::pin(worker.run()).await;
                        drop(over);
                    }),
                };
                self.by_uid.insert(uid, Handle { wish, task, is_static });
            }
            Err(error) => tracing::error!("cannot run a Pod: {error}"),
        }
    }

    /// A mirror is not run: it is shown to those who know its file.
    fn pass_on(&self, mirror: Pod) {
        // They end only with the agent.
        let _ = self.mirrors.send(mirror);
    }

    fn take_file(&mut self, change: Change) {
        self.by_uid.retain(|_, handle| !handle.task.is_finished());
        match change {
            Change::Run { pod, mirror, over } => self.run_static(*pod, *mirror, over),
            Change::Mirrored { uid, mirror } => {
                if let Some(handle) = self.by_uid.get(&uid) {
                    handle.wish.send_modify(|wish| wish.mirror = Some(Arc::new(*mirror)));
                }
            }
            Change::End { uid } => self.remove(&uid, None),
            Change::Gone { uid } => {
                if let Some(found) = self.left_static.0.remove(&uid) {
                    self.end_orphan(uid, found);
                }
            }
        }
    }

    fn run_static(&mut self, mut pod: Pod, mirror: Pod, over: oneshot::Sender<()>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let found = self.left_static.0.remove(&uid);
        // What an earlier run left of another state of the file.
        let is_other = |found: &Found| {
            Some(&found.name) == pod.metadata.name.as_ref()
                && Some(&found.namespace) == pod.metadata.namespace.as_ref()
        };
        let others: Vec<_> = self.left_static.0.extract_if(|_, found| is_other(found)).collect();
        for (uid, found) in others {
            self.end_orphan(uid, found);
        }
        let adoption = found.map(|found| {
            pod.status.clone_from(&mirror.status);
            if !is_over(&pod) {
                self.node.ledger.readmit(&pod);
            }
            Adoption { found, known: self.left_static.1.clone() }
        });
        let wish = Wish { pod: Arc::new(pod), end: None, mirror: Some(Arc::new(mirror)) };
        self.start(uid, wish, adoption, Some(over));
    }

    /// By now the files have been read: what is left of static Pods has none.
    fn give_up_static(&mut self) {
        // What is known of it all is large.
        let (left, _) = std::mem::take(&mut self.left_static);
        for (uid, found) in left {
            self.end_orphan(uid, found);
        }
    }

    fn end_orphan(&mut self, uid: String, found: Found) {
        self.orphans.push(tokio::spawn(orphan::end(self.node.clone(), uid, found)));
    }

    /// The object is gone: its last form tells the grace.
    fn remove(&mut self, uid: &str, last: Option<Pod>) {
        if let Some(handle) = self.by_uid.get(uid) {
            handle.wish.send_modify(|wish| {
                wish.end = wish.end.or(Some(End::Removed));
                if let Some(last) = last {
                    wish.pod = Arc::new(last);
                }
            });
        }
    }
}
