//! The command line of `memlet node` and of the commands that speak to a node.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_node::Amounts;
use memlet_policy::memory_qos::ThrottlingFactor;
use memlet_policy::quantity::Quantity;
use serde::{Deserialize, Deserializer};

use crate::node::pool::{NodeTaint, Nodes};

use super::eviction::{AmountChoice, GraceChoice, ThresholdChoice, TimeChoice};
use super::{DriverChoice, Format, PlaceArguments, ReservationChoice, SwapChoice, cgroup, size};

/// `memlet node`
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  memlet node                                    # until Ctrl-C; then, elsewhere: memlet kubectl get nodes
  memlet node --node-memory 2Gi --detach         # in the background, as a node of that size
  memlet node --nodes 3 --node-memory 1Gi        # a pool of three nodes on this machine
  memlet node --config node.yaml                 # what the flags say, from a file
  memlet node --print-unit | sudo tee /etc/systemd/system/memlet.service

A configuration file has the long flags' names without their dashes, in camel case:
  nodeMemory: 2Gi
  kubeReserved: { memory: 100Mi }
  addresses: [127.0.0.1:6443]
  nodes:
  - { name: small, memory: 1Gi, labels: { disk: ssd } }
  - { name: large, memory: 4Gi, taints: [\"gpu=yes:NoSchedule\"] }
A flag wins over the file.

Ctrl-C and SIGTERM end the program, not its Pods: those run on, and the next `memlet node` takes them up again. `memlet
stop --pods` ends them.")]
pub(crate) struct NodeArguments {
    /// Read settings from this YAML file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// Go on in the background once the node is ready
    #[arg(long)]
    pub(crate) detach: bool,

    /// Print a systemd unit that starts a node with these settings, and do nothing else
    #[arg(long, conflicts_with = "detach")]
    pub(crate) print_unit: bool,

    #[command(flatten)]
    pub(crate) settings: NodeSettings,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,

    #[command(subcommand)]
    pub(crate) change: Option<PoolChange>,
}

/// `memlet node add` and `memlet node rm`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PoolChange {
    /// Add a node to the program that runs; it is there at its next start too
    #[command(after_help = "\
Examples:
  memlet node add large --memory 4Gi
  memlet node add gpu --memory 1Gi --label disk=ssd --taint gpu=yes:NoSchedule")]
    Add(AddArguments),
    /// Remove a node from the program that runs
    #[command(after_help = "\
A node with Pods is not removed, unless --pods ends them: `kubectl drain NAME` moves away those that somebody makes anew.
A node that flags or the file name is there again at the next start.")]
    Rm(RmArguments),
}

/// `memlet node add`
#[derive(Clone, Debug, Args)]
pub(crate) struct AddArguments {
    /// The node's name
    pub(crate) name: String,

    /// Memory that it pretends to have [default: as --node-memory, else the machine's]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<Bytes>,

    /// A label of the Node; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) labels: Vec<(String, String)>,

    /// A taint of the Node; may be given several times
    #[arg(long = "taint", value_name = "KEY=VALUE:EFFECT")]
    pub(crate) taints: Vec<NodeTaint>,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// `memlet node rm`
#[derive(Clone, Debug, Args)]
pub(crate) struct RmArguments {
    /// The node's name
    pub(crate) name: String,

    /// End its Pods, each with its own grace period, and delete them
    #[arg(long)]
    pub(crate) pods: bool,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("say KEY=VALUE, as in disk=ssd")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What a node is told, by flags or by a file. `None` where it is not said.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct NodeSettings {
    /// Where the API is served; may be given several times [default: 127.0.0.1:6443]
    #[arg(long = "address", value_name = "ADDRESS:PORT")]
    pub(crate) addresses: Vec<SocketAddr>,

    /// Name of the node [default: memlet]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_name: Option<String>,

    /// Memory that the node pretends to have, enforced as the limit of all Pods together [default: the machine's]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    #[serde(deserialize_with = "size_of_text")]
    pub(crate) node_memory: Option<Bytes>,

    /// Run so many nodes alike, each with its own cgroup and limit, named NAME-1, NAME-2, …; a file may list them one by one
    #[arg(long, value_name = "NUMBER", value_parser = alike)]
    pub(crate) nodes: Option<Nodes>,

    /// Set aside for memlet itself, as kubelet's kubeReserved: memory=100Mi
    #[arg(long, value_name = "memory=SIZE,…", value_parser = reservation)]
    pub(crate) kube_reserved: Option<Reservation>,

    /// Set aside for the rest of the system, as kubelet's systemReserved: memory=1Gi
    #[arg(long, value_name = "memory=SIZE,…", value_parser = reservation)]
    pub(crate) system_reserved: Option<Reservation>,

    /// Evict a Pod at once where less memory is available, as kubelet's evictionHard; 0% switches it off [default:
    /// memory.available<100Mi]
    #[arg(long, value_name = "memory.available<SIZE|PERCENT")]
    pub(crate) eviction_hard: Option<ThresholdChoice>,

    /// Evict a Pod where less memory has been available for the grace period, as kubelet's evictionSoft
    #[arg(long, value_name = "memory.available<SIZE|PERCENT")]
    pub(crate) eviction_soft: Option<ThresholdChoice>,

    /// How long the soft threshold must be met
    #[arg(long, value_name = "memory.available=TIME")]
    pub(crate) eviction_soft_grace_period: Option<GraceChoice>,

    /// How much more than the threshold is to be available before eviction ends, as kubelet's evictionMinimumReclaim
    #[arg(long, value_name = "memory.available=SIZE|PERCENT")]
    pub(crate) eviction_minimum_reclaim: Option<AmountChoice>,

    /// Longest grace, in seconds, of a Pod that goes for the soft threshold [default: 0]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) eviction_max_pod_grace_period: Option<u32>,

    /// How long the node stays under MemoryPressure after a threshold was met [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub(crate) eviction_pressure_transition_period: Option<TimeChoice>,

    /// Folder of manifests whose Pods the node runs by itself, as kubelet's staticPodPath
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) static_pods: Option<PathBuf>,

    /// Keep objects in memory only: nothing of the API survives the program, and its Pods end with it
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "true|false")]
    pub(crate) in_memory: Option<bool>,

    /// What containers may do with the machine's swap (cgroup v2) [default: `NoSwap`]
    #[arg(long, value_name = "BEHAVIOR")]
    pub(crate) swap_behavior: Option<SwapChoice>,

    /// Slow containers down before their limit (memory.high), as kubelet's feature gate for memory quality does (cgroup v2)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "true|false")]
    pub(crate) memory_qos: Option<bool>,

    /// How far between its request and its limit a container gets before it is slowed down [default: 0.9]
    #[arg(long, value_name = "FACTOR")]
    #[serde(deserialize_with = "factor_of_number")]
    pub(crate) memory_throttling_factor: Option<ThrottlingFactor>,

    /// Whether what is requested is kept from being reclaimed (memory.min, memory.low) [default: None]
    #[arg(long, value_name = "POLICY")]
    pub(crate) memory_reservation_policy: Option<ReservationChoice>,

    /// Whether an OOM kill takes one process, not the whole container; on cgroup v1 it always does [default: as the
    /// cgroup version has it]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "true|false")]
    pub(crate) single_process_oom_kill: Option<bool>,

    /// Who makes the cgroups: memlet itself, or systemd, asked over D-Bus (cgroup v2) [default: cgroupfs]
    #[arg(long, value_name = "DRIVER")]
    pub(crate) cgroup_driver: Option<DriverChoice>,

    /// Cgroup under which kubepods is made, where /kubepods is taken [default: /]
    #[arg(long, value_name = "PATH", env = "MEMLET_CGROUP_ROOT", value_parser = cgroup)]
    pub(crate) cgroup_root: Option<CgroupPath>,

    /// Folder for what lives as long as the Pods do: state, volumes and logs [default: /run/memlet]
    #[arg(long, value_name = "FOLDER", env = "MEMLET_RUN", value_hint = ValueHint::DirPath)]
    pub(crate) run_folder: Option<PathBuf>,

    /// Do without the kernel's log, as where /dev/kmsg may not be read
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "true|false")]
    pub(crate) no_kernel_log: Option<bool>,
}

fn alike(text: &str) -> Result<Nodes, String> {
    let count: u16 = text.parse().map_err(|_| "say a number of nodes, as in 3".to_owned())?;
    if count == 0 { Err("a pool needs at least one node".to_owned()) } else { Ok(Nodes::Alike(count)) }
}

/// What is set aside of a node, by resource.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, Scalar>")]
pub(crate) struct Reservation(pub(crate) Amounts);

/// A bare number or a text of a YAML file.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Number(serde_json::Number),
    Text(String),
}

/// What can be set aside.
const RESERVABLE: [&str; 3] = ["memory", "cpu", "ephemeral-storage"];

impl Reservation {
    fn set(&mut self, resource: &str, amount: &str) -> Result<(), String> {
        if !RESERVABLE.contains(&resource) {
            return Err(format!("{resource:?} cannot be set aside: {} can", RESERVABLE.join(", ")));
        }
        let amount = amount.parse::<Quantity>().map_err(|error| format!("{resource}={amount}: {error}"))?;
        self.0.insert(resource.to_owned(), amount);
        Ok(())
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl TryFrom<BTreeMap<String, Scalar>> for Reservation {
    type Error = String;

    fn try_from(amounts: BTreeMap<String, Scalar>) -> Result<Self, String> {
        let mut reservation = Self::default();
        for (resource, amount) in amounts {
            reservation.set(&resource, &amount.to_string())?;
        }
        Ok(reservation)
    }
}

/// `memory=100Mi,cpu=200m`, in kubelet's manner.
fn reservation(text: &str) -> Result<Reservation, String> {
    let mut reservation = Reservation::default();
    for part in text.split(',') {
        let (resource, amount) = part.split_once('=').ok_or("say RESOURCE=AMOUNT, as in memory=100Mi")?;
        reservation.set(resource.trim(), amount.trim())?;
    }
    Ok(reservation)
}

pub(crate) fn size_of_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Number(u64),
        Text(String),
    }
    match Option::<Amount>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Amount::Number(bytes)) => Ok(Some(Bytes::new(bytes))),
        Some(Amount::Text(text)) => size(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

fn factor_of_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ThrottlingFactor>, D::Error> {
    let number = Option::<f64>::deserialize(deserializer)?;
    number.map(|number| number.to_string().parse()).transpose().map_err(serde::de::Error::custom)
}

/// `memlet kubeconfig`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  memlet kubeconfig > node.kubeconfig && KUBECONFIG=node.kubeconfig kubectl get pods
  memlet kubeconfig --merge && kubectl --context memlet get pods")]
pub(crate) struct KubeconfigArguments {
    /// Add the node to $KUBECONFIG or ~/.kube/config, as the context memlet, and make it the current one
    #[arg(long)]
    pub(crate) merge: bool,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// `memlet kubectl`
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct KubectlArguments {
    /// What kubectl is told
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<OsString>,

    /// Folder of the node
    #[arg(long, value_name = "FOLDER", env = "MEMLET_DATA", default_value = "/var/lib/memlet")]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
}

/// `memlet status`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  the node runs and answers
  1  it does not")]
pub(crate) struct StatusArguments {
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// `memlet stop`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Without --pods the containers run on, and the next `memlet node` takes them up again.")]
pub(crate) struct StopArguments {
    /// End the Pods' containers too, each with its Pod's grace period; the objects stay, and the next `memlet node` starts
    /// them anew
    #[arg(long)]
    pub(crate) pods: bool,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// `memlet ps`
#[derive(Clone, Debug, Args)]
pub(crate) struct PsArguments {
    /// Only this namespace [default: all]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// Pods' sandboxes and ended containers too
    #[arg(short, long)]
    pub(crate) all: bool,

    /// How to print the table
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// `memlet inspect`
#[derive(Clone, Debug, Args)]
pub(crate) struct InspectArguments {
    /// The Pod's name, a container's id or the beginning of one
    pub(crate) pod: String,

    /// The Pod's namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,

    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_flags_do() {
        let settings: NodeSettings = serde_saphyr::from_str(
            "nodeName: a\nnodeMemory: 2Gi\nkubeReserved: {memory: 100Mi}\naddresses: ['[::1]:7000']\nswapBehavior: LimitedSwap\n\
             cgroupDriver: systemd\ncgroupRoot: /x\nmemoryThrottlingFactor: 0.5\n",
        )
        .unwrap();
        assert_eq!(settings.node_memory, Some(Bytes::from_gib(2)));
        assert_eq!(settings.kube_reserved, Some(reservation("memory=100Mi").unwrap()));
        assert_eq!(settings.addresses, ["[::1]:7000".parse().unwrap()]);
        assert_eq!(settings.swap_behavior, Some(SwapChoice::LimitedSwap));
        assert_eq!(settings.cgroup_driver, Some(DriverChoice::Systemd));
        assert!(settings.memory_throttling_factor.is_some() && settings.cgroup_root.is_some());
    }

    #[test]
    fn what_a_file_may_not_say() {
        for (text, part) in [
            ("nodeMemry: 1Gi", "nodeMemry"),
            ("nodeMemory: 1Gib", "1Gib"),
            ("kubeReserved: {disk: 1}", "disk"),
            ("addresses: [6443]", "addresses"),
        ] {
            let error = serde_saphyr::from_str::<NodeSettings>(text).unwrap_err().to_string();
            assert!(error.contains(part) || error.contains("invalid"), "{text}: {error}");
        }
    }

    #[test]
    fn what_can_be_set_aside() {
        let both = reservation("memory=1Gi, cpu=200m").unwrap();
        assert_eq!(both.0["memory"].to_string(), "1Gi");
        assert_eq!(both.0["cpu"].to_string(), "200m");
        for text in ["1Gi", "disk=1", "memory=x", ""] {
            assert!(reservation(text).is_err(), "{text}");
        }
    }
}
