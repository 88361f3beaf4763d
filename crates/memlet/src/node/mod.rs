//! `memlet node` and what speaks to it: where a node keeps its things, who it is while it runs, how it is started in the
//! background, found, and ended.

pub(crate) mod client;
pub(crate) mod configuration;
pub(crate) mod control;
pub(crate) mod daemon;
pub(crate) mod detach;
pub(crate) mod folder;
pub(crate) mod kubeconfig;
pub(crate) mod listening;
pub(crate) mod pool;
pub(crate) mod record;
pub(crate) mod running;
pub(crate) mod signals;
pub(crate) mod unit;
