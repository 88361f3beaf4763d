//! Why this process: the kernel's own scoring (`oom_badness` of `mm/oom_kill.c`, Linux 2.6.36 and later),
//! computed again from the task table.
//!
//! A process scores its resident memory, its swap and its page tables in pages, plus `oom_score_adj` thousandths of
//! the pages that its OOM domain may use. The highest score dies. Up to Linux 4.16 a process of root with all its
//! capabilities scores some 3 % less; the table does not tell who has them, so both are taken for possible.

use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::amount::Usage;
use crate::report::{Ending, Pid, Report, Scope, Task};

/// `OOM_SCORE_ADJ_MIN`: never killed.
const NEVER: i16 = -1000;
/// Two counters of a cgroup are not read at the same moment.
const SLACK: Bytes = Bytes::from_mib(1);
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
    /// It cannot be told.
    Unknown {
        /// Why not.
        why: Obstacle,
    },
}

/// Why it cannot be told whether the killed process scores highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Obstacle {
    /// Nothing was killed, or the log ends before.
    NoKill,
    /// The kernel listed no processes (`vm.oom_dump_tasks` is 0, or the lines are lost).
    NoTable,
    /// Some of the table is missing.
    TableIncomplete,
    /// The killed process is not in the table.
    NotListed,
    /// Kernels up to 2.6.35 weigh run time and children, which the table does not have.
    OldFormula,
    /// The kernel is a vendor's, whose table has columns of its own: it may weigh what others don't.
    OtherFormula,
    /// The scores depend on how much the domain may use, which the report does not say.
    DomainUnknown,
}

impl Choice {
    /// `choice_agrees`: `None` where it cannot be told.
    pub fn agrees(self) -> Option<bool> {
        match self {
            Self::Agrees => Some(true),
            Self::Disagrees { .. } => Some(false),
            Self::NotByScore | Self::Unknown { .. } => None,
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
                // At most the swap space, of which a report on a cgroup says nothing but that some is in use.
                let swap = self.swap_allowance().filter(|_| self.shows_swap()).unwrap_or(Bytes::ZERO);
                Some(pages(limit + swap))
            }
            Scope::System => {
                let machine = self.machine.as_ref()?;
                let ram = machine.ram?.0.saturating_sub(machine.reserved.map_or(0, |pages| pages.0));
                Some(ram.saturating_add(machine.total_swap.map_or(0, pages)))
            }
            // The pages of the allowed nodes: not in the report.
            Scope::Cpuset | Scope::Mempolicy => None,
        }
    }

    /// What a cgroup may swap: v1 tells what memory and swap together may be, v2 what swap may be. `None`: as much as
    /// there is.
    fn swap_allowance(&self) -> Option<Bytes> {
        let limit = self.memory?.limit.bytes()?;
        let v1 = self.memory_swap.and_then(|counter| counter.limit.bytes());
        let v2 = self.swap.and_then(|counter| counter.limit.bytes());
        v1.map(|both| both.saturating_sub(limit)).or(v2)
    }

    /// Whether something is swapped out, so that there is swap.
    fn shows_swap(&self) -> bool {
        let usage = |counter: Option<Usage>| counter.map_or(Bytes::ZERO, |counter| counter.usage);
        usage(self.swap) > Bytes::ZERO
            || self.memory_swap.is_some_and(|both| both.usage > usage(self.memory) + SLACK)
            || self.tasks.iter().any(|task| task.swap_entries.is_some_and(|pages| pages.0 > 0))
    }

    /// The processes that could be killed, with their scores, highest first; among equals the first listed, as the
    /// kernel takes it. Empty where the scores cannot be computed.
    pub fn ranking(&self) -> Vec<Ranked> {
        let mut adjustments = self.candidates().map(|task| task.oom_score_adj.unwrap_or(0));
        let first = adjustments.next();
        // Where all adjust alike, the domain's size decides nothing.
        let matters = adjustments.any(|adj| Some(adj) != first) || first.is_some_and(|adj| adj != 0);
        let domain = match self.domain_pages() {
            Some(pages) => pages,
            None if matters => return Vec::new(),
            None => 0,
        };
        // The kernel divides first.
        let unit = i64::try_from(domain / 1000).unwrap_or(i64::MAX);
        let mut ranking: Vec<Ranked> =
            self.scores().map(|score| Ranked { pid: score.pid, points: score.most(unit) }).collect();
        ranking.sort_by_key(|ranked| std::cmp::Reverse(ranked.points));
        ranking
    }

    /// The processes that the kernel may kill.
    fn candidates(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| is_candidate(task))
    }

    fn scores(&self) -> impl Iterator<Item = Score> {
        self.candidates().filter_map(|task| Score::of(task, self.page_size))
    }

    /// Checks the kernel's choice against the table. Where the report leaves open how much the domain may use (swap
    /// beyond a cgroup's limit, the nodes of a cpuset), any amount for which the choice was right will do.
    pub fn choice(&self) -> Choice {
        match self.examined() {
            Ok(choice) => choice,
            Err(why) => Choice::Unknown { why },
        }
    }

    fn examined(&self) -> Result<Choice, Obstacle> {
        match self.ending {
            Some(Ending::Killed) => {}
            Some(Ending::KilledAllocatingTask) => return Ok(Choice::NotByScore),
            _ => return Err(Obstacle::NoKill),
        }
        if self.tasks.is_empty() {
            return Err(Obstacle::NoTable);
        }
        if self.dropped.tasks > 0 || self.dropped.records > 0 {
            return Err(Obstacle::TableIncomplete);
        }
        if self.tasks.iter().all(|task| task.oom_score_adj.is_none()) {
            return Err(Obstacle::OldFormula);
        }
        if self.tasks.iter().any(|task| task.other.keys().any(|column| column != "cpu")) {
            return Err(Obstacle::OtherFormula);
        }
        // The kernel may name a thread that is not in the table, or kill a child of the one that scores highest.
        let named = [
            self.victims.first().map(|victim| victim.pid),
            self.chosen.as_ref().map(|chosen| chosen.pid),
            self.scored.as_ref().map(|scored| scored.pid),
        ];
        let (killed, others): (Vec<Score>, Vec<Score>) =
            self.scores().partition(|score| named.contains(&Some(score.pid)));
        if killed.is_empty() {
            return Err(Obstacle::NotListed);
        }
        let (least, most) = self.thousandth().ok_or(Obstacle::DomainUnknown)?;
        let agrees = |unit: i64| {
            let highest = killed.iter().map(|score| score.most(unit)).max();
            others.iter().all(|other| Some(other.least(unit)) <= highest)
        };
        if steps(least, most).any(agrees) {
            return Ok(Choice::Agrees);
        }
        let worst = others.iter().max_by_key(|score| score.most(least));
        Ok(worst.map_or(Choice::Agrees, |worst| Choice::Disagrees { worst: worst.pid }))
    }

    /// A thousandth of the pages that the domain may use: the least and the most that it can be.
    fn thousandth(&self) -> Option<(i64, i64)> {
        /// More memory and swap than any machine has.
        const MOST: i64 = 1 << 40;
        let unit = |pages: u64| i64::try_from(pages / 1000).unwrap_or(MOST).min(MOST);
        Some(match self.scope? {
            // How much swap there is, the report does not say: up to as much as the cgroup may use.
            Scope::Memcg => {
                let limit = self.memory.and_then(|memory| memory.limit.bytes());
                let in_thousandths = |bytes: Bytes| Some(unit(bytes.get() / self.page_size?.get()));
                let least = limit.and_then(in_thousandths).unwrap_or(0);
                let most =
                    self.swap_allowance().zip(limit).and_then(|(swap, limit)| in_thousandths(limit + swap));
                (least, most.unwrap_or(MOST))
            }
            Scope::System => self.domain_pages().map_or((0, MOST), |pages| (unit(pages), unit(pages))),
            Scope::Cpuset | Scope::Mempolicy => (0, MOST),
        })
    }

    /// Whether the process that was killed is the one that scores highest; `None` where that cannot be told.
    pub fn choice_agrees(&self) -> Option<bool> {
        self.choice().agrees()
    }
}

fn is_candidate(task: &Task) -> bool {
    task.oom_score_adj != Some(NEVER) && task.pid != INIT
}

/// What a process scores, as far as the table tells it.
#[derive(Clone, Copy, Debug)]
struct Score {
    pid: Pid,
    /// Resident memory, swap and page tables.
    pages: i64,
    adjustment: i64,
    /// Whether it may have root's bonus.
    root: bool,
}

impl Score {
    /// `oom_badness`: `None` where the table lacks a part of it.
    fn of(task: &Task, page_size: Option<Bytes>) -> Option<Self> {
        let page_tables = match (task.page_tables, task.page_table_pages) {
            (Some(bytes), _) => bytes.get() / page_size.map_or(4096, Bytes::get).max(1),
            (None, pages) => pages.map_or(0, |pages| pages.0),
        };
        let swap = task.swap_entries.map_or(0, |pages| pages.0);
        let pages = task.rss?.0.saturating_add(swap).saturating_add(page_tables);
        Some(Self {
            pid: task.pid,
            pages: i64::try_from(pages).ok()?,
            adjustment: i64::from(task.oom_score_adj.unwrap_or(0)),
            // Page tables are told in bytes since Linux 4.15, two releases before the bonus went.
            root: task.uid == Some(0) && task.page_tables.is_none(),
        })
    }

    fn most(self, unit: i64) -> i64 {
        self.pages.saturating_add(self.adjustment.saturating_mul(unit))
    }

    fn least(self, unit: i64) -> i64 {
        let most = self.most(unit);
        if self.root {
            (most - self.pages * 3 / 100).min(most.saturating_sub(unit.saturating_mul(30)))
        } else {
            most
        }
    }
}

/// Amounts from the least to the most, each half as large again as the one before.
fn steps(least: i64, most: i64) -> impl Iterator<Item = i64> {
    std::iter::successors(Some(least), |step| step.checked_add(step / 2 + 1))
        .take_while(move |step| *step < most)
        .chain([most])
}
