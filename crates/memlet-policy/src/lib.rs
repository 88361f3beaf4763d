//! Kubernetes' rules about a Pod's memory, as pure functions over the API's own types.
//!
//! What the API server, the scheduler and kubelet decide about memory, each rule in one place, without a
//! cluster, a clock or a filesystem:
//!
//! - [`quantity`]: amounts as they are written (`128Mi`, `1e3`), exactly
//! - [`resources`]: what a Pod requests and may use in all; [`resize`]: the same while that is being changed
//! - [`qos`]: its class; [`oom_score_adj`]: how the kernel is told about it, and why that value
//! - [`cgroup_names`]: what its cgroups are called, and back from a kernel report's path to the Pod
//! - [`cgroup_limits`]: which cgroup gets which limit; [`memory_qos`]: what it keeps when memory is reclaimed
//! - [`oom_kill_mode`]: what an OOM kill takes with it; [`node_memory`]: what a node has for Pods
//! - [`limit_range`], [`quota`]: what its namespace permits
//! - [`fit`]: whether it fits a node; [`node_affinity`], [`taints`], [`host_ports`]: whether the node will do otherwise;
//!   [`labels`]: selectors; [`scores`]: how well it would sit there
//! - [`restart`], [`backoff`], [`phase`]: what becomes of it when a container ends
//! - [`logs`]: where its logs are
//!
//! The rules are those of Kubernetes 1.36; where a rule changed within living memory, its item says so. Names,
//! reasons and messages are upstream's, word for word.
//!
//! ```
//! use k8s_openapi::api::core::v1::Pod;
//! use memlet_policy::{cgroup_limits, oom_score_adj, qos::QosClass, quantity::parse_size, resources};
//!
//! let mut pod: Pod = serde_json::from_value(serde_json::json!({
//!     "metadata": {"name": "memory-eater"},
//!     "spec": {"containers": [{
//!         "name": "eater",
//!         "resources": {"requests": {"memory": "123Mi"}, "limits": {"memory": "128Mi"}},
//!     }]},
//! }))?;
//! let spec = pod.spec.as_mut().expect("it was given one");
//! resources::default_resources(spec);
//!
//! assert_eq!(QosClass::of_spec(spec), QosClass::Burstable);
//! assert_eq!(cgroup_limits::pod_memory_limit(spec, QosClass::Burstable), Some(parse_size("128Mi")?));
//!
//! let eater = &pod.spec.as_ref().expect("it was given one").containers[0];
//! let adj = oom_score_adj::for_container(&pod, eater, parse_size("2041888Ki")?);
//! assert_eq!(adj.to_string(), "939: Burstable, 1000 − 1000 × 123Mi / 2041888Ki");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod backoff;
pub mod cgroup_limits;
pub mod cgroup_names;
pub mod eviction;
pub mod fit;
pub mod host_ports;
pub mod labels;
pub mod limit_range;
pub mod logs;
pub mod memory_qos;
pub mod node_affinity;
pub mod node_memory;
pub mod oom_kill_mode;
pub mod oom_score_adj;
pub mod phase;
pub mod qos;
pub mod quantity;
pub mod quota;
pub mod resize;
pub mod resources;
pub mod restart;
pub mod scores;
pub mod taints;
