//! The message of `FailedScheduling`, from rejections.

use memlet_policy::fit::unschedulable_message;

use crate::cluster::{Cluster, PodFacts};

use super::verdict::{Reason, reasons};
use super::{Nowhere, Obstacle};

const CONTRADICTION: &str = "pod affinity terms conflict";
/// What upstream's resource claim plugin says before preemption has its say.
const NO_CLAIMS: &str = "no new claims to deallocate";

/// The message. `preemption` is what preemption had to say, where it found nobody to send away.
pub fn shortfall(cluster: &Cluster, pod: &PodFacts, nowhere: &Nowhere, preemption: Option<&str>) -> String {
    let after = preemption.map(|text| format!("{NO_CLAIMS}, preemption: {text}")).unwrap_or_default();
    if nowhere.contradiction && nowhere.nodes > 0 {
        let message = format!("0/{} nodes are available: {CONTRADICTION}.", nowhere.nodes);
        return if after.is_empty() { message } else { format!("{message} {after}") };
    }
    let text = |(id, obstacle): &(_, Obstacle)| reasons(cluster, pod, *id, *obstacle);
    let mut all: Vec<String> =
        nowhere.rejected.iter().flat_map(text).map(|reason: Reason| reason.to_string()).collect();
    let unasked = nowhere.nodes.saturating_sub(nowhere.rejected.len());
    all.extend(std::iter::repeat_n(Reason::NotNamed.to_string(), unasked));
    unschedulable_message(nowhere.nodes, all.iter().map(String::as_str), &after)
}
