//! Writes a Pod's status to the API, in order, beside the work.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};

/// The pause after a write that failed, doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

enum Order {
    Write(Box<PodStatus>),
    /// From now on the status is that of another object.
    Aim(Arc<Pod>),
    Flush(oneshot::Sender<()>),
}

/// One Pod's status, written by a task of its own. What is written last is what is meant.
#[derive(Debug)]
pub(crate) struct StatusWriter(mpsc::UnboundedSender<Order>);

impl StatusWriter {
    pub(crate) fn start(client: kube::Client, pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        let namespace = metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let target = Target {
            pods: Api::namespaced(client, &namespace),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            known: fields(&pod.status.clone().unwrap_or_default()),
            wanted: None,
            is_gone: false,
        };
        let (orders, queue) = mpsc::unbounded_channel();
        tokio::spawn(target.write_all(queue));
        Self(orders)
    }

    pub(crate) fn write(&self, status: PodStatus) {
        // The task ends only with its sender, or when the Pod is gone: then nobody reads its status.
        let _ = self.0.send(Order::Write(Box::new(status)));
    }

    /// The Pod has another object of its name: its status is written there, beginning with what was written last.
    pub(crate) fn aim(&self, object: Arc<Pod>) {
        let _ = self.0.send(Order::Aim(object));
    }

    /// Waits until everything is written, or cannot be.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.0.send(Order::Flush(done)).is_ok() {
            let _ = written.await;
        }
    }
}

struct Target {
    pods: Api<Pod>,
    name: String,
    uid: String,
    /// What the API has, as far as known.
    known: Map<String, Value>,
    /// What it is to have.
    wanted: Option<Map<String, Value>>,
    /// There is no such object any more.
    is_gone: bool,
}

impl Target {
    async fn write_all(mut self, mut queue: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = queue.recv().await {
            match order {
                Order::Write(status) => {
                    self.wanted = Some(fields(&status));
                    self.write(&queue).await;
                }
                Order::Aim(object) => {
                    self.uid = object.metadata.uid.clone().unwrap_or_default();
                    self.known = fields(&object.status.clone().unwrap_or_default());
                    self.is_gone = false;
                    self.write(&queue).await;
                }
                Order::Flush(done) => drop(done.send(())),
            }
        }
    }

    /// Gives up on a status when a newer one waits behind it, or the object is gone.
    async fn write(&mut self, queue: &mpsc::UnboundedReceiver<Order>) {
        let Some(wanted) = self.wanted.as_ref().filter(|_| !self.is_gone) else { return };
        let Some(mut patch) = merge_patch(&self.known, wanted) else { return };
        // Only ever this Pod, not a later one of the same name.
        patch["metadata"] = json!({"uid": self.uid});
        let mut pause = FIRST_RETRY;
        loop {
            let answer =
                self.pods.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            match answer {
                Ok(_) => {
                    self.known.clone_from(wanted);
                    return;
                }
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                    self.is_gone = true;
                    return;
                }
                Err(error) => tracing::warn!("cannot write the status of Pod {}: {error}", self.name),
            }
            if !queue.is_empty() || pause > LAST_RETRY {
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        // A status is always an object.
        _ => Map::new(),
    }
}

/// What changes `known` into `wanted`, field by field; `None` where nothing does.
fn merge_patch(known: &Map<String, Value>, wanted: &Map<String, Value>) -> Option<Value> {
    let mut changes = Map::new();
    for (field, value) in wanted {
        if known.get(field) == Some(value) {
            continue;
        }
        // Within objects a merge patch adds; what is no longer there must be taken out by name.
        let mut value = value.clone();
        if let (Some(Value::Object(old)), Value::Object(new)) = (known.get(field), &mut value) {
            for gone in old.keys() {
                new.entry(gone.clone()).or_insert(Value::Null);
            }
        }
        changes.insert(field.clone(), value);
    }
    for gone in known.keys().filter(|field| !wanted.contains_key(*field)) {
        changes.insert(gone.clone(), Value::Null);
    }
    (!changes.is_empty()).then(|| json!({"status": changes}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_written() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let known =
            object(json!({"phase": "Pending", "reason": "x", "resources": {"limits": {"memory": "1"}}}));
        let wanted = object(json!({"phase": "Running", "resources": {"requests": {"memory": "1"}}}));
        let patch = merge_patch(&known, &wanted).unwrap();
        assert_eq!(
            patch,
            json!({"status": {
                "phase": "Running", "reason": null,
                "resources": {"limits": null, "requests": {"memory": "1"}},
            }})
        );
        assert_eq!(merge_patch(&wanted, &wanted), None);
    }
}
