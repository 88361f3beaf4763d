//! Whether a Pod fits a node by its requests, and the words of the scheduler when it doesn't.
//!
//! kube-scheduler's `NodeResourcesFit` and the text of its `FailedScheduling`. Requests decide: limits and what
//! is really used are never looked at. What else keeps a Pod off a node is in [`crate::taints`],
//! [`crate::node_affinity`] and [`crate::host_ports`]; what depends on other Pods is the scheduler's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use memlet_bytes::Bytes;

use crate::quantity::Quantity;
use crate::resize;
use crate::resources::{Amounts, CPU, MEMORY, Side, amount, has_pod_level};
use crate::scores::{ASSUMED_MEMORY, ASSUMED_MILLI_CPU};

/// The resource name of a node's own disk.
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// The resource name of places for Pods.
pub const PODS: &str = "pods";

/// Amounts of the resources that decide about placement. Memory, disk and extended resources are whole numbers,
/// processor time is in thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Processor time, in thousandths of a processor.
    pub milli_cpu: u64,
    /// Memory.
    pub memory: Bytes,
    /// Space on the node's own disk.
    pub ephemeral_storage: Bytes,
    /// Extended resources and huge pages, by name.
    pub others: Vec<(Arc<str>, u64)>,
}

impl Demand {
    /// What a Pod requests in all, by spec and status: what counts as taken on its node.
    pub fn of_pod(pod: &Pod) -> Self {
        Self::of_amounts(&resize::pod_requests(pod))
    }

    /// These amounts; what is no number, or below zero, is nothing.
    pub fn of_amounts(amounts: &Amounts) -> Self {
        let mut demand = Self::default();
        for (name, quantity) in amounts {
            demand.set(name, quantity);
        }
        demand
    }

    fn set(&mut self, name: &str, quantity: &Quantity) {
        match name {
            CPU => self.milli_cpu = u64::try_from(quantity.milli_value()).unwrap_or(0),
            MEMORY => self.memory = quantity.bytes(),
            EPHEMERAL_STORAGE => self.ephemeral_storage = quantity.bytes(),
            // Anything else without a domain is not the scheduler's to count.
            _ if name.contains('/') || name.starts_with("hugepages-") => {
                self.others.push((name.into(), quantity.bytes().get()));
            }
            _ => {}
        }
    }

    /// One of the other resources; zero where it is absent.
    pub fn other(&self, name: &str) -> u64 {
        self.others.iter().find(|(known, _)| **known == *name).map_or(0, |(_, amount)| *amount)
    }

    /// Adds what one more Pod requests.
    pub fn add(&mut self, more: &Self) {
        self.milli_cpu = self.milli_cpu.saturating_add(more.milli_cpu);
        self.memory += more.memory;
        self.ephemeral_storage += more.ephemeral_storage;
        for (name, amount) in &more.others {
            match self.others.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum = sum.saturating_add(*amount),
                None => self.others.push((name.clone(), *amount)),
            }
        }
    }

    /// Takes away what was added before.
    pub fn subtract(&mut self, less: &Self) {
        self.milli_cpu = self.milli_cpu.saturating_sub(less.milli_cpu);
        self.memory = self.memory.saturating_sub(less.memory);
        self.ephemeral_storage = self.ephemeral_storage.saturating_sub(less.ephemeral_storage);
        for (name, amount) in &less.others {
            if let Some((_, sum)) = self.others.iter_mut().find(|(known, _)| known == name) {
                *sum = sum.saturating_sub(*amount);
            }
        }
        self.others.retain(|(_, amount)| *amount > 0);
    }
}

/// The processor time (in thousandths) and memory that a Pod counts for in scores, where a container without a
/// request is taken to use something.
pub fn scored_demand(pod: &Pod) -> (u64, Bytes) {
    let assumed = assumptions(pod);
    let amounts = resize::pod_requests_assuming(pod, &assumed);
    let demand = Demand::of_amounts(&amounts);
    (demand.milli_cpu, demand.memory)
}

/// What is assumed for each container without a request. A Pod with requests as a whole needs no assumption for what
/// it requests.
fn assumptions(pod: &Pod) -> Amounts {
    let milli_cpu = Quantity::from_milli(i64::try_from(ASSUMED_MILLI_CPU).unwrap_or(i64::MAX));
    let assumed = [(CPU, milli_cpu), (MEMORY, Quantity::from_bytes(Bytes::new(ASSUMED_MEMORY)))];
    let whole = pod.spec.as_ref().filter(|spec| has_pod_level(spec, Side::Requests));
    let known = whole.map(|_| resize::pod_requests(pod)).unwrap_or_default();
    let needed = assumed.into_iter().filter(|(name, _)| !known.contains_key(*name));
    needed.map(|(name, quantity)| (name.to_owned(), quantity)).collect()
}

/// What a node offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    /// What Pods may request in all.
    pub resources: Demand,
    /// How many Pods the node takes.
    pub pods: u64,
}

/// Pods that a node takes when it does not say (kubelet's `--max-pods`).
const DEFAULT_POD_CAPACITY: u64 = 110;

impl Allocatable {
    /// What this node says it has for Pods.
    pub fn of_node(node: &Node) -> Self {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let mut resources = Demand::default();
        for (name, api) in allocatable.into_iter().flatten() {
            if let Ok(quantity) = Quantity::try_from(api) {
                resources.set(name, &quantity);
            }
        }
        let pods = amount(allocatable, PODS).and_then(|pods| u64::try_from(pods.value()).ok());
        Self { resources, pods: pods.unwrap_or(DEFAULT_POD_CAPACITY) }
    }
}

/// Why a Pod does not fit a node: one resource of which too little is left. Amounts are bytes of memory and disk,
/// thousandths of processors, numbers of anything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Misfit {
    /// The resource's name; `pods` where the node has as many Pods as it takes.
    pub resource: Arc<str>,
    /// What the Pod requests.
    pub wanted: u64,
    /// What the Pods on the node request already.
    pub requested: u64,
    /// What Pods may request in all.
    pub allocatable: u64,
}

impl Misfit {
    /// What can still be requested.
    pub fn free(&self) -> u64 {
        self.allocatable.saturating_sub(self.requested)
    }

    /// What would have to come free.
    pub fn missing(&self) -> u64 {
        self.wanted.saturating_sub(self.free())
    }

    /// Whether the node is too small even when empty, so that removing other Pods does not help.
    pub fn is_unresolvable(&self) -> bool {
        &*self.resource != PODS && self.wanted > self.allocatable
    }
}

impl fmt::Display for Misfit {
    /// The scheduler's reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.resource {
            PODS => f.write_str("Too many pods"),
            resource => write!(f, "Insufficient {resource}"),
        }
    }
}

/// Whether a Pod fits, without saying why not. `requested` and `pods` are those of the Pods on the node.
pub fn fits(wanted: &Demand, allocatable: &Allocatable, requested: &Demand, pods: u64) -> bool {
    let there = &allocatable.resources;
    pods < allocatable.pods
        && has_room(wanted.milli_cpu, there.milli_cpu, requested.milli_cpu)
        && has_room(wanted.memory.get(), there.memory.get(), requested.memory.get())
        && has_room(
            wanted.ephemeral_storage.get(),
            there.ephemeral_storage.get(),
            requested.ephemeral_storage.get(),
        )
        && wanted
            .others
            .iter()
            .all(|(name, amount)| has_room(*amount, there.other(name), requested.other(name)))
}

/// Nothing always fits, even where more is requested than there is.
fn has_room(wanted: u64, allocatable: u64, requested: u64) -> bool {
    wanted == 0 || wanted <= allocatable.saturating_sub(requested)
}

/// Whether one demand is in no resource above the other.
pub fn is_within(small: &Demand, large: &Demand) -> bool {
    small.milli_cpu <= large.milli_cpu
        && small.memory <= large.memory
        && small.ephemeral_storage <= large.ephemeral_storage
        && small.others.iter().all(|(name, amount)| *amount <= large.other(name))
}

/// All reasons why a Pod does not fit, in upstream's order; none where it does. A Pod that requests nothing fits while
/// there is place for one more Pod.
pub fn misfits(wanted: &Demand, allocatable: &Allocatable, requested: &Demand, pods: u64) -> Vec<Misfit> {
    let rows = table(wanted, allocatable, requested, pods);
    rows.into_iter().filter(|row| !has_room(row.wanted, row.allocatable, row.requested)).collect()
}

/// The arithmetic of every resource that the Pod requests, whether it fits or not; places for Pods come first.
pub fn table(wanted: &Demand, allocatable: &Allocatable, requested: &Demand, pods: u64) -> Vec<Misfit> {
    let there = &allocatable.resources;
    let row = |resource: &str, wanted, requested, allocatable| Misfit {
        resource: resource.into(),
        wanted,
        requested,
        allocatable,
    };
    let bytes = |resource, of: fn(&Demand) -> Bytes| {
        row(resource, of(wanted).get(), of(requested).get(), of(there).get())
    };
    let mut rows = vec![
        row(PODS, 1, pods, allocatable.pods),
        row(CPU, wanted.milli_cpu, requested.milli_cpu, there.milli_cpu),
        bytes(MEMORY, |demand| demand.memory),
        bytes(EPHEMERAL_STORAGE, |demand| demand.ephemeral_storage),
    ];
    let others = wanted.others.iter();
    rows.extend(others.map(|(name, amount)| row(name, *amount, requested.other(name), there.other(name))));
    rows.retain(|row| row.wanted > 0);
    rows
}

/// `0/N nodes are available: 1 Insufficient memory, 2 Too many pods.` from the reasons of all nodes; a node
/// with several counts in each. `after` is what preemption and the like have to say, without a full stop added.
pub fn unschedulable_message<'a>(
    nodes: usize,
    reasons: impl IntoIterator<Item = &'a str>,
    after: &str,
) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut histogram: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in reasons {
        *histogram.entry(reason).or_default() += 1;
    }
    let mut counted: Vec<String> =
        histogram.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    // As text: `10 …` comes before `2 …`.
    counted.sort_unstable();
    let mut message = format!("0/{nodes} nodes are available:");
    if !counted.is_empty() {
        message = format!("{message} {}.", counted.join(", "));
    }
    if !after.is_empty() {
        message = format!("{message} {after}");
    }
    message
}

/// What the node agent says when it must reject a Pod that was bound to it (reason `OutOfmemory`): whole bytes,
/// and `capacity` is what is allocatable.
pub fn out_of_memory_message(requested: Bytes, used: Bytes, allocatable: Bytes) -> String {
    format!(
        "Node didn't have enough resource: memory, requested: {}, used: {}, capacity: {}",
        requested.get(),
        used.get(),
        allocatable.get()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A node of 924Mi, two processors and ten devices, with 900Mi, one and a half and nine of them requested.
    fn node() -> (Allocatable, Demand) {
        let demand = |milli_cpu, memory, device| Demand {
            milli_cpu,
            memory: Bytes::from_mib(memory),
            ephemeral_storage: Bytes::ZERO,
            others: vec![("x.dev/device".into(), device)],
        };
        (Allocatable { resources: demand(2000, 924, 10), pods: 110 }, demand(1500, 900, 9))
    }

    fn pod(containers: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {}, "spec": {"containers": containers}})).unwrap()
    }

    fn reasons(requests: &Value, pods: u64) -> Vec<(String, u64, bool)> {
        let wanted = Demand::of_pod(&pod(&json!([{"name": "c", "resources": {"requests": requests}}])));
        let (allocatable, requested) = node();
        let misfits = misfits(&wanted, &allocatable, &requested, pods);
        assert_eq!(fits(&wanted, &allocatable, &requested, pods), misfits.is_empty());
        misfits
            .iter()
            .map(|misfit| (misfit.to_string(), misfit.missing(), misfit.is_unresolvable()))
            .collect()
    }

    #[test]
    fn requests_decide() {
        let mib = 1 << 20;
        let memory = "Insufficient memory".to_owned();
        assert_eq!(reasons(&json!({"memory": "24Mi", "cpu": "500m", "x.dev/device": "1"}), 3), []);
        assert_eq!(reasons(&json!({"memory": "25Mi"}), 3), [(memory.clone(), mib, false)]);
        assert_eq!(reasons(&json!({"memory": "925Mi"}), 3), [(memory.clone(), 901 * mib, true)]);
        assert_eq!(
            reasons(
                &json!({"x.dev/device": "2", "memory": "25Mi", "cpu": "3", "ephemeral-storage": "1"}),
                110
            ),
            [
                ("Too many pods".to_owned(), 1, false),
                ("Insufficient cpu".to_owned(), 2500, true),
                (memory, mib, false),
                ("Insufficient ephemeral-storage".to_owned(), 1, true),
                ("Insufficient x.dev/device".to_owned(), 1, false),
            ]
        );
    }

    #[test]
    fn who_requests_nothing_needs_a_place() {
        let (allocatable, mut requested) = node();
        requested.memory = Bytes::from_gib(4);
        assert!(fits(&Demand::default(), &allocatable, &requested, 109));
        assert!(!fits(&Demand::default(), &allocatable, &requested, 110));
    }

    #[test]
    fn a_container_without_requests_is_scored_as_if_it_used_something() {
        let silent = json!({"name": "a"});
        let asking = json!({"name": "b", "resources": {"requests": {"memory": "10Mi", "cpu": "0"}}});
        assert_eq!(scored_demand(&pod(&json!([silent]))), (100, Bytes::from_mib(200)));
        assert_eq!(scored_demand(&pod(&json!([silent, asking]))), (100, Bytes::from_mib(210)));
        let mut whole = pod(&json!([silent]));
        let resources = json!({"requests": {"memory": "64Mi"}});
        whole.spec.as_mut().unwrap().resources = serde_json::from_value(resources).unwrap();
        assert_eq!(scored_demand(&whole), (100, Bytes::from_mib(64)));
    }

    proptest! {
        /// What is added and taken away again leaves no trace, in any order.
        #[test]
        fn sums_come_back(amounts in prop::collection::vec((0u64..1000, 0u64..1000, 1u64..9, 0usize..3), 0..20)) {
            let demands: Vec<Demand> = amounts.iter().map(|(cpu, memory, device, kind)| Demand {
                milli_cpu: *cpu,
                memory: Bytes::new(*memory),
                ephemeral_storage: Bytes::ZERO,
                others: vec![(format!("x.dev/{kind}").into(), *device)],
            }).collect();
            let mut sum = Demand::default();
            for demand in &demands {
                sum.add(demand);
            }
            prop_assert_eq!(sum.milli_cpu, demands.iter().map(|demand| demand.milli_cpu).sum::<u64>());
            for demand in demands.iter().rev() {
                sum.subtract(demand);
            }
            prop_assert_eq!(sum, Demand::default());
        }

        #[test]
        fn fitting_is_having_no_misfit(wanted: u64, allocatable: u64, requested: u64, pods in 0u64..3) {
            let demand = |memory| Demand { memory: Bytes::new(memory), ..Demand::default() };
            let there = Allocatable { resources: demand(allocatable), pods: 2 };
            let (wanted, requested) = (demand(wanted), demand(requested));
            let none = misfits(&wanted, &there, &requested, pods).is_empty();
            prop_assert_eq!(fits(&wanted, &there, &requested, pods), none);
        }
    }

    #[test]
    fn messages() {
        insta::assert_snapshot!(
            unschedulable_message(
                1,
                ["Insufficient memory"],
                "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            ),
            @"0/1 nodes are available: 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        );
        let reasons = ["Too many pods"; 10].into_iter().chain(["Insufficient memory"; 2]);
        insta::assert_snapshot!(
            unschedulable_message(11, reasons, ""),
            @"0/11 nodes are available: 10 Too many pods, 2 Insufficient memory."
        );
        insta::assert_snapshot!(unschedulable_message(0, [], ""), @"no nodes available to schedule pods");
        insta::assert_snapshot!(
            out_of_memory_message(Bytes::from_mib(1), Bytes::ZERO, Bytes::from_mib(924)),
            @"Node didn't have enough resource: memory, requested: 1048576, used: 0, capacity: 968884224"
        );
    }
}
