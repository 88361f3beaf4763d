//! What volumes show of the API: written before the first container starts, and again when it has changed.
//!
//! Looked after within each minute, as kubelet is sure to do; the Pod's own labels and annotations at once.

use std::time::Duration;

use jiff::Timestamp;

use super::Worker;
use crate::events::Severity;
use crate::objects::{Names, Objects};
use crate::steady;
use crate::tokens::Tokens;
use crate::volumes::payload::Context;

/// The longest that an old state is shown. Pods look at different times, by up to this many seconds.
const PERIOD: Duration = Duration::from_secs(59);
const SPREAD: u32 = 15;

/// When to look next, and the tokens there are.
#[derive(Debug, Default)]
pub(super) struct Projection {
    tokens: Tokens,
    due: Option<Timestamp>,
}

impl Projection {
    /// Look as soon as possible, if this Pod has such volumes and they are there.
    pub(super) fn is_due_now(&mut self) {
        self.due = self.due.map(|_| steady::now());
    }
}

impl Worker {
    /// Writes all that the Pod's volumes show.
    ///
    /// # Errors
    /// A message for each volume with which something is wrong, as `FailedMount` has it.
    pub(super) async fn show_projected(&mut self) -> Result<(), Vec<String>> {
        if !self.volumes.has_projected() {
            return Ok(());
        }
        let names = Names::of_volumes(self.spec());
        let objects = Objects::read(&self.node.client, &self.identity().1, &names).await;
        let now = Timestamp::now();
        let mut tokens = std::mem::take(&mut self.projection.tokens);
        tokens.renew(&self.node.client, &self.pod, now).await;
        self.projection.tokens = tokens;
        let files = self.volumes.files(Context {
            pod: &self.pod,
            objects: &objects,
            tokens: &self.projection.tokens,
            node: self.node.shape.figures(),
        });
        let volumes = self.volumes.clone();
        let written = tokio::task::spawn_blocking(move || {
            let results = files.into_iter().map(|(name, files)| volumes.show(&name, &files?));
            results.filter_map(Result::err).map(|error| error.to_string()).collect()
        });
        let errors: Vec<String> = written.await.map_err(|error| vec![error.to_string()])?;
        // Different for each Pod, so that they do not all ask at once.
        let spread = now.subsec_nanosecond().unsigned_abs() % SPREAD;
        self.projection.due = Some(steady::now() + PERIOD.saturating_sub(Duration::from_secs(spread.into())));
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The same for a Pod that runs, when it is time: what cannot be had stays as it was, and is told.
    pub(super) async fn keep_projected(&mut self) {
        if self.projection.due.is_none_or(|due| due > steady::now()) {
            return;
        }
        for message in self.show_projected().await.err().into_iter().flatten() {
            self.tell(None, Severity::Warning, "FailedMount", message);
        }
    }

    /// When to look again; never for a Pod that is over.
    pub(super) fn next_projection(&self) -> Option<Timestamp> {
        self.projection.due.filter(|_| self.sandbox.is_some() && !self.tidied)
    }
}
