//! What a verdict holds. Its JSON is public: names stay, additions may come.

use std::fmt::Write as _;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Evidence;
use crate::amount::quantity;
use crate::evidence::{Level, Missing, Subject, Victim};

/// How one container ended, why, and what to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The container judged.
    pub subject: Subject,
    /// How it ended.
    pub outcome: Outcome,
    /// The outcome in one line, in Kubernetes' words, without the container's name.
    pub headline: String,
    /// What carries the outcome, in the order to read it.
    pub facts: Vec<Fact>,
    /// Kills in this container that did not end it, oldest first. Those of the Pod's sandbox, and of what was to
    /// become the container, are told among the facts.
    pub children: Vec<ChildKill>,
    /// What to change; `None` where memory is not the matter.
    pub remedy: Option<Remedy>,
    /// Witnesses that could not be heard.
    pub missing: Vec<Missing>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It has not ended.
    Running,
    /// It never ran.
    StartFailed {
        /// The reason in the Pod's status: `StartError`, `ErrImagePull` …
        reason: Option<String>,
        /// Its exit code, where something of it had started.
        code: Option<i32>,
    },
    /// It ended by itself with code 0.
    Completed,
    /// It ended by itself with another code.
    Failed {
        /// The code.
        code: i32,
    },
    /// The kernel's OOM killer killed its main process.
    OomKilled {
        /// Whose limit ran out, where that is known.
        level: Option<Level>,
    },
    /// A signal ended it that the OOM killer did not send.
    KilledByOther {
        /// The signal's number.
        signal: i32,
    },
    /// SIGKILL ended it, and the evidence does not tell whether the OOM killer sent it.
    KilledByUnknown {
        /// The signal's number.
        signal: i32,
    },
    /// It has ended, and nobody knows how.
    Unknown,
}

impl Outcome {
    /// The exit code as shells and Kubernetes show it; `None` while it runs, where nothing ran, and where it is not
    /// known.
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Running | Self::Unknown => None,
            Self::StartFailed { code, .. } => *code,
            Self::Completed => Some(0),
            Self::Failed { code } => Some(*code),
            Self::OomKilled { .. } => Some(128 + 9),
            Self::KilledByOther { signal } | Self::KilledByUnknown { signal } => Some(128 + *signal),
        }
    }
}

/// One statement that carries the outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// What it is about.
    pub topic: Topic,
    /// One or more sentences, in plain words.
    pub text: String,
}

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Topic {
    /// Why it did not start.
    Start,
    /// Which signal, and who may have sent it.
    Signal,
    /// What the Pod's status says where the evidence says otherwise.
    Status,
    /// Whose limit ran out, with the kernel's counters.
    Limit,
    /// Which process was killed and what it held.
    Killed,
    /// Why that process and no other.
    Chosen,
    /// Who else held memory there.
    Holders,
    /// What kind of memory was charged.
    Charged,
    /// How long processes waited for memory before.
    Stalled,
    /// Why no allocation failed.
    Malloc,
    /// Which lines of output are lost.
    Logs,
    /// What was available, and which threshold that is below.
    Short,
    /// Who used how much against its request.
    Used,
    /// What became of the page cache.
    Cache,
    /// What became of the time to end in order.
    Grace,
    /// How fast it went.
    Took,
}

impl Topic {
    /// The word that stands before the fact.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::Status => "status",
            Self::Limit => "limit",
            Self::Killed => "killed",
            Self::Chosen => "chosen",
            Self::Holders => "holders",
            Self::Charged => "charged",
            Self::Stalled => "stalled",
            Self::Malloc => "malloc",
            Self::Logs => "logs",
            Self::Short => "short",
            Self::Used => "used",
            Self::Cache => "cache",
            Self::Grace => "grace",
            Self::Took => "took",
        }
    }
}

/// A kill by the OOM killer that did not end the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildKill {
    /// When the node learnt of it.
    pub at: Timestamp,
    /// The process, where the kernel's report names it.
    pub pid: Option<i32>,
    /// Its name.
    pub name: Option<String>,
    /// Whether it is known to be a child.
    pub victim: Victim,
    /// Whose limit ran out.
    pub level: Option<Level>,
    /// The kill in one line.
    pub text: String,
}

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remedy {
    /// What, to how much, and why so much.
    pub text: String,
    /// The change ready to paste, where it is a number in a container's manifest.
    pub patch: Option<Patch>,
}

/// New numbers for a container's manifest, or for those of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// The container's name; of several, that of the one that matters most.
    pub container: String,
    /// `resources.requests.memory`; `None` leaves it as it is.
    pub request: Option<Bytes>,
    /// `resources.limits.memory`; `None` leaves it as it is.
    pub limit: Option<Bytes>,
    /// The numbers of further containers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<NewNumbers>,
    /// All of it as YAML: to be merged into the manifest, and what `kubectl patch --patch-file` takes.
    pub yaml: String,
}

impl Patch {
    pub(crate) fn new(evidence: &Evidence, request: Option<Bytes>, limit: Option<Bytes>) -> Self {
        Self::of(&evidence.subject.container, evidence.is_init, request, limit)
    }

    /// New numbers for a container of this name.
    pub fn of(container: &str, is_init: bool, request: Option<Bytes>, limit: Option<Bytes>) -> Self {
        let list = if is_init { "initContainers" } else { "containers" };
        let yaml = format!("spec:\n  {list}:\n{}", numbers_as_yaml(container, request, limit));
        Self { container: container.to_owned(), request, limit, further: Vec::new(), yaml }
    }

    /// With new numbers for one more container of the same list.
    #[must_use]
    pub(crate) fn and(mut self, container: &str, request: Option<Bytes>, limit: Option<Bytes>) -> Self {
        self.yaml.push_str(&numbers_as_yaml(container, request, limit));
        self.further.push(NewNumbers { container: container.to_owned(), request, limit });
        self
    }
}

/// New numbers for one further container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewNumbers {
    /// Its name.
    pub container: String,
    /// `resources.requests.memory`; `None` leaves it as it is.
    pub request: Option<Bytes>,
    /// `resources.limits.memory`; `None` leaves it as it is.
    pub limit: Option<Bytes>,
}

/// An entry of the list of containers.
fn numbers_as_yaml(container: &str, request: Option<Bytes>, limit: Option<Bytes>) -> String {
    let mut yaml = format!("  - name: {container}\n    resources:\n");
    for (key, amount) in [("requests", request), ("limits", limit)] {
        if let Some(amount) = amount {
            let _ = writeln!(yaml, "      {key}: {{memory: {}}}", quantity(amount));
        }
    }
    yaml
}
