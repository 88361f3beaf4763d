//! What a Pod may ask that this node does not do yet. Such a Pod is refused by name of the field, instead of
//! running without what it asked for. Pure.

use k8s_openapi::api::core::v1::{
    Container, Pod, PodSpec, SecurityContext, Volume, VolumeMount, VolumeProjection,
};
use memlet_policy::{oom_kill_mode, resources};
use serde_json::Value;

use crate::volumes::payload;

/// The reason in the refused Pod's status, kubelet's for a Pod that needs what the node lacks.
pub(crate) const REASON: &str = "PodFeatureUnsupported";

/// The first field that is not supported, and what is the matter.
pub(crate) fn first_unsupported(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    of_annotations(pod)
        .or_else(|| of_pod(spec))
        .or_else(|| of_pod_security(spec))
        .or_else(|| all_containers(spec).find_map(|(path, container)| of_container(spec, &path, container)))
        .or_else(|| {
            let volumes = spec.volumes.iter().flatten().enumerate();
            volumes.into_iter().find_map(|(index, volume)| of_volume(index, volume))
        })
}

fn of_annotations(pod: &Pod) -> Option<String> {
    oom_kill_mode::wished(pod, "").err().map(|error| error.to_string())
}

fn all_containers(spec: &PodSpec) -> impl Iterator<Item = (String, &Container)> {
    let named = |list: &'static str| move |(index, container)| (format!("spec.{list}[{index}]"), container);
    let init = resources::init_containers(spec).iter().enumerate().map(named("initContainers"));
    init.chain(spec.containers.iter().enumerate().map(named("containers")))
}

fn not_yet(field: &str) -> String {
    format!("{field} is not supported by this node yet; leave it out to run the Pod here")
}

/// The first of these fields that is set.
fn first_set(fields: &[(bool, &str)], prefix: &str) -> Option<String> {
    fields.iter().find(|(is_set, _)| *is_set).map(|(_, field)| not_yet(&format!("{prefix}{field}")))
}

fn of_pod(spec: &PodSpec) -> Option<String> {
    let is_linux = spec.os.as_ref().is_none_or(|os| os.name == "linux");
    first_set(
        &[
            (spec.ephemeral_containers.as_ref().is_some_and(|list| !list.is_empty()), "ephemeralContainers"),
            (spec.host_users == Some(false), "hostUsers"),
            (spec.hostname_override.is_some(), "hostnameOverride"),
            (spec.set_hostname_as_fqdn == Some(true), "setHostnameAsFQDN"),
            (spec.readiness_gates.as_ref().is_some_and(|list| !list.is_empty()), "readinessGates"),
            (spec.resource_claims.as_ref().is_some_and(|list| !list.is_empty()), "resourceClaims"),
            (spec.runtime_class_name.is_some(), "runtimeClassName"),
            (spec.image_pull_secrets.as_ref().is_some_and(|list| !list.is_empty()), "imagePullSecrets"),
            (spec.eviction_responders.as_ref().is_some_and(|list| !list.is_empty()), "evictionResponders"),
            (spec.scheduling_group.is_some(), "schedulingGroup"),
            (!is_linux, "os"),
        ],
        "spec.",
    )
}

fn of_pod_security(spec: &PodSpec) -> Option<String> {
    let context = spec.security_context.as_ref()?;
    let is_local = context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Localhost");
    first_set(
        &[
            (context.sysctls.as_ref().is_some_and(|list| !list.is_empty()), "sysctls"),
            (context.se_linux_options.is_some(), "seLinuxOptions"),
            (context.app_armor_profile.as_ref().is_some_and(|it| it.type_ == "Localhost"), "appArmorProfile"),
            (is_local, "seccompProfile"),
            (context.supplemental_groups_policy.as_deref() == Some("Strict"), "supplementalGroupsPolicy"),
            (context.windows_options.is_some(), "windowsOptions"),
        ],
        "spec.securityContext.",
    )
}

fn of_container(spec: &PodSpec, path: &str, container: &Container) -> Option<String> {
    // On the machine's own network a host port is only a statement; the API server fills it in there.
    let host_ports = spec.host_network != Some(true)
        && container.ports.iter().flatten().any(|port| port.host_port.is_some_and(|port| port > 0));
    let fields = [
        (container.liveness_probe.is_some(), "livenessProbe"),
        (container.readiness_probe.is_some(), "readinessProbe"),
        (container.startup_probe.is_some(), "startupProbe"),
        (container.lifecycle.is_some(), "lifecycle"),
        (container.restart_policy.is_some(), "restartPolicy"),
        (container.volume_devices.as_ref().is_some_and(|list| !list.is_empty()), "volumeDevices"),
        (host_ports, "ports[].hostPort"),
    ];
    first_set(&fields, &format!("{path}."))
        .or_else(|| of_environment(spec, path, container))
        .or_else(|| of_security(path, container.security_context.as_ref()?))
        .or_else(|| {
            let mounts = container.volume_mounts.iter().flatten().enumerate();
            mounts.into_iter().find_map(|(index, mount)| of_mount(path, index, mount))
        })
}

fn of_environment(spec: &PodSpec, path: &str, container: &Container) -> Option<String> {
    container.env.iter().flatten().enumerate().find_map(|(index, variable)| {
        let source = variable.value_from.as_ref()?;
        let field = source.field_ref.as_ref().map(|reference| reference.field_path.as_str());
        // A Pod has an address where it has the machine's.
        let has_none =
            spec.host_network != Some(true) && matches!(field, Some("status.podIP" | "status.podIPs"));
        let fields =
            [(source.file_key_ref.is_some(), "fileKeyRef"), (has_none, "fieldRef.fieldPath (status.podIP)")];
        first_set(&fields, &format!("{path}.env[{index}].valueFrom."))
    })
}

fn of_security(path: &str, context: &SecurityContext) -> Option<String> {
    let is_local = context.seccomp_profile.as_ref().is_some_and(|profile| profile.type_ == "Localhost");
    let is_unmasked = context.proc_mount.as_deref().is_some_and(|mount| mount != "Default");
    first_set(
        &[
            (context.se_linux_options.is_some(), "seLinuxOptions"),
            (context.app_armor_profile.as_ref().is_some_and(|it| it.type_ == "Localhost"), "appArmorProfile"),
            (is_local, "seccompProfile"),
            (is_unmasked, "procMount"),
            (context.windows_options.is_some(), "windowsOptions"),
        ],
        &format!("{path}.securityContext."),
    )
}

fn of_mount(path: &str, index: usize, mount: &VolumeMount) -> Option<String> {
    let recursive = mount.recursive_read_only.as_deref();
    let fields = [
        (mount.bind_mount_options.as_ref().is_some_and(|list| !list.is_empty()), "bindMountOptions"),
        (recursive.is_some_and(|mode| mode != "Disabled" && mode != "IfPossible"), "recursiveReadOnly"),
    ];
    first_set(&fields, &format!("{path}.volumeMounts[{index}]."))
}

fn of_volume(index: usize, volume: &Volume) -> Option<String> {
    let path = format!("spec.volumes[{index}]");
    if let Some(empty) = &volume.empty_dir {
        let medium = empty.medium.as_deref().unwrap_or_default();
        return (!matches!(medium, "" | "Memory"))
            .then(|| not_yet(&format!("{path}.emptyDir.medium {medium:?}")));
    }
    if let Some(host_path) = &volume.host_path {
        let kind = host_path.type_.as_deref().unwrap_or_default();
        let is_known = crate::volumes::HostPathType::named(kind).is_some();
        return (!is_known).then(|| not_yet(&format!("{path}.hostPath.type {kind:?}")));
    }
    if payload::is_projected(volume) {
        return of_projected(&path, volume);
    }
    let kind = serde_json::to_value(volume)
        .ok()
        .and_then(|volume| volume.as_object()?.keys().find(|key| *key != "name").cloned());
    Some(not_yet(&kind.map_or(path.clone(), |kind| format!("{path}.{kind}"))))
}

/// Of volumes with files that the API tells: the first part that this node cannot show.
fn of_projected(path: &str, volume: &Volume) -> Option<String> {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let source = |(index, source): (usize, &VolumeProjection)| {
        let fields = [
            (source.cluster_trust_bundle.is_some(), "clusterTrustBundle"),
            (source.pod_certificate.is_some(), "podCertificate"),
        ];
        first_set(&fields, &format!("{path}.projected.sources[{index}]."))
    };
    let owned = || owner_field(&serde_json::to_value(volume).ok()?, path);
    sources.enumerate().find_map(source).or_else(|| owned().map(|field| not_yet(&field)))
}

/// Where an owner other than root is named for a file (alpha in 1.37), at whatever depth.
fn owner_field(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(fields) => fields.iter().find_map(|(field, value)| {
            let path = format!("{path}.{field}");
            if matches!(field.as_str(), "user" | "defaultUser") {
                Some(path)
            } else {
                owner_field(value, &path)
            }
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| owner_field(item, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use k8s_openapi::api::core::v1::{EnvVarSource, PodSecurityContext};
    use serde_json::{Value, json};

    fn of(spec: Value) -> Option<String> {
        first_unsupported(&serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    fn field(spec: Value) -> String {
        of(spec).unwrap().split(" is not supported").next().unwrap().to_owned()
    }

    /// The fields of a type of the API, and whether this node does what each asks or refuses it. A field that a new
    /// release of the API brings is in neither list, and fails the test until somebody has decided.
    #[track_caller]
    fn decided<T: schemars::JsonSchema>(done: &str, refused: &str) {
        let schema = serde_json::to_value(schemars::schema_for!(T)).unwrap();
        let fields: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let decided: BTreeSet<&str> = done.split_whitespace().chain(refused.split_whitespace()).collect();
        assert_eq!(fields, decided);
    }

    #[test]
    fn every_field_is_decided_on() {
        decided::<PodSpec>(
            // Those about placement are the scheduler's; enableServiceLinks has its default from the API server and
            // nothing to work on here; subdomain is only a name in a DNS that is not there.
            "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy
             enableServiceLinks hostAliases hostIPC hostNetwork hostPID hostname initContainers nodeName nodeSelector overhead preemptionPolicy priority
             priorityClassName resources restartPolicy schedulerName schedulingGates securityContext serviceAccount
             serviceAccountName shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations
             topologySpreadConstraints volumes",
            "ephemeralContainers evictionResponders hostUsers hostnameOverride imagePullSecrets os
             readinessGates resourceClaims runtimeClassName schedulingGroup setHostnameAsFQDN",
        );
        decided::<Container>(
            // resizePolicy is about resizes, which the API server refuses; restartPolicyRules need a restartPolicy.
            "args command env envFrom image imagePullPolicy name ports resizePolicy resources restartPolicyRules
             securityContext stdin stdinOnce terminationMessagePath terminationMessagePolicy tty volumeMounts workingDir",
            "lifecycle livenessProbe readinessProbe restartPolicy startupProbe volumeDevices",
        );
        decided::<PodSecurityContext>(
            // Every volume here is made for its Pod, so there is nothing whose owner changes.
            "fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seLinuxChangePolicy supplementalGroups",
            "appArmorProfile seLinuxOptions seccompProfile supplementalGroupsPolicy sysctls windowsOptions",
        );
        decided::<SecurityContext>(
            "allowPrivilegeEscalation capabilities privileged readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser",
            "appArmorProfile procMount seLinuxOptions seccompProfile windowsOptions",
        );
        decided::<VolumeMount>(
            "mountPath mountPropagation name readOnly subPath subPathExpr",
            "bindMountOptions recursiveReadOnly",
        );
        decided::<EnvVarSource>("configMapKeyRef fieldRef resourceFieldRef secretKeyRef", "fileKeyRef");
        decided::<VolumeProjection>(
            "configMap downwardAPI secret serviceAccountToken",
            "clusterTrustBundle podCertificate",
        );
    }

    #[test]
    fn what_works_is_let_in() {
        let spec = json!({
            "containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 80}], "tty": true,
                "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "s"}]}],
            "volumes": [
                {"name": "v", "emptyDir": {"medium": "Memory"}},
                {"name": "h", "hostPath": {"path": "/", "type": ""}},
                {"name": "c", "configMap": {"name": "c"}},
                {"name": "s", "secret": {"secretName": "s"}},
                {"name": "d", "downwardAPI": {}},
                {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            ],
            "securityContext": {"runAsUser": 1, "seccompProfile": {"type": "RuntimeDefault"}},
        });
        assert_eq!(of(spec), None);
    }

    #[test]
    fn what_does_not_is_named() {
        let container = |extra: Value| {
            let mut container = json!({"name": "a", "image": "x"});
            container.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        for (spec, path) in [
            (container(json!({"livenessProbe": {}})), "spec.containers[0].livenessProbe"),
            (container(json!({"lifecycle": {}})), "spec.containers[0].lifecycle"),
            (
                container(json!({"env": [{"name": "X", "valueFrom": {"fileKeyRef":
                    {"key": "k", "path": "p", "volumeName": "v"}}}]})),
                "spec.containers[0].env[0].valueFrom.fileKeyRef",
            ),
            (
                container(
                    json!({"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]}),
                ),
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath (status.podIP)",
            ),
            (
                json!({"containers": [], "initContainers": [{"name": "s", "restartPolicy": "Always"}]}),
                "spec.initContainers[0].restartPolicy",
            ),
            (json!({"containers": [], "schedulingGroup": {}}), "spec.schedulingGroup"),
            (json!({"containers": [], "ephemeralContainers": [{"name": "e"}]}), "spec.ephemeralContainers"),
            (
                json!({"containers": [], "volumes": [{"name": "n", "nfs": {"path": "/", "server": "s"}}]}),
                "spec.volumes[0].nfs",
            ),
            (
                json!({"containers": [], "volumes": [{"name": "p", "projected": {"sources": [
                    {"secret": {"name": "s"}}, {"clusterTrustBundle": {"path": "p"}},
                ]}}]}),
                "spec.volumes[0].projected.sources[1].clusterTrustBundle",
            ),
            (
                json!({"containers": [], "volumes": [{"name": "c", "configMap": {"items": [
                    {"key": "k", "path": "p", "user": 5},
                ]}}]}),
                "spec.volumes[0].configMap.items[0].user",
            ),
            (
                json!({"containers": [], "volumes": [{"name": "e", "emptyDir": {"medium": "HugePages"}}]}),
                "spec.volumes[0].emptyDir.medium \"HugePages\"",
            ),
        ] {
            assert_eq!(field(spec), path);
        }
    }
}
