//! A bar per running container: its working set against its limit. Only on a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Hierarchy};

use super::changes::Instance;

/// How often the bars are drawn anew.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// The bars.
pub(crate) struct Usage {
    bars: MultiProgress,
    /// What a container without a limit is measured against.
    node_memory: Bytes,
    rows: BTreeMap<Instance, (Cgroup, ProgressBar)>,
}

impl Usage {
    /// No bar yet.
    pub(crate) fn new(bars: MultiProgress, node_memory: Bytes) -> Self {
        Self { bars, node_memory, rows: BTreeMap::new() }
    }

    /// Shows a bar for a container that has started. One whose cgroup is gone again has none.
    pub(crate) fn show(
        &mut self,
        instance: &Instance,
        hierarchy: &Hierarchy,
        cgroup: &memlet_cgroup::CgroupPath,
        limit: Option<Bytes>,
    ) {
        let Ok(cgroup) = Cgroup::open(hierarchy, cgroup) else { return };
        let whole = limit.unwrap_or(self.node_memory);
        let bar = self.bars.add(ProgressBar::new(whole.get()));
        let of = if limit.is_some() { "limit" } else { "no limit; node" };
        // The template is fixed and valid; a bar in indicatif's own style would do as well.
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(format!("{} {of} {whole}", instance.container));
        self.rows.insert(instance.clone(), (cgroup, bar));
    }

    /// Draws the bars as things are now.
    pub(crate) fn draw(&self) {
        for (cgroup, bar) in self.rows.values() {
            let Ok(Some(working_set)) = cgroup.working_set() else { continue };
            bar.set_position(working_set.get().min(bar.length().unwrap_or(u64::MAX)));
            bar.set_message(format!("working set {working_set}"));
        }
    }

    /// Takes the bar of a container that has ended away.
    pub(crate) fn hide(&mut self, instance: &Instance) {
        if let Some((_, bar)) = self.rows.remove(instance) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }
}
