//! What nodes, Pods and containers use of their memory now, and who would have to go if it ran out.
//!
//! What should be is read from the API, what is from the cgroup files and `/proc`, both at this moment: no sample is
//! kept, so a figure is never older than the question.

pub(crate) mod evictions; // Pods in the order of evictions
pub(crate) mod gather; // reads it
pub(crate) mod held; // what a cgroup holds, how far it is to a limit
pub(crate) mod order_table; // both orders, side by side
pub(crate) mod processes; // in the order of the kernel
pub(crate) mod table; // as text
pub(crate) mod thresholds; // what eviction sees

#[cfg(test)]
pub(crate) mod sample;
