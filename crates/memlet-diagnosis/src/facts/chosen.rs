//! Why the OOM killer chose that process.

use memlet_bytes::Bytes;
use memlet_oomlog::{Choice, Ranked, Report};

use crate::Evidence;
use crate::amount::counted;
use crate::evidence::{KillRecord, Victim};
use crate::verdict::{Fact, Topic};

pub(super) fn fact(evidence: &Evidence, kill: Option<&KillRecord>) -> Option<Fact> {
    let kill = kill?;
    let by_score = kill.report.as_ref().and_then(by_score);
    let by_rule = adjustment(evidence, kill);
    let sentences: Vec<_> = by_score.into_iter().chain(by_rule).collect();
    (!sentences.is_empty()).then(|| Fact::new(Topic::Chosen, sentences.join(". ")))
}

/// Its score against the others'.
fn by_score(report: &Report) -> Option<String> {
    let victim = report.victims.first()?;
    let ranking = report.ranking();
    let next = ranking.iter().find(|ranked| ranked.pid != victim.pid);
    let next = next.and_then(|ranked| scored(report, *ranked));
    match report.choice() {
        Choice::NotByScore => {
            Some("because it was the one that asked for memory (vm.oom_kill_allocating_task)".to_owned())
        }
        Choice::Disagrees { .. } => Some(format!("though {} scores higher in the kernel's table", next?)),
        Choice::Agrees => {
            let chosen = ranking.iter().find(|ranked| ranked.pid == victim.pid)?;
            let Some(next) = next else {
                return Some("the only process there that the kernel may kill".to_owned());
            };
            let count = counted(ranking.len() as u64, "process", "processes");
            Some(format!("highest score of {count}, {}; next: {next}", scored(report, *chosen)?))
        }
        Choice::Unknown { .. } => None,
    }
}

/// `memory-eater 255.2Mi (128.1Mi held + 995‰ of 128Mi)`.
pub(crate) fn scored(report: &Report, ranked: Ranked) -> Option<String> {
    let task = report.task(ranked.pid)?;
    let page_size = report.page_size?;
    let score = Bytes::from_pages(u64::try_from(ranked.points).unwrap_or(0), page_size.get());
    let adj = task.oom_score_adj.unwrap_or(0);
    if ranked.points <= 0 {
        return Some(format!("{}, which oom_score_adj {adj} protects", task.comm));
    }
    let domain = report.domain_pages().unwrap_or(0);
    let adjustment = i64::from(adj) * i64::try_from(domain / 1000).ok()?;
    // The rest of the score: resident memory, swap and page tables.
    let held = Bytes::from_pages(u64::try_from(ranked.points - adjustment).ok()?, page_size.get());
    let whole = Bytes::from_pages(domain, page_size.get());
    Some(match adj {
        0 => format!("{} {score}", task.comm),
        adj if adj < 0 => format!("{} {score} ({held} held − {}‰ of {whole})", task.comm, -adj),
        adj => format!("{} {score} ({held} held + {adj}‰ of {whole})", task.comm),
    })
}

/// Where its `oom_score_adj` comes from.
fn adjustment(evidence: &Evidence, kill: &KillRecord) -> Option<String> {
    let reported =
        kill.report.as_ref().and_then(|report| report.victims.first()?.oom_score_adj).map(i32::from);
    let actual = reported.or_else(|| kill.oom_score_adj?.actual);
    // The rule is the container's; pause has its own.
    let rule = evidence.score.filter(|_| kill.victim != Victim::Sandbox);
    let wanted = kill.oom_score_adj.map(|adj| adj.wanted).or_else(|| rule.map(|score| score.value));
    // `939: Burstable, 1000 − 1000 × 123Mi / 2041888Ki`, or the number alone.
    let explained = |value: i32| {
        let score = rule.filter(|score| score.value == value);
        score.map_or_else(|| value.to_string(), |score| score.to_string())
    };
    match (actual, wanted) {
        (Some(actual), Some(wanted)) if actual != wanted => {
            let why = if actual > wanted {
                "to lower it takes CAP_SYS_RESOURCE, which root lacks here"
            } else {
                "somebody lowered it"
            };
            Some(format!("oom_score_adj {actual}, where the rules give {} ({why})", explained(wanted)))
        }
        (Some(value), _) | (None, Some(value)) => Some(format!("oom_score_adj {}", explained(value))),
        (None, None) => None,
    }
}
