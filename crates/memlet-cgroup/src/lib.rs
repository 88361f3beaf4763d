//! The memory controller of cgroup v1 and v2 behind one type.
