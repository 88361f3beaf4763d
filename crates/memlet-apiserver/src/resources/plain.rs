//! Service accounts and leases: kept for the clients that expect them, with few rules.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;

use crate::accounts;
use crate::discovery::GroupVersionKind;
use crate::field::{FieldErrors, FieldPath};
use crate::handler::Subresource;
use crate::kind::ServedKind;
use crate::schema::{self, Type};

/// Subresources of a service account.
pub(super) const ACCOUNT_SUBRESOURCES: &[Subresource] = &[Subresource {
    name: "token",
    kind: GroupVersionKind { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" },
    verbs: &["create"],
    handle: accounts::request_token,
}];

impl ServedKind for ServiceAccount {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::SERVICE_ACCOUNT;
    const RETURNS_DELETED: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["sa"];
}

impl ServedKind for Lease {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::LEASE;
    const CREATED_BY_UPDATE: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn validate(&self, errors: &mut FieldErrors) {
        let Some(spec) = &self.spec else { return };
        let path = FieldPath::new("spec");
        if let Some(seconds) = spec.lease_duration_seconds.filter(|seconds| *seconds <= 0) {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        if let Some(count) = spec.lease_transitions.filter(|count| *count < 0) {
            errors.invalid(&path.child("leaseTransitions"), count, "must be greater than or equal to 0");
        }
    }
}
