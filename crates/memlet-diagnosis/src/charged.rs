//! What was charged at the limit, by kind: in words, and which kind it mostly was.

use memlet_bytes::Bytes;
use memlet_oomlog::Charged;

use crate::facts::brief;

/// `127.3Mi anonymous, 572Ki kernel, 0 tmpfs or shared`: the kinds that the report tells.
pub(crate) fn by_kind(charged: &Charged) -> String {
    let parts: Vec<_> = [
        (charged.anon, "anonymous"),
        (charged.kernel, "kernel"),
        (charged.shmem, "tmpfs or shared"),
        (charged.file, "page cache"),
    ]
    .into_iter()
    .filter_map(|(amount, kind)| Some(format!("{} {kind}", brief(amount?))))
    .collect();
    parts.join(", ")
}

/// Whether tmpfs and shared memory are at least half of what has a kind.
pub(crate) fn is_mostly_shared(charged: &Charged) -> bool {
    is_half(charged, charged.shmem)
}

/// Whether page cache without tmpfs and shared memory is at least half of what has a kind.
pub(crate) fn is_mostly_page_cache(charged: &Charged) -> bool {
    is_half(charged, charged.file)
}

/// Whether kernel memory is at least half of what has a kind.
pub(crate) fn is_mostly_kernel(charged: &Charged) -> bool {
    is_half(charged, charged.kernel)
}

fn is_half(charged: &Charged, part: Option<Bytes>) -> bool {
    let part = part.unwrap_or_default();
    part > Bytes::ZERO && part >= charged.total().saturating_sub(part)
}
