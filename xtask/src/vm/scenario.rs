//! The machines that are booted, and what runs on each.

use std::time::Duration;

use super::kernel::Suite;

/// One machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) suite: Suite,
    pub(crate) memory_mib: u32,
    /// Added to the kernel's command line.
    pub(crate) kernel_arguments: &'static str,
    /// A disk for swap.
    pub(crate) swap_mib: Option<u32>,
    /// Functions of `guest.sh` that make the machine what it is.
    pub(crate) set_up: &'static [&'static str],
    /// What the tests are told that this machine has, beside a kernel (`MEMLET_GUEST`).
    pub(crate) has: &'static str,
    pub(crate) runs: &'static [Run],
    pub(crate) end: End,
    /// A guest that takes longer hangs.
    pub(crate) patience: Duration,
}

/// A test program, and which of its tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) program: &'static str,
    /// Those with one of these in their names; all, where there is none.
    pub(crate) filters: &'static [&'static str],
}

/// How a machine is expected to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its plan is over.
    PowersOff,
    /// Its kernel panics and says this.
    Panics(&'static str),
}

const fn all(program: &'static str) -> Run {
    Run { program, filters: &[] }
}

const fn some(program: &'static str, filters: &'static [&'static str]) -> Run {
    Run { program, filters }
}

const CGROUP: Run = all("memlet-cgroup:kernel");
const END_TO_END: &str = "memlet:end_to_end";

/// What is the same for most.
const PLAIN: Scenario = Scenario {
    name: "",
    suite: Suite::Bookworm,
    memory_mib: 1536,
    kernel_arguments: "",
    swap_mib: None,
    set_up: &["cgroup_v2"],
    has: "v2,psi,all-capabilities",
    runs: &[],
    end: End::PowersOff,
    patience: Duration::from_mins(9),
};

/// All machines, those that take longest first.
pub(crate) const ALL: [Scenario; 9] = [
    Scenario { name: "v2-end-to-end", memory_mib: 2048, runs: &[all(END_TO_END)], ..PLAIN },
    Scenario {
        name: "v2-parts",
        runs: &[
            CGROUP,
            all("memlet-oomlog:kernel"),
            all("memlet-runtime:containers"),
            all("memlet-node:agent"),
        ],
        ..PLAIN
    },
    Scenario {
        name: "v2-trixie",
        suite: Suite::Trixie,
        runs: &[CGROUP, all("memlet-oomlog:kernel"), some(END_TO_END, &["kill:", "machine:"])],
        ..PLAIN
    },
    Scenario {
        name: "v2-forky",
        suite: Suite::Forky,
        runs: &[CGROUP, all("memlet-oomlog:kernel"), some(END_TO_END, &["kill:", "machine:"])],
        ..PLAIN
    },
    Scenario {
        name: "v1",
        set_up: &["cgroup_v1"],
        has: "v1,all-capabilities",
        runs: &[CGROUP, some(END_TO_END, &["kill: at", "oom-kill-mode:"])],
        ..PLAIN
    },
    Scenario {
        name: "hybrid",
        set_up: &["cgroup_hybrid"],
        has: "v1,all-capabilities",
        runs: &[some(END_TO_END, &["kill: at the containers", "kill: at the container"])],
        ..PLAIN
    },
    Scenario {
        name: "swap",
        swap_mib: Some(512),
        set_up: &["cgroup_v2", "swap_on_disk"],
        has: "v2,psi,all-capabilities,swap",
        runs: &[some(END_TO_END, &["swap:"])],
        ..PLAIN
    },
    Scenario {
        name: "zram-without-psi",
        kernel_arguments: "psi=0",
        set_up: &["cgroup_v2", "swap_in_memory 256M"],
        has: "v2,all-capabilities,swap",
        runs: &[CGROUP, some(END_TO_END, &["swap:"])],
        ..PLAIN
    },
    Scenario {
        name: "panic-on-oom",
        memory_mib: 512,
        set_up: &["cgroup_v2", "sysctl -q -w vm.panic_on_oom=2"],
        has: "v2,panic-on-oom",
        runs: &[some(END_TO_END, &["kill: at the container's own limit"])],
        end: End::Panics("Out of memory: compulsory panic_on_oom is enabled"),
        ..PLAIN
    },
];
