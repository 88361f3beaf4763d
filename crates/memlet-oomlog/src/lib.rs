//! The Linux OOM killer's reports, parsed from the kernel's log.
