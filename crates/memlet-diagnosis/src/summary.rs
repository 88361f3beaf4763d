//! One kill in one line, as an Event carries it.

use crate::evidence::{KillRecord, Victim};
use crate::facts::level_phrase;

/// `memory-eater: kernel killed pid 869 (memory-eater, the main process) at the Pod's limit 128Mi: usage 128Mi,
/// anon 127.3Mi, file 572Ki`. What is not known is left out.
pub fn summary(kill: &KillRecord) -> String {
    let report = kill.report.as_ref();
    let victim = report.and_then(|report| report.victims.first());
    let role = match kill.victim {
        Victim::Main => "the main process",
        Victim::Child => "a child, the main process lives on",
        Victim::Unknown => "which one is not known",
    };
    let whom = match victim {
        Some(victim) => format!("pid {} ({}; {role})", victim.pid, victim.comm),
        None => format!("a process ({role})"),
    };
    let memory = report.and_then(|report| report.memory);
    let mut line =
        format!("{}: kernel killed {whom} at {}", kill.subject.container, level_phrase(kill.level));
    if let Some(limit) = memory.and_then(|memory| memory.limit.bytes()) {
        line.push_str(&format!(" {limit}"));
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
        line.push_str(&format!(": {}", figures.join(", ")));
    }
    line
}
