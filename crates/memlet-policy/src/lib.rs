//! Kubernetes' rules about a Pod's memory, as pure functions.
