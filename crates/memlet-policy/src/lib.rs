//! Kubernetes' rules about a Pod's memory, as pure functions.
#![forbid(unsafe_code)]

pub mod cgroup_limits;
pub mod cgroup_names;
pub mod node_memory;
pub mod oom_score_adj;
pub mod qos;
pub mod quantity;
pub mod resources;
