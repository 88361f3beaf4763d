//! What a `ResourceQuota` counts and when it is exceeded.
//!
//! The rules of upstream's quota package (`pkg/quota/v1`, its Pod evaluator) and of the `ResourceQuota` admission
//! plugin, in its words. What there is to count, and that two creations do not both take the last room, is the API
//! server's. Not here: quotas that admission is configured to demand ("insufficient quota"), which no server has
//! unless it is told to.

mod charge; // what one Pod takes
mod scope; // whether a quota is about a Pod

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PodSpec, ResourceQuota, ScopedResourceSelectorRequirement};

use crate::resources::{self, Amounts, Side, counted_containers, has_pod_level};

pub use self::charge::{PodCharge, is_pod_resource};

/// The amounts that every container must state where a quota is about them; upstream calls it a mistake that it
/// will not make again.
const STATED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// A quota, as far as it decides something.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    name: String,
    hard: Amounts,
    scopes: Vec<ScopedResourceSelectorRequirement>,
}

impl Terms {
    /// What a quota's spec says.
    pub fn of(quota: &ResourceQuota) -> Self {
        let spec = quota.spec.as_ref();
        Self {
            name: quota.metadata.name.clone().unwrap_or_default(),
            hard: resources::read_amounts(spec.and_then(|spec| spec.hard.as_ref())),
            scopes: spec.map(scope::selectors).unwrap_or_default(),
        }
    }

    /// What is bounded, by resource name.
    pub fn hard(&self) -> &Amounts {
        &self.hard
    }

    /// Whether it is about some Pods only. Nothing but Pods has a scope.
    pub fn is_scoped(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Whether it bounds anything of Pods.
    pub fn is_about_pods(&self) -> bool {
        self.hard.keys().any(|name| is_pod_resource(name))
    }

    /// Whether it counts this Pod.
    pub fn covers(&self, pod: &PodCharge) -> bool {
        self.is_about_pods() && self.scopes.iter().all(|selector| pod.is_in(selector))
    }

    /// What the containers of a covered Pod must state and do not; `None` where nothing is missing, or the Pod
    /// states resources as a whole.
    pub fn unstated(&self, spec: &PodSpec) -> Option<String> {
        if has_pod_level(spec, Side::Requests) || has_pod_level(spec, Side::Limits) {
            return None;
        }
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for container in counted_containers(spec) {
            let side = |side: Side| resources::read_amounts(side.of(container.resources.as_ref()));
            let stated = charge::by_quota_name(&side(Side::Requests), &side(Side::Limits));
            for name in STATED.into_iter().filter(|name| self.hard.contains_key(*name)) {
                if !stated.contains_key(name) {
                    missing.entry(name).or_default().insert(&container.name);
                }
            }
        }
        if missing.is_empty() {
            return None;
        }
        let told = missing.iter().map(|(name, containers)| {
            let containers: Vec<_> = containers.iter().copied().collect();
            format!("{name} for: {}", containers.join(","))
        });
        let told: Vec<_> = told.collect();
        Some(format!("failed quota: {}: must specify {}", self.name, told.join("; ")))
    }

    /// Why `asked` cannot be had beside what is `used`; `None` where it can. What is not asked for may be exceeded
    /// already.
    pub fn exceeded(&self, asked: &Amounts, used: &Amounts) -> Option<String> {
        let (mut requested, mut in_use, mut limited) = (Vec::new(), Vec::new(), Vec::new());
        for (name, hard) in &self.hard {
            let Some(amount) = asked.get(name).filter(|amount| !amount.is_zero()) else { continue };
            let before = used.get(name);
            let after = before.map_or_else(|| amount.clone(), |before| before.plus(amount));
            if after > *hard {
                requested.push(format!("{name}={amount}"));
                in_use.extend(before.map(|before| format!("{name}={before}")));
                limited.push(format!("{name}={hard}"));
            }
        }
        (!requested.is_empty()).then(|| {
            format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                self.name,
                requested.join(","),
                in_use.join(","),
                limited.join(",")
            )
        })
    }
}

#[cfg(test)]
mod tests;
