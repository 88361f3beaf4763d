//! Placement: binds Pods to nodes as kube-scheduler does, and says why not in its words.
//!
//! An ordinary Kubernetes client, over the embedded server or a real cluster. Three layers, each usable without the ones
//! above it:
//!
//! - [`Cluster`]: what is known of nodes and Pods, with sums and counts kept as they come and go
//! - [`place()`], [`preempt`], [`explain_placement`]: decisions, pure functions of it; the rules for one node alone are
//!   `memlet-policy`'s
//! - [`Scheduler`]: the queue, the events that wake those who wait, and what is written into the API
//!
//! Filters, scores and preemption are those of upstream's default profile at 1.36, less what concerns volumes, images,
//! resource claims and disruption budgets, and less the spreading that upstream assumes for Services where a Pod asks for
//! none. It never polls: a Pod is looked at when it comes, and again when an event makes room for it.
//!
//! ```
//! use memlet_scheduler::explain_placement;
//! use serde_json::{from_value, json};
//!
//! let node = from_value(json!({
//!     "metadata": {"name": "anchor"},
//!     "status": {"allocatable": {"memory": "924Mi", "pods": "110"}},
//! }))?;
//! let pod = from_value(json!({
//!     "metadata": {"name": "eater", "namespace": "default"},
//!     "spec": {"containers": [{"name": "main", "resources": {"requests": {"memory": "1Gi"}}}]},
//! }))?;
//! let verdicts = explain_placement(&pod, &[node], &[], &[]);
//! assert_eq!(verdicts[0].reasons[0].to_string(), "Insufficient memory");
//! assert_eq!(verdicts[0].resources[1].missing(), 100 << 20);
//! // Not even an empty node would do, so that sending others away does not help.
//! assert_eq!(verdicts[0].victims, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod cluster;
#[cfg(test)]
mod fixture;
mod hints;
mod place;
mod queue;
mod report;
mod scheduler;
mod state;
mod writes;

pub use cluster::{Cluster, PodFacts, PodKey};
pub use memlet_policy::fit::Misfit;
pub use place::{
    NodeVerdict, Nowhere, Placement, Preemption, Reason, Victim, explain_placement, place, preempt, shortfall,
};
pub use scheduler::{SCHEDULER_NAME, Scheduler};
