//! Why the OOM killer chose that process.

use memlet_bytes::Bytes;
use memlet_oomlog::{Choice, Ranked, Report};

use crate::Evidence;
use crate::amount::{counted, quantity};
use crate::evidence::{KillRecord, OomScoreAdj};
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
        Choice::Disagrees { .. } => {
            Some(format!("though by the kernel's own table {} should have been", next?))
        }
        Choice::Agrees => {
            let chosen = ranking.iter().find(|ranked| ranked.pid == victim.pid)?;
            let Some(next) = next else {
                return Some("the only process there that the kernel may kill".to_owned());
            };
            let count = counted(ranking.len() as u64, "process", "processes");
            Some(format!("highest score of {count}, {}; next: {next}", scored(report, *chosen)?))
        }
        Choice::Unknown => None,
    }
}

/// `memory-eater 255.2Mi (128.1Mi held + 995‰ of 128Mi)`.
fn scored(report: &Report, ranked: Ranked) -> Option<String> {
    let task = report.task(ranked.pid)?;
    let page_size = report.page_size?;
    let score = Bytes::from_pages(u64::try_from(ranked.points).unwrap_or(0), page_size.get());
    let adj = task.oom_score_adj.unwrap_or(0);
    // What the score consists of besides the adjustment: resident memory, swap and page tables.
    if ranked.points <= 0 {
        return Some(format!("{}, which oom_score_adj {adj} protects", task.comm));
    }
    let domain = report.domain_pages().unwrap_or(0);
    let adjustment = i64::from(adj) * i64::try_from(domain / 1000).ok()?;
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
    let wanted = kill.oom_score_adj.map(|adj| adj.wanted);
    let actual = reported.or_else(|| kill.oom_score_adj.and_then(|adj| adj.actual));
    let value = actual.or(wanted)?;
    let mut text = format!("oom_score_adj {value}");
    match wanted {
        Some(wanted) if wanted != value => {
            text.push_str(&format!(
                " where the rules give {}: {}",
                with_reason(wanted, evidence),
                refusal(OomScoreAdj { wanted, actual })
            ));
        }
        _ => {
            if let Some(rule) = rule(value, evidence) {
                text.push_str(&format!(" by rule: {rule}"));
            }
        }
    }
    Some(text)
}

fn with_reason(wanted: i32, evidence: &Evidence) -> String {
    rule(wanted, evidence).map_or_else(|| wanted.to_string(), |rule| format!("{wanted} ({rule})"))
}

fn refusal(adj: OomScoreAdj) -> &'static str {
    if adj.actual.is_some_and(|actual| actual > adj.wanted) {
        "the kernel let nobody lower it, because root here lacks CAP_SYS_RESOURCE"
    } else {
        "somebody changed it"
    }
}

/// Kubelet's `GetContainerOOMScoreAdjust` in words, where it gives `value`.
fn rule(value: i32, evidence: &Evidence) -> Option<String> {
    match evidence.qos_class.as_str() {
        "Guaranteed" => (value == -997).then(|| "Guaranteed".to_owned()),
        "BestEffort" => (value == 1000).then(|| "BestEffort".to_owned()),
        "Burstable" => {
            let request = evidence.request.unwrap_or_default();
            let node = evidence.node_memory;
            let share = (u128::from(request.get()) * 1000).checked_div(u128::from(node.get()))?;
            let computed = i32::try_from(1000_i128 - i128::try_from(share).ok()?).ok()?;
            let clamped = computed.clamp(3, 999);
            (clamped == value).then(|| match evidence.request {
                None => "Burstable without a request".to_owned(),
                Some(request) if clamped == computed => {
                    format!(
                        "Burstable, 1000 − 1000 × {} requested / {} of the node",
                        quantity(request),
                        quantity(node)
                    )
                }
                Some(request) => format!(
                    "Burstable, {} requested of {}, kept within 3 … 999",
                    quantity(request),
                    quantity(node)
                ),
            })
        }
        _ => None,
    }
}
