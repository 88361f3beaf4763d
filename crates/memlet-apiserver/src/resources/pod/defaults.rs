//! What a Pod gains where its manifest is silent (upstream's `pkg/apis/core/v1/defaults.go`).
//!
//! The amounts of its resources are `memlet-policy`'s business; only their text is made canonical here.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, Pod, PodSpec, Probe, ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources;

use super::super::node::canonical_amounts;
use super::DEFAULT_GRACE_SECONDS;

/// 0644: the mode of files from config maps, secrets and the downward API.
pub(super) const FILE_MODE: i32 = 0o644;
/// How long a mounted service-account token is good for.
const TOKEN_SECONDS: i64 = 3600;

/// Fills in what was left out; doing it twice changes nothing more.
pub(super) fn apply(pod: &mut Pod) {
    let spec = pod.spec.get_or_insert_default();
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_default();
    spec.enable_service_links.get_or_insert(true);
    spec.termination_grace_period_seconds.get_or_insert(DEFAULT_GRACE_SECONDS);
    host_namespaces(spec);
    let host_network = spec.host_network == Some(true);
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container_defaults(container, host_network);
    }
    spec.volumes.iter_mut().flatten().for_each(volume_defaults);
    resources::default_resources(spec);
}

/// Brings every amount into the text in which the API answers it.
pub(super) fn canonical_quantities(spec: &mut PodSpec) -> Result<(), String> {
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    let own = containers.filter_map(|container| container.resources.as_mut());
    for table in own.chain(spec.resources.as_mut()) {
        canonical_amounts(&mut table.limits)?;
        canonical_amounts(&mut table.requests)?;
    }
    canonical_amounts(&mut spec.overhead)?;
    for volume in spec.volumes.iter_mut().flatten() {
        let limit = volume.empty_dir.as_mut().and_then(|volume| volume.size_limit.as_mut());
        limit.map_or(Ok(()), canonical)?;
    }
    Ok(())
}

fn canonical(amount: &mut ApiQuantity) -> Result<(), String> {
    *amount = Quantity::try_from(&*amount).map_err(|error| error.to_string())?.into();
    Ok(())
}

fn set(field: &mut Option<String>, value: &str) {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(value.to_owned());
    }
}

/// False and absent are the same for these, and are answered as absent.
fn host_namespaces(spec: &mut PodSpec) {
    for flag in [&mut spec.host_network, &mut spec.host_pid, &mut spec.host_ipc] {
        if *flag == Some(false) {
            *flag = None;
        }
    }
}

fn container_defaults(container: &mut Container, host_network: bool) {
    let image = container.image.as_deref().unwrap_or_default();
    let pull = if is_latest(image) { "Always" } else { "IfNotPresent" };
    set(&mut container.image_pull_policy, pull);
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
    let resources = container.resources.get_or_insert_default();
    drop_empty(resources);
    for port in container.ports.iter_mut().flatten() {
        set(&mut port.protocol, "TCP");
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    container.env.iter_mut().flatten().for_each(env_defaults);
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(probe_defaults);
}

/// Empty maps are not answered.
fn drop_empty(resources: &mut ResourceRequirements) {
    for side in [&mut resources.limits, &mut resources.requests] {
        if side.as_ref().is_some_and(BTreeMap::is_empty) {
            *side = None;
        }
    }
}

/// Whether an image reference moves: its tag is `latest`, given or implied, and no digest pins it.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    // A colon before the last slash belongs to a registry's port.
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn env_defaults(variable: &mut EnvVar) {
    if let Some(field) = variable.value_from.as_mut().and_then(|source| source.field_ref.as_mut()) {
        set(&mut field.api_version, "v1");
    }
    if let Some(field) = variable.value_from.as_mut().and_then(|source| source.resource_field_ref.as_mut()) {
        field.divisor.get_or_insert_with(|| ApiQuantity("0".to_owned()));
    }
}

fn probe_defaults(probe: &mut Probe) {
    let positive = |field: &mut Option<i32>, value| {
        if field.is_none_or(|stated| stated == 0) {
            *field = Some(value);
        }
    };
    positive(&mut probe.timeout_seconds, 1);
    positive(&mut probe.period_seconds, 10);
    positive(&mut probe.success_threshold, 1);
    positive(&mut probe.failure_threshold, 3);
    if let Some(get) = &mut probe.http_get {
        set(&mut get.path, "/");
        set(&mut get.scheme, "HTTP");
    }
}

fn volume_defaults(volume: &mut Volume) {
    if (Volume { name: volume.name.clone(), ..Volume::default() }) == *volume {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(path) = &mut volume.host_path {
        path.type_.get_or_insert_default();
    }
    let modes = [
        volume.config_map.as_mut().map(|source| &mut source.default_mode),
        volume.secret.as_mut().map(|source| &mut source.default_mode),
        volume.downward_api.as_mut().map(|source| &mut source.default_mode),
        volume.projected.as_mut().map(|source| &mut source.default_mode),
    ];
    for mode in modes.into_iter().flatten() {
        mode.get_or_insert(FILE_MODE);
    }
    let sources = volume.projected.iter_mut().flat_map(|projected| projected.sources.iter_mut().flatten());
    for source in sources {
        if let Some(token) = &mut source.service_account_token {
            token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_images_move() {
        for moving in ["busybox", "busybox:latest", "host:5000/busybox", "host:5000/a/b:latest", ""] {
            assert!(is_latest(moving), "{moving}");
        }
        for pinned in ["busybox:1", "host:5000/busybox:1", "busybox@sha256:00", "busybox:latest@sha256:00"] {
            assert!(!is_latest(pinned), "{pinned}");
        }
    }
}
