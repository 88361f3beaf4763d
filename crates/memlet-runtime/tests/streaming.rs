//! Exec, attach and logs of real containers on this kernel, through CRI and its streaming addresses.
//!
//! Needs root, a writable memory cgroup and `/bin/busybox` (static). Where they are missing every test is reported as
//! ignored with the reason, and fails when `REQUIRE_KERNEL=1` is set. A harness of its own, since the supervisor runs
//! from a copy of this very program.

#![allow(clippy::large_futures, clippy::print_stderr, clippy::unwrap_used, reason = "a test harness")]

#[path = "streaming/attach.rs"]
mod attach;
#[path = "streaming/bench.rs"]
mod bench;
#[allow(dead_code, reason = "the tests of images use the rest")]
#[path = "images/build.rs"]
mod build;
#[path = "streaming/client.rs"]
mod client;
#[path = "streaming/exec.rs"]
mod exec;
#[path = "streaming/logs.rs"]
mod logs;

use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use memlet_cgroup::Hierarchy;

type Test = fn() -> Pin<Box<dyn Future<Output = Result<(), Failed>>>>;

fn main() -> ExitCode {
    if let Some(code) = memlet_runtime::shim::main_if_asked(std::env::args_os()) {
        return code;
    }
    let arguments = Arguments::from_args();
    let missing = what_is_missing();
    let tests = exec::TESTS.iter().chain(attach::TESTS).chain(logs::TESTS);
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
            None => tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test()),
        })
        .with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn what_is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        return Some("/bin/busybox".to_owned());
    }
    Hierarchy::detect().err().map(|error| format!("a memory cgroup: {error}"))
}
