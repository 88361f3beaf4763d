//! Which process was killed and what it held.

use std::fmt::Write as _;

use memlet_bytes::Bytes;
use memlet_oomlog::Victim;

use crate::amount::counted;
use crate::evidence::{ContainerEnd, KillRecord};
use crate::verdict::{Fact, Topic};

pub(super) fn fact(end: &ContainerEnd, kill: Option<&KillRecord>) -> Option<Fact> {
    let report = kill.and_then(|kill| kill.report.as_ref());
    let Some((first, followers)) = report.and_then(|report| report.victims.split_first()) else {
        let kills = end.container.as_ref().and_then(|memory| memory.oom_kills)?;
        let text = format!(
            "{} in this container, and the main process died by SIGKILL; no more is known without the kernel's report",
            counted(kills, "process", "processes")
        );
        return Some(Fact::new(Topic::Killed, text));
    };
    let mut text = format!("pid {} ({})", first.pid, first.comm);
    let group = report.is_some_and(|report| report.group_kill.is_some());
    if !group && followers.is_empty() {
        text.push_str(", the main process");
    }
    if let Some(held) = held(first) {
        let _ = write!(text, ": {held}");
    }
    if group {
        // The kernel prints the first victim once more among the members of the group.
        let others = followers.iter().filter(|victim| victim.pid != first.pid).count() as u64;
        let _ = write!(
            text,
            "; and with it the whole container ({}), as memory.oom.group asks",
            counted(others, "other process", "other processes")
        );
    }
    Some(Fact::new(Topic::Killed, text))
}

/// The Pod's pause process.
pub(super) fn pause(kill: &KillRecord) -> Fact {
    let victim = kill.report.as_ref().and_then(|report| report.victims.first());
    let mut text = match victim {
        Some(victim) => format!("pid {} ({}), the Pod's pause process", victim.pid, victim.comm),
        None => "the Pod's pause process; no more is known without the kernel's report".to_owned(),
    };
    if let Some(held) = victim.and_then(held) {
        let _ = write!(text, ": {held}");
    }
    Fact::new(Topic::Killed, text)
}

/// `127.3Mi anonymous, 572Ki of files, 0 shared`: the resident memory of a victim.
pub(crate) fn held(victim: &Victim) -> Option<String> {
    let parts: Vec<_> =
        [(victim.anon_rss, "anonymous"), (victim.file_rss, "of files"), (victim.shmem_rss, "shared")]
            .into_iter()
            .filter_map(|(amount, kind)| Some(format!("{} {kind}", brief(amount?))))
            .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// An amount among others: nothing is `0`.
pub(crate) fn brief(amount: Bytes) -> String {
    if amount == Bytes::ZERO { "0".to_owned() } else { amount.to_string() }
}
