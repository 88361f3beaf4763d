//! Why the kernel killed that process, and whether the table it printed bears that out.

use memlet_oomlog::{Choice, Ending, Obstacle, Pid, Report, Scored};
use serde::Serialize;

use super::BY_HAND;
use crate::amount::counted;
use crate::facts::scored;

/// Whether the computed choice is the kernel's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Whether the process that was killed scores highest by the table; `None` where that cannot be told.
    pub agrees: Option<bool>,
    /// Why it does not agree, or why that cannot be told; for a kill by hand, that it was one.
    pub reason: Option<String>,
}

/// Computes the choice again. The one place that looks into [`Choice`].
pub(super) fn verification(report: &Report) -> Verification {
    let choice = report.choice();
    let reason = match choice {
        Choice::Agrees if report.order == Some(BY_HAND) => {
            Some("the kill was asked for (SysRq-F), and the choice is by score nonetheless".to_owned())
        }
        Choice::Agrees => child_sacrificed(report),
        Choice::Disagrees { worst } => Some(why_not(report, worst)),
        Choice::NotByScore => Some(
            "vm.oom_kill_allocating_task is set: the one that asked for memory is killed, whatever it scores"
                .to_owned(),
        ),
        Choice::Unknown { why } => Some(why_unknown(report, why)),
    };
    Verification { agrees: choice.agrees(), reason }
}

/// By the table another one should have died.
fn why_not(report: &Report, worst: Pid) -> String {
    if let Some(sacrificed) = child_sacrificed(report) {
        return sacrificed;
    }
    let worst = report.ranking().into_iter().find(|ranked| ranked.pid == worst);
    let name =
        worst.and_then(|ranked| scored(report, ranked)).unwrap_or_else(|| "another process".to_owned());
    format!(
        "by the table {name} scores higher; the kernel passes over a process that is already dying or between vfork \
         and exec, which the table does not show"
    )
}

/// Kernels up to 5.0 kill a child of the process that scores highest.
fn child_sacrificed(report: &Report) -> Option<String> {
    let (scored, victim) = (report.scored.as_ref()?, report.victims.first()?);
    (scored.pid != victim.pid).then(|| {
        format!(
            "the kernel chose pid {} ({}), score {}, and killed a child or thread of it, as kernels up to 5.0 do",
            scored.pid, scored.comm, scored.score
        )
    })
}

fn why_unknown(report: &Report, why: Obstacle) -> String {
    match why {
        Obstacle::NoKill => match report.ending {
            Some(Ending::AlreadyExiting) => "nothing was killed: the chosen process was on its way out",
            Some(Ending::NoKillableProcess) => "nothing was killed: every process there is protected",
            Some(Ending::Panic | Ending::Deadlock) => "nothing was chosen: the kernel panicked",
            _ => "the end of the report is not in the log",
        }
        .to_owned(),
        Obstacle::NoTable => {
            "the report has no table of processes (vm.oom_dump_tasks is 0, the rate limit left it out, or \
                              the log is cut)"
                .to_owned()
        }
        Obstacle::TableIncomplete if report.dropped.tasks > 0 => {
            let rows = counted(report.dropped.tasks, "row", "rows");
            format!("the table of processes was too long to be kept whole ({rows} left out)")
        }
        Obstacle::TableIncomplete => "lines of the table of processes may be lost".to_owned(),
        Obstacle::NotListed => child_sacrificed(report).unwrap_or_else(|| {
            "the process that was killed is not in the table, or not as one that the kernel may kill"
                .to_owned()
        }),
        Obstacle::OldFormula => {
            "kernels up to 2.6.35 weigh run time and children, which their table does not show".to_owned()
        }
        Obstacle::OtherFormula => {
            "the kernel is patched, and its table has columns of its own: it may weigh what others do not"
                .to_owned()
        }
        Obstacle::DomainUnknown => {
            "oom_score_adj counts in thousandths of what the processes there may use together, \
                                    which the report does not say"
                .to_owned()
        }
    }
}

/// The sentence for the story: who scored what, and who was next.
pub(super) fn sentence(report: &Report, verification: &Verification) -> Option<String> {
    let victim = report.victims.first()?;
    let agrees = verification.agrees;
    let reason = verification.reason.as_deref();
    let mut sentences = Vec::new();
    if agrees == Some(true) {
        sentences.extend(highest(report, victim.pid));
    }
    match agrees {
        Some(true) => sentences.extend(reason.map(str::to_owned)),
        Some(false) => sentences.push(format!("not by the table: {}", reason.unwrap_or_default())),
        None => {
            sentences.extend(printed_score(report, victim.pid).filter(|_| report.tasks.is_empty()));
            sentences.push(format!("not to be checked: {}", reason.unwrap_or_default()));
        }
    }
    (!sentences.is_empty()).then(|| in_a_row(&sentences))
}

/// The score as kernels up to 5.0 print it. Its scale is not told: thousandths since Linux 2.6.36, before that none.
fn printed_score(report: &Report, victim: Pid) -> Option<String> {
    let Scored { pid, comm, score } = report.scored.as_ref()?;
    if *pid == victim {
        return Some(format!("the kernel gave it a score of {score}"));
    }
    Some(format!("the kernel gave pid {pid} ({comm}) a score of {score}, and killed a child or thread of it"))
}

/// Joined so that each is a sentence of its own; the first stays as it is, as it follows a label. None but the first
/// may begin with a name, which has no other spelling.
pub(super) fn in_a_row(sentences: &[String]) -> String {
    let (first, others) = sentences.split_first().map_or(("", &[][..]), |(first, others)| (first, others));
    others.iter().fold(first.to_owned(), |text, sentence| format!("{text}. {}", capitalised(sentence)))
}

/// Behind a full stop.
fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    let first: String = characters.next().into_iter().flat_map(char::to_uppercase).collect();
    first + characters.as_str()
}

fn highest(report: &Report, victim: Pid) -> Option<String> {
    let ranking = report.ranking();
    // Of a child that was killed in its parent's place the score says nothing.
    let scored_pid = report.scored.as_ref().map(|scored| scored.pid);
    let of = |pid: Pid| ranking.iter().find(|ranked| ranked.pid == pid);
    let chosen = scored_pid.and_then(of).or_else(|| of(victim)).or_else(|| ranking.first())?;
    let mut text = if ranking.len() == 1 {
        let listed = report.tasks.len() as u64;
        match listed {
            1 => "the only process there".to_owned(),
            _ => format!("the only one of {listed} processes there that the kernel may kill"),
        }
    } else {
        format!("the highest score of {}", counted(ranking.len() as u64, "process", "processes"))
    };
    if let Some(score) = scored(report, *chosen) {
        text = format!("{text}: {score}");
    }
    let next = ranking.iter().find(|ranked| ranked.pid != chosen.pid);
    match next.and_then(|next| scored(report, *next)) {
        Some(next) => Some(format!("{text}; next: {next}")),
        None => Some(text),
    }
}

#[cfg(test)]
mod tests {
    use memlet_bytes::Bytes;
    use memlet_oomlog::{Pages, Scope, Task, Victim};

    use super::*;

    fn report() -> Report {
        let task = |pid, rss, adj| Task {
            pid,
            rss: Some(Pages(rss)),
            oom_score_adj: Some(adj),
            comm: format!("p{pid}"),
            ..Task::default()
        };
        Report {
            ending: Some(Ending::Killed),
            page_size: Some(Bytes::from_kib(4)),
            tasks: vec![task(10, 500, 0), task(11, 300, 0), task(12, 900, -1000)],
            victims: vec![Victim { pid: 10, comm: "p10".to_owned(), ..Victim::default() }],
            scope: Some(Scope::System),
            ..Report::default()
        }
    }

    #[test]
    fn the_sentence_says_who_and_who_is_next() {
        let report = report();
        assert_eq!(verification(&report), Verification { agrees: Some(true), reason: None });
        insta::assert_snapshot!(sentence(&report, &verification(&report)).unwrap(), @"the highest score of 2 processes: p10 1.9Mi; next: p11 1.1Mi");
    }

    #[test]
    fn each_reason_is_said() {
        type Change = fn(&mut Report);
        let changes: [(&str, Change); 7] = [
            ("vm.oom_kill_allocating_task", |r| r.ending = Some(Ending::KilledAllocatingTask)),
            ("no table of processes", |r| r.tasks.clear()),
            ("too long to be kept whole (7 rows", |r| r.dropped.tasks = 7),
            ("lines of the table", |r| r.dropped.records = 1),
            ("by the table p11 3.5Mi scores higher", |r| r.tasks[1].rss = Some(Pages(900))),
            ("run time and children", |r| {
                r.tasks.iter_mut().for_each(|task| {
                    task.oom_score_adj = None;
                    task.oom_adj = Some(5);
                    task.rss = None;
                });
            }),
            ("every process there is protected", |r| r.ending = Some(Ending::NoKillableProcess)),
        ];
        for (reason, change) in changes {
            let mut report = report();
            change(&mut report);
            let verification = verification(&report);
            let said = verification.reason.unwrap_or_default();
            assert!(said.contains(reason), "{reason:?}: {said}");
            assert_ne!(verification.agrees, Some(true), "{reason}");
        }
    }

    #[test]
    fn a_child_that_was_sacrificed_is_told() {
        let scored = Scored { pid: 11, comm: "p11".to_owned(), score: 900 };
        let mut report = Report { scored: Some(scored), ..report() };
        report.tasks[1].rss = Some(Pages(900));
        let verification = verification(&report);
        assert_eq!(verification.agrees, Some(true));
        assert!(verification.reason.unwrap().contains("killed a child or thread of it"));
    }

    #[test]
    fn a_kill_by_hand_is_said_to_be_one() {
        let report = Report { order: Some(-1), ..report() };
        let verification = verification(&report);
        assert_eq!(verification.agrees, Some(true));
        assert!(verification.reason.unwrap().contains("SysRq"));
    }
}
