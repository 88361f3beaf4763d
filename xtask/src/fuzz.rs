//! Fuzzing, for a bounded time: the targets of the crates that read what anybody may send, by cargo-fuzz.
//!
//! What the fuzzer finds worth keeping is kept under the target folder, and the next run goes on from there. The readers of
//! logs begin with the project's own recorded kills, and with the logs of the folder that `MEMLET_CORPUS` names; the API's
//! decoders with a seed of each kind.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{self, target};
use crate::tools;

/// One target, and what it begins with.
struct Target {
    crate_name: &'static str,
    name: &'static str,
    /// Within the crate's folder.
    seeds: &'static str,
    /// No input need be longer.
    longest: usize,
}

const fn of_logs(name: &'static str) -> Target {
    Target { crate_name: "memlet-oomlog", name, seeds: "tests/fixtures", longest: 16 << 10 }
}

const fn of_requests(name: &'static str, seeds: &'static str) -> Target {
    Target { crate_name: "memlet-apiserver", name, seeds, longest: 8 << 10 }
}

const TARGETS: [Target; 9] = [
    of_logs("reader"),
    of_logs("line"),
    of_logs("records"),
    of_requests("create", "fuzz/seeds/create"),
    of_requests("json_patch", "fuzz/seeds/json_patch"),
    of_requests("merge_patch", "fuzz/seeds/merge_patch"),
    of_requests("strategic_merge_patch", "fuzz/seeds/strategic_merge_patch"),
    of_requests("apply", "fuzz/seeds/apply"),
    of_requests("query", "fuzz/seeds/query"),
];

/// Fuzzes each target for `seconds`; a crash ends it, with the input that makes it.
pub(crate) fn run(seconds: u32) -> Result<()> {
    let cargo_fuzz = tools::crate_program("cargo-fuzz")?;
    for Target { crate_name, name, seeds, longest } in TARGETS {
        let crate_folder = command::root().join("crates").join(crate_name);
        let fuzz_folder = crate_folder.join("fuzz");
        let kept = target().join("fuzz").join(crate_name).join(name);
        fs::create_dir_all(&kept)?;
        let mut fuzz = std::process::Command::new("rustup");
        fuzz.args(["run", "nightly"]).arg(&cargo_fuzz);
        fuzz.args(["run", "--fuzz-dir"]).arg(&fuzz_folder);
        fuzz.arg("--target-dir").arg(target().join("fuzz-build"));
        fuzz.arg(name).arg(kept).arg(crate_folder.join(seeds));
        if let Some(corpus) = std::env::var_os("MEMLET_CORPUS").filter(|_| crate_name == "memlet-oomlog") {
            fuzz.arg(corpus);
        }
        fuzz.arg("--").arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={longest}"));
        fuzz.arg(format!("-dict={}", fuzz_folder.join("dictionary.txt").display()));
        fuzz.args(["-rss_limit_mb=2048", "-timeout=20", "-print_final_stats=1"]);
        command::run(&mut fuzz).with_context(|| format!("the target {name:?} found something"))?;
    }
    Ok(())
}
