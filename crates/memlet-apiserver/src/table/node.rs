//! A node's row.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSystemInfo};

use super::{Column, NONE, Row, Tabular, UNKNOWN, age, columns, name};

const ROLE_LABEL_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

impl Tabular for Node {
    fn columns() -> &'static [Column] {
        columns::NODE
    }

    fn row(&self, now: Timestamp) -> Row {
        let about = self.status.as_ref().and_then(|status| status.node_info.as_ref());
        let or_unknown = |field: fn(&NodeSystemInfo) -> &String| {
            about.map(field).filter(|text| !text.is_empty()).cloned().unwrap_or_else(|| UNKNOWN.to_owned())
        };
        let mut kernel = or_unknown(|about| &about.kernel_version);
        if let Some(architecture) = about.map(|about| &about.architecture).filter(|text| !text.is_empty()) {
            kernel.push_str(&format!(" ({architecture})"));
        }
        Row::of([
            name(&self.metadata),
            status(self).into(),
            roles(self).into(),
            age(&self.metadata, now),
            about.map(|about| about.kubelet_version.clone()).unwrap_or_default().into(),
            address(self, "InternalIP").into(),
            address(self, "ExternalIP").into(),
            or_unknown(|about| &about.os_image).into(),
            kernel.into(),
            or_unknown(|about| &about.container_runtime_version).into(),
        ])
    }
}

fn status(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
    let mut status = match ready.map(|ready| ready.status.as_str()) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Node) -> String {
    let roles: BTreeSet<&str> = node
        .metadata
        .labels
        .iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_LABEL_PREFIX) {
            Some(role) => Some(role),
            None => (key == ROLE_LABEL).then_some(value.as_str()),
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() {
        return NONE.to_owned();
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn address(node: &Node, kind: &str) -> String {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses
        .into_iter()
        .find(|address| address.type_ == kind)
        .map_or_else(|| NONE.to_owned(), |address| address.address.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cells(node: Value) -> Vec<Value> {
        let node: Node = serde_json::from_value(node).unwrap();
        node.row("2026-11-22T01:40:34Z".parse().unwrap()).cells
    }

    #[test]
    fn a_node_that_is_ready() {
        let node = json!({
            "metadata": {
                "name": "anchor-node", "creationTimestamp": "2026-11-22T01:17:24Z",
                "labels": {"kubernetes.io/os": "linux"},
            },
            "status": {
                "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.254.0.1"}],
                "nodeInfo": {
                    "kubeletVersion": "v1.36.2", "osImage": "Debian GNU/Linux 12 (bookworm)",
                    "kernelVersion": "6.18.44-fc-v657", "architecture": "amd64",
                    "containerRuntimeVersion": "containerd://1.6.20", "bootID": "", "kubeProxyVersion": "",
                    "machineID": "", "operatingSystem": "linux", "systemUUID": "",
                },
            },
        });
        let recorded: Value =
            serde_json::from_str(include_str!("../../tests/recorded/table-nodes.json")).unwrap();
        assert_eq!(json!(cells(node)), recorded["rows"][0]["cells"]);
    }

    #[test]
    fn states_and_roles() {
        for (node, status, roles) in [
            (json!({}), "Unknown", "<none>"),
            (json!({"spec": {"unschedulable": true}}), "Unknown,SchedulingDisabled", "<none>"),
            (
                json!({
                    "metadata": {"labels": {
                        "node-role.kubernetes.io/worker": "", "kubernetes.io/role": "control-plane",
                        "node-role.kubernetes.io/": "x", "other": "y",
                    }},
                    "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
                }),
                "NotReady",
                "control-plane,worker",
            ),
        ] {
            let cells = cells(node);
            assert_eq!((&cells[1], &cells[2]), (&json!(status), &json!(roles)));
            assert_eq!(cells[7..], [UNKNOWN; 3]);
        }
    }
}
