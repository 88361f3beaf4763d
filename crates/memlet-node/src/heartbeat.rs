//! The node's signs of life: its lease, renewed every ten seconds, and its status, written again every five minutes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::events::Severity;
use crate::node::Node;
use crate::registration::{self, Description, NODE_NOT_READY, Readiness};

/// kubelet's `nodeLeaseDurationSeconds`, and a quarter of it.
const LEASE_SECONDS: i32 = 40;
const RENEWED: Duration = Duration::from_secs(10);
/// A status that was not taken is written again after this.
const RETRY: Duration = Duration::from_secs(1);
/// Renewals between two writes of the status: kubelet's `nodeStatusReportFrequency`.
const STATUS_EVERY: u32 = 30;
/// The namespace of nodes' leases.
const NAMESPACE: &str = "kube-node-lease";
/// How long the end of the agent waits for the API to take its last word.
const LAST_WORD: Duration = Duration::from_secs(2);

/// What is said again and again.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) node: Arc<Node>,
    pub(crate) description: Description,
    pub(crate) uid: String,
}

impl Heartbeat {
    /// Beats until the task is aborted. The API may be away for a while: it is tried again.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(RENEWED);
        // After a pause of the whole machine one beat is enough.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut until_status = STATUS_EVERY;
        let mut pressure = self.node.pressure.changes();
        // What was so before anybody listened is not told as a change.
        if self.node.pressure.is_on() {
            pressure.mark_changed();
        }
        loop {
            let changed = tokio::select! {
                _ = ticks.tick() => false,
                // The sender is the node's, which is here.
                _ = pressure.changed() => true,
            };
            if changed {
                pressure.mark_unchanged();
                if let Err(error) = self.write_status().await {
                    tracing::warn!("the node's status is not written: {error}");
                    pressure.mark_changed();
                    tokio::time::sleep(RETRY).await;
                }
                continue;
            }
            if let Err(error) = self.renew_lease().await {
                tracing::warn!("the node's lease is not renewed: {error}");
            }
            until_status -= 1;
            if until_status == 0 {
                until_status = STATUS_EVERY;
                if let Err(error) = self.write_status().await {
                    tracing::warn!("the node's status is not written: {error}");
                }
            }
        }
    }

    /// A lease that is gone went with its Node, most likely: that is looked after first.
    async fn renew_lease(&mut self) -> kube::Result<()> {
        let leases: Api<Lease> = Api::namespaced(self.node.client.clone(), NAMESPACE);
        let name = self.description.name.clone();
        let name = name.as_str();
        let now = MicroTime(Timestamp::now());
        let patch = Patch::Merge(json!({"spec": {
            "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now,
        }}));
        match leases.patch(name, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => self.write_status().await?,
            answer => return answer.map(drop),
        }
        let lease = serde_json::from_value(json!({
            "metadata": {"name": name, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self.uid},
            ]},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
        }));
        leases.create(&PostParams::default(), &lease.map_err(kube::Error::SerdeError)?).await.map(drop)
    }

    /// A Node that was deleted is registered again: a machine that runs Pods has one.
    async fn write_status(&mut self) -> kube::Result<()> {
        let (client, cri) = (&self.node.client, &self.node.cri);
        let under_pressure = self.node.pressure.is_on();
        let told =
            registration::report(client, cri, &self.description, Readiness::Ready, under_pressure).await?;
        let name = &self.description.name;
        if let Some(changed) = told {
            for reason in changed {
                self.tell(reason);
            }
        } else {
            tracing::warn!("the Node {name} was deleted; it is registered again");
            self.uid = registration::register(client, cri, &self.description).await?.uid;
        }
        Ok(())
    }

    /// As an Event, in kubelet's words.
    fn tell(&self, reason: &'static str) {
        let text = format!("Node {} status is now: {reason}", self.description.name);
        self.node.tell(Severity::Normal, reason, text);
    }

    /// Says that no more Pods are taken, if the API hears it soon.
    pub(crate) async fn end(&self) {
        let name = &self.description.name;
        let (client, cri) = (&self.node.client, &self.node.cri);
        let under_pressure = self.node.pressure.is_on();
        let said =
            registration::report(client, cri, &self.description, Readiness::ShuttingDown, under_pressure);
        match tokio::time::timeout(LAST_WORD, said).await {
            Ok(Ok(_)) => self.tell(NODE_NOT_READY),
            Ok(Err(error)) => tracing::warn!("the end of node {name} is not told: {error}"),
            Err(_) => tracing::warn!("the end of node {name} is not told: the API does not answer"),
        }
    }
}
