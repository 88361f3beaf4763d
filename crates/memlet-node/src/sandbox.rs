//! A Pod's sandbox as the runtime is asked to make it. Pure.

use std::path::Path;

use k8s_cri::v1::{LinuxContainerResources, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use memlet_cgroup::CgroupPath;
use memlet_policy::quantity::Quantity;
use memlet_policy::resources::{self, CPU, MEMORY, Side};

use crate::adoption::AGENT_LABEL;
use crate::container::{self, NodeShape};
use crate::network_files;
use crate::security;

/// Host names end here (`HOST_NAME_MAX`).
const HOSTNAME_LENGTH: usize = 63;

/// What is around a sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) node: &'a NodeShape,
    pub(crate) cgroup: &'a CgroupPath,
    pub(crate) pod_logs: &'a Path,
    /// Where the machine asks for names.
    pub(crate) resolv_conf: &'a str,
    /// Who makes it ([`AGENT_LABEL`]).
    pub(crate) agent: &'a str,
}

/// The sandbox of this Pod, for the `attempt`-th time.
pub(crate) fn config(pod: &Pod, spec: &PodSpec, attempt: u32, around: &Surroundings<'_>) -> PodSandboxConfig {
    let Surroundings { node, cgroup, pod_logs, agent, resolv_conf } = around;
    let metadata = &pod.metadata;
    let totals = |side| resources::pod_totals_without_overhead(spec, side);
    let (requests, limits) = (totals(Side::Requests), totals(Side::Limits));
    let milli = |amounts: &resources::Amounts| amounts.get(CPU).map_or(0, Quantity::milli_value);
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            attempt,
        }),
        hostname: hostname(pod, spec, node),
        dns_config: Some(network_files::dns(spec, resolv_conf)),
        log_directory: container::log_directory(pod_logs, pod).to_string_lossy().into_owned(),
        labels: metadata
            .labels
            .clone()
            .unwrap_or_default()
            .into_iter()
            .chain(container::pod_labels(pod))
            .chain([(AGENT_LABEL.to_owned(), (*agent).to_owned())])
            .collect(),
        annotations: metadata.annotations.clone().unwrap_or_default().into_iter().collect(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: cgroup.to_string(),
            security_context: Some(security::sandbox(spec)),
            resources: Some(LinuxContainerResources {
                cpu_shares: container::cpu_shares(milli(&requests)),
                cpu_quota: container::cpu_quota(milli(&limits)).unwrap_or_default(),
                cpu_period: if milli(&limits) > 0 { 100_000 } else { 0 },
                memory_limit_in_bytes: limits
                    .get(MEMORY)
                    .map_or(0, |memory| container::bytes_i64(memory.bytes())),
                ..LinuxContainerResources::default()
            }),
            ..LinuxPodSandboxConfig::default()
        }),
        ..PodSandboxConfig::default()
    }
}

/// The Pod's name unless it asks for another; the machine's where it shares the machine's network.
pub(crate) fn hostname(pod: &Pod, spec: &PodSpec, node: &NodeShape) -> String {
    if spec.host_network == Some(true) {
        return node.host_name.clone();
    }
    let wanted = spec.hostname.as_deref().filter(|name| !name.is_empty()).or(pod.metadata.name.as_deref());
    let mut name: String = wanted.unwrap_or_default().chars().take(HOSTNAME_LENGTH).collect();
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use memlet_bytes::Bytes;
    use memlet_policy::cgroup_limits::CgroupVersion;
    use serde_json::json;

    fn sandbox(spec: serde_json::Value) -> PodSandboxConfig {
        let metadata = json!({"name": "web", "namespace": "shop", "uid": "u", "labels": {"app": "x"}});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let node = NodeShape {
            capacity: Bytes::from_gib(1),
            allocatable: Bytes::from_gib(1),
            allocatable_cpu: 2000,
            storage: container::Storage::default(),
            host_ip: None,
            host_name: "machine".into(),
            cgroups: CgroupVersion::V1,
            swap: None,
            page_size: Bytes::new(4096),
            memory_rules: crate::config::MemoryRules::default(),
        };
        let cgroup = "/kubepods/burstable/podu".parse().unwrap();
        let around = Surroundings {
            node: &node,
            cgroup: &cgroup,
            pod_logs: Path::new("/logs"),
            agent: "/state",
            resolv_conf: "",
        };
        config(&pod, pod.spec.as_ref().unwrap(), 0, &around)
    }

    #[test]
    fn names_and_places() {
        let config = sandbox(json!({"containers": []}));
        assert_eq!(config.hostname, "web");
        assert_eq!(config.log_directory, "/logs/shop_web_u");
        assert_eq!(config.linux.unwrap().cgroup_parent, "/kubepods/burstable/podu");
        assert_eq!(
            (config.labels["app"].as_str(), config.labels["io.kubernetes.pod.name"].as_str()),
            ("x", "web")
        );
        assert_eq!(config.labels[AGENT_LABEL], "/state");
        assert_eq!(sandbox(json!({"containers": [], "hostNetwork": true})).hostname, "machine");
        let long = "a".repeat(62) + "-b";
        assert_eq!(sandbox(json!({"containers": [], "hostname": long})).hostname, "a".repeat(62));
    }

    #[test]
    fn namespaces_follow_the_pod() {
        use k8s_cri::v1::NamespaceMode::{Container, Node, Pod};
        for (spec, network, pid, ipc) in [
            (json!({"containers": []}), Pod, Container, Pod),
            (json!({"containers": [], "shareProcessNamespace": true}), Pod, Pod, Pod),
            (
                json!({"containers": [], "hostNetwork": true, "hostPID": true, "hostIPC": true}),
                Node,
                Node,
                Node,
            ),
        ] {
            let context = sandbox(spec).linux.unwrap().security_context.unwrap();
            let options = context.namespace_options.unwrap();
            assert_eq!((options.network(), options.pid(), options.ipc()), (network, pid, ipc));
        }
    }
}
