//! systemd's slices and scopes, asked for over D-Bus.
//!
//! Where systemd runs, the tree of cgroups is its own, and whoever wants a group asks for a unit: a *slice* holds other
//! units and their limit, a *scope* holds processes that somebody else started, who may do below it what he likes
//! (`Delegate=yes`). [`Manager`] asks for both, and for their end.
//! (<https://systemd.io/CGROUP_DELEGATION>, `org.freedesktop.systemd1(5)`)
//!
//! This crate knows neither Pods nor containers. It makes no directory and reads no file of a cgroup: that is
//! `memlet-cgroup`'s, below the groups that systemd made.
//!
//! Everything blocks, for some milliseconds as a rule, and nothing here starts a thread: it is called by processes that
//! fork.
#![forbid(unsafe_code)]

mod error; // what can go wrong, each with the way out
mod manager; // the conversation with systemd
mod memory; // a unit's memory settings
mod property; // a unit's properties as D-Bus writes them

pub use error::Error;
pub use manager::{Manager, Scope};
pub use memory::Memory;

/// What the operations of this crate answer.
pub type Result<T, E = Error> = std::result::Result<T, E>;
