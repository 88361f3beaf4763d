//! What kind of memory was charged where the limit ran out.

use memlet_oomlog::Report;

use crate::charged::{by_kind, is_mostly_page_cache, is_mostly_shared};
use crate::evidence::KillRecord;
use crate::verdict::{Fact, Topic};

/// From the statistics in the kernel's report. The cgroup's files do not do: they are read after the death, when
/// the memory is gone.
pub(super) fn fact(kill: Option<&KillRecord>) -> Option<Fact> {
    let charged = kill?.report.as_ref()?.charged()?;
    let remark = if is_mostly_shared(&charged) {
        "; files on tmpfs stay until they are removed, shared memory until the last who has it is gone"
    } else if is_mostly_page_cache(&charged) {
        "; page cache can be dropped, so this was being written or in use faster than it could be"
    } else if charged.file.is_some() {
        " (always dropped first)"
    } else {
        ""
    };
    Some(Fact::new(Topic::Charged, format!("{}{remark}", by_kind(&charged))))
}

/// Why the program saw no failed allocation. Said where it was anonymous memory that ran out.
pub(super) fn malloc(kill: Option<&KillRecord>) -> Option<Fact> {
    let report = kill?.report.as_ref();
    let charged = report.and_then(Report::charged);
    if charged.is_some_and(|charged| is_mostly_shared(&charged) || is_mostly_page_cache(&charged)) {
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
