//! Security contexts: who runs, and with which privileges.

use k8s_openapi::api::core::v1::{PodSecurityContext, SeccompProfile, SecurityContext};

use super::volumes::check_inner_path;
use crate::field::{FieldErrors, FieldPath};

/// Ids are 32 bits in the kernel.
const LARGEST_ID: i64 = 0xffff_ffff;
const PROC_MOUNTS: [&str; 2] = ["Default", "Unmasked"];
const SECCOMP_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];
const GROUP_CHANGE_POLICIES: [&str; 2] = ["OnRootMismatch", "Always"];
const GROUPS_POLICIES: [&str; 2] = ["Merge", "Strict"];

fn check_id(id: Option<i64>, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(id) = id.filter(|id| !(0..=LARGEST_ID).contains(id)) {
        errors.invalid(path, id, format!("must be between 0 and {LARGEST_ID}, inclusive"));
    }
}

pub(super) fn validate_pod(context: Option<&PodSecurityContext>, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(context) = context else { return };
    check_id(context.fs_group, &path.child("fsGroup"), errors);
    check_id(context.run_as_user, &path.child("runAsUser"), errors);
    check_id(context.run_as_group, &path.child("runAsGroup"), errors);
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        check_id(Some(*group), &path.child("supplementalGroups").index(index), errors);
    }
    if let Some(policy) = context.fs_group_change_policy.as_deref()
        && !GROUP_CHANGE_POLICIES.contains(&policy)
    {
        errors.not_supported(&path.child("fsGroupChangePolicy"), policy, &GROUP_CHANGE_POLICIES);
    }
    if let Some(policy) = context.supplemental_groups_policy.as_deref()
        && !GROUPS_POLICIES.contains(&policy)
    {
        errors.not_supported(&path.child("supplementalGroupsPolicy"), policy, &GROUPS_POLICIES);
    }
    validate_seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile"), errors);
}

pub(super) fn validate_container(
    context: Option<&SecurityContext>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let Some(context) = context else { return };
    check_id(context.run_as_user, &path.child("runAsUser"), errors);
    check_id(context.run_as_group, &path.child("runAsGroup"), errors);
    if let Some(mount) = context.proc_mount.as_deref()
        && !PROC_MOUNTS.contains(&mount)
    {
        errors.not_supported(&path.child("procMount"), mount, &PROC_MOUNTS);
    }
    validate_seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile"), errors);
    if context.allow_privilege_escalation != Some(false) {
        return;
    }
    if context.privileged == Some(true) {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        errors.invalid(path, context, detail);
    }
    let mut added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
    if added.any(|capability| capability == "CAP_SYS_ADMIN") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        errors.invalid(path, context, detail);
    }
}

fn validate_seccomp(profile: Option<&SeccompProfile>, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(profile) = profile else { return };
    let file = profile.localhost_profile.as_deref().unwrap_or_default();
    match profile.type_.as_str() {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        "Localhost" if file.is_empty() => {
            let detail = "must be set when seccomp type is Localhost";
            errors.required(&path.child("localhostProfile"), detail);
        }
        "Localhost" => check_inner_path(file, &path.child("localhostProfile"), errors),
        kind if !SECCOMP_TYPES.contains(&kind) => {
            errors.not_supported(&path.child("type"), kind, &SECCOMP_TYPES);
        }
        _ if profile.localhost_profile.is_some() => {
            let detail = "can only be set when seccomp type is Localhost";
            errors.invalid(&path.child("localhostProfile"), &profile.localhost_profile, detail);
        }
        _ => {}
    }
}
