//! `cargo xtask`: everything a contributor runs beyond cargo itself.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to its contributor")]

mod bench;
mod command;
mod lint;
mod test;
mod tools;

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
    /// Formatting, clippy, spelling, licences
    Lint,
    /// Measure start, verdict and memory of `memlet run`
    Bench {
        /// How often each thing is measured
        #[arg(long, default_value_t = 20)]
        runs: usize,
    },
    /// Install the tools that tests and lints need
    Tools,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Test => test::run(),
        Task::Lint => lint::run(),
        Task::Bench { runs } => bench::run(runs),
        Task::Tools => tools::install().map(drop),
    }
}
