//! The memory controller of cgroup v1 and v2 behind one type.
//!
//! [`Hierarchy`] finds the controller on this machine; [`Cgroup`] is one group in it: make it, limit it, read it,
//! watch it, empty it, remove it. A [`Cgroup`] holds its directory open and reads relative to it, so a group that
//! is removed and made again under the same name is never taken for the old one.
//!
//! What the kernel does not say is `None`, never 0; "no limit" is [`Limit::Max`], never a large number.
//! Who should get which limit is not known here, and neither are containers or any orchestrator.
//!
//! ```no_run
//! use memlet_bytes::Bytes;
//! use memlet_cgroup::{Cgroup, Hierarchy, Limit};
//!
//! # fn main() -> memlet_cgroup::Result<()> {
//! let group = Cgroup::create(&Hierarchy::detect()?, &"/example/one".parse()?)?;
//! group.set_limit(Limit::Bytes(Bytes::from_mib(64)))?;
//! group.join_current_thread()?;
//! println!("{} of {}", group.usage()?, group.limit()?);
//! # Ok(())
//! # }
//! ```
//!
//! Needs Linux 5.3 (`pidfd_open`). Where a newer kernel's file is missing (`memory.peak`, `memory.events.local`,
//! `cgroup.kill`), its figure is `None` or its older equivalent is used.
#![forbid(unsafe_code)]

mod dying; // processes on their way out
mod error; // what can go wrong, each with the way out
mod events; // how often the kernel killed, and why
mod file; // reading and writing the files of one directory
mod group; // Cgroup: create, open, identity
mod hierarchy; // where the controller is mounted
mod limit; // a number of bytes, or "max"
mod memory; // limits and figures of a Cgroup
mod mountinfo; // the text of /proc/self/mountinfo and /proc/self/cgroup
mod path; // a group's place within the hierarchy
mod pressure; // stalls for want of memory
mod process; // members: list, add, kill, wait
mod reclaim; // asking the kernel to take memory back
mod remove; // rmdir, with patience
mod residents; // processes whose end is waited for
mod snapshot; // all figures of one moment
mod stat; // memory.stat
mod usage_watch; // being told that a level is near
mod watch; // being told of an OOM, without polling

pub use error::Error;
pub use events::Events;
pub use group::{Cgroup, CgroupId};
pub use hierarchy::{Hierarchy, Version};
pub use limit::{Limit, ParseLimitError};
pub use path::{CgroupPath, ParsePathError};
pub use pressure::{Pressure, Stall};
pub use process::{Joiner, Pid};
pub use residents::Residents;
pub use snapshot::Snapshot;
pub use stat::Stat;
pub use usage_watch::UsageWatch;
pub use watch::OomWatch;

/// What the operations of this crate answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
