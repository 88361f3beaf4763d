//! The embedded CRI runtime: sandboxes, containers, images and their supervisor.
