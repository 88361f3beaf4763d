//! What a node's Pods are made of on this machine: their cgroups, the limits in them, their processes.
//!
//! What should be is read from the API, what is from the cgroup files and `/proc`; nothing is asked of the node itself.

pub(crate) mod gather;
pub(crate) mod inspect;
pub(crate) mod table;

#[cfg(test)]
mod sample;
