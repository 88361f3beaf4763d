//! What mutating admission gives a new Pod: its priority, its service account (`account`), and how long it bears an
//! ailing node.

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};

use super::account;
use crate::error::ApiError;
use crate::verbs::Core;

/// Upstream's `DefaultTolerationSeconds`, for both taints.
const BORNE_SECONDS: i64 = 300;
const BORNE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The priority classes that every cluster has, with their values.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) fn admit(pod: &mut Pod, core: &Core) -> Result<(), ApiError> {
    account::admit(pod, core)?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    set_priority(spec).map_err(|why| ApiError::forbidden(Pod::URL_PATH_SEGMENT, &name, &why))?;
    bear_ailing_nodes(spec);
    Ok(())
}

/// On an update, what admission decided at creation stands where the new spec does not mention it.
pub(super) fn admit_update(pod: &mut Pod, old: &Pod) {
    let (Some(spec), Some(old)) = (&mut pod.spec, &old.spec) else { return };
    spec.priority = spec.priority.or(old.priority);
    if spec.preemption_policy.is_none() {
        spec.preemption_policy.clone_from(&old.preemption_policy);
    }
    bear_ailing_nodes(spec);
}

fn set_priority(spec: &mut PodSpec) -> Result<(), String> {
    let priority = match spec.priority_class_name.as_deref().unwrap_or_default() {
        "" => 0,
        class => SYSTEM_CLASSES
            .iter()
            .find(|(name, _)| *name == class)
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("no PriorityClass with name {class} was found"))?,
    };
    if spec.priority.is_some_and(|stated| stated != priority) {
        let stated = spec.priority.unwrap_or_default();
        return Err(format!(
            "the integer value of priority ({stated}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        ));
    }
    spec.priority = Some(priority);
    spec.preemption_policy.get_or_insert_with(|| PREEMPTS.to_owned());
    Ok(())
}

fn bear_ailing_nodes(spec: &mut PodSpec) {
    for taint in BORNE_TAINTS {
        let tolerations = spec.tolerations.get_or_insert_default();
        let borne = tolerations.iter().any(|toleration| {
            let key = toleration.key.as_deref().unwrap_or_default();
            let effect = toleration.effect.as_deref().unwrap_or_default();
            (key.is_empty() || key == taint) && matches!(effect, "" | "NoExecute")
        });
        if !borne {
            tolerations.push(Toleration {
                key: Some(taint.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(BORNE_SECONDS),
                value: None,
            });
        }
    }
}
