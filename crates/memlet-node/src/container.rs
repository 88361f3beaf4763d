//! A container of a Pod's spec as the runtime is asked to make it. Pure.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{
    self, ContainerConfig, ContainerMetadata, KeyValue, LinuxContainerConfig, LinuxContainerResources, Mount,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use memlet_bytes::Bytes;
use memlet_policy::cgroup_limits::{self, CgroupVersion};
use memlet_policy::logs;
use memlet_policy::oom_kill_mode::{self, OomKillMode};
use memlet_policy::oom_score_adj;
use memlet_policy::qos::QosClass;
use memlet_policy::resources::{self, Side};

use crate::config::MemoryRules;
use crate::cri::image_spec;
use crate::downward::NodeFigures;
use crate::environment::{self, TooLong};
use crate::security::{self, RunsAsRoot};

/// The default of `terminationMessagePath`.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";

/// The annotation with the image's name as the spec had it, by which a changed one is noticed after a restart of the
/// agent. A runtime may call the same image by its id.
pub(crate) const ASKED_IMAGE: &str = "memlet.dev/image";

/// What of the node shapes a container.
#[derive(Clone, Debug)]
pub(crate) struct NodeShape {
    /// What the node pretends to have.
    pub(crate) capacity: Bytes,
    pub(crate) allocatable: Bytes,
    /// Thousandths of a processor.
    pub(crate) allocatable_cpu: i64,
    pub(crate) storage: Storage,
    pub(crate) host_ip: Option<String>,
    pub(crate) host_name: String,
    pub(crate) cgroups: CgroupVersion,
    /// The swap there is, where it is accounted and so must be denied or limited.
    pub(crate) swap: Option<Bytes>,
    pub(crate) page_size: Bytes,
    pub(crate) memory_rules: MemoryRules,
}

/// The file system on which Pods leave logs and files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Storage {
    pub(crate) capacity: Bytes,
    pub(crate) allocatable: Bytes,
}

impl NodeShape {
    pub(crate) fn figures(&self) -> NodeFigures<'_> {
        NodeFigures {
            host_ip: self.host_ip.as_deref(),
            allocatable_memory: self.allocatable,
            allocatable_storage: self.storage.allocatable,
            allocatable_cpu: self.allocatable_cpu,
        }
    }
}

/// Why a container cannot even be described: the message of `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error(transparent)]
    RunsAsRoot(#[from] RunsAsRoot),
    #[error("the command is {0}")]
    TooLong(#[from] TooLong),
}

/// All that a configuration is made from.
pub(crate) struct Blueprint<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) spec: &'a PodSpec,
    pub(crate) container: &'a Container,
    /// How often it was started before.
    pub(crate) attempt: u32,
    pub(crate) node: &'a NodeShape,
    /// As the runtime knows it.
    pub(crate) image: &'a v1::Image,
    /// The environment, in order.
    pub(crate) variables: Vec<(String, String)>,
    /// Volumes and the termination message's file.
    pub(crate) mounts: Vec<Mount>,
}

impl Blueprint<'_> {
    pub(crate) fn config(self) -> Result<ContainerConfig, ConfigError> {
        let Self { pod, spec, container, .. } = self;
        let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
        security::check_not_root(pod_name, spec, container, self.image)?;
        let variables = self.variables;
        let known = |name: &str| {
            let found = variables.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        Ok(ContainerConfig {
            metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: self.attempt }),
            image: Some(v1::ImageSpec {
                user_specified_image: container.image.clone().unwrap_or_default(),
                ..image_spec(&self.image.id)
            }),
            command: environment::expand_all(container.command.as_ref(), known)?,
            args: environment::expand_all(container.args.as_ref(), known)?,
            working_dir: container.working_dir.clone().unwrap_or_default(),
            envs: variables.iter().cloned().map(|(key, value)| KeyValue { key, value }).collect(),
            mounts: self.mounts,
            labels: labels(pod, container),
            annotations: annotations(pod, spec, container, self.attempt, self.node),
            log_path: logs::container_log_name(&container.name, self.attempt).to_string_lossy().into_owned(),
            stdin: container.stdin.unwrap_or_default(),
            stdin_once: container.stdin_once.unwrap_or_default(),
            tty: container.tty.unwrap_or_default(),
            linux: Some(LinuxContainerConfig {
                resources: Some(linux_resources(pod, spec, container, self.node)),
                security_context: Some(security::container(spec, container, self.image)),
            }),
            ..ContainerConfig::default()
        })
    }
}

/// The labels by which kubelet finds its containers again.
fn labels(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels = pod_labels(pod);
    labels.insert("io.kubernetes.container.name".to_owned(), container.name.clone());
    labels
}

/// The same for the sandbox.
pub(crate) fn pod_labels(pod: &Pod) -> HashMap<String, String> {
    let metadata = &pod.metadata;
    [
        ("io.kubernetes.pod.name", &metadata.name),
        ("io.kubernetes.pod.namespace", &metadata.namespace),
        ("io.kubernetes.pod.uid", &metadata.uid),
    ]
    .into_iter()
    .map(|(label, value)| (label.to_owned(), value.clone().unwrap_or_default()))
    .collect()
}

fn annotations(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    attempt: u32,
    node: &NodeShape,
) -> HashMap<String, String> {
    let grace = spec.termination_grace_period_seconds.unwrap_or(crate::termination::DEFAULT_GRACE);
    let policy = container.termination_message_policy.as_deref().unwrap_or("File");
    [
        ("io.kubernetes.container.restartCount", attempt.to_string()),
        ("io.kubernetes.container.terminationMessagePath", termination_path(container).to_owned()),
        ("io.kubernetes.container.terminationMessagePolicy", policy.to_owned()),
        ("io.kubernetes.pod.terminationGracePeriod", grace.to_string()),
        (oom_kill_mode::ANNOTATION, oom_kill_mode(pod, container, node).to_string()),
        (ASKED_IMAGE, container.image.clone().unwrap_or_default()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Where the container leaves its last words.
pub(crate) fn termination_path(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(TERMINATION_LOG)
}

/// The folder of a Pod's logs.
pub(crate) fn log_directory(pod_logs: &Path, pod: &Pod) -> PathBuf {
    let part = |value: &Option<String>| value.clone().unwrap_or_default();
    let metadata = &pod.metadata;
    let (namespace, name, uid) = (part(&metadata.namespace), part(&metadata.name), part(&metadata.uid));
    pod_logs.join(logs::pod_folder_name(&namespace, &name, &uid))
}

/// kubelet's period of the cpu quota, in microseconds.
const CPU_PERIOD: i64 = 100_000;

/// cpu.shares of so many thousandths of a processor (kubelet's `MilliCPUToShares`).
pub(crate) fn cpu_shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// cfs quota in microseconds per [`CPU_PERIOD`] (kubelet's `MilliCPUToQuota`); `None` for no limit.
pub(crate) fn cpu_quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli.saturating_mul(CPU_PERIOD) / 1000).max(1000))
}

/// The container's resources as `generateLinuxContainerResources` makes them.
pub(crate) fn linux_resources(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    node: &NodeShape,
) -> LinuxContainerResources {
    let own = container.resources.as_ref();
    let milli =
        |side: Side, table| resources::amount(side.of(table), resources::CPU).map(|cpu| cpu.milli_value());
    let cpu_limit = milli(Side::Limits, own).or_else(|| milli(Side::Limits, spec.resources.as_ref()));
    let cpu_request = milli(Side::Requests, own).or(milli(Side::Limits, own)).unwrap_or_default();
    let memory_limit = cgroup_limits::container_memory_limit(spec, container).map_or(0, bytes_i64);
    let quota = cpu_limit.and_then(cpu_quota);
    let (unified, swap_limit) = match node.cgroups {
        // Memory and swap together: as much as memory alone, so none of it in swap.
        CgroupVersion::V1 => (HashMap::new(), if node.swap.is_some() { memory_limit } else { 0 }),
        CgroupVersion::V2 => (unified(pod, container, node), 0),
    };
    LinuxContainerResources {
        cpu_period: if quota.is_some() { CPU_PERIOD } else { 0 },
        cpu_quota: quota.unwrap_or_default(),
        cpu_shares: cpu_shares(cpu_request),
        memory_limit_in_bytes: memory_limit,
        memory_swap_limit_in_bytes: swap_limit,
        oom_score_adj: oom_score_adj::for_container(pod, container, node.capacity).value.into(),
        unified,
        ..LinuxContainerResources::default()
    }
}

/// The files of cgroup v2 that have no field of their own in CRI.
fn unified(pod: &Pod, container: &Container, node: &NodeShape) -> HashMap<String, String> {
    let mut files = HashMap::new();
    let mut put = |file: &str, bytes: Bytes| files.insert(file.to_owned(), bytes.get().to_string());
    if let Some(swap) = node.swap {
        let behavior = node.memory_rules.swap;
        let limit = cgroup_limits::container_swap_limit(pod, container, behavior, node.capacity, swap);
        put("memory.swap.max", limit);
    }
    if let Some(qos) = node.memory_rules.memory_qos {
        if let Some(high) = qos.container_high(container, node.allocatable, node.page_size) {
            put("memory.high", high);
        }
        let protection = qos.container_protection(QosClass::of_pod(pod), container);
        put("memory.min", protection.min);
        put("memory.low", protection.low);
    }
    if oom_kill_mode(pod, container, node) != OomKillMode::Process {
        files.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    files
}

/// What an OOM kill in this container takes along: as the Pod says, else as the node does.
pub(crate) fn oom_kill_mode(pod: &Pod, container: &Container, node: &NodeShape) -> OomKillMode {
    // A mistake in either was refused before.
    let of_node = oom_kill_mode::of_node(node.cgroups, node.memory_rules.single_process_oom_kill);
    let wished = oom_kill_mode::wished(pod, &container.name);
    wished.ok().flatten().or(of_node.ok()).unwrap_or_default()
}

/// As CRI counts bytes; the largest amount of 63 bits where there are more.
pub(crate) fn bytes_i64(bytes: Bytes) -> i64 {
    i64::try_from(bytes.get()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(cgroups: CgroupVersion) -> NodeShape {
        NodeShape {
            capacity: Bytes::from_kib(24_684_092),
            allocatable: Bytes::from_mib(924),
            allocatable_cpu: 2000,
            storage: Storage::default(),
            host_ip: None,
            host_name: "anchor-node".into(),
            cgroups,
            swap: Some(Bytes::from_gib(2)),
            page_size: Bytes::new(4096),
            memory_rules: MemoryRules::default(),
        }
    }

    fn pod(container: Value) -> Pod {
        let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 5});
        serde_json::from_value(
            json!({"metadata": {"name": "memory-eater-128", "namespace": "default", "uid": "39ea"}, "spec": spec}),
        )
        .unwrap()
    }

    fn config(pod: &Pod, cgroups: CgroupVersion) -> Result<ContainerConfig, ConfigError> {
        let spec = pod.spec.as_ref().unwrap();
        let image = v1::Image { id: "sha256:1".into(), ..v1::Image::default() };
        Blueprint {
            pod,
            spec,
            container: &spec.containers[0],
            attempt: 3,
            node: &node(cgroups),
            image: &image,
            variables: vec![("MB".to_owned(), "300".to_owned())],
            mounts: Vec::new(),
        }
        .config()
    }

    #[test]
    fn resources_are_those_of_a_real_node() {
        // golden/seeds/limit128-12s: limit 134217728, memsw the same, cpu.shares 2, no quota, oom_score_adj 995.
        let pod = pod(
            json!({"name": "main", "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "128Mi"}}}),
        );
        let linux = config(&pod, CgroupVersion::V1).unwrap().linux.unwrap().resources.unwrap();
        let mib_128 = 134_217_728;
        assert_eq!((linux.memory_limit_in_bytes, linux.memory_swap_limit_in_bytes), (mib_128, mib_128));
        assert_eq!((linux.cpu_shares, linux.cpu_quota, linux.oom_score_adj), (2, 0, 995));
        assert!(linux.unified.is_empty());
        let linux = config(&pod, CgroupVersion::V2).unwrap().linux.unwrap().resources.unwrap();
        assert_eq!((linux.memory_limit_in_bytes, linux.memory_swap_limit_in_bytes), (mib_128, 0));
        assert_eq!(
            (linux.unified["memory.oom.group"].as_str(), linux.unified["memory.swap.max"].as_str()),
            ("1", "0")
        );
    }

    #[test]
    fn cpu_is_converted_as_kubelet_does() {
        assert_eq!([0, 1, 100, 1000, 1_000_000].map(cpu_shares), [2, 2, 102, 1024, 262_144]);
        assert_eq!([0, 1, 100, 2000].map(cpu_quota), [None, Some(1000), Some(10_000), Some(200_000)]);
    }

    #[test]
    fn words_are_expanded_and_the_log_has_its_place() {
        let pod = pod(json!({
            "name": "main", "image": "eater", "command": ["/eat", "$(MB)"], "args": ["$(NONE)"], "tty": true,
        }));
        let config = config(&pod, CgroupVersion::V1).unwrap();
        assert_eq!(
            (config.command, config.args),
            (vec!["/eat".into(), "300".into()], vec!["$(NONE)".into()])
        );
        assert_eq!((config.log_path.as_str(), config.tty), ("main/3.log", true));
        assert_eq!(config.labels["io.kubernetes.pod.uid"], "39ea");
        assert_eq!(log_directory(Path::new("/l"), &pod), Path::new("/l/default_memory-eater-128_39ea"));
    }

    #[test]
    fn root_is_refused_where_the_pod_forbids_it() {
        let of = |context: Value| {
            config(&pod(json!({"name": "main", "securityContext": context})), CgroupVersion::V1)
        };
        assert!(of(json!({"runAsNonRoot": true, "runAsUser": 1})).is_ok());
        insta::assert_snapshot!(
            of(json!({"runAsNonRoot": true, "runAsUser": 0})).unwrap_err(),
            @r#"container's runAsUser breaks non-root policy (pod: "memory-eater-128", container: main)"#
        );
        insta::assert_snapshot!(
            of(json!({"runAsNonRoot": true})).unwrap_err(),
            @r#"container has runAsNonRoot and image will run as root (pod: "memory-eater-128", container: main)"#
        );
    }
}
