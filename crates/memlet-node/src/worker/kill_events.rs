//! Kills as Events, which is more than upstream tells: there a container's kill shows as the reason of its end, and a
//! killed child not at all.

use memlet_diagnosis::evidence::{KillRecord, Victim};
use memlet_policy::oom_kill_mode::{ANNOTATION, OomKillMode};
use memlet_policy::resources;

use super::{Place, Worker};
use crate::events::Severity;
use crate::oom::node_event::{self, OOM_KILLING};

impl Worker {
    /// An Event on the Pod; and one on the node where its memory is what ran out.
    pub(super) fn tell_kill(&self, place: Place, record: &KillRecord, is_over: bool) {
        let request = resources::memory_request(self.container(place)).unwrap_or_default();
        let line = memlet_diagnosis::summary(record);
        let after = main_process(record.victim, is_over, self.oom_kill_mode(place));
        let text = format!("{line}{after}{}", node_event::cause(record, request));
        self.tell(Some(place), Severity::Warning, OOM_KILLING, text);
        if let Some(event) = node_event::of_kill(record, request) {
            self.node.tell(Severity::Warning, event.reason, event.message);
        }
    }
}

/// What becomes of the main process, where it is not the victim.
fn main_process(victim: Victim, is_over: bool, mode: OomKillMode) -> String {
    match (victim, is_over, mode) {
        (Victim::Main, ..) => String::new(),
        (_, true, _) => "; the container's main process was not killed by it".to_owned(),
        (_, false, OomKillMode::Process) => "; the container's main process goes on".to_owned(),
        (_, false, mode) => format!("; the container's main process ends with it ({ANNOTATION}: {mode})"),
    }
}
