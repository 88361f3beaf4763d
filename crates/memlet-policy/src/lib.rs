//! Kubernetes' rules about a Pod's memory, as pure functions.
#![forbid(unsafe_code)]

pub mod quantity;
