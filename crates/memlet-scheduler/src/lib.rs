//! Placement: binds Pods to nodes.
