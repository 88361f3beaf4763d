//! Which Pods the node takes, by what it has for them and has given out already, and by how it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod, Taint};
use memlet_bytes::Bytes;
use memlet_policy::eviction::{EVICTED, NODE_CONDITIONS_MESSAGE};
use memlet_policy::fit;
use memlet_policy::memory_qos::{MemoryQos, TierProtection};
use memlet_policy::qos::QosClass;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{self, CPU};
use memlet_policy::{oom_score_adj, taints};

use crate::node_resources::{NodeResources, STORAGE};
use crate::unsupported;

/// kubelet's default `maxPods`.
pub(crate) const MAX_PODS: usize = 110;

/// A Pod is not taken: the reason of its status and of the event, and the event's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

impl Rejection {
    /// As the Pod's status says it.
    pub(crate) fn status_message(&self) -> String {
        format!("Pod was rejected: {}", self.message)
    }
}

#[derive(Clone, Debug, Default)]
struct Amounts {
    memory: Bytes,
    milli_cpu: i64,
    /// Storage and huge pages. What else a Pod may name is the scheduler's to know.
    others: BTreeMap<String, Bytes>,
}

/// What one Pod has.
#[derive(Clone, Debug)]
struct Share {
    class: QosClass,
    amounts: Amounts,
}

/// What is given out to the Pods admitted. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    allocatable: Arc<Amounts>,
    given: Arc<Mutex<HashMap<String, Share>>>,
}

impl Ledger {
    pub(crate) fn new(node: &NodeResources) -> Self {
        let others = [(STORAGE.to_owned(), node.allocatable_storage())];
        let allocatable = Amounts {
            memory: node.memory.allocatable(),
            milli_cpu: node.allocatable_cpu(),
            others: others.into_iter().chain(node.huge_pages.iter().cloned()).collect(),
        };
        Self { allocatable: Arc::new(allocatable), given: Arc::default() }
    }

    /// Sets aside what the Pod requests, or says why not; `short` where the node says `MemoryPressure`. A Pod admitted
    /// before stays so.
    pub(crate) fn admit(&self, pod: &Pod, short: bool) -> Result<(), Rejection> {
        if let Some(message) = unsupported::first_unsupported(pod) {
            return Err(Rejection { reason: unsupported::REASON.into(), message });
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.contains_key(&uid) {
            return Ok(());
        }
        if short && !is_taken_under_memory_pressure(pod) {
            return Err(Rejection { reason: EVICTED.into(), message: NODE_CONDITIONS_MESSAGE.to_owned() });
        }
        let wanted = requests(pod);
        self.check(&wanted, &given)?;
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

    /// In kubelet's order: the number of Pods, cpu, memory, storage, and all else by its name.
    fn check(&self, wanted: &Amounts, given: &HashMap<String, Share>) -> Result<(), Rejection> {
        if given.len() >= MAX_PODS {
            return Err(Rejection {
                reason: "OutOfpods".into(),
                message: insufficient("pods", 1, given.len() as u64, MAX_PODS as u64),
            });
        }
        let used_cpu: i64 = given.values().map(|share| share.amounts.milli_cpu).sum();
        if wanted.milli_cpu > 0 && wanted.milli_cpu > self.allocatable.milli_cpu - used_cpu {
            let unsigned = i64::unsigned_abs;
            return Err(Rejection {
                reason: "OutOfcpu".into(),
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
                reason: "OutOfmemory".into(),
                message: fit::out_of_memory_message(wanted.memory, used, self.allocatable.memory),
            });
        }
        for (name, wanted) in wanted.others.iter().filter(|(_, wanted)| **wanted > Bytes::ZERO) {
            let amount = |amounts: &Amounts| amounts.others.get(name).copied().unwrap_or_default();
            let used: Bytes = given.values().map(|share| amount(&share.amounts)).sum();
            let there = amount(&self.allocatable);
            if used + *wanted > there {
                return Err(Rejection {
                    reason: format!("OutOf{name}").into(),
                    message: insufficient(name, wanted.get(), used.get(), there.get()),
                });
            }
        }
        Ok(())
    }
}

/// Who requests memory is taken all the same, and who the node cannot do without, and who says that it bears it
/// (`pkg/kubelet/eviction/eviction_manager.go`). The scheduler keeps others away by a taint, which does not help where a
/// Pod names the node.
fn is_taken_under_memory_pressure(pod: &Pod) -> bool {
    let taint = Taint {
        key: taints::MEMORY_PRESSURE.to_owned(),
        effect: taints::NO_SCHEDULE.to_owned(),
        ..Taint::default()
    };
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    oom_score_adj::is_critical(pod)
        || QosClass::of_pod(pod) != QosClass::BestEffort
        || taints::is_tolerated(&taint, tolerations)
}

fn requests(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else { return Amounts::default() };
    let milli_cpu = resources::pod_requests(spec).get(CPU).map_or(0, Quantity::milli_value);
    let is_told = |name: &str| name == STORAGE || name.starts_with("hugepages-");
    let others = resources::pod_requests(spec).into_iter().filter(|(name, _)| is_told(name));
    Amounts {
        memory: resources::pod_memory_request(spec),
        milli_cpu,
        others: others.map(|(name, amount)| (name, amount.bytes())).collect(),
    }
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
    use memlet_policy::node_memory::NodeMemory;
    use serde_json::json;

    fn pod(uid: &str, requests: serde_json::Value) -> Pod {
        let containers = json!([{"name": "a", "resources": {"requests": requests}}]);
        serde_json::from_value(json!({"metadata": {"uid": uid}, "spec": {"containers": containers}})).unwrap()
    }

    fn node(memory: Bytes) -> NodeResources {
        NodeResources {
            memory: NodeMemory { eviction_hard: None, ..NodeMemory::new(memory) },
            cpus: 2,
            reserved_cpu: 0,
            storage: Bytes::from_gib(1),
            reserved_storage: Bytes::ZERO,
            huge_pages: vec![("hugepages-2Mi".to_owned(), Bytes::from_mib(4))],
        }
    }

    #[test]
    fn memory_is_given_out_once() {
        let ledger = Ledger::new(&node(Bytes::from_mib(924)));
        let large = pod("a", json!({"memory": "600Mi"}));
        ledger.admit(&large, false).unwrap();
        ledger.admit(&large, false).expect("admitted stays admitted");
        let rejection = ledger.admit(&pod("b", json!({"memory": "400Mi"})), false).unwrap_err();
        assert_eq!(rejection.reason, "OutOfmemory");
        insta::assert_snapshot!(rejection.status_message(), @"Pod was rejected: Node didn't have enough resource: memory, requested: 419430400, used: 629145600, capacity: 968884224");
        ledger.admit(&pod("c", json!({})), false).expect("asking for nothing always fits");
        ledger.release("a");
        ledger.admit(&pod("b", json!({"memory": "400Mi"})), false).unwrap();
    }

    #[test]
    fn what_was_admitted_before_stays_and_counts() {
        let ledger = Ledger::new(&node(Bytes::from_mib(924)));
        let large = pod("a", json!({"memory": "1Gi"}));
        ledger.readmit(&large);
        ledger.admit(&large, false).expect("admitted stays admitted");
        assert_eq!(
            ledger.admit(&pod("b", json!({"memory": "1Mi"})), false).unwrap_err().reason,
            "OutOfmemory"
        );
    }

    #[test]
    fn a_node_short_of_memory_takes_no_best_effort_pods() {
        let ledger = Ledger::new(&node(Bytes::from_gib(1)));
        let with = |uid: &str, spec: serde_json::Value| {
            let mut pod = pod(uid, json!({}));
            let mut written = serde_json::to_value(&pod.spec).unwrap();
            written.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            pod.spec = serde_json::from_value(written).unwrap();
            pod
        };
        ledger.admit(&pod("before", json!({})), false).unwrap();
        ledger.admit(&pod("before", json!({})), true).expect("admitted stays admitted");
        let rejection = ledger.admit(&pod("late", json!({})), true).unwrap_err();
        assert_eq!(rejection.reason, "Evicted");
        assert_eq!(rejection.message, "The node had condition: [MemoryPressure]. ");
        ledger.admit(&pod("burstable", json!({"memory": "1Mi"})), true).unwrap();
        ledger.admit(&with("critical", json!({"priority": 2_000_000_000})), true).unwrap();
        let key = "node.kubernetes.io/memory-pressure";
        ledger
            .admit(&with("bears", json!({"tolerations": [{"key": key, "operator": "Exists"}]})), true)
            .unwrap();
        let other = json!({"tolerations": [{"key": key, "operator": "Exists", "effect": "NoExecute"}]});
        ledger.admit(&with("bears another", other), true).unwrap_err();
        let mut of_a_file = pod("static", json!({}));
        of_a_file.metadata.annotations =
            Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
        ledger.admit(&of_a_file, true).unwrap();
        ledger.admit(&pod("late", json!({})), false).unwrap();
    }

    #[test]
    fn cpu_and_pods_are_limited_too() {
        let ledger = Ledger::new(&node(Bytes::from_gib(1)));
        assert_eq!(ledger.admit(&pod("a", json!({"cpu": "2001m"})), false).unwrap_err().reason, "OutOfcpu");
        for index in 0..MAX_PODS {
            ledger.admit(&pod(&index.to_string(), json!({})), false).unwrap();
        }
        assert_eq!(ledger.admit(&pod("more", json!({})), false).unwrap_err().reason, "OutOfpods");
    }

    #[test]
    fn so_are_storage_and_huge_pages() {
        let ledger = Ledger::new(&node(Bytes::from_gib(1)));
        let large = ledger.admit(&pod("a", json!({"ephemeral-storage": "1Gi"})), false).unwrap_err();
        insta::assert_snapshot!(format!("{}: {}", large.reason, large.message), @"OutOfephemeral-storage: Node didn't have enough resource: ephemeral-storage, requested: 1073741824, used: 0, capacity: 966367640");
        ledger.admit(&pod("b", json!({"hugepages-2Mi": "4Mi", "example.com/other": "1"})), false).unwrap();
        let second = ledger.admit(&pod("c", json!({"hugepages-2Mi": "2Mi"})), false).unwrap_err();
        assert_eq!(second.reason, "OutOfhugepages-2Mi");
        assert_eq!(
            ledger.admit(&pod("d", json!({"hugepages-1Gi": "1Gi"})), false).unwrap_err().reason,
            "OutOfhugepages-1Gi"
        );
    }
}
