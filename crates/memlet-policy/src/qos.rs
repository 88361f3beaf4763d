//! The quality-of-service class of a Pod: who is killed and evicted before whom.
//!
//! By the API server's `ComputePodQOS` (`pkg/apis/core/v1/helper/qos`). The class is fixed when a Pod is
//! created; [`QosClass::of_pod`] prefers what the status holds.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::{Deserialize, Serialize};

use crate::resources::{self, Amounts, CPU, MEMORY, Side};

/// A Pod's class, the best protected first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QosClass {
    /// Every container limits both cpu and memory and requests just as much.
    Guaranteed,
    /// Something is requested or limited, but not as Guaranteed needs it.
    Burstable,
    /// Nothing is requested or limited.
    BestEffort,
}

/// A text that names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a QoS class: expected Guaranteed, Burstable or BestEffort")]
pub struct UnknownQosClass(pub String);

impl QosClass {
    /// The class by the spec alone.
    ///
    /// Requests are taken as they stand: a Pod with limits only is Guaranteed after
    /// [`default_resources`](resources::default_resources), as at the API server.
    pub fn of_spec(spec: &PodSpec) -> Self {
        let mut requests = Amounts::new();
        let mut limits = Amounts::new();
        let mut all_limited = true;
        let tables: Vec<_> = match &spec.resources {
            // Where the Pod has resources of its own, even empty ones, its containers don't count.
            Some(pod_level) => vec![Some(pod_level)],
            None => {
                resources::counted_containers(spec).map(|container| container.resources.as_ref()).collect()
            }
        };
        for table in tables {
            add_positive(&mut requests, resources::read_amounts(Side::Requests.of(table)));
            all_limited &= add_positive(&mut limits, resources::read_amounts(Side::Limits.of(table))) == 2;
        }
        if requests.is_empty() && limits.is_empty() {
            return Self::BestEffort;
        }
        if all_limited && requests == limits { Self::Guaranteed } else { Self::Burstable }
    }

    /// The class that the Pod's status holds, or else the class by its spec. A Pod without a spec is
    /// `BestEffort`.
    pub fn of_pod(pod: &Pod) -> Self {
        let recorded = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
        recorded
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| pod.spec.as_ref().map_or(Self::BestEffort, Self::of_spec))
    }

    /// The name as the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Adds the positive amounts of cpu and memory; says how many of the two there were.
fn add_positive(totals: &mut Amounts, amounts: Amounts) -> usize {
    let mut counted = 0;
    for (name, quantity) in amounts {
        if (name == CPU || name == MEMORY) && quantity.is_positive() {
            counted += 1;
            let total = totals.get(&name).map_or_else(|| quantity.clone(), |total| total.plus(&quantity));
            totals.insert(name, total);
        }
    }
    counted
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for QosClass {
    type Err = UnknownQosClass;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Guaranteed" => Ok(Self::Guaranteed),
            "Burstable" => Ok(Self::Burstable),
            "BestEffort" => Ok(Self::BestEffort),
            _ => Err(UnknownQosClass(text.to_owned())),
        }
    }
}
