//! Quotas: what a namespace may use in all. What is counted, and who is refused, is `crate::quota`'s.

mod validation;

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use memlet_policy::resources::round_amounts;

use super::node::canonical_amounts;
use crate::field::FieldErrors;
use crate::kind::{Place, ServedKind};
use crate::schema::{self, Type};

impl ServedKind for ResourceQuota {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::RESOURCE_QUOTA;
    const HAS_STATUS: bool = true;
    const RETURNS_DELETED: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["quota"];

    fn quantity_places() -> &'static [Place] {
        &[&["spec", "hard", "*"], &["status", "hard", "*"], &["status", "used", "*"]]
    }

    fn canonicalize(&mut self) -> Result<(), String> {
        if let Some(spec) = &mut self.spec {
            canonical_amounts(&mut spec.hard)?;
        }
        if let Some(status) = &mut self.status {
            canonical_amounts(&mut status.hard)?;
            canonical_amounts(&mut status.used)?;
        }
        Ok(())
    }

    fn apply_defaults(&mut self) {
        round_amounts(self.spec.get_or_insert_default().hard.as_mut());
        let status = self.status.get_or_insert_default();
        round_amounts(status.hard.as_mut());
        round_amounts(status.used.as_mut());
    }

    fn prepare_for_create(&mut self) {
        self.status = Some(ResourceQuotaStatus::default());
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validation::validate(self, errors);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validation::validate_update(self, old, errors);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut FieldErrors) {
        validation::validate_status(self, errors);
    }
}
