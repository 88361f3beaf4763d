//! Troubles that no status shows: a Pod whose volumes or sandbox cannot be made stays Pending without a word,
//! and only an Event tells why. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};

/// What keeps Pods from running, by their uid: the latest word on each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles(BTreeMap<String, String>);

/// The reasons of Events that tell of what must be mended before a Pod can run. Others that begin with
/// "Failed" are told by a status too.
const REASONS: [&str; 3] = ["FailedMount", "FailedCreatePodSandBox", "FailedCreatePodContainer"];

impl Troubles {
    /// Takes an Event in; answers what is new in it, and of which Pod.
    pub(crate) fn note(&mut self, event: &Event) -> Option<(String, String)> {
        let reason = event.reason.as_deref().filter(|reason| REASONS.contains(reason))?;
        let uid = event.involved_object.uid.clone()?;
        let text = format!("{reason}: {}", event.message.clone().unwrap_or_default());
        if self.0.insert(uid.clone(), text.clone()).as_ref() == Some(&text) {
            return None;
        }
        Some((uid, text))
    }

    /// What keeps this Pod from running; nothing once it runs or has run.
    pub(crate) fn of(&self, pod: &Pod) -> Option<&String> {
        let pending =
            pod.status.as_ref().is_none_or(|status| status.phase.as_deref().is_none_or(|it| it == "Pending"));
        self.0.get(pod.metadata.uid.as_deref()?).filter(|_| pending)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": "e"}, "involvedObject": {"uid": "u"}, "type": "Warning",
            "reason": reason, "message": message,
        }))
        .unwrap()
    }

    fn pod(phase: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "status": {"phase": phase}})).unwrap()
    }

    #[test]
    fn only_what_no_status_tells_is_a_trouble_and_each_is_told_once() {
        let mut troubles = Troubles::default();
        assert_eq!(troubles.note(&event("BackOff", "again")), None);
        assert_eq!(troubles.of(&pod("Pending")), None);
        let told = troubles.note(&event("FailedMount", "no such folder"));
        assert_eq!(told, Some(("u".to_owned(), "FailedMount: no such folder".to_owned())));
        assert_eq!(troubles.note(&event("FailedMount", "no such folder")), None);
        assert_eq!(troubles.of(&pod("Pending")).unwrap(), "FailedMount: no such folder");
        assert_eq!(troubles.of(&pod("Running")), None, "it is over once the Pod runs");
    }
}
