//! The node agent: runs the Pods that are bound to its node, as kubelet does, and says truly how they ended.
//!
//! Upward it is an ordinary Kubernetes client, downward an ordinary CRI client; it knows neither which API
//! server nor which runtime it has. The rules are `memlet-policy`'s, cgroups `memlet-cgroup`'s, the kernel's
//! words `memlet-oomlog`'s; verdicts are not made here, only the evidence for them ([`NodeAgent::kills`]).
//!
//! One task per Pod owns all that is known of it ([`worker`]); what is decided is decided by pure functions
//! ([`status`], [`container`], [`oom::attribution`] …) that tests can hold.
#![forbid(unsafe_code)]

mod admission; // which Pods the node takes
mod adoption; // what an earlier run left
mod agent; // its start and its end
mod cgroups; // kubepods, tiers, Pods
mod config; // what the agent is told
mod container; // spec to CRI configuration
mod container_log; // what containers wrote
mod cri; // the calls downward
mod downward; // what a container may learn of its Pod
mod environment; // variables and $(VAR)
mod events; // Events, counted
mod exits; // the runtime's news
mod heartbeat; // lease and status, again and again
mod images; // presence, pulls, back-off
mod life; // one container's instances
mod network_files; // hosts and resolv.conf
mod node; // what all workers share
mod node_images; // what the node says it has
mod node_resources; // what the node has, and what of it is for Pods
mod objects; // configMaps and secrets
mod oom; // who was killed, by whose limit
mod pressure; // who goes when memory is short
mod records; // kills and failures, kept for a week
mod registration; // the Node object
mod sandbox; // Pod to CRI sandbox
mod security; // security contexts
mod server; // kubelet's HTTP paths
mod static_pods; // Pods of a folder
mod statistics; // what is used, as kubelet tells it
mod status; // facts to PodStatus
mod status_writer; // PodStatus to the API
mod steady; // a clock that nobody sets
mod sweep; // what a killed agent left
mod termination; // the end of a Pod
mod termination_message; // a container's last words
mod tokens; // of service accounts
mod unsupported; // what is refused by name
mod volumes; // folders, memory, host paths
mod worker; // one Pod
mod workers; // all Pods, one worker for each

pub use agent::{NodeAgent, StartError};
pub use cgroups::CgroupsError;
pub use config::{Amounts, ApiAddress, MemoryRules, NodeConfig, Registration, Reservations, RulesError};
pub use cri::CriError;
pub use node_resources::{Overreserved, ReservationError};
pub use pressure::{PressureHistory, PressureSample, PressureThreshold};
pub use records::{Death, Record, Records};
pub use server::{NodeServer, ServerBody};
pub use sweep::{SweepError, sweep_leftovers};
