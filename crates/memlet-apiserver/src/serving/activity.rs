//! Whether anything happens on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the requests of one connection.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request that has begun, and ends when this is dropped.
pub(super) struct Request(Arc<Counts>);

impl Activity {
    pub(super) fn begin(&self) -> Request {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(&self.0))
    }

    /// How many requests there have been, where all have ended.
    pub(super) fn at_rest(&self) -> Option<u64> {
        let ended = self.0.ended.load(Ordering::Acquire);
        (self.0.begun.load(Ordering::Acquire) == ended).then_some(ended)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}
