//! Which Pods the node takes, by what it has for them and has given out already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use memlet_bytes::Bytes;
use memlet_policy::fit;
use memlet_policy::memory_qos::{MemoryQos, TierProtection};
use memlet_policy::qos::QosClass;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{self, CPU};

use crate::unsupported;

/// kubelet's default `maxPods`.
pub(crate) const MAX_PODS: usize = 110;

/// A Pod is not taken: the reason of its status and of the event, and the event's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Rejection {
    /// As the Pod's status says it.
    pub(crate) fn status_message(&self) -> String {
        format!("Pod was rejected: {}", self.message)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Amounts {
    memory: Bytes,
    milli_cpu: i64,
}

/// What one Pod has.
#[derive(Clone, Copy, Debug)]
struct Share {
    class: QosClass,
    amounts: Amounts,
}

/// What is given out to the Pods admitted. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    allocatable: Amounts,
    given: Arc<Mutex<HashMap<String, Share>>>,
}

impl Ledger {
    pub(crate) fn new(memory: Bytes, cpus: u32) -> Self {
        let allocatable = Amounts { memory, milli_cpu: i64::from(cpus) * 1000 };
        Self { allocatable, given: Arc::default() }
    }

    /// Sets aside what the Pod requests, or says why not. A Pod admitted before stays so.
    pub(crate) fn admit(&self, pod: &Pod) -> Result<(), Rejection> {
        if let Some(message) = unsupported::first_unsupported(pod) {
            return Err(Rejection { reason: unsupported::REASON, message });
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.contains_key(&uid) {
            return Ok(());
        }
        let wanted = requests(pod);
        self.check(wanted, &given)?;
        given.insert(uid, Share { class: QosClass::of_pod(pod), amounts: wanted });
        Ok(())
    }

    /// Sets aside what a Pod requests that was admitted by an earlier run, whatever else is here.
    pub(crate) fn readmit(&self, pod: &Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let share = Share { class: QosClass::of_pod(pod), amounts: requests(pod) };
        self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, share);
    }

    /// Gives back what a Pod had that ended.
    pub(crate) fn release(&self, uid: &str) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// What the cgroups above the Pods keep for those that are here now.
    pub(crate) fn protection(&self, qos: MemoryQos) -> TierProtection {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        qos.tier_protection(given.values().map(|share| (share.class, share.amounts.memory)))
    }

    /// In kubelet's order: the number of Pods, cpu, memory.
    fn check(&self, wanted: Amounts, given: &HashMap<String, Share>) -> Result<(), Rejection> {
        if given.len() >= MAX_PODS {
            return Err(Rejection {
                reason: "OutOfpods",
                message: insufficient("pods", 1, given.len() as u64, MAX_PODS as u64),
            });
        }
        let used_cpu: i64 = given.values().map(|share| share.amounts.milli_cpu).sum();
        if wanted.milli_cpu > 0 && wanted.milli_cpu > self.allocatable.milli_cpu - used_cpu {
            let unsigned = i64::unsigned_abs;
            return Err(Rejection {
                reason: "OutOfcpu",
                message: insufficient(
                    "cpu",
                    unsigned(wanted.milli_cpu),
                    unsigned(used_cpu),
                    unsigned(self.allocatable.milli_cpu),
                ),
            });
        }
        let used: Bytes = given.values().map(|share| share.amounts.memory).sum();
        if wanted.memory > Bytes::ZERO && used + wanted.memory > self.allocatable.memory {
            return Err(Rejection {
                reason: "OutOfmemory",
                message: fit::out_of_memory_message(wanted.memory, used, self.allocatable.memory),
            });
        }
        Ok(())
    }
}

fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let milli_cpu = resources::pod_requests(spec).get(CPU).map_or(0, Quantity::milli_value);
    Amounts { memory: resources::pod_memory_request(spec), milli_cpu }
}

/// kubelet's `InsufficientResourceError` (`pkg/kubelet/lifecycle/predicate.go`).
fn insufficient(resource: &str, requested: u64, used: u64, capacity: u64) -> String {
    format!(
        "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    )
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, requests: serde_json::Value) -> Pod {
        let containers = json!([{"name": "a", "resources": {"requests": requests}}]);
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {"containers": containers}})).unwrap()
    }

    #[test]
    fn memory_is_given_out_once() {
        let ledger = Ledger::new(Bytes::from_mib(924), 2);
        let large = pod("a", json!({"memory": "600Mi"}));
        ledger.admit(&large).unwrap();
        ledger.admit(&large).expect("admitted stays admitted");
        let rejection = ledger.admit(&pod("b", json!({"memory": "400Mi"}))).unwrap_err();
        assert_eq!(rejection.reason, "OutOfmemory");
        insta::assert_snapshot!(rejection.status_message(), @"Pod was rejected: Node didn't have enough resource: memory, requested: 419430400, used: 629145600, capacity: 968884224");
        ledger.admit(&pod("c", json!({}))).expect("asking for nothing always fits");
        ledger.release("a");
        ledger.admit(&pod("b", json!({"memory": "400Mi"}))).unwrap();
    }

    #[test]
    fn what_was_admitted_before_stays_and_counts() {
        let ledger = Ledger::new(Bytes::from_mib(924), 2);
        let large = pod("a", json!({"memory": "1Gi"}));
        ledger.readmit(&large);
        ledger.admit(&large).expect("admitted stays admitted");
        assert_eq!(ledger.admit(&pod("b", json!({"memory": "1Mi"}))).unwrap_err().reason, "OutOfmemory");
    }

    #[test]
    fn cpu_and_pods_are_limited_too() {
        let ledger = Ledger::new(Bytes::from_gib(1), 2);
        assert_eq!(ledger.admit(&pod("a", json!({"cpu": "2001m"}))).unwrap_err().reason, "OutOfcpu");
        for index in 0..MAX_PODS {
            ledger.admit(&pod(&index.to_string(), json!({}))).unwrap();
        }
        assert_eq!(ledger.admit(&pod("more", json!({}))).unwrap_err().reason, "OutOfpods");
    }
}
