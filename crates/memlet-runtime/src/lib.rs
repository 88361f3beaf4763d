//! The embedded container runtime: serves the Container Runtime Interface (CRI) on top of the kernel.
//!
//! - [`service`] answers CRI, on an in-memory channel or a socket; it holds no process itself.
//! - [`shim`] is the supervisor, one small process per Pod: it makes the pause process and the containers
//!   (through libcontainer), holds their output, reaps them, and says how they died. It outlives the daemon.
//! - [`images`] stores, unpacks and mounts images; [`workload`] holds the built-in ones that need neither
//!   registry nor root filesystem.
//! - [`spec`] turns CRI's container configuration into an OCI runtime spec (pure).
//!
//! It knows containers and cgroups, not Kubernetes' API: Pods are only labels here.
#![allow(unsafe_code, reason = "this crate forks, clones and calls malloc(3); each block has its proof")]

mod causes;
pub mod images;
mod memory_controls;
mod mount_points;
mod network_files;
pub mod program;
pub mod service;
mod session;
pub mod shim;
pub mod spec;
pub mod state;
mod supervisor;
mod working_folder;
pub mod workload;
