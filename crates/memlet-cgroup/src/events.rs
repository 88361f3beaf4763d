//! How often what happened at a group's limit: v1's `memory.oom_control`, v2's `memory.events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts since the group was made. Where the kernel does not say, `None`.
///
/// Fields without `_hierarchical` are of this very group. A kill counts in the group its *victim* was in (`oom_kill`),
/// while `oom` and `max` count in the group whose *limit* was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Processes of this very group killed by any OOM killer, whosever limit it was.
    /// v1 since Linux 4.13; v2 since 5.2 (`memory.events.local`).
    pub oom_kill: Option<u64>,
    /// The same with all groups below. v2 only.
    pub oom_kill_hierarchical: Option<u64>,
    /// Times this group's limit was reached and reclaim failed, whether or not that led to a kill. v2.
    pub oom: Option<u64>,
    /// The same with all groups below. v2 only.
    pub oom_hierarchical: Option<u64>,
    /// Times usage was about to exceed this group's limit. v2; v1 has [`Cgroup::failcnt`](crate::Cgroup::failcnt).
    pub max: Option<u64>,
    /// The same with all groups below. v2 only.
    pub max_hierarchical: Option<u64>,
    /// Times processes were throttled above `memory.high`. v2.
    pub high: Option<u64>,
    /// Times memory was reclaimed below `memory.low`. v2.
    pub low: Option<u64>,
    /// Times the whole group was killed together (`memory.oom.group`). v2 since Linux 5.17.
    pub oom_group_kill: Option<u64>,
    /// The same with all groups below. v2 only.
    pub oom_group_kill_hierarchical: Option<u64>,
    /// Whether the group stands still at its limit right now. v1.
    pub under_oom: Option<bool>,
}

/// A file of counts, by key.
pub(crate) type Counts = BTreeMap<String, u64>;

impl Events {
    pub(crate) fn from_v1(oom_control: &Counts) -> Self {
        Self {
            oom_kill: oom_control.get("oom_kill").copied(),
            under_oom: oom_control.get("under_oom").map(|&under_oom| under_oom != 0),
            ..Self::default()
        }
    }

    pub(crate) fn from_v2(local: &Counts, hierarchical: &Counts) -> Self {
        let [own, all] = [local, hierarchical].map(|counts| move |key: &str| counts.get(key).copied());
        Self {
            oom_kill: own("oom_kill"),
            oom_kill_hierarchical: all("oom_kill"),
            oom: own("oom"),
            oom_hierarchical: all("oom"),
            max: own("max"),
            max_hierarchical: all("max"),
            high: own("high"),
            low: own("low"),
            oom_group_kill: own("oom_group_kill"),
            oom_group_kill_hierarchical: all("oom_group_kill"),
            under_oom: None,
        }
    }
}
