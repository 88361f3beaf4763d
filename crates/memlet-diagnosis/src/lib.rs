//! Evidence of a container's end in, verdict and remedy out. Pure: no clock, no file, no kernel.
//!
//! [`judge()`] decides how a container ended from what the witnesses said ([`Evidence`]) and never from the
//! reason somebody else wrote down; [`render::text`] shows the [`Verdict`] to people, its `serde` form to
//! programs, and [`summary()`] is the one line that an Event carries. [`log`] explains a report of the OOM killer of which
//! nothing else is known, as it stands in a log.
//!
//! The rule above all others: a container is `OOMKilled` when the kernel's OOM killer killed its main process,
//! and only then. What cannot be known is said to be unknown.
#![forbid(unsafe_code)]

mod amount; // how amounts are written: for reading, for manifests
mod causer; // who filled the node
mod charged; // what kind of memory was charged
pub mod eviction; // a Pod that its node evicted
pub mod evidence; // what the witnesses said
mod facts; // the statements that carry a verdict
mod judge; // who ended it, and at whose limit
mod kills; // which kill did what to the container
pub mod log; // a report out of any log, explained by itself
mod remedy; // which number to change, and to what
pub mod render; // a verdict as text
mod signal; // signals by name
mod summary; // one kill in one line
mod tasks; // the kernel's table of processes
mod verdict; // what a verdict holds

pub use causer::{cause, causer};
pub use evidence::Evidence;
pub use facts::level_phrase;
pub use judge::judge;
pub use remedy::{friendly, suggested_limit};
pub use summary::summary;
pub use verdict::{ChildKill, Fact, NewNumbers, Outcome, Patch, Remedy, Topic, Verdict};
