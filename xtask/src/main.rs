//! `cargo xtask`: everything a contributor runs beyond cargo itself.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to its contributor")]

mod bench;
mod command;
mod fuzz;
mod lint;
mod test;
mod tools;
mod vm;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Everything a contributor runs beyond cargo itself")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the tests need and run all of them: lints, pure tests, this kernel, real peers
    Test,
    /// Boot Debian's kernels in virtual machines and test Memlet there
    VmTest(vm::Options),
    /// Formatting, clippy, spelling, licences
    Lint,
    /// Measure `memlet run`, the API server, a node, and how fast logs are read
    Bench {
        /// How often each thing is measured
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Only how fast logs are read
        #[arg(long)]
        logs: bool,
        /// Only what the API server costs
        #[arg(long, conflicts_with = "logs")]
        api: bool,
        /// Only what a node does with Pods
        #[arg(long, conflicts_with_all = ["logs", "api"])]
        node: bool,
        /// Only how fast Pods are placed in a large cluster, in memory
        #[arg(long, conflicts_with_all = ["logs", "api", "node"])]
        placements: bool,
        /// Only the race of eviction against the kernel's OOM killer
        #[arg(long, conflicts_with_all = ["logs", "api", "node", "placements"])]
        race: bool,
    },
    /// Feed the readers of logs and of requests with whatever a fuzzer makes up, for a bounded time (needs nightly Rust)
    Fuzz {
        /// How long each target is fuzzed
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Install the tools that tests and lints need
    Tools,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Test => test::run(),
        Task::VmTest(options) => vm::run(&options),
        Task::Lint => lint::run(),
        Task::Bench { logs: true, .. } => bench::logs(),
        Task::Bench { api: true, .. } => bench::api(),
        Task::Bench { node: true, runs, .. } => bench::node(runs),
        Task::Bench { placements: true, .. } => bench::placements(),
        Task::Bench { race: true, runs, .. } => bench::race(runs),
        Task::Bench { runs, .. } => bench::run(runs),
        Task::Fuzz { seconds } => fuzz::run(seconds),
        Task::Tools => tools::install().map(drop),
    }
}
