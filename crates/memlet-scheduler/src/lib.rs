//! Placement: binds Pods to nodes.
//!
//! An ordinary Kubernetes client, over the embedded server or a real cluster. It watches Pods and nodes, and for each
//! Pod that no node has yet either binds it to one where its memory request fits, or writes into the Pod why none does,
//! in kube-scheduler's words. It never polls: a Pod is looked at when it appears, and those that did not fit are looked
//! at again when a node or a bound Pod changes.
//!
//! It looks at memory requests, the number of Pods, `nodeSelector`, taints and `unschedulable`. Affinity, topology,
//! other resources, scoring beyond "the emptiest node", and preemption are not here.
#![forbid(unsafe_code)]

mod cluster;
mod placement;
mod report;
mod scheduler;

pub use scheduler::{SCHEDULER_NAME, Scheduler};
