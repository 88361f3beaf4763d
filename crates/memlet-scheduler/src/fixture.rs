//! Small clusters for tests, written as the objects that users write.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PodFacts};
use crate::place::{Nowhere, Placement, Preemption, place, preempt, shortfall};

/// Puts `more` into `object`, field by field.
pub(crate) fn with(mut object: Value, more: &Value) -> Value {
    merge(&mut object, more);
    object
}

fn merge(object: &mut Value, more: &Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            for (key, value) in more {
                merge(object.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (object, more) => *object = more.clone(),
    }
}

/// A node of 1000Mi and two processors, with its name as `kubernetes.io/hostname`.
pub(crate) fn node(name: &str, more: &Value) -> Node {
    let plain = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"memory": "1000Mi", "cpu": "2", "pods": "110"}},
    });
    serde_json::from_value(with(plain, more)).unwrap()
}

pub(crate) fn zone(zone: &str) -> Value {
    json!({"metadata": {"labels": {"zone": zone}}})
}

/// A Pod that requests so much memory.
pub(crate) fn pod(name: &str, memory: &str, more: &Value) -> Pod {
    let requests = if memory.is_empty() { json!({}) } else { json!({"memory": memory}) };
    let plain = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"containers": [{"name": "main", "resources": {"requests": requests}}]},
    });
    serde_json::from_value(with(plain, more)).unwrap()
}

pub(crate) fn priority(priority: i32) -> Value {
    json!({"spec": {"priority": priority}})
}

pub(crate) fn app(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}})
}

pub(crate) fn cluster(nodes: &[Node]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.set_node(node);
    }
    cluster
}

impl Cluster {
    /// Puts a Pod on a node.
    pub(crate) fn on(&mut self, node: &str, pod: &Pod) {
        let facts = self.read(pod);
        self.put(&facts, node);
    }

    /// Where the Pod goes, or the message.
    pub(crate) fn ask(&mut self, pod: &Pod) -> Result<String, String> {
        let facts = Arc::new(self.read(pod));
        match place(self, &facts, &mut 0) {
            Placement::On(node) => Ok(node.to_string()),
            Placement::Nowhere(nowhere) => Err(self.message(&facts, &nowhere)),
        }
    }

    fn message(&self, pod: &PodFacts, nowhere: &Nowhere) -> String {
        let preemption = preempt(self, pod, nowhere, 0);
        let text = match &preemption {
            Preemption::Node { .. } => None,
            Preemption::Waits(text) => Some(*text),
            Preemption::Helpless(text) => Some(text.as_str()),
        };
        shortfall(self, pod, nowhere, text)
    }

    /// Who goes for the Pod, as `node: a b`, or what preemption says.
    pub(crate) fn preempt_for(&mut self, pod: &Pod) -> String {
        let facts = self.read(pod);
        let Placement::Nowhere(nowhere) = place(self, &facts, &mut 0) else { return "it fits".to_owned() };
        match preempt(self, &facts, &nowhere, 0) {
            Preemption::Node { node, victims } => {
                let names: Vec<&str> = victims.iter().map(|victim| &*victim.key.name).collect();
                format!("{node}: {}", names.join(" "))
            }
            Preemption::Waits(text) => text.to_owned(),
            Preemption::Helpless(text) => text,
        }
    }
}
