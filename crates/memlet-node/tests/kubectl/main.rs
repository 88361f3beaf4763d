//! A node with the embedded API server above and the embedded runtime below, asked by the real kubectl over plain HTTP on
//! loopback: logs, exec, attach, run, cp, on terminals and without.
//!
//! Needs root, a writable memory cgroup, a static `/bin/busybox` and `kubectl` 1.31 or newer. Where they are missing every
//! test is reported as ignored with the reason, and fails when `REQUIRE_KERNEL=1` is set.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::large_futures,
    reason = "a test, in a harness of its own"
)]

mod bench;
mod figures;
mod image;
mod kubectl;
mod logs;
mod streams;
mod terminal;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use memlet_cgroup::Hierarchy;

use bench::Bench;

/// What a test does with a node: it runs in a thread beside it, as a user does.
pub(crate) type Test = fn(&Bench) -> Result<(), Failed>;

fn main() -> ExitCode {
    if let Some(code) = memlet_runtime::shim::main_if_asked(std::env::args_os()) {
        return code;
    }
    let missing = what_is_missing();
    let arguments = Arguments::from_args();
    let tests = logs::TESTS.iter().chain(streams::TESTS).chain(figures::TESTS);
    let trials = tests.map(|(name, test)| {
        let missing = missing.clone();
        let ignored = missing.is_some() && std::env::var_os("REQUIRE_KERNEL").is_none();
        let shown = match &missing {
            Some(missing) if ignored => format!("{name} (needs {missing})"),
            _ => (*name).to_owned(),
        };
        let test = *test;
        Trial::test(shown, move || match missing {
            Some(missing) => Err(Failed::from(format!("this machine lacks {missing}"))),
            None => bench::with_node(test),
        })
        .with_ignored_flag(ignored)
    });
    let trials = trials.collect();
    libtest_mimic::run(&Arguments { test_threads: Some(1), ..arguments }, trials).exit_code()
}

fn what_is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        return Some("/bin/busybox".to_owned());
    }
    if std::process::Command::new("kubectl").arg("version").arg("--client").output().is_err() {
        return Some("kubectl".to_owned());
    }
    Hierarchy::detect().err().map(|error| format!("a memory cgroup: {error}"))
}
