//! The taints of nodes that follow from what they say of themselves: `MemoryPressure`, not ready, cordoned. Upstream's
//! node lifecycle controller (`pkg/controller/nodelifecycle`, `doNoScheduleTaintingPass`).
//!
//! Only `NoSchedule`: nothing that runs is sent away. Taints of other keys and effects are others' and stay.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use memlet_policy::taints::{NO_SCHEDULE, is_of_condition, keys_of_conditions};

use super::unless_settled;
use crate::error::ApiError;
use crate::storage::{ChangeKind, Key, NoticeReader, Recorded};
use crate::verbs::Core;

/// Looks at every node.
pub(super) fn look_at_all(core: &Core, notices: &NoticeReader) -> Result<(), ApiError> {
    // Before the look, so that what happens meanwhile is told.
    notices.follow_resource(Node::URL_PATH_SEGMENT);
    let nodes = core.storage.list(Node::URL_PATH_SEGMENT, None, None).objects;
    settle(core, nodes.iter().map(|node| &node.key))
}

/// Looks at the nodes that were changed.
pub(super) fn follow(core: &Core, changes: &[Recorded]) -> Result<(), ApiError> {
    let of_nodes = changes.iter().filter(|recorded| recorded.resource == Node::URL_PATH_SEGMENT);
    let there = of_nodes.map(|recorded| &recorded.change).filter(|it| it.kind != ChangeKind::Deleted);
    let keys: BTreeSet<&Key> = there.map(|change| &change.object.key).collect();
    settle(core, keys)
}

fn settle<'a>(core: &Core, nodes: impl IntoIterator<Item = &'a Key>) -> Result<(), ApiError> {
    let mut done = Ok(());
    for key in nodes {
        let settled = core.change::<Node>(key, false, |_, old| Ok(with_its_taints(old, Timestamp::now())));
        // One that fails does not keep the others.
        done = done.and(unless_settled(settled.map(drop)));
    }
    done
}

/// The node with the taints that its conditions ask for. The same node where it has them.
fn with_its_taints(node: &Node, now: Timestamp) -> Node {
    let mut wanted = keys_of_conditions(node);
    let mut node = node.clone();
    let spec = node.spec.get_or_insert_default();
    let mut taints = spec.taints.take().unwrap_or_default();
    taints.retain(|taint| !is_of_condition(&taint.key, &taint.effect) || wanted.remove(taint.key.as_str()));
    taints.extend(wanted.into_iter().map(|key| Taint {
        key: key.to_owned(),
        effect: NO_SCHEDULE.to_owned(),
        time_added: Some(Time(now)),
        value: None,
    }));
    spec.taints = (!taints.is_empty()).then_some(taints);
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(taints: &Value, conditions: &Value) -> Node {
        let node = json!({"spec": {"taints": taints}, "status": {"conditions": conditions}});
        serde_json::from_value(node).unwrap()
    }

    fn taints(node: &Node) -> String {
        serde_json::to_string(&node.spec.as_ref().unwrap().taints).unwrap()
    }

    #[test]
    fn taints_come_and_go_with_their_conditions() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let short =
            json!([{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": "True"}]);
        let others = json!([
            {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/memory-pressure", "effect": "NoExecute"},
            {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
        ]);
        let tainted = with_its_taints(&node(&others, &short), at(1));
        insta::assert_snapshot!(taints(&tainted), @r#"[{"effect":"NoSchedule","key":"gpu","value":"yes"},{"effect":"NoExecute","key":"node.kubernetes.io/memory-pressure"},{"effect":"NoSchedule","key":"node.kubernetes.io/memory-pressure","timeAdded":"1970-01-01T00:00:01Z"}]"#);
        assert_eq!(with_its_taints(&tainted, at(2)), tainted, "nothing is done twice");
        let over = node(&serde_json::to_value(&tainted.spec.unwrap().taints).unwrap(), &json!([]));
        insta::assert_snapshot!(taints(&with_its_taints(&over, at(3))), @r#"[{"effect":"NoSchedule","key":"gpu","value":"yes"},{"effect":"NoExecute","key":"node.kubernetes.io/memory-pressure"}]"#);
    }

    #[test]
    fn without_taints_there_is_no_list() {
        let tainted = json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]);
        let plain = with_its_taints(&node(&tainted, &json!([])), Timestamp::UNIX_EPOCH);
        assert_eq!(taints(&plain), "null");
    }
}
