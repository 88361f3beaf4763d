//! Static Pods: those of a folder of manifests, which run as long as their file is there, whatever the API is asked.
//!
//! Each has a mirror in the API, by which it is seen. The mirror is made first, and its spec is what runs: so the Pod has
//! the API server's defaults, and what the API server refuses does not run. A file that cannot be used is told in an Event
//! on the node and in the log; the Pod of its last good state goes on.

pub(crate) mod manifest; // a file's Pod
pub(crate) mod mirror; // its object in the API

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{mpsc, oneshot};

use crate::events::Severity;
use crate::node::Node;
use manifest::ManifestError;

/// The folder is read again this often without any word of a change (`fileCheckFrequency`), and what failed is tried
/// again.
const READ_AGAIN: Duration = Duration::from_secs(20);
/// After a word of a change, so that several files put there at once are read at once.
const SETTLE: Duration = Duration::from_millis(50);

/// What the agent's workers are told.
#[derive(Debug)]
pub(crate) enum Change {
    /// Run this Pod; `over` is dropped when nothing is left of it.
    Run { pod: Box<Pod>, mirror: Box<Pod>, over: oneshot::Sender<()> },
    /// The Pod has a new mirror.
    Mirrored { uid: String, mirror: Box<Pod> },
    /// End it.
    End { uid: String },
    /// An earlier run may have left some of this Pod, whose file is gone.
    Gone { uid: String },
}

/// A Pod of a file.
struct Static {
    pod: Pod,
    /// The uid of its mirror.
    mirror: String,
    ending: bool,
}

/// The folder, and what became of its files.
pub(crate) struct StaticPods {
    node: Arc<Node>,
    /// The Node's uid.
    owner: String,
    folder: Option<PathBuf>,
    changes: mpsc::UnboundedSender<Change>,
    /// By file.
    running: HashMap<PathBuf, Static>,
    ending: FuturesUnordered<BoxFuture<'static, PathBuf>>,
    /// What was last told of a file.
    told: HashMap<PathBuf, String>,
}

impl StaticPods {
    pub(crate) fn new(node: Arc<Node>, owner: String, changes: mpsc::UnboundedSender<Change>) -> Self {
        let folder = node.config.static_pods.clone();
        Self {
            node,
            owner,
            folder,
            changes,
            running: HashMap::new(),
            ending: FuturesUnordered::new(),
            told: HashMap::new(),
        }
    }

    /// Follows the folder, and the mirrors that the API tells of; until the agent ends.
    pub(crate) async fn run(mut self, mut mirrors: mpsc::UnboundedReceiver<Pod>) {
        let mut watch = self.watch();
        let mut ticks = tokio::time::interval(READ_AGAIN);
        ticks.tick().await;
        // Before any mirror is looked at, so that none is taken for one without a file.
        Box::pin(self.reconcile()).await;
        loop {
            let changed = async {
                match &mut watch {
                    Some(events) => events.next().await.is_some(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => {
                    watch = watch.or_else(|| self.watch());
                    Box::pin(self.reconcile()).await;
                }
                changed = changed => {
                    if !changed {
                        watch = None;
                    }
                    tokio::time::sleep(SETTLE).await;
                    Box::pin(self.reconcile()).await;
                }
                Some(file) = self.ending.next(), if !self.ending.is_empty() => {
                    self.ended(&file).await;
                    Box::pin(self.reconcile()).await;
                }
                mirror = mirrors.recv() => match mirror {
                    Some(mirror) => self.look_at(mirror).await,
                    None => return,
                },
            }
        }
    }

    fn watch(&self) -> Option<EventStream<Vec<u8>>> {
        let folder = self.folder.as_ref()?;
        let watch = || -> io::Result<EventStream<Vec<u8>>> {
            let inotify = Inotify::init()?;
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::MOVED_TO
                | WatchMask::MOVED_FROM
                | WatchMask::DELETE
                | WatchMask::DELETE_SELF;
            inotify.watches().add(folder, mask)?;
            inotify.into_event_stream(vec![0; 4096])
        };
        // It is read now and then all the same; that it is missing is told there.
        watch().ok()
    }

    /// Brings what runs in line with what the folder holds.
    async fn reconcile(&mut self) {
        let Some(folder) = self.folder.clone() else { return };
        let node = self.node.config.name.clone();
        let read = tokio::task::spawn_blocking(move || read(&folder, &node)).await;
        let files = match read {
            Ok(Ok(files)) => files,
            Ok(Err(error)) => return self.tell(&self.folder.clone().unwrap_or_default(), error.to_string()),
            Err(error) => return tracing::error!("cannot read static Pods: {error}"),
        };
        let gone: Vec<PathBuf> =
            self.running.keys().filter(|file| !files.contains_key(*file)).cloned().collect();
        for file in gone {
            self.end(&file);
        }
        self.told.retain(|file, _| files.contains_key(file));
        for (file, pod) in files {
            match pod {
                Ok(pod) => self.run_file(&file, pod).await,
                Err(error) => self.tell(&file, error.to_string()),
            }
        }
    }

    async fn run_file(&mut self, file: &Path, pod: Pod) {
        if let Some(running) = self.running.get(file) {
            if running.pod.metadata.uid != pod.metadata.uid {
                self.end(file);
            } else if !running.ending {
                self.keep_mirror(file).await;
            }
            return;
        }
        let same_name = |other: &&PathBuf| names(&self.running[*other].pod) == names(&pod);
        if let Some(other) = self.running.keys().find(same_name) {
            let error = format!("{} has a Pod of the same name; give one of them another", other.display());
            return self.tell(file, error);
        }
        let mirror = match mirror::ensure(&self.node.client, &pod, &self.owner).await {
            Ok(mirror) => mirror,
            Err(error) => return self.tell(file, error.to_string()),
        };
        self.told.remove(file);
        let mut pod = Pod { spec: mirror.spec.clone(), ..pod };
        pod.metadata.generation = mirror.metadata.generation;
        let uid = mirror.metadata.uid.clone().unwrap_or_default();
        let (over, is_over) = oneshot::channel();
        self.running.insert(file.to_owned(), Static { pod: pod.clone(), mirror: uid, ending: false });
        let file = file.to_owned();
        // An error is the word that it is over.
        self.ending.push(is_over.map(|_| file).boxed());
        self.send(Change::Run { pod: Box::new(pod), mirror: Box::new(mirror), over });
    }

    fn end(&mut self, file: &Path) {
        let Some(running) = self.running.get_mut(file).filter(|running| !running.ending) else { return };
        running.ending = true;
        let uid = running.pod.metadata.uid.clone().unwrap_or_default();
        self.send(Change::End { uid });
    }

    /// Nothing is left of the Pod; so may its mirror go.
    async fn ended(&mut self, file: &Path) {
        let Some(over) = self.running.remove(file) else { return };
        if let Err(error) = mirror::delete(&self.node.client, &over.pod, &over.mirror).await {
            tracing::warn!("the mirror of a static Pod stays: {error}");
        }
    }

    /// Makes the mirror again where it is missing or not the right one.
    async fn keep_mirror(&mut self, file: &Path) {
        let Some(running) = self.running.get_mut(file) else { return };
        let mirror = match mirror::ensure(&self.node.client, &running.pod, &self.owner).await {
            Ok(mirror) => mirror,
            Err(error) => return tracing::warn!("a static Pod has no mirror: {error}"),
        };
        let uid = mirror.metadata.uid.clone().unwrap_or_default();
        if uid != running.mirror {
            running.mirror = uid;
            let uid = running.pod.metadata.uid.clone().unwrap_or_default();
            self.send(Change::Mirrored { uid, mirror: Box::new(mirror) });
        }
    }

    /// A mirror on this node was changed or deleted: by ourselves, or by somebody who cannot end a Pod so.
    async fn look_at(&mut self, mirror: Pod) {
        let of = |running: &Static| names(&running.pod) == names(&mirror);
        let file = self.running.iter().find(|(_, running)| of(running)).map(|(file, _)| file.clone());
        match file {
            Some(file) if !self.running[&file].ending => self.keep_mirror(&file).await,
            Some(_) => {}
            // Of a file that went while no agent ran.
            None => {
                if let Some(uid) = mirror::mirrored(&mirror).cloned() {
                    self.send(Change::Gone { uid });
                }
                let uid = mirror.metadata.uid.clone().unwrap_or_default();
                if let Err(error) = mirror::delete(&self.node.client, &mirror, &uid).await {
                    tracing::warn!("a mirror without a static Pod stays: {error}");
                }
            }
        }
    }

    fn send(&self, change: Change) {
        // The workers end only with the agent, and this task with it.
        let _ = self.changes.send(change);
    }

    /// Says once what is wrong with a file.
    fn tell(&mut self, file: &Path, error: String) {
        if self.told.get(file) == Some(&error) {
            return;
        }
        let text = format!("{}: {error}", file.display());
        tracing::warn!("static Pod {text}");
        self.node.tell(Severity::Warning, "InvalidStaticPod", text);
        self.told.insert(file.to_owned(), error);
    }
}

/// Namespace and name.
fn names(pod: &Pod) -> (Option<&str>, Option<&str>) {
    (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref())
}

/// The Pods of all manifests, in the order of their names.
fn read(folder: &Path, node: &str) -> Result<BTreeMap<PathBuf, Result<Pod, ManifestError>>, ManifestError> {
    let entries = std::fs::read_dir(folder).map_err(ManifestError::Read)?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(ManifestError::Read)?.path();
        if manifest::is_manifest(&path) {
            let pod = std::fs::read_to_string(&path).map_err(ManifestError::Read);
            let pod = pod.and_then(|text| manifest::pod(&text, &path, node));
            files.insert(path, pod);
        }
    }
    Ok(files)
}
