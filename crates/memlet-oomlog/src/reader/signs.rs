//! The words by which a line can be known that begins a report, stands alone for one, or adds to one. A line without
//! any of them, while no report is open, says nothing about the OOM killer.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

/// Each line that [`crate::assembler`] may begin a report with has one, and each that a daemon writes that kills.
const SIGNS: [&str; 19] = [
    "invoked oom-killer",
    "oom-kill:",
    "oom_reaper: ",
    "oom_kill_process: ",
    "memory.oom.group",
    "illed process ", // Killed
    "ill process ",   // Kill, kill
    "killed as a result of limit",
    ", failcnt ",
    "cgroup stats for",
    "Tasks state (",
    " total_vm ",
    "killable processes",
    "OOM victim",
    "oomd[",
    "earlyoom",
    "systemd-oomd",
    // A message that the journal wrote as bytes may be any.
    "\"MESSAGE\":[",
    "\"MESSAGE\" : [",
];

static SEARCHER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(SIGNS)
        .expect("a few short words are no trouble to any automaton")
});

/// Where the first sign is.
pub(super) fn find(bytes: &[u8]) -> Option<usize> {
    SEARCHER.find(bytes).map(|found| found.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_count_have_a_sign() {
        for line in [
            "x invoked oom-killer: gfp_mask=0x0",
            "oom-kill:constraint=CONSTRAINT_NONE",
            "Memory cgroup out of memory: Killed process 1 (x) total-vm:1kB",
            "Out of memory: Kill process 1 (x) score 1 or sacrifice child",
            "Task in /a killed as a result of limit of /a",
            "memory: usage 1kB, limit 1kB, failcnt 1",
            "[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name",
            "Out of memory and no killable processes...",
            "systemd-oomd[612]: Killed /x due to memory pressure",
        ] {
            assert!(find(line.as_bytes()).is_some(), "{line}");
        }
        assert_eq!(
            find(b"kubelet[1]: I1122 10:01:02 kuberuntime_manager.go] zoom room bloom oom_score_adj"),
            None
        );
    }
}
