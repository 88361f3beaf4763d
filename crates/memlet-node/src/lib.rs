//! The node agent: Pod lifecycle through CRI, OOM attribution, status.
