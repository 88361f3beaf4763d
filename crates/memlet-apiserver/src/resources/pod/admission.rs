//! What mutating admission gives a new Pod: requests and limits (`limits`), its service account (`account`), its
//! priority, and how long it bears an ailing node.

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use k8s_openapi::api::scheduling::v1::PriorityClass;

use super::{account, limits};
use crate::error::ApiError;
use crate::resources::priority_class;
use crate::verbs::Core;

/// Upstream's `DefaultTolerationSeconds`, for both taints.
const BORNE_SECONDS: i64 = 300;
const BORNE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// What a Pod without a class does.
const PREEMPTS: &str = "PreemptLowerPriority";

pub(super) fn admit(pod: &mut Pod, core: &Core) -> Result<(), ApiError> {
    limits::give_defaults(pod, core)?;
    account::admit(pod, core)?;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    let class = class_of(spec, core)?;
    set_priority(spec, class).map_err(|why| ApiError::forbidden(Pod::URL_PATH_SEGMENT, &name, &why))?;
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

/// The class that the Pod names, or the one that is there for Pods that name none. The error is that of the first.
fn class_of(spec: &mut PodSpec, core: &Core) -> Result<Result<Option<PriorityClass>, String>, ApiError> {
    let name = spec.priority_class_name.clone().unwrap_or_default();
    if name.is_empty() {
        let class = priority_class::default_class(core)?;
        spec.priority_class_name = class.as_ref().and_then(|class| class.metadata.name.clone());
        return Ok(Ok(class));
    }
    let class = priority_class::class(core, &name)?;
    Ok(class.map(Some).ok_or_else(|| format!("no PriorityClass with name {name} was found")))
}

/// The numbers that the class stands for. A Pod may state them only if they are the same.
fn set_priority(spec: &mut PodSpec, class: Result<Option<PriorityClass>, String>) -> Result<(), String> {
    let class = class?;
    let priority = class.as_ref().map_or(0, priority_class::value);
    let policy = class.as_ref().map_or(PREEMPTS, priority_class::preemption_policy);
    if let Some(stated) = spec.priority.filter(|stated| *stated != priority) {
        return Err(format!(
            "the integer value of priority ({stated}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name"
        ));
    }
    if let Some(stated) =
        spec.preemption_policy.as_deref().filter(|stated| *stated != policy && class.is_some())
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({stated}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        ));
    }
    spec.priority = Some(priority);
    spec.preemption_policy.get_or_insert_with(|| policy.to_owned());
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
