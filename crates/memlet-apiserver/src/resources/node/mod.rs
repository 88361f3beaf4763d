//! Nodes. A kubelet registers its node with a status, which therefore counts at creation.

mod proxy; // what the node's own server answers

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_policy::quantity::Quantity;

use crate::discovery::GroupVersionKind;
use crate::field::{FieldErrors, FieldPath};
use crate::handler::Subresource;
use crate::kind::{Place, ServedKind};
use crate::names;
use crate::schema::{self, Type};
use crate::storage::Fields;

/// Subresources beyond `status`.
pub(super) const SUBRESOURCES: &[Subresource] = &[Subresource {
    name: "proxy",
    kind: GroupVersionKind { group: "", version: "v1", kind: "NodeProxyOptions" },
    verbs: &["create", "delete", "get", "patch", "update"],
    handle: proxy::ask,
}];

/// What the spec keeps Pods away with.
trait Tainted {
    fn taints(&self) -> impl Iterator<Item = &Taint>;
}

impl Tainted for Node {
    fn taints(&self) -> impl Iterator<Item = &Taint> {
        self.spec.iter().flat_map(|spec| spec.taints.iter().flatten())
    }
}

impl ServedKind for Node {
    const NAMESPACED: bool = false;
    const SHAPE: &'static Type = &schema::NODE;
    const HAS_STATUS: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["no"];
    const SELECTABLE: &'static [&'static str] = &["spec.unschedulable"];

    fn quantity_places() -> &'static [Place] {
        &[&["status", "capacity", "*"], &["status", "allocatable", "*"]]
    }

    fn canonicalize(&mut self) -> Result<(), String> {
        let Some(status) = &mut self.status else { return Ok(()) };
        for amounts in [&mut status.capacity, &mut status.allocatable] {
            canonical_amounts(amounts)?;
        }
        Ok(())
    }

    fn apply_defaults(&mut self) {
        self.spec.get_or_insert_default();
        let status = self.status.get_or_insert_default();
        // Allocatable is the capacity where nothing is reserved.
        if status.allocatable.as_ref().is_none_or(BTreeMap::is_empty) {
            status.allocatable.clone_from(&status.capacity);
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec.taints");
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        for (index, taint) in self.taints().enumerate() {
            let key = path.index(index).child("key");
            errors.each_invalid(&key, &taint.key, names::qualified(&taint.key));
            if let Some(value) = &taint.value {
                errors.each_invalid(&path.index(index).child("value"), value, names::label_value(value));
            }
            let same = |other: &&Taint| (&other.key, &other.effect) == (&taint.key, &taint.effect);
            if self.taints().take(index).any(|other| same(&other)) {
                errors.duplicate(&path.index(index), taint);
            }
            let effect = path.index(index).child("effect");
            if taint.effect.is_empty() {
                errors.required(&effect, "");
            } else if !effects.contains(&taint.effect.as_str()) {
                errors.not_supported(&effect, &taint.effect, &effects);
            }
        }
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let (Some(new), Some(old)) = (&self.spec, &old.spec) else { return };
        let path = FieldPath::new("spec");
        if old.pod_cidrs.iter().flatten().next().is_some() && new.pod_cidrs != old.pod_cidrs {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&path.child("podCIDRs"), detail);
        }
        let stated = |id: &Option<String>| id.clone().filter(|id| !id.is_empty());
        if stated(&old.provider_id).is_some() && stated(&new.provider_id) != stated(&old.provider_id) {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&path.child("providerID"), detail);
        }
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn fields(&self) -> Fields {
        let unschedulable = self.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        vec![("spec.unschedulable", unschedulable.to_string())]
    }
}

/// Every amount in the form in which the API answers it.
pub(super) fn canonical_amounts(amounts: &mut Option<BTreeMap<String, ApiQuantity>>) -> Result<(), String> {
    for amount in amounts.iter_mut().flat_map(BTreeMap::values_mut) {
        let quantity = Quantity::try_from(&*amount).map_err(|error| error.to_string())?;
        *amount = quantity.into();
    }
    Ok(())
}
