//! How far the reading is: a bar on a terminal, once it takes longer than a moment.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Who waits less needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bar, or none.
pub(super) struct Progress {
    began: Instant,
    is_wanted: bool,
    bar: Option<ProgressBar>,
    /// Bytes of the logs that are read to their ends.
    before: u64,
    /// Bytes of all logs.
    total: u64,
    position: Arc<AtomicU64>,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        let is_wanted = io::stderr().is_terminal() && total > 0;
        Self { began: Instant::now(), is_wanted, bar: None, before: 0, total, position: Arc::default() }
    }

    /// The next log begins.
    pub(super) fn next(&mut self, position: Arc<AtomicU64>) {
        self.before += self.position.load(Ordering::Relaxed);
        self.position = position;
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self) {
        if !self.is_wanted || self.began.elapsed() < PATIENCE {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(self.total);
            if let Ok(style) =
                ProgressStyle::with_template("reading [{bar:30}] {bytes} of {total_bytes}, {eta} left")
            {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        bar.set_position(self.before + self.position.load(Ordering::Relaxed));
    }

    /// Takes it away for as long as something is printed.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub(super) fn close(&mut self) {
        self.is_wanted = false;
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
