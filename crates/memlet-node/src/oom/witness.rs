//! The kernel's log as it is written, each report handed to the worker whose container it is about.
//!
//! One reader for the node. It follows by itself, and [`Witness::drain`] lets a worker that has just seen a
//! container die read what is there at once, instead of waiting its turn.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use memlet_diagnosis::evidence::Missing;
use memlet_oomlog::kmsg::{Entry, Reader, Start};
use memlet_oomlog::{Assembler, Event, Report, ReportId, Scope};
use memlet_policy::cgroup_names;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::readable;
use crate::cgroups::NodeCgroups;
use crate::worker::News;

/// Reports kept per container; a container that loses more children than this keeps the latest.
const REPORTS: usize = 64;
/// Reports kept that no known container claims: the container may be in the making.
const UNCLAIMED: usize = 32;
/// How long somebody may still claim one, who has a container in the making.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// Hears the kernel's log. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Witness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    desk: Mutex<Desk>,
    news: Notify,
    deaf: Option<Missing>,
}

#[derive(Debug, Default)]
struct Desk {
    reader: Option<Reader>,
    assembler: Assembler,
    containers: HashMap<String, Interested>,
    unclaimed: VecDeque<Unclaimed>,
    /// Whose kills are ours; `None` where nothing is heard.
    cgroups: Option<NodeCgroups>,
}

/// A report that concerns this node and is about no known container.
#[derive(Debug)]
struct Unclaimed {
    report: Report,
    /// Nobody claims it any more.
    lost_at: Instant,
}

#[derive(Debug)]
struct Interested {
    worker: mpsc::UnboundedSender<News>,
    reports: VecDeque<Report>,
}

impl Witness {
    /// Opens the log at its end, so that nothing from before is taken for ours, and follows it in a task. Where an earlier
    /// run left containers (or sandboxes), what the kernel still remembers of them is read before, to be had by
    /// [`Witness::register`].
    /// Where that cannot be done the witness is deaf, and says why.
    pub(crate) fn start(listen: bool, left: &[String], cgroups: NodeCgroups) -> Self {
        if !listen {
            return Self::deaf("switched off by configuration".to_owned());
        }
        let start = if left.is_empty() { Start::Now } else { Start::Oldest };
        let opened = Reader::open(start).map_err(|error| error.to_string()).and_then(|reader| {
            let waiting = readable::watch(&reader).map_err(|error| error.to_string())?;
            Ok((reader, waiting))
        });
        match opened {
            Ok((reader, waiting)) => {
                let mut desk = Desk { reader: Some(reader), cgroups: Some(cgroups), ..Desk::default() };
                desk.remember(left);
                let witness =
                    Self(Arc::new(Inner { desk: Mutex::new(desk), news: Notify::new(), deaf: None }));
                tokio::spawn(follow(Arc::downgrade(&witness.0), waiting));
                witness
            }
            Err(reason) => Self::deaf(reason),
        }
    }

    fn deaf(reason: String) -> Self {
        let missing = Missing { source: memlet_oomlog::kmsg::PATH.to_owned(), reason };
        tracing::warn!("OOM kills are told by counters only: {}", missing.reason);
        Self(Arc::new(Inner { desk: Mutex::default(), news: Notify::new(), deaf: Some(missing) }))
    }

    /// Why the log cannot be heard; `None` where it is.
    pub(crate) fn missing(&self) -> Option<&Missing> {
        self.0.deaf.as_ref()
    }

    /// From now on `worker` hears of kills in this container; those just before are handed over at once.
    pub(crate) fn register(&self, container_id: &str, worker: mpsc::UnboundedSender<News>) {
        let mut desk = self.0.desk();
        let before = desk.containers.remove(container_id).map(|known| known.reports).unwrap_or_default();
        for _ in &before {
            // A worker that has ended no longer cares.
            let _ = worker.send(News::KernelReport(container_id.to_owned()));
        }
        desk.containers.insert(container_id.to_owned(), Interested { worker, reports: before });
        let (ours, others) = std::mem::take(&mut desk.unclaimed)
            .into_iter()
            .partition(|unclaimed| container_of(&unclaimed.report).as_deref() == Some(container_id));
        desk.unclaimed = others;
        let ours: VecDeque<Unclaimed> = ours;
        for unclaimed in ours {
            desk.deliver(unclaimed.report);
        }
    }

    /// Nobody asks for this container any more.
    pub(crate) fn forget(&self, container_id: &str) {
        self.0.desk().containers.remove(container_id);
    }

    /// Everything the log has said about this container.
    pub(crate) fn reports(&self, container_id: &str) -> Vec<Report> {
        let desk = self.0.desk();
        desk.containers
            .get(container_id)
            .map(|known| known.reports.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Takes the reports about a Pod that no container claims: a process killed while its container was being
    /// made.
    pub(crate) fn take_unclaimed(&self, pod_uid: &str) -> Vec<Report> {
        let mut desk = self.0.desk();
        let (ours, others): (VecDeque<_>, _) =
            std::mem::take(&mut desk.unclaimed).into_iter().partition(|it| {
                let identity = it.report.task_memcg.as_deref().and_then(cgroup_names::decode);
                identity.and_then(|identity| identity.pod_uid).as_deref() == Some(pod_uid)
            });
        desk.unclaimed = others;
        ours.into_iter().map(|unclaimed| unclaimed.report).collect()
    }

    /// Waits for a report that concerns this node and that nobody has claimed while there was time.
    pub(crate) async fn next_lost(&self) -> Report {
        loop {
            let heard = self.0.news.notified();
            let next = {
                let mut desk = self.0.desk();
                let now = Instant::now();
                if let Some(index) = desk.unclaimed.iter().position(|unclaimed| unclaimed.lost_at <= now)
                    && let Some(unclaimed) = desk.unclaimed.remove(index)
                {
                    return unclaimed.report;
                }
                desk.unclaimed.iter().map(|unclaimed| unclaimed.lost_at).min()
            };
            match next {
                // Timed out or not: it is looked at again.
                Some(next) => drop(tokio::time::timeout_at(next, heard).await),
                None => heard.await,
            }
        }
    }

    /// Reads what the log holds now. Never blocks.
    pub(crate) fn drain(&self) {
        self.0.drain();
    }

    /// Waits for a report that the counter has announced, at most `patience`; whether more was heard than
    /// `known` reports.
    pub(crate) async fn wait_for_more(&self, container_id: &str, known: usize, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let heard = self.0.news.notified();
            self.drain();
            if self.reports(container_id).len() > known {
                return true;
            }
            if tokio::time::timeout_at(deadline, heard).await.is_err() {
                return false;
            }
        }
    }
}

impl Inner {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // What is in it stays usable whatever happened to the one who held it.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self) {
        if self.desk().read() {
            self.news.notify_waiters();
        }
    }
}

impl Desk {
    /// Reads the log from before for these containers, who have nobody yet to be told.
    fn remember(&mut self, containers: &[String]) {
        if containers.is_empty() {
            return;
        }
        for id in containers {
            let (worker, _) = mpsc::unbounded_channel();
            self.containers.insert(id.clone(), Interested { worker, reports: VecDeque::new() });
        }
        self.read();
        // Others' and of long ago.
        self.unclaimed.clear();
    }

    /// Whether a report came or grew.
    fn read(&mut self) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        loop {
            match reader.read_entry() {
                Ok(Some(Entry::Record(record))) => self.assembler.push(&record),
                Ok(Some(Entry::Lost(records))) => self.assembler.lost(records.unwrap_or(0)),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!("cannot read the kernel's log any more: {error}");
                    self.reader = None;
                    break;
                }
            }
        }
        // First all events: what the kernel adds to a report (the rest of a group kill) belongs to it already.
        let mut finished: Vec<Report> = Vec::new();
        let mut heard = false;
        while let Some(event) = self.assembler.next_event() {
            heard = true;
            match event {
                Event::Finished(report) => finished.push(*report),
                Event::Amended { report: id, amendment, line } => {
                    match finished.iter_mut().find(|report| report.id == id) {
                        Some(report) => report.amend(amendment, line),
                        None => self.amend(id, amendment, line),
                    }
                }
            }
        }
        for report in finished {
            self.deliver(report);
        }
        heard
    }

    fn amend(&mut self, id: ReportId, amendment: memlet_oomlog::Amendment, line: u64) {
        let kept = self.containers.values_mut().flat_map(|known| known.reports.iter_mut());
        let unclaimed = self.unclaimed.iter_mut().map(|unclaimed| &mut unclaimed.report);
        if let Some(report) = kept.chain(unclaimed).find(|report| report.id == id) {
            report.amend(amendment, line);
        }
    }

    fn deliver(&mut self, report: Report) {
        let id = container_of(&report);
        let Some((id, known)) = id.and_then(|id| self.containers.get_mut(&id).map(|known| (id, known)))
        else {
            return self.keep_unclaimed(report);
        };
        push_bounded(&mut known.reports, report, REPORTS);
        // A worker that has ended no longer cares.
        let _ = known.worker.send(News::KernelReport(id));
    }

    /// Of others' kills only the machine's end concerns this node, and nobody is waited for to claim it.
    fn keep_unclaimed(&mut self, report: Report) {
        let Some(cgroups) = &self.cgroups else { return };
        let now = Instant::now();
        let lost_at = if report.task_memcg.as_deref().and_then(|path| cgroups.own(path)).is_some() {
            now + CLAIM_PATIENCE
        } else if report.scope == Some(Scope::System) {
            now
        } else {
            return;
        };
        push_bounded(&mut self.unclaimed, Unclaimed { report, lost_at }, UNCLAIMED);
    }
}

fn push_bounded<T>(kept: &mut VecDeque<T>, one: T, most: usize) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(one);
}

/// The container that lost a process, by the cgroup in the report.
fn container_of(report: &Report) -> Option<String> {
    cgroup_names::decode(report.task_memcg.as_deref()?)?.container_id
}

/// Reads whenever the kernel writes, for as long as there is a witness.
async fn follow(witness: std::sync::Weak<Inner>, log: AsyncFd<OwnedFd>) {
    while let Ok(mut ready) = log.readable().await {
        // Cleared before reading: what is written meanwhile makes it readable again.
        ready.clear_ready();
        let Some(witness) = witness.upgrade() else { return };
        witness.drain();
    }
}
