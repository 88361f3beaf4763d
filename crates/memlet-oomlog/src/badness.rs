//! Why this process: the kernel's own scoring (`oom_badness` of `mm/oom_kill.c`, Linux 4.17 and later),
//! computed again from the task table.
//!
//! A process scores its resident memory, its swap and its page tables in pages, plus `oom_score_adj` thousandths of
//! the pages that its OOM domain may use. The highest score dies.

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::report::{Ending, Pid, Report, Scope, Task};

/// `OOM_SCORE_ADJ_MIN`: never killed.
const NEVER: i16 = -1000;
/// The process that the kernel never kills, whatever it scores.
const INIT: Pid = 1;

/// A process and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ranked {
    /// The process.
    pub pid: Pid,
    /// Pages of memory it would free, plus what its `oom_score_adj` adds or takes; may be negative.
    pub points: i64,
}

/// Whether the killed process is the one that scores highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "choice")]
pub enum Choice {
    /// It is, or shares the highest score.
    Agrees,
    /// By the table another one should have died.
    #[serde(rename_all = "camelCase")]
    Disagrees {
        /// The process with the highest score.
        worst: Pid,
    },
    /// The kernel did not choose by score: the process that asked was killed (`vm.oom_kill_allocating_task`).
    NotByScore,
    /// There was no kill, no table, or not enough of either to tell.
    Unknown,
}

impl Choice {
    /// `choice_agrees`: `None` where it cannot be told.
    pub fn agrees(self) -> Option<bool> {
        match self {
            Self::Agrees => Some(true),
            Self::Disagrees { .. } => Some(false),
            Self::NotByScore | Self::Unknown => None,
        }
    }
}

impl Report {
    /// The pages that the OOM domain may use, of which `oom_score_adj` is a part: the limit of the cgroup, or memory
    /// and swap of the machine. Swap that a cgroup may use beyond its limit is added as far as the report tells it.
    pub fn domain_pages(&self) -> Option<u64> {
        let page_size = self.page_size?.get();
        let pages = |bytes: Bytes| bytes.get() / page_size;
        match self.scope? {
            Scope::Memcg => {
                let limit = self.memory?.limit.bytes()?;
                // v1 adds what memory+swap allows beyond memory, v2 what swap allows; either at most the swap
                // space, of which a report on a cgroup says nothing: only a finite allowance can be believed.
                let v1 = self.memory_swap.and_then(|counter| counter.limit.bytes());
                let v2 = self.swap.and_then(|counter| counter.limit.bytes());
                let swap = v1.map(|both| both.saturating_sub(limit)).or(v2).unwrap_or(Bytes::ZERO);
                Some(pages(limit + swap))
            }
            Scope::System => {
                let machine = self.machine?;
                let ram = machine.ram?.0.saturating_sub(machine.reserved.map_or(0, |pages| pages.0));
                Some(ram.saturating_add(machine.total_swap.map_or(0, pages)))
            }
            // The pages of the allowed nodes: not in the report.
            Scope::Cpuset | Scope::Mempolicy => None,
        }
    }

    /// The processes that could be killed, with their scores, highest first; among equals the first listed, as the
    /// kernel takes it. Empty where the scores cannot be computed.
    pub fn ranking(&self) -> Vec<Ranked> {
        let candidates = || self.tasks.iter().filter(|task| is_candidate(task));
        let mut adjustments = candidates().map(|task| task.oom_score_adj.unwrap_or(0));
        let first = adjustments.next();
        // Where all adjust alike, the domain's size decides nothing.
        let matters = adjustments.any(|adj| Some(adj) != first) || first.is_some_and(|adj| adj != 0);
        let domain = match self.domain_pages() {
            Some(pages) => pages,
            None if matters => return Vec::new(),
            None => 0,
        };
        let mut ranking: Vec<Ranked> = candidates()
            .filter_map(|task| Some(Ranked { pid: task.pid, points: points(task, domain, self.page_size)? }))
            .collect();
        ranking.sort_by_key(|ranked| std::cmp::Reverse(ranked.points));
        ranking
    }

    /// Checks the kernel's choice against the table.
    pub fn choice(&self) -> Choice {
        match self.ending {
            Some(Ending::Killed) => {}
            Some(Ending::KilledAllocatingTask) => return Choice::NotByScore,
            _ => return Choice::Unknown,
        }
        if self.dropped.tasks > 0 || self.dropped.records > 0 {
            return Choice::Unknown;
        }
        let ranking = self.ranking();
        let (Some(worst), Some(victim)) = (ranking.first(), self.victims.first()) else {
            return Choice::Unknown;
        };
        let pids = [Some(victim.pid), self.chosen.as_ref().map(|chosen| chosen.pid)];
        let killed = ranking.iter().find(|ranked| pids.contains(&Some(ranked.pid)));
        match killed {
            Some(killed) if killed.points == worst.points => Choice::Agrees,
            Some(_) => Choice::Disagrees { worst: worst.pid },
            None => Choice::Unknown,
        }
    }

    /// Whether the process that was killed is the one that scores highest; `None` where that cannot be told.
    pub fn choice_agrees(&self) -> Option<bool> {
        self.choice().agrees()
    }
}

fn is_candidate(task: &Task) -> bool {
    task.oom_score_adj != Some(NEVER) && task.pid != INIT
}

/// `oom_badness`: `None` where the table lacks a part of it.
fn points(task: &Task, domain_pages: u64, page_size: Option<Bytes>) -> Option<i64> {
    let page_tables = match (task.page_tables, task.page_table_pages) {
        (Some(bytes), _) => bytes.get() / page_size.map_or(4096, Bytes::get).max(1),
        (None, pages) => pages.map_or(0, |pages| pages.0),
    };
    let pages =
        task.rss?.0.saturating_add(task.swap_entries.map_or(0, |pages| pages.0)).saturating_add(page_tables);
    // The kernel divides first.
    let unit = i64::try_from(domain_pages / 1000).ok()?;
    let adjustment = i64::from(task.oom_score_adj.unwrap_or(0)).saturating_mul(unit);
    Some(i64::try_from(pages).ok()?.saturating_add(adjustment))
}
