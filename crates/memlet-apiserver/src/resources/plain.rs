//! Service accounts and leases: kept for the clients that expect them, without rules of their own yet.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;

use crate::accounts;
use crate::discovery::GroupVersionKind;
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
}
