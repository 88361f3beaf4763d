//! Whether the node takes the Pod. The scheduler has asked most of this before; a Pod that names its node has not been asked.

use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::{Api, ResourceExt as _};
use memlet_policy::node_affinity::NodeRule;

use super::Worker;
use crate::admission::Rejection;
use crate::events::Severity;

impl Worker {
    /// Admitted once, or rejected once: then the Pod has failed.
    pub(super) async fn admit(&mut self) -> bool {
        if self.admitted || self.rejection.is_some() {
            return self.admitted;
        }
        let mut admitted = self.node.ledger.admit(&self.pod, self.node.pressure.is_on());
        if admitted.is_ok()
            && let Some(rejection) = self.asks_for_another_node().await
        {
            let (_, _, uid) = self.identity();
            self.node.ledger.release(&uid);
            admitted = Err(rejection);
        }
        match admitted {
            Ok(()) => {
                self.admitted = true;
                self.node.protect_tiers();
            }
            Err(rejection) => {
                self.tell(None, Severity::Warning, rejection.reason.clone(), rejection.message.clone());
                self.rejection = Some(rejection);
            }
        }
        self.admitted
    }

    /// kubelet's predicate `NodeAffinity` (`pkg/kubelet/lifecycle/predicate.go`), which a Pod that has run here before is
    /// not asked again. Where the API does not answer, whoever chose the node is believed.
    async fn asks_for_another_node(&self) -> Option<Rejection> {
        let rule = NodeRule::of(self.spec());
        if rule.is_empty() || self.pod.status.as_ref().is_some_and(|status| status.start_time.is_some()) {
            return None;
        }
        let (nodes, name) = (Api::<ApiNode>::all(self.node.client.clone()), &self.node.config.name);
        let node = nodes.get_opt(name).await.ok().flatten()?;
        (!rule.allows(name, node.labels())).then(|| Rejection {
            reason: "NodeAffinity".into(),
            message: "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
                .to_owned(),
        })
    }
}
