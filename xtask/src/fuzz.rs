//! Fuzzing, for a bounded time: the targets in `crates/memlet-oomlog/fuzz`, by cargo-fuzz.
//!
//! What the fuzzer finds worth keeping is kept under the target folder, and the next run goes on from there. It begins
//! with the project's own recorded kills, and with the logs of the folder that `MEMLET_CORPUS` names.

use std::fs;

use anyhow::{Context, Result};

use crate::command::{self, target};
use crate::tools;

const TARGETS: [&str; 3] = ["reader", "line", "records"];
/// No input need be longer than a report.
const LONGEST: usize = 16 << 10;

/// Fuzzes each target for `seconds`; a crash ends it, with the input that makes it.
pub(crate) fn run(seconds: u32) -> Result<()> {
    let cargo_fuzz = tools::crate_program("cargo-fuzz")?;
    let crate_folder = command::root().join("crates/memlet-oomlog");
    let fuzz_folder = crate_folder.join("fuzz");
    for name in TARGETS {
        let kept = target().join("fuzz").join(name);
        fs::create_dir_all(&kept)?;
        let mut fuzz = std::process::Command::new("rustup");
        fuzz.args(["run", "nightly"]).arg(&cargo_fuzz);
        fuzz.args(["run", "--fuzz-dir"]).arg(&fuzz_folder);
        fuzz.arg("--target-dir").arg(target().join("fuzz-build"));
        fuzz.arg(name).arg(kept).arg(crate_folder.join("tests/fixtures"));
        if let Some(corpus) = std::env::var_os("MEMLET_CORPUS") {
            fuzz.arg(corpus);
        }
        fuzz.arg("--").arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LONGEST}"));
        fuzz.arg(format!("-dict={}", fuzz_folder.join("dictionary.txt").display()));
        fuzz.args(["-rss_limit_mb=2048", "-print_final_stats=1"]);
        command::run(&mut fuzz).with_context(|| format!("the target {name:?} found something"))?;
    }
    Ok(())
}
