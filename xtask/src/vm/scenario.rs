//! The guests of the ring, as data: which kernel on what a machine, and what runs there.
//!
//! Under emulation a guest is ten to twenty times slower than this machine. So what is about kernels runs on one, and
//! what another kernel or machine can change runs there.

use std::time::Duration;

use super::kernels::{NEW, OLD, STABLE, Source};

/// A guest.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) kernel: &'static Source,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    /// Words added to the kernel's command line.
    pub(crate) command_line: &'static str,
    pub(crate) cgroups: Cgroups,
    pub(crate) swap: Swap,
    pub(crate) system: System,
    pub(crate) runs: &'static [Run],
    pub(crate) end: End,
    /// A guest that takes longer hangs, and is ended.
    pub(crate) patience: Duration,
}

impl Scenario {
    /// For `--list`.
    pub(crate) fn description(&self) -> String {
        let runs = self.runs.iter().map(|run| match run.only {
            [] => run.program.name().to_owned(),
            only => format!("{} ({})", run.program.name(), only.join(" ")),
        });
        let runs = runs.collect::<Vec<_>>().join(", ");
        format!(
            "{:<22} kernel {}, {} MiB, cgroups {:?}, swap {:?}{}{}: {runs}",
            self.name,
            self.kernel.name,
            self.memory_mib,
            self.cgroups,
            self.swap,
            if self.command_line.is_empty() { "" } else { ", " },
            self.command_line
        )
    }
}

/// How the guest's init mounts cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// cgroup v2, seen from its root.
    V2,
    /// A part of cgroup v2 of which the group above handed the memory controller down, as a container sees it.
    Delegated,
    /// The same without the memory controller.
    DelegatedWithoutMemory,
    /// Every controller has a v1 hierarchy of its own.
    V1,
    /// Memory and most others on v1, with the unified hierarchy beside them, as systemd mounts it.
    Hybrid,
}

/// What runs as the guest's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// A script, and nothing but what the tests call.
    Script,
    /// Debian's systemd, with its D-Bus. It mounts the cgroups; the tests are a service, and tell memlet to let systemd make
    /// the cgroups of Pods.
    Systemd,
}

/// Where the guest swaps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    None,
    /// A virtual disk of so many MiB.
    Disk(u32),
    /// Compressed memory that holds so many MiB.
    Zram(u32),
}

/// One test program and what of it runs.
pub(crate) struct Run {
    pub(crate) program: Program,
    /// Only tests whose names hold one of these; all where there is none.
    pub(crate) only: &'static [&'static str],
}

/// The test programs that have something to say about a kernel. All of them are libtest-mimic's, so that
/// they can tell what they ignore, and report as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    EndToEnd,
    Runtime,
    Node,
    Cgroup,
    Oomlog,
}

impl Program {
    pub(crate) const ALL: [Self; 5] = [Self::EndToEnd, Self::Runtime, Self::Node, Self::Cgroup, Self::Oomlog];

    /// As messages and the guest call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EndToEnd => "end_to_end",
            Self::Runtime => "memlet-runtime",
            Self::Node => "memlet-node",
            Self::Cgroup => "memlet-cgroup",
            Self::Oomlog => "memlet-oomlog",
        }
    }

    /// cargo's names of its package and target.
    pub(crate) fn target(self) -> (&'static str, &'static str) {
        match self {
            Self::EndToEnd => ("memlet", "end_to_end"),
            Self::Runtime => ("memlet-runtime", "containers"),
            Self::Node => ("memlet-node", "agent"),
            Self::Cgroup => ("memlet-cgroup", "kernel"),
            Self::Oomlog => ("memlet-oomlog", "kernel"),
        }
    }
}

/// How a guest is expected to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, when all tests are done.
    Done,
    /// By a panic of its kernel, which says this; what ran before must have passed.
    Panic(&'static str),
}

const fn all(program: Program) -> Run {
    Run { program, only: &[] }
}

const fn only(program: Program, only: &'static [&'static str]) -> Run {
    Run { program, only }
}

/// More than the longest guest takes on two processors that others use too.
const LONG: Duration = Duration::from_mins(20);

/// What a guest is if its scenario says nothing else.
const PLAIN: Scenario = Scenario {
    name: "",
    kernel: &OLD,
    memory_mib: 1024,
    cpus: 1,
    command_line: "",
    cgroups: Cgroups::V2,
    swap: Swap::None,
    system: System::Script,
    runs: &[],
    end: End::Done,
    patience: Duration::from_mins(8),
};

/// Kills at each level, and who is told to be killed.
const KILLS: Run = only(Program::EndToEnd, &["kill: at", "kill: of a child", "machine: out"]);
/// The same in short.
const A_KILL: Run = only(Program::EndToEnd, &["kill: at the container"]);

/// Every guest; those that take longest first, since two run at a time.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "v2",
        memory_mib: 2048,
        runs: &[only(Program::EndToEnd, &["example", "kill:", "environment:", "isolation:"])],
        // The examples expect so many lines as fit in a limit page by page.
        command_line: "transparent_hugepage=madvise",
        patience: LONG,
        ..PLAIN
    },
    Scenario {
        name: "v2-lives",
        memory_mib: 2048,
        runs: &[only(
            Program::EndToEnd,
            &["manifest:", "image:", "ending:", "reader: one", "reader: a slow"],
        )],
        patience: LONG,
        ..PLAIN
    },
    Scenario {
        name: "v2-new",
        kernel: &NEW,
        memory_mib: 512,
        runs: &[KILLS, all(Program::Cgroup), all(Program::Oomlog)],
        ..PLAIN
    },
    Scenario {
        name: "v2-stable",
        kernel: &STABLE,
        memory_mib: 512,
        runs: &[KILLS, all(Program::Cgroup), all(Program::Oomlog)],
        ..PLAIN
    },
    Scenario {
        name: "v1",
        cgroups: Cgroups::V1,
        runs: &[
            only(Program::EndToEnd, &["kill: at", "kill: of a child", "example child", "oom-kill-mode: c"]),
            only(Program::EndToEnd, &["environment: cgroup", "isolation: a block"]),
            only(Program::Node, &["page_cache_goes"]),
            all(Program::Cgroup),
            all(Program::Oomlog),
        ],
        ..PLAIN
    },
    Scenario {
        name: "v2-rules",
        memory_mib: 2048,
        runs: &[only(
            Program::EndToEnd,
            &[
                "oom-kill-mode:",
                "memory files:",
                "machine: a Guaranteed",
                "figures:",
                "node: killed",
                "node: article 3",
                "node: full, a Guaranteed",
                "node: a kill that nobody",
                "pool: killed",
                "machine: the clock",
                "kubectl: run",
            ],
        )],
        patience: LONG,
        ..PLAIN
    },
    Scenario {
        name: "v2-pressure",
        memory_mib: 2048,
        runs: &[
            only(
                Program::Node,
                &[
                    "the_largest_goes",
                    "who_is_slow",
                    "a_burst_in_its_grace",
                    "nobody_critical_goes",
                    "a_bystander",
                ],
            ),
            only(Program::EndToEnd, &["pressure: a machine"]),
        ],
        patience: LONG,
        ..PLAIN
    },
    Scenario {
        name: "systemd",
        memory_mib: 2048,
        system: System::Systemd,
        runs: &[KILLS, only(Program::EndToEnd, &["systemd:"])],
        patience: LONG,
        ..PLAIN
    },
    Scenario {
        name: "v2-parts",
        runs: &[all(Program::Cgroup), all(Program::Oomlog), all(Program::Runtime), all(Program::Node)],
        ..PLAIN
    },
    Scenario { name: "hybrid", cgroups: Cgroups::Hybrid, runs: &[A_KILL, all(Program::Cgroup)], ..PLAIN },
    Scenario {
        name: "delegated",
        kernel: &STABLE,
        cgroups: Cgroups::Delegated,
        runs: &[A_KILL, all(Program::Cgroup)],
        ..PLAIN
    },
    Scenario {
        name: "not-delegated",
        kernel: &STABLE,
        cgroups: Cgroups::DelegatedWithoutMemory,
        runs: &[only(Program::EndToEnd, &["machine: memory"])],
        ..PLAIN
    },
    Scenario {
        name: "memory-switched-off",
        command_line: "cgroup_disable=memory",
        runs: &[only(Program::EndToEnd, &["machine: memory"])],
        ..PLAIN
    },
    Scenario {
        name: "swap-on-disk",
        kernel: &NEW,
        swap: Swap::Disk(512),
        runs: &[A_KILL, only(Program::EndToEnd, &["machine: swap"])],
        ..PLAIN
    },
    Scenario {
        name: "swap-in-zram",
        kernel: &STABLE,
        swap: Swap::Zram(256),
        runs: &[A_KILL, only(Program::EndToEnd, &["machine: swap"])],
        ..PLAIN
    },
    Scenario {
        name: "small-without-psi",
        kernel: &NEW,
        memory_mib: 256,
        command_line: "psi=0",
        runs: &[A_KILL],
        ..PLAIN
    },
    Scenario {
        name: "panic-on-oom",
        kernel: &STABLE,
        memory_mib: 512,
        command_line: "sysctl.vm.panic_on_oom=1",
        runs: &[A_KILL, only(Program::EndToEnd, &["machine: out"])],
        end: End::Panic("panic_on_oom is enabled"),
        ..PLAIN
    },
];
