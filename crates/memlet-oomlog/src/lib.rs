//! The Linux OOM killer's reports, parsed from the kernel's log.
//!
//! When the kernel runs out of memory it kills a process and writes down what it did: who asked for memory,
//! whose limit was hit, what each process held, whom it chose. This crate turns those lines into a
//! [`Report`], says by the kernel's own formula why that process was chosen ([`Report::ranking`],
//! [`Report::choice`]), and stops there: pods, verdicts and remedies are other crates' business.
//!
//! It does no I/O, except [`kmsg`], the reader of `/dev/kmsg`. [`Record`]s are pushed into an [`Assembler`],
//! [`Event`]s come out: a report on the very line that ends it, and amendments for what the kernel adds later
//! (`memory.oom.group`, the reaper). Who reads a whole log and wants whole reports uses a [`Collector`].
//!
//! Only text of the kernel itself counts: a record that user space wrote to `/dev/kmsg` is never believed, and
//! process and cgroup names, which anyone may choose, are read so that they cannot pass for something else.
//!
//! ```
//! use memlet_oomlog::{Collector, Record};
//!
//! let mut collector = Collector::default();
//! collector.push(&Record::parse_kmsg(b"3,1859,3735899474,-;Memory cgroup out of memory: Killed process 42 (hog) \
//!     total-vm:67880kB, anon-rss:65280kB, file-rss:988kB, shmem-rss:0kB, UID:0 pgtables:164kB oom_score_adj:0\n")?);
//! let reports = collector.finish();
//! assert_eq!(reports[0].victims[0].pid, 42);
//! assert!(!reports[0].complete, "a kill line alone, as the kernel's rate limit leaves it");
//! # Ok::<(), memlet_oomlog::RecordError>(())
//! ```
#![forbid(unsafe_code)]

mod amount; // Pages, Limit, Usage
mod assembler; // records in, events out
mod badness; // why this process
mod charged; // what the memory was
mod collector; // events folded into whole reports
pub mod kmsg; // the reader of /dev/kmsg: the only I/O
pub mod line; // one line, understood alone
mod reader; // bytes of any log in, whole reports out
mod record; // one record of the kernel's log
mod report; // what a report holds
mod source; // what sources write around the kernel's text
mod time; // when a record was written
mod userspace; // kills by other hands

pub use amount::{Limit, Pages, Usage};
pub use assembler::{Assembler, Bounds, Event};
pub use badness::{Choice, Obstacle, Ranked};
pub use charged::Charged;
pub use collector::Collector;
pub use line::Line;
pub use reader::{Finding, LogReader, Statistics};
pub use record::{Level, Record, RecordError};
pub use report::{
    Amendment, Chosen, Constraint, Dropped, Ending, GfpMask, InvokedBy, MachineMemory, Pid, RawRange, Reaped,
    Report, ReportId, Scope, Scored, Slab, Task, Uid, Victim, Zone,
};
pub use time::{LogTime, Manner, WrittenTime};
pub use userspace::{Killer, UserspaceKill};
