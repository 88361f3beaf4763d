//! The command line: what was typed, with no effect of its own.

mod eviction;
mod node;
mod top;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use memlet_bytes::Bytes;
use memlet_cgroup::CgroupPath;
use memlet_node::MemoryRules;
use memlet_policy::cgroup_limits::SwapBehavior;
use memlet_policy::cgroup_names::Driver;
use memlet_policy::eviction as eviction_policy;
use memlet_policy::memory_qos::{MemoryQos, ReservationPolicy, ThrottlingFactor};
use serde::Deserialize;

use eviction::ThresholdChoice;
pub(crate) use node::{
    AddArguments, InspectArguments, KubeconfigArguments, KubectlArguments, NodeArguments, NodeSettings,
    PoolChange, PsArguments, RmArguments, StatusArguments, StopArguments, size_of_text,
};
pub(crate) use top::TopArguments;

/// Runs Kubernetes Pods under their memory limits on this machine, and says what happened to them.
#[derive(Debug, Parser)]
#[command(name = "memlet", version, propagate_version = true)]
#[command(after_help = "\
Exit codes:
  0      done; for `run`, all containers completed
  1-255  for `run`, the exit code of the container that failed (137: killed)
  1      for `explain`, no report was found
  2      a mistake in the input or the environment")]
pub(crate) struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Show the program's own log on standard error; a filter such as `info` or `memlet_node=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "MEMLET_LOG")]
    pub(crate) log: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run Pods to their end and say what happened
    Run(RunArguments),
    /// Be a node: serve the Kubernetes API and run the Pods that it is given, for kubectl to use
    Node(Box<NodeArguments>),
    /// Say whether the node runs, and how it is
    Status(StatusArguments),
    /// End the node; its Pods run on unless they are to end too
    Stop(StopArguments),
    /// Print the node's kubeconfig, or merge it into one's own
    Kubeconfig(KubeconfigArguments),
    /// Run one's own kubectl against the node
    Kubectl(KubectlArguments),
    /// List the node's containers with their processes and memory
    Ps(PsArguments),
    /// Show what nodes, Pods and containers use of their memory, and how far it is to the limit
    Top(TopArguments),
    /// Show a Pod's containers, cgroups, limit files and processes
    Inspect(InspectArguments),
    /// Explain every kill by the OOM killer in kernel logs, the end of a Pod, or the memory of a node
    Explain(ExplainArguments),
    /// Import, list and remove container images
    Image(ImageArguments),
    /// Print a completion script for a shell
    Completions(CompletionsArguments),
    /// Write the manual pages into a folder
    Man(ManArguments),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document on standard output; everything else goes to standard error
    Json,
    /// The same as YAML
    Yaml,
}

/// Where this machine's part of the work lies.
#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArguments {
    /// Folder for what must survive: images, and a node's objects, keys and records
    #[arg(
        long,
        value_name = "FOLDER",
        env = "MEMLET_DATA",
        default_value = "/var/lib/memlet",
        global = true
    )]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) data: PathBuf,
}

/// `memlet run`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  memlet run examples/1-limits-and-malloc/pod-2.yaml
  memlet run --node-memory 2041888Ki pod.yaml     # as on a node of that size
  memlet run --restarts 2 pod.yaml                # go on through two restarts
  memlet run -o json pods/ | jq '.killRecords'
  sed s/128Mi/64Mi/ pod.yaml | memlet run -

The run ends when the Pods have ended or, where restartPolicy would restart them, at the first end of a
container. Ctrl-C ends the Pods in order; a second Ctrl-C kills them.")]
pub(crate) struct RunArguments {
    /// Manifests: files, folders (their *.yaml, *.yml and *.json), or - for standard input
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub(crate) files: Vec<PathBuf>,

    /// Go on through this many restarts of a container, with Kubernetes' back-off (0 s, 10 s, 20 s ... 5 min)
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "keep_running")]
    pub(crate) restarts: u32,

    /// Never stop by itself: restart as restartPolicy says until Ctrl-C
    #[arg(long)]
    pub(crate) keep_running: bool,

    /// Memory that this node pretends to have, enforced as the limit of all Pods together
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Node")]
    pub(crate) node_memory: Option<Bytes>,

    /// Evict a Pod at once where less memory is available, as kubelet's evictionHard; 0% switches it off [default:
    /// memory.available<100Mi]
    #[arg(long, value_name = "memory.available<SIZE|PERCENT", help_heading = "Node")]
    pub(crate) eviction_hard: Option<ThresholdChoice>,

    /// What containers may do with the machine's swap (cgroup v2)
    #[arg(long, value_name = "BEHAVIOR", default_value = "NoSwap", help_heading = "Node")]
    pub(crate) swap_behavior: SwapChoice,

    /// Slow containers down before their limit (memory.high), as kubelet's feature gate for memory quality does (cgroup v2)
    #[arg(long, help_heading = "Node")]
    pub(crate) memory_qos: bool,

    /// How far between its request and its limit a container gets before it is slowed down
    #[arg(
        long,
        value_name = "FACTOR",
        default_value = "0.9",
        requires = "memory_qos",
        help_heading = "Node"
    )]
    pub(crate) memory_throttling_factor: ThrottlingFactor,

    /// Whether what is requested is kept from being reclaimed (memory.min, memory.low)
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "None",
        requires = "memory_qos",
        help_heading = "Node"
    )]
    pub(crate) memory_reservation_policy: ReservationChoice,

    /// Whether an OOM kill takes one process, not the whole container; on cgroup v1 it always does [default: as the
    /// cgroup version has it]
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true, help_heading = "Node")]
    pub(crate) single_process_oom_kill: Option<bool>,

    /// Name of this node
    #[arg(long, value_name = "NAME", default_value = "memlet", help_heading = "Node")]
    pub(crate) node_name: String,

    /// Who makes the cgroups: memlet itself, or systemd, asked over D-Bus (cgroup v2)
    #[arg(long, value_name = "DRIVER", default_value = "cgroupfs", help_heading = "Node")]
    pub(crate) cgroup_driver: DriverChoice,

    /// Cgroup under which kubepods is made, where /kubepods is taken
    #[arg(long, value_name = "PATH", env = "MEMLET_CGROUP_ROOT", default_value = "/", value_parser = cgroup)]
    #[arg(help_heading = "Node")]
    pub(crate) cgroup_root: CgroupPath,

    /// Folder for what lives as long as the Pods do: state, volumes and logs
    #[arg(
        long,
        value_name = "FOLDER",
        env = "MEMLET_RUN",
        default_value = "/run/memlet",
        help_heading = "Node"
    )]
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) run_folder: PathBuf,

    /// Do without the kernel's log, as where /dev/kmsg may not be read
    #[arg(long, help_heading = "Node")]
    pub(crate) no_kernel_log: bool,

    /// How to print the result
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

impl RunArguments {
    /// When the node evicts Pods.
    pub(crate) fn eviction(&self) -> eviction_policy::Settings {
        let default = eviction_policy::Settings::default();
        eviction_policy::Settings {
            hard: self.eviction_hard.map_or(default.hard, |choice| choice.0),
            ..default
        }
    }

    /// What the node does about memory beyond limits.
    pub(crate) fn memory_rules(&self) -> MemoryRules {
        MemoryRules {
            swap: self.swap_behavior.into(),
            memory_qos: self.memory_qos.then_some(MemoryQos {
                throttling: self.memory_throttling_factor,
                reservation: self.memory_reservation_policy.into(),
            }),
            single_process_oom_kill: self.single_process_oom_kill,
        }
    }
}

/// kubelet's `cgroupDriver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DriverChoice {
    /// memlet makes folders in the cgroup filesystem
    Cgroupfs,
    /// systemd makes slices and scopes
    Systemd,
}

impl From<DriverChoice> for Driver {
    fn from(choice: DriverChoice) -> Self {
        match choice {
            DriverChoice::Cgroupfs => Self::Cgroupfs,
            DriverChoice::Systemd => Self::Systemd,
        }
    }
}

/// kubelet's `memorySwap.swapBehavior`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[value(rename_all = "PascalCase")]
pub(crate) enum SwapChoice {
    /// No container swaps, whatever the machine has
    NoSwap,
    /// Burstable containers swap in proportion to their request
    LimitedSwap,
}

impl From<SwapChoice> for SwapBehavior {
    fn from(choice: SwapChoice) -> Self {
        match choice {
            SwapChoice::NoSwap => Self::NoSwap,
            SwapChoice::LimitedSwap => Self::LimitedSwap,
        }
    }
}

/// kubelet's `memoryReservationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[value(rename_all = "PascalCase")]
pub(crate) enum ReservationChoice {
    /// It is not
    None,
    /// It is, by class: Guaranteed always, others while anybody has more than they requested
    TieredReservation,
}

impl From<ReservationChoice> for ReservationPolicy {
    fn from(choice: ReservationChoice) -> Self {
        match choice {
            ReservationChoice::None => Self::None,
            ReservationChoice::TieredReservation => Self::TieredReservation,
        }
    }
}

/// `memlet explain`
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  memlet explain /var/log/kern.log /var/log/kern.log.1.gz
  memlet explain --kernel                        # this machine's own log
  journalctl -k -b -1 -o export | memlet explain -
  dmesg -w | memlet explain -                    # each report as it comes
  memlet explain -f /var/log/kern.log            # the same, across log rotation
  memlet explain --all -o markdown kern.log      # to paste into an issue
  memlet explain pod/memory-eater-128            # a Pod of this machine's node, also when it is gone: killed, evicted
  memlet explain node/memlet                     # how short of memory it is and was, and who would be next
  memlet explain -o json kern.log | jq '.reports[].victims'

Any kernel since 2.6.32 and any form of its log is read: dmesg, /dev/kmsg, syslog, journalctl, JSON lines, the logs of
containers; plain, or compressed by gzip, zstd or xz. One report is told whole; several are summed up by cgroup.

Exit codes:
  0  reports were found, of the kernel or of a daemon that kills in its place
  1  none was found; what was read is said on standard error
  2  an input could not be read, or a mistake on the command line")]
pub(crate) struct ExplainArguments {
    /// Kernel logs: files, or - for standard input; or pod/NAME or node/NAME for a Pod of the node, or the node
    #[arg(value_name = "FILE|pod/NAME|node/NAME", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// Read this machine's own log (/dev/kmsg), from the oldest record that the kernel still holds
    #[arg(long, conflicts_with = "files")]
    pub(crate) kernel: bool,

    /// Tell each report whole, instead of a summary when there are several; of a Pod, every end of its containers
    #[arg(long)]
    pub(crate) all: bool,

    /// Go on with what is added to the logs, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// Processes shown in the table of each report; of a node, processes and Pods
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,

    /// How to print what was found
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: ExplainFormat,

    /// The namespace of a Pod
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: String,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// How reports are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people
    #[default]
    Text,
    /// One JSON document on standard output, written as the logs are read
    Json,
    /// The same as YAML
    Yaml,
    /// To paste into an issue
    Markdown,
}

/// `memlet image`
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageArguments {
    #[command(subcommand)]
    pub(crate) command: ImageCommand,

    #[command(flatten)]
    pub(crate) place: PlaceArguments,
}

/// What to do with images.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Import an OCI archive, a `docker save` file or an OCI layout folder
    #[command(after_help = "\
Examples:
  docker save busybox -o busybox.tar && memlet image import busybox.tar
  skopeo copy docker://busybox oci-archive:busybox.tar && memlet image import busybox.tar --tag busybox")]
    Import {
        /// The archive or folder
        #[arg(value_hint = ValueHint::AnyPath)]
        file: PathBuf,
        /// Name to give the image, instead of those in the archive
        #[arg(long, value_name = "NAME")]
        tag: Option<String>,
    },
    /// List the images that are here
    #[command(visible_alias = "list")]
    Ls {
        /// How to print the list
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: Format,
    },
    /// Remove an image by name or id
    Rm {
        /// Its name or id
        image: String,
    },
}

/// `memlet completions`
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: Shell,
}

/// `memlet man`
#[derive(Clone, Debug, Args)]
pub(crate) struct ManArguments {
    /// Where to write the pages
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
}

fn size(text: &str) -> Result<Bytes, String> {
    memlet_policy::quantity::parse_size(text).map_err(|error| error.to_string())
}

fn cgroup(text: &str) -> Result<CgroupPath, String> {
    text.parse().map_err(|error: memlet_cgroup::ParsePathError| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
