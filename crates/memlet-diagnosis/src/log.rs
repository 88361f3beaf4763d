//! A report of the OOM killer explained by itself: no Pod's status, no node, only what a kernel's log says.
//!
//! [`explain()`] turns one [`Report`] into an [`Explanation`]: at which [`Level`] memory ran out, what the cgroups are
//! to people ([`Place`]), the story as [`Statement`]s, and what to change. [`document`] holds the same as JSON,
//! [`text`] and [`markdown`] as pages, [`Summary`] what several reports have in common.
//!
//! What a log does not say is said to be missing. Verdicts on a container whose Pod is known are [`crate::judge()`]'s.

mod choice; // why that process
pub mod document; // the JSON document
mod level; // where memory ran out, and what it is to Kubernetes
pub mod markdown; // to paste into an issue
mod place; // what a cgroup's path is to people
mod reached; // which of a cgroup's limits ran out
mod remedy; // what to change
mod rows; // the table of processes
mod story; // the statements
mod summary; // several reports
pub mod text; // for a terminal

use memlet_oomlog::Report;
use serde::Serialize;

pub use crate::evidence::Level;
pub use choice::Verification;
pub use level::Kubernetes;
pub use place::{Place, PlaceKind};
pub use remedy::Advice;
pub use rows::{Row, rows};
pub use summary::{Group, Summary};

/// One report, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Where memory ran out; `None` where the report does not tell.
    pub level: Option<Level>,
    /// The cgroup whose limit was hit.
    pub place: Option<Place>,
    /// The cgroup in which the victim was.
    pub task_place: Option<Place>,
    /// What the victim's cgroup is to Kubernetes; `None` where it is none of kubelet's.
    pub kubernetes: Option<Kubernetes>,
    /// Whether the table of processes bears out the kernel's choice.
    pub verification: Verification,
    /// The story in one sentence.
    pub summary: String,
    /// The story, in the order to read it.
    pub facts: Vec<Statement>,
    /// What to change; `None` where nothing follows from the report.
    pub remedy: Option<Advice>,
}

/// One statement of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// What it is about.
    pub topic: Topic,
    /// One or more sentences, in plain words.
    pub text: String,
}

/// What a statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Topic {
    /// When and on which machine.
    When,
    /// Whose limit ran out, with the kernel's counters.
    Limit,
    /// Who asked for memory.
    Asked,
    /// What was killed, and what it held.
    Killed,
    /// How it ended where nothing was killed.
    Ended,
    /// Why that process and no other.
    Chosen,
    /// What kind of memory was charged.
    Charged,
    /// What the whole machine's memory was.
    Machine,
    /// Whether it came fast or slowly.
    Pace,
    /// What the log lacks.
    Missing,
}

impl Topic {
    /// The word that stands before the statement.
    pub const fn label(self) -> &'static str {
        match self {
            Self::When => "when",
            Self::Limit => "limit",
            Self::Asked => "asked",
            Self::Killed => "killed",
            Self::Ended => "ended",
            Self::Chosen => "chosen",
            Self::Charged => "charged",
            Self::Machine => "machine",
            Self::Pace => "pace",
            Self::Missing => "missing",
        }
    }
}

/// Explains one report.
///
/// ```
/// use memlet_diagnosis::log::{Level, explain};
/// use memlet_oomlog::{Collector, Record};
///
/// let mut collector = Collector::default();
/// for line in [
///     "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=/system.slice/db.service,\
///      task_memcg=/system.slice/db.service,task=db,pid=42,uid=0",
///     "Memory cgroup out of memory: Killed process 42 (db) total-vm:67880kB, anon-rss:65280kB, file-rss:988kB, \
///      shmem-rss:0kB, UID:0 pgtables:164kB oom_score_adj:0",
/// ] {
///     collector.push(&Record::of_text(line));
/// }
/// let explanation = explain(&collector.finish()[0]);
/// assert_eq!(explanation.level, Some(Level::Other));
/// assert_eq!(explanation.place.unwrap().name, "systemd unit db.service");
/// ```
pub fn explain(report: &Report) -> Explanation {
    let place = report.oom_memcg.as_deref().map(Place::of_path);
    let task_place = report.task_memcg.as_deref().map(Place::of_path);
    let level = level::of(report, place.as_ref());
    let scene = Scene { report, level, place: place.as_ref(), task_place: task_place.as_ref() };
    let summary = story::summary(scene);
    let verification = choice::verification(report);
    let facts = story::facts(scene, &verification);
    let remedy = remedy::of(scene);
    Explanation {
        level,
        kubernetes: Kubernetes::of(report),
        verification,
        summary,
        facts,
        remedy,
        place,
        task_place,
    }
}

/// A report with what was found out about it.
#[derive(Clone, Copy)]
struct Scene<'a> {
    report: &'a Report,
    level: Option<Level>,
    place: Option<&'a Place>,
    task_place: Option<&'a Place>,
}

/// The header names order −1: somebody asked for a kill by hand.
const BY_HAND: i32 = -1;

impl Scene<'_> {
    /// Whether somebody asked for it (`SysRq-F`), and memory need not have been short.
    fn is_by_hand(self) -> bool {
        self.report.order == Some(BY_HAND)
    }

    /// Whether a frame of the kernel's stack dump has one of these names.
    fn trace_has(self, names: &[&str]) -> bool {
        self.report.call_trace.iter().any(|line| names.iter().any(|name| line.contains(name)))
    }
}
