//! What kind of memory was charged where the limit ran out.

use memlet_bytes::Bytes;
use memlet_oomlog::Report;

use super::killed::brief;
use crate::evidence::KillRecord;
use crate::verdict::{Fact, Topic};

/// The memory of the cgroup whose limit ran out, by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Composition {
    /// Backed by no file: heap, stacks.
    pub(crate) anonymous: Option<Bytes>,
    /// Page cache without tmpfs and shared memory.
    pub(crate) page_cache: Option<Bytes>,
    /// tmpfs and shared memory.
    pub(crate) shared: Option<Bytes>,
    /// Kernel memory.
    pub(crate) kernel: Option<Bytes>,
}

impl Composition {
    /// Whether tmpfs and shared memory are at least half of what has a kind.
    pub(crate) fn is_mostly_shared(&self) -> bool {
        let shared = self.shared.unwrap_or_default();
        let rest: Bytes = [self.anonymous, self.page_cache, self.kernel].into_iter().flatten().sum();
        shared > Bytes::ZERO && shared >= rest
    }

    fn is_mostly_page_cache(&self) -> bool {
        let cache = self.page_cache.unwrap_or_default();
        let rest: Bytes = [self.anonymous, self.shared, self.kernel].into_iter().flatten().sum();
        cache > Bytes::ZERO && cache >= rest
    }
}

/// From the statistics in the kernel's report. The cgroup's files do not do: they are read after the death, when
/// the memory is gone.
pub(crate) fn composition(report: &Report) -> Option<Composition> {
    let charged = report.charged()?;
    Some(Composition {
        anonymous: charged.anon,
        page_cache: charged.file,
        shared: charged.shmem,
        kernel: charged.kernel,
    })
}

pub(super) fn fact(kill: Option<&KillRecord>) -> Option<Fact> {
    let composition = composition(kill?.report.as_ref()?)?;
    let parts: Vec<_> = [
        (composition.anonymous, "anonymous"),
        (composition.kernel, "kernel"),
        (composition.shared, "tmpfs or shared"),
        (composition.page_cache, "page cache"),
    ]
    .into_iter()
    .filter_map(|(amount, kind)| Some(format!("{} {kind}", brief(amount?))))
    .collect();
    let remark = if composition.is_mostly_shared() {
        "; shared memory and files on tmpfs stay until they are removed"
    } else if composition.is_mostly_page_cache() {
        "; page cache can be dropped, so this was being written or in use faster than it could be"
    } else if composition.page_cache.is_some() {
        " (always dropped first)"
    } else {
        ""
    };
    Some(Fact::new(Topic::Charged, format!("{}{remark}", parts.join(", "))))
}

/// Why the program saw no failed allocation. Said where it was anonymous memory that ran out.
pub(super) fn malloc(kill: Option<&KillRecord>) -> Option<Fact> {
    let report = kill?.report.as_ref();
    let composition = report.and_then(composition);
    if composition
        .is_some_and(|composition| composition.is_mostly_shared() || composition.is_mostly_page_cache())
    {
        return None;
    }
    let frame =
        report.and_then(|report| report.call_trace.iter().find(|line| line.contains("do_anonymous_page")));
    let seen = if frame.is_some() { " (do_anonymous_page)" } else { "" };
    let text = format!(
        "did not fail: it only hands out addresses (overcommit). Memory is charged at the first touch, in a page \
         fault{seen}, which has no NULL to return"
    );
    Some(Fact::new(Topic::Malloc, text))
}
