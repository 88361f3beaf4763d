//! Who filled a node, as against who was killed for it.
//!
//! What a Pod requests is set aside for it. So the node was filled by whoever held most above its request, however large
//! another may be that stayed within its own.

use std::fmt::Write as _;

use memlet_bytes::Bytes;

use crate::evidence::{KillRecord, PodMemory};
use crate::render::printable;
use crate::tasks;

/// The other Pod that held more above its request than the victim did above `request`, the most of all; `None` where the
/// victim did, or it is not known.
pub fn causer(kill: &KillRecord, request: Bytes) -> Option<&PodMemory> {
    let most = kill.neighbours.iter().max_by_key(|pod| pod.above_request())?;
    let victim = kill.report.as_ref().and_then(tasks::victim_held).unwrap_or_default();
    (most.above_request() > victim.saturating_sub(request)).then_some(most)
}

/// Whose doing a kill was that no limit of the victim's Pod led to, as the end of an Event: `Pod default/hog held most above
/// its request: 180Mi, with none (pid 42, hog)`. `request` is what the container requests that lost a process.
pub fn cause(kill: &KillRecord, request: Bytes) -> Option<String> {
    causer(kill, request).map(|pod| {
        let requested = requested(pod.request);
        format!(
            "{} held most above its request: {}, with {requested}{}",
            name(pod),
            pod.working_set,
            process(pod)
        )
    })
}

/// `Pod default/hog`
pub(crate) fn name(pod: &PodMemory) -> String {
    format!("Pod {}/{}", printable(&pod.namespace), printable(&pod.pod))
}

/// `100Mi requested`
pub(crate) fn requested(request: Bytes) -> String {
    if request == Bytes::ZERO { "none requested".to_owned() } else { format!("{request} requested") }
}

/// ` (pid 42, hog)`
pub(crate) fn process(pod: &PodMemory) -> String {
    let mut text = String::new();
    if let Some(process) = &pod.largest {
        let _ = write!(text, " (pid {}, {})", process.pid, printable(&process.comm));
    }
    text
}
