//! All rings of tests, after installing what they need.
//!
//! 1. Pure tests, and 2. tests on this kernel, are `cargo test`: those on the kernel need root, and must not
//!    be skipped here (`REQUIRE_KERNEL=1`). 3. Tests on other kernels are those of ring 2 again, in virtual machines
//!    (`vm`). 4. Real peers (kubectl, skopeo, umoci) are called by the end-to-end tests of ring 2.

use anyhow::{Result, ensure};

use crate::command::{self, cargo};
use crate::{lint, tools, vm};

/// Runs everything; the first failure ends it.
pub(crate) fn run() -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the tests on this kernel make cgroups, namespaces and mounts: run them as root, or run `cargo test` \
         for the pure ones alone"
    );
    let tools = tools::install()?;
    lint::run_with(&tools)?;
    let tests = &mut cargo(&["test", "--workspace", "--no-fail-fast"]);
    command::run(tests.env("REQUIRE_KERNEL", "1").env("PATH", tools.search_path()))?;
    vm::run(&vm::Options::default())
}
