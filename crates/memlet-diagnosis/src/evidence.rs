//! What is known of a container's life and death, before anybody judges it.
//!
//! Each type here is a statement by one witness: the runtime's supervisor ([`ContainerEnd`]), the kernel's
//! log (`memlet_oomlog::Report`), the memory cgroup ([`Snapshot`]). Whatever a witness could not say is
//! `None`, and [`KillRecord::missing`] says why.

use std::fmt;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_cgroup::Snapshot;
use memlet_oomlog::Report;
use memlet_policy::oom_kill_mode::{ANNOTATION, OomKillMode};
use memlet_policy::oom_score_adj::Explanation;
use serde::{Deserialize, Serialize};

/// How a process ended, as `wait(2)` told its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code as shells and Kubernetes show it: 128 + the signal's number for a death by signal.
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }

    /// Whether SIGKILL ended it: the only signal the OOM killer sends, though others send it too.
    pub const fn is_sigkill(self) -> bool {
        matches!(self, Self::Signal(9))
    }
}

/// The `oom_score_adj` that the rules give a container, and what the kernel let it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OomScoreAdj {
    /// By Kubernetes' rules.
    pub wanted: i32,
    /// Read back from `/proc/<pid>/oom_score_adj`; differs where root lacks `CAP_SYS_RESOURCE` and so may
    /// not lower the value.
    pub actual: Option<i32>,
}

/// The runtime's statement about a container: where it lives and, once it has ended, how.
///
/// The embedded runtime gives it as JSON under the key [`ContainerStatement::INFO_KEY`] of CRI's verbose
/// container status; another runtime does not, and then the node agent says what it could not learn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatement {
    /// The main process, as seen from the runtime's pid namespace; kept after its death.
    pub pid: Option<i32>,
    /// The container's memory cgroup, a path within the hierarchy.
    pub cgroup_path: String,
    /// The score adjustment wanted and had.
    pub oom_score_adj: Option<OomScoreAdj>,
    /// How it ended.
    pub end: Option<ContainerEnd>,
}

impl ContainerStatement {
    /// The key in `ContainerStatusResponse.info` that holds this statement.
    pub const INFO_KEY: &str = "memlet.dev/container";
}

/// The end of a container's main process, with what its cgroups said before they were removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerEnd {
    /// What `wait(2)` told.
    pub exit: Exit,
    /// When the supervisor learnt of it.
    pub at: Timestamp,
    /// The container's own memory cgroup, read at once after the death; its `oom_kills` counts from the
    /// container's start, since each container has a cgroup of its own.
    pub container: Option<Snapshot>,
    /// The Pod's memory cgroup at the same moment.
    pub pod: Option<Snapshot>,
    /// Whose loss the runtime itself killed it for, because the Pod wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_along: Option<TakenAlong>,
}

/// The OOM killer killed a process, and the runtime what the Pod wants to die with it
/// ([`memlet_policy::oom_kill_mode`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenAlong {
    /// The container that lost a process, by its name in the Pod: this one or another.
    pub container: String,
    /// What that container takes along.
    pub mode: OomKillMode,
}

impl fmt::Display for TakenAlong {
    /// Why, as the end of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, mode } = self;
        write!(
            f,
            "the kernel's OOM killer killed a process in container {container}, and {ANNOTATION} is {mode}"
        )
    }
}

/// Whose limit ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// The container's own limit.
    Container,
    /// The Pod's limit: the sum of its containers', shared with the sandbox and siblings.
    Pod,
    /// The cgroup of a `QoS` class, which normally has no limit.
    QosClass,
    /// The limit of all Pods together (`/kubepods`): the node's memory less its reservations.
    NodeAllocatable,
    /// No limit at all: the machine had no memory left, or those of its memory nodes that a cpuset or a memory policy
    /// allows.
    Machine,
    /// Any other cgroup, such as one above or beside those that this node made.
    Other,
}

impl Level {
    /// The word for it in tables.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::QosClass => "QoS class",
            Self::NodeAllocatable => "node allocatable",
            Self::Machine => "machine",
            Self::Other => "other cgroup",
        }
    }
}

/// The container that a kill happened in; for [`Victim::Sandbox`] the Pod's sandbox, as a container called `pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The Pod's namespace.
    pub namespace: String,
    /// The Pod's name.
    pub pod: String,
    /// The Pod's uid.
    pub pod_uid: String,
    /// The container's name in the Pod's spec.
    pub container: String,
    /// The runtime's id of this instance of the container.
    pub container_id: String,
    /// How often the container had restarted before this instance.
    pub restart_count: i32,
}

/// Whether the process that the OOM killer chose was the container's main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Victim {
    /// The main process, and with it the container.
    Main,
    /// Another process of the container; the main process lived on.
    Child,
    /// The kernel killed a process of this container, but which one is not known.
    Unknown,
    /// The Pod's pause process, and with it the sandbox and all containers of the Pod. No container's main process
    /// was killed by the OOM killer: the runtime ends them.
    Sandbox,
}

/// A witness that could not be heard, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// What was asked: `/dev/kmsg`, `memory.oom_control` …
    pub source: String,
    /// Why it gave nothing, and what to do about it.
    pub reason: String,
}

/// What a Pod held when the limit of all Pods together ran out, or the machine's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMemory {
    /// The Pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub pod_uid: String,
    /// What it requests in all.
    pub request: Bytes,
    /// The limit of its cgroup, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Bytes>,
    /// What it held, without the page cache that is dropped first.
    pub working_set: Bytes,
    /// Its process that holds most, by the kernel's table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest: Option<NamedProcess>,
}

impl PodMemory {
    /// What it held above its request: nobody had set that aside for it.
    pub fn above_request(&self) -> Bytes {
        self.working_set.saturating_sub(self.request)
    }
}

/// A process by number and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedProcess {
    /// As the kernel's log has it.
    pub pid: i32,
    /// Its name.
    pub comm: String,
}

/// Everything known about one kill by the kernel's OOM killer: the supervisor's statement and the kernel's
/// report, joined by cgroup path and pid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KillRecord {
    /// When the node learnt of the kill.
    pub at: Timestamp,
    /// The container that lost a process.
    pub subject: Subject,
    /// Whether it was the main process.
    pub victim: Victim,
    /// Whose limit ran out; `None` when the kernel's report could not be had.
    pub level: Option<Level>,
    /// The kernel's report.
    pub report: Option<Report>,
    /// The container's memory cgroup: at its end, or for a killed child just after the kill.
    pub container_memory: Option<Snapshot>,
    /// The Pod's memory cgroup at the same moment.
    pub pod_memory: Option<Snapshot>,
    /// The container's score adjustment wanted and had.
    pub oom_score_adj: Option<OomScoreAdj>,
    /// Where no limit of its own Pod ran out: the other Pods that held most above their requests, largest first, read
    /// just after the kill.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbours: Vec<PodMemory>,
    /// Witnesses that could not be heard.
    pub missing: Vec<Missing>,
}

/// What a verdict is made from: one container's spec, end and kills.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The container judged.
    pub subject: Subject,
    /// Whether it is one of the Pod's `initContainers`.
    pub is_init: bool,
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos_class: String,
    /// The `oom_score_adj` that the rules give it, and why; `None` where they were not asked.
    pub score: Option<Explanation>,
    /// The container's memory request in the spec, after defaulting.
    pub request: Option<Bytes>,
    /// The container's memory limit in the spec.
    pub limit: Option<Bytes>,
    /// The memory limit of the Pod's cgroup, where it has one.
    pub pod_limit: Option<Bytes>,
    /// The memory this node gives to all Pods together.
    pub node_memory: Bytes,
    /// How the container ended; `None` while it runs.
    pub end: Option<ContainerEnd>,
    /// The reason in the Pod's status: `Completed`, `Error`, `OOMKilled`, `StartError` …
    pub reason: Option<String>,
    /// The message in the Pod's status.
    pub message: Option<String>,
    /// Whether standard output is a terminal (`tty: true`): then stdio does not hold lines back.
    pub tty: bool,
    /// Kills by the OOM killer in this container, and those of its Pod's sandbox, oldest first.
    pub kills: Vec<KillRecord>,
}
