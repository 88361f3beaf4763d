//! Who asked for memory when there was none, and for what.

use super::Scene;

/// Frames of the stack dump that tell what memory was for, with that in words. The first that is there counts.
const PURPOSES: [(&[&str], &str); 10] = [
    (&["memory_max_write", "mem_cgroup_resize"], "by writing a new limit"),
    (
        &["shmem_fault", "shmem_get_folio", "shmem_getpage", "shmem_alloc", "shmem_file_write"],
        "for tmpfs or shared memory",
    ),
    // Each buffered write adds a page to the cache too, so it comes before what reads.
    (&["generic_perform_write", "iomap_file_buffered_write", "write_begin"], "to write a file"),
    (
        &["filemap_fault", "filemap_add_folio", "add_to_page_cache", "page_cache_ra", "filemap_read"],
        "to read a file",
    ),
    (&["do_wp_page", "wp_page_copy", "do_cow_fault"], "to copy a page that it shared (copy on write)"),
    (&["do_huge_pmd_anonymous_page"], "to touch anonymous memory for the first time, a huge page"),
    (&["do_anonymous_page"], "to touch anonymous memory for the first time"),
    (&["do_swap_page", "swapin"], "to bring a page back from swap"),
    (
        &["pipe_write", "alloc_skb", "sock_alloc", "tcp_sendmsg", "unix_stream_sendmsg"],
        "for a pipe or a socket",
    ),
    (
        &["copy_process", "kernel_clone", "_do_fork", "pte_alloc", "pmd_alloc"],
        "for a new process or page tables",
    ),
];

/// `memhog (pid 861) …: 1 page, to touch anonymous memory for the first time`.
pub(super) fn sentence(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let asked = report.invoked_by.as_ref()?;
    let pid = asked.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let mut text = format!("{}{pid}", asked.comm);
    if scene.is_by_hand() {
        text.push_str(", which carries out what was asked by hand");
        return Some(text);
    }
    if asked.pid.is_some() && report.victims.iter().any(|victim| Some(victim.pid) == asked.pid) {
        text.push_str(", the one that was killed");
    } else if !report.victims.is_empty() && asked.pid.is_some() {
        // A thread's id is not that of its process, and it may have a name of its own: only one that the table lists is
        // another process for sure.
        if asked.pid.is_some_and(|pid| report.task(pid).is_some()) {
            text.push_str(
                ", not the one that was killed: whoever asks when memory is out only starts the killer",
            );
        }
    }
    let pages = report.order.and_then(|order| 1_u64.checked_shl(u32::try_from(order).ok()?));
    let amount = match pages {
        Some(1) => Some("one page".to_owned()),
        Some(pages) => Some(format!("{pages} pages in a row (order {})", report.order.unwrap_or_default())),
        None => None,
    };
    let purpose =
        PURPOSES.iter().find(|(frames, _)| scene.trace_has(frames)).map(|(_, purpose)| (*purpose).to_owned());
    let flags = report.gfp.as_ref().and_then(|gfp| gfp.names.clone());
    let details: Vec<_> = [amount, purpose, flags].into_iter().flatten().collect();
    if !details.is_empty() {
        text.push_str(&format!(": {}", details.join(", ")));
    }
    Some(text)
}
