//! One kill in one line, as an Event carries it.

use std::fmt::Write as _;

use crate::evidence::{KillRecord, Victim};
use crate::facts::level_phrase;
use crate::render::printable;

/// `memory-eater: kernel killed pid 869 (memory-eater), the main process, at the Pod's limit 128Mi: usage 128Mi, anon
/// 127.3Mi, file 572Ki`. What is not known is left out.
pub fn summary(kill: &KillRecord) -> String {
    format!("{}: kernel killed {}", kill.subject.container, whom_and_where(kill))
}

/// The line without the container's name: `pid 869 (memory-eater), the main process, at …`.
pub(crate) fn whom_and_where(kill: &KillRecord) -> String {
    let role = match kill.victim {
        Victim::Main => ", the main process,",
        Victim::Child => ", not the main process,",
        Victim::Unknown => ", perhaps the main one,",
        Victim::Sandbox => ", the Pod's pause process,",
    };
    with_role(kill, role)
}

/// The same with other words for what the process was.
pub(crate) fn with_role(kill: &KillRecord, role: &str) -> String {
    let report = kill.report.as_ref();
    let victim = report.and_then(|report| report.victims.first());
    let mut line = match victim {
        Some(victim) => format!("pid {} ({})", victim.pid, printable(&victim.comm)),
        None => "a process".to_owned(),
    };
    line.push_str(role);
    let _ = write!(line, " at {}", level_phrase(kill.level));
    let memory = report.and_then(|report| report.memory);
    if let Some(limit) = memory.and_then(|memory| memory.limit.bytes()) {
        let _ = write!(line, " {limit}");
    }
    let figures: Vec<_> = [
        ("usage", memory.map(|memory| memory.usage)),
        ("anon", victim.and_then(|victim| victim.anon_rss)),
        ("file", victim.and_then(|victim| victim.file_rss)),
        ("shmem", victim.and_then(|victim| victim.shmem_rss).filter(|amount| amount.get() > 0)),
    ]
    .into_iter()
    .filter_map(|(name, amount)| Some(format!("{name} {}", amount?)))
    .collect();
    if !figures.is_empty() {
        let _ = write!(line, ": {}", figures.join(", "));
    }
    line
}
