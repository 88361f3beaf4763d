//! A bar per running container: its working set against its limit. Only on a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, CgroupPath, Hierarchy};

use super::changes::Instance;

/// How often the bars are drawn anew.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// A container whose memory is to be shown.
pub(crate) struct Gauge {
    instance: Instance,
    cgroup: Cgroup,
    limit: Option<Bytes>,
}

impl Gauge {
    /// `None` for a container whose cgroup is gone again.
    pub(crate) fn new(
        instance: Instance,
        hierarchy: &Hierarchy,
        cgroup: &CgroupPath,
        limit: Option<Bytes>,
    ) -> Option<Self> {
        Some(Self { instance, cgroup: Cgroup::open(hierarchy, cgroup).ok()?, limit })
    }
}

/// The bars.
pub(crate) struct Usage {
    bars: MultiProgress,
    /// What a container without a limit is measured against.
    node_memory: Bytes,
    rows: BTreeMap<Instance, (Cgroup, ProgressBar)>,
}

impl Usage {
    /// No bar yet.
    pub(crate) fn new(node_memory: Bytes) -> Self {
        Self { bars: MultiProgress::new(), node_memory, rows: BTreeMap::new() }
    }

    /// Whether there is any bar.
    pub(crate) fn is_shown(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Shows a bar.
    pub(crate) fn show(&mut self, gauge: Gauge) {
        let Gauge { instance, cgroup, limit } = gauge;
        let whole = limit.unwrap_or(self.node_memory);
        let bar = self.bars.add(ProgressBar::new(whole.get()));
        let of = if limit.is_some() { "limit" } else { "no limit; node" };
        // The template is fixed and valid; a bar in indicatif's own style would do as well.
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(format!("{} {of} {whole}", instance.container));
        self.rows.insert(instance, (cgroup, bar));
    }

    /// Draws the bars as things are now.
    pub(crate) fn draw(&self) {
        for (cgroup, bar) in self.rows.values() {
            let Ok(Some(working_set)) = cgroup.working_set() else { continue };
            bar.set_position(working_set.get().min(bar.length().unwrap_or(u64::MAX)));
            bar.set_message(format!("working set {working_set}"));
        }
    }

    /// Does something that the bars must not be in the way of.
    pub(crate) fn suspend(&self, act: impl FnOnce()) {
        self.bars.suspend(act);
    }

    /// Takes the bar of a container that has ended away.
    pub(crate) fn hide(&mut self, instance: &Instance) {
        if let Some((_, bar)) = self.rows.remove(instance) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    /// Takes all bars away.
    pub(crate) fn close(mut self) {
        for instance in self.rows.keys().cloned().collect::<Vec<_>>() {
            self.hide(&instance);
        }
    }
}
