//! What the log lacks, so that nobody takes a gap for a fact.

use memlet_oomlog::{Report, Scope};

use super::Scene;
use crate::amount::counted;

pub(super) fn sentence(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let mut sentences = Vec::new();
    if !report.complete {
        let parts = lacking(report);
        sentences.push(match parts.as_slice() {
            [] => "the report is cut off, or lines of it are lost".to_owned(),
            parts => format!("the report is not whole: it lacks {}", parts.join(", ")),
        });
    }
    let dropped = report.dropped;
    let counts: Vec<_> = [
        (dropped.records, "record of the log is lost", "records of the log are lost"),
        (dropped.tasks, "row of the table was left out", "rows of the table were left out"),
        (dropped.lines, "further line was left out", "further lines were left out"),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, one, many)| counted(count, one, many))
    .collect();
    sentences.extend(counts);
    if let Some(reports) = report.suppressed_before {
        sentences.push(format!(
            "the kernel's rate limit suppressed {} before this one",
            counted(reports, "report", "reports")
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

fn lacking(report: &Report) -> Vec<&'static str> {
    let is_memcg = report.scope == Some(Scope::Memcg);
    let checks = [
        (report.invoked_by.is_none(), "who asked for memory"),
        (report.scope.is_none(), "whose memory ran out"),
        (report.memory.is_none() && is_memcg, "the cgroup's counters"),
        (report.machine.is_none() && !is_memcg && report.scope.is_some(), "the machine's memory"),
        (report.tasks.is_empty(), "the table of processes"),
        (report.oom_memcg.is_none() && is_memcg, "the cgroup whose limit was hit"),
        (report.victims.is_empty(), "what was killed"),
    ];
    checks.into_iter().filter(|(lacks, _)| *lacks).map(|(_, part)| part).collect()
}
