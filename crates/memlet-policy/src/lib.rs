//! Kubernetes' rules about a Pod's memory, as pure functions.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod cgroup_limits;
pub mod cgroup_names;
pub mod logs;
pub mod node_memory;
pub mod oom_score_adj;
pub mod phase;
pub mod qos;
pub mod quantity;
pub mod resources;
pub mod restart;
