//! The parts of `memlet run`: Pods are created ([`create`]) and watched ([`watch`]): what changed ([`changes`]), when it
//! is over ([`ending`]), logs ([`follow`]), usage ([`usage`]), what is said meanwhile ([`story`], in the order of [`telling`], by the thread of [`output`]) and at the end
//! ([`result`]).
//!
//! The command itself, which puts them together, is `commands::run`.

pub(crate) mod changes;
pub(crate) mod create;
pub(crate) mod ending;
pub(crate) mod follow;
pub(crate) mod news;
pub(crate) mod output;
pub(crate) mod result;
pub(crate) mod signals;
pub(crate) mod story;
pub(crate) mod telling;
pub(crate) mod troubles;
pub(crate) mod usage;
pub(crate) mod watch;
