//! Which of a node's taints a Pod does not tolerate, and which taints a node has of itself.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

/// Keeps new Pods off a node.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Keeps new Pods off a node and sends those that run there away.
pub const NO_EXECUTE: &str = "NoExecute";
/// Makes a node the last choice.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
/// The taint that cordoning puts on a node beside `unschedulable`.
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taint of a node that is short of memory.
pub const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// The taints that a node's conditions put on it, by the condition's type and status: upstream's
/// `nodeConditionToTaintKeyStatusMap` (`pkg/controller/nodelifecycle`).
const OF_CONDITIONS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", MEMORY_PRESSURE),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Whether the node controller, and nobody else, puts this taint on nodes and takes it away.
pub fn is_of_condition(key: &str, effect: &str) -> bool {
    effect == NO_SCHEDULE && (key == UNSCHEDULABLE || OF_CONDITIONS.iter().any(|(.., own)| key == *own))
}

/// The keys of the taints (`NoSchedule`) that a node must have for what it says of itself, and no others of
/// [their kind](is_of_condition): its conditions, and whether it is cordoned.
pub fn keys_of_conditions(node: &Node) -> BTreeSet<&'static str> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let of_conditions = conditions.filter_map(|condition| {
        let is_it = |(type_, status, _): &&(&str, &str, &str)| {
            condition.type_ == *type_ && condition.status == *status
        };
        OF_CONDITIONS.iter().find(is_it).map(|(.., key)| *key)
    });
    let is_cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    of_conditions.chain(is_cordoned.then_some(UNSCHEDULABLE)).collect()
}

/// Whether this toleration covers the taint.
pub fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.as_deref().unwrap_or_default().to_owned();
    let is_or_any = |field: &Option<String>, wanted: &str| {
        field.as_deref().is_none_or(|field| field.is_empty() || field == wanted)
    };
    is_or_any(&toleration.effect, &taint.effect)
        && is_or_any(&toleration.key, &taint.key)
        && match toleration.operator.as_deref().unwrap_or_default() {
            "" | "Equal" => text(&toleration.value) == text(&taint.value),
            "Exists" => true,
            _ => false,
        }
}

/// Whether any of the tolerations covers the taint.
pub fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| covers(toleration, taint))
}

/// Whether the taint keeps Pods off, rather than only being disliked.
pub fn repels(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), NO_SCHEDULE | NO_EXECUTE)
}

/// The first taint that keeps the Pod off the node.
pub fn first_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|taint| repels(taint) && !is_tolerated(taint, tolerations))
}

/// How many taints of the node are disliked (`PreferNoSchedule`) and not tolerated.
pub fn disliked(taints: &[Taint], tolerations: &[Toleration]) -> usize {
    let disliked = |taint: &&Taint| taint.effect == PREFER_NO_SCHEDULE && !is_tolerated(taint, tolerations);
    taints.iter().filter(disliked).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            value: (!value.is_empty()).then(|| value.to_owned()),
            effect: effect.to_owned(),
            ..Taint::default()
        }
    }

    fn tolerations(written: Value) -> Vec<Toleration> {
        serde_json::from_value(written).unwrap()
    }

    #[test]
    fn a_toleration_covers_by_key_value_and_effect() {
        let gpu = taint("gpu", "yes", NO_SCHEDULE);
        for (written, covered) in [
            (json!([{"key": "gpu", "value": "yes"}]), true),
            (json!([{"key": "gpu", "operator": "Equal", "value": "no"}]), false),
            (json!([{"key": "gpu"}]), false),
            (json!([{"key": "gpu", "operator": "Exists"}]), true),
            (json!([{"operator": "Exists"}]), true),
            (json!([{"key": "gpu", "operator": "Exists", "effect": NO_SCHEDULE}]), true),
            (json!([{"key": "gpu", "operator": "Exists", "effect": NO_EXECUTE}]), false),
            (json!([{"key": "other", "operator": "Exists"}]), false),
            (json!([{"key": "gpu", "operator": "Near", "value": "yes"}]), false),
            (json!([]), false),
        ] {
            assert_eq!(is_tolerated(&gpu, &tolerations(written.clone())), covered, "{written}");
        }
    }

    #[test]
    fn conditions_taint_a_node() {
        let node: Node = serde_json::from_value(json!({
            "spec": {"unschedulable": true},
            "status": {"conditions": [
                {"type": "MemoryPressure", "status": "True"}, {"type": "DiskPressure", "status": "False"},
                {"type": "Ready", "status": "Unknown"}, {"type": "Custom", "status": "True"},
            ]},
        }))
        .unwrap();
        let keys: Vec<_> = keys_of_conditions(&node).into_iter().collect();
        assert_eq!(keys, [MEMORY_PRESSURE, "node.kubernetes.io/unreachable", UNSCHEDULABLE]);
        assert!(keys_of_conditions(&Node::default()).is_empty());
        assert!(is_of_condition(UNSCHEDULABLE, NO_SCHEDULE));
        assert!(!is_of_condition(MEMORY_PRESSURE, NO_EXECUTE), "not of this kind");
        assert!(!is_of_condition("gpu", NO_SCHEDULE), "somebody else's");
    }

    #[test]
    fn the_first_that_repels_is_named_and_the_disliked_are_counted() {
        let taints = [
            taint("soft", "", PREFER_NO_SCHEDULE),
            taint("a", "", NO_SCHEDULE),
            taint("b", "", NO_EXECUTE),
            taint("softer", "", PREFER_NO_SCHEDULE),
        ];
        let named =
            |written| first_untolerated(&taints, &tolerations(written)).map(|taint| taint.key.as_str());
        assert_eq!(named(json!([])), Some("a"));
        assert_eq!(named(json!([{"key": "a", "operator": "Exists"}])), Some("b"));
        assert_eq!(named(json!([{"operator": "Exists"}])), None);
        assert_eq!(disliked(&taints, &[]), 2);
        assert_eq!(disliked(&taints, &tolerations(json!([{"key": "soft", "operator": "Exists"}]))), 1);
    }
}
