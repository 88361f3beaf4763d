//! The Kubernetes API, embedded: storage, watch, validation, defaulting.
