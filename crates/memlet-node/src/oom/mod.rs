//! Who was killed by the kernel's OOM killer, and whose limit that was.
//!
//! [`witness`] hears the kernel's log, [`attribution`] judges, [`counter`] stands in where the log is silent.

pub(crate) mod attribution; // pure: report and end of a container joined
pub(crate) mod counter; // the cgroup's own count of kills
pub(crate) mod lost; // kills that no worker claims
pub(crate) mod neighbours; // what the other Pods hold
pub(crate) mod node_event; // what the node is told
mod readable; // waiting on a descriptor
pub(crate) mod record; // kill records: made, kept, broadcast
pub(crate) mod witness; // the reader of the kernel's log
