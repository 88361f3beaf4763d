//! Nodes. A kubelet registers its node with a status, which therefore counts at creation.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_policy::quantity::Quantity;

use crate::field::{FieldErrors, FieldPath};
use crate::kind::{Place, ServedKind};
use crate::schema::{self, Type};
use crate::storage::Fields;

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
        let taints = self.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let path = FieldPath::new("spec.taints");
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        for (index, taint) in taints.enumerate() {
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
